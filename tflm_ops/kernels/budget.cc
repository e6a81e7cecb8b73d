#include "tflm_ops/kernels/optimize.h"

#include "tflm_ops/kernels/budget.h"

#include "tflm_ops/kernels/number.h"

namespace bcnet {
namespace {

constexpr int kUnitBits = 26;
static_assert(Budget::kUnit == 1 << kUnitBits, "the level's fraction has this many bits");

int32_t LevelOf(float threshold) {
  float rest = 1.0f - threshold;
  int32_t level = 0;
  while (rest <= 0.5f && level < Budget::kMaxLevel) {
    rest *= 2.0f;
    level += Budget::kUnit;
  }
  if (level == Budget::kMaxLevel) return level;
  return level + static_cast<int32_t>((1.0f - rest) * 2.0f * Budget::kUnit);
}

}  // namespace

const char* PrepareBudget(const BudgetOptions& options, float threshold, Budget* budget) {
  if (options.accepted_cost < 0 || options.escalated_cost <= options.accepted_cost)
    return "an escalated answer must cost more than an accepted one, and neither less than 0";
  if (options.budget < options.accepted_cost || options.budget > options.escalated_cost)
    return "the budget must lie between the costs of an accepted and of an escalated answer";
  if (options.window < Budget::kMinWindow || options.window > Budget::kMaxWindow)
    return "the window must be from 8 to 65536 answers";
  if (!IsFinite(threshold) || threshold < 0.0f || threshold > 1.0f)
    return "the threshold must be in [0, 1]";
  const int32_t step = Budget::kMaxLevel / options.window;
  const int64_t spare = options.budget - options.accepted_cost;
  const int64_t range = options.escalated_cost - options.accepted_cost;
  const int32_t up = static_cast<int32_t>(step * spare / range);
  *budget = {LevelOf(threshold), up, step - up};
  return nullptr;
}

float BudgetThreshold(const Budget& budget) {
  if (budget.level <= 0) return 0.0f;
  if (budget.level >= Budget::kMaxLevel) return 1.0f;
  // 2^31 times the distance from 1: halved for each whole unit, and up to halved by the fraction.
  const uint32_t fraction = static_cast<uint32_t>(budget.level) & (Budget::kUnit - 1);
  const uint32_t rest =
      ((1u << 31) - (fraction << (30 - kUnitBits))) >> (budget.level >> kUnitBits);
  return static_cast<float>((1u << 31) - rest) * (1.0f / (1u << 31));
}

void UpdateBudget(bool escalated, Budget* budget) {
  // A threshold of 0 escalates nothing and one of 1 all but a confidence of 1, so the level leaves
  // its range by a step at most. It may not go further where that rule does not hold.
  const int32_t step = budget->up + budget->down;
  budget->level += escalated ? -budget->down : budget->up;
  if (budget->level < -step) budget->level = -step;
  if (budget->level > Budget::kMaxLevel + step) budget->level = Budget::kMaxLevel + step;
}

}  // namespace bcnet

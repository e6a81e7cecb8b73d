// Holds the mean cost of a stream of answers at a budget, whatever the stream, by moving the
// threshold of the gate: up after an answer that cost less than the budget, down after one that
// cost more. In integers, but for the thresholds that go in and come out.
#ifndef TFLM_OPS_KERNELS_BUDGET_H_
#define TFLM_OPS_KERNELS_BUDGET_H_

#include <cstdint>

namespace bcnet {

// Costs of an answer in any unit (instructions, nanojoules): of the binary net alone, of both nets,
// and what an answer may cost on average.
struct BudgetOptions {
  int32_t accepted_cost;
  int32_t escalated_cost;
  int32_t budget;
  int32_t window;  // answers in which the threshold can cross its whole range: larger is steadier
};

// The state. A level L, in 1/kUnit, stands for the threshold 1 - 2^-L (linear between whole
// numbers), since confidences crowd near 1; from kMaxLevel on for 1.
struct Budget {
  static constexpr int32_t kUnit = 1 << 26;
  static constexpr int32_t kMaxLevel = 24 * kUnit;
  static constexpr int32_t kMinWindow = 8;  // so that no level overflows
  static constexpr int32_t kMaxWindow = 1 << 16;
  int32_t level;
  int32_t up;    // the step after an accepted answer
  int32_t down;  // and that after an escalated one; both together are kMaxLevel / window
};

// Starts at `threshold`. Returns nullptr, or what is wrong with the options.
const char* PrepareBudget(const BudgetOptions& options, float threshold, Budget* budget);

// The threshold for the next answer, in [0, 1].
float BudgetThreshold(const Budget& budget);

// Takes note of an answer. After n answers, e of them escalated, of any stream at all,
//   e <= rate * n + window + 4    where rate = up / (up + down),
// and e >= rate * n - window - 4 where no confidence was 1. (Logits that are not finite escalate at
// any threshold and may break the first.)
void UpdateBudget(bool escalated, Budget* budget);

}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_BUDGET_H_

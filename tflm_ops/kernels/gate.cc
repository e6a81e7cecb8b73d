#include "tflm_ops/kernels/optimize.h"

#include "tflm_ops/kernels/gate.h"

#include <cmath>

#include "tflm_ops/kernels/number.h"

namespace bcnet {
namespace {

constexpr float kNan = __builtin_nanf("");

template <typename T>
int32_t ArgMax(const T* logits, int32_t classes) {
  int32_t best = 0;
  for (int32_t i = 1; i < classes; ++i) {
    if (logits[i] > logits[best]) best = i;
  }
  return best;
}

void ReadVector(const FlexVector& vector, float* output) {
  FlexValue value;
  for (size_t i = 0; i < vector.size; ++i) {
    if (FlexElement(vector, i, &value)) FlexToFloat(value, &output[i]);
  }
}

// `score(i)` is logit i less the largest one.
template <typename Score>
float Confidence(const GateParams& params, int32_t best, Score score) {
  const int32_t classes = params.classes;
  // Below that is a probability of 0 in float; -infinity would turn into NaN.
  const auto bounded = [&](int32_t i) {
    const float x = score(i);
    return x > -100.0f ? x : -100.0f;
  };
  float sum = 0.0f;
  for (int32_t i = 0; i < classes; ++i) sum += std::exp(bounded(i));
  const float log_sum = std::log(sum);
  const float* weights = params.measure == GateMeasure::kLearned ? params.weights : nullptr;
  float sum_of_products = weights != nullptr ? weights[classes + 3] : 0.0f;
  float entropy = 0.0f;
  float largest = 0.0f;
  float second = 0.0f;
  for (int32_t i = 0; i < classes; ++i) {
    const float log_probability = bounded(i) - log_sum;
    const float probability = std::exp(log_probability);
    entropy -= probability * log_probability;
    if (weights != nullptr) sum_of_products += weights[i] * probability;
    if (i == best) {
      largest = probability;
    } else if (probability > second) {
      second = probability;
    }
  }
  // Rounding can carry the entropy of equal logits past its bound.
  float certainty = 1.0f - entropy / std::log(static_cast<float>(classes));
  if (certainty < 0.0f) certainty = 0.0f;
  switch (params.measure) {
    case GateMeasure::kScoreMargin:
      return largest - second;
    case GateMeasure::kMaxProbability:
      return largest;
    case GateMeasure::kEntropy:
      return certainty;
    case GateMeasure::kLearned:
      break;
  }
  sum_of_products += weights[classes] * (largest - second);
  sum_of_products += weights[classes + 1] * largest;
  sum_of_products += weights[classes + 2] * certainty;
  return 1.0f / (1.0f + std::exp(-sum_of_products));
}

GateDecision Decide(int32_t best, float confidence, const float* thresholds,
                    size_t threshold_count) {
  const float threshold = thresholds[threshold_count == 1 ? 0 : best];
  return {best, confidence, !IsFinite(confidence) || confidence < threshold};
}

}  // namespace

const char* CheckGateThresholds(const float* thresholds, size_t count, int32_t classes) {
  if (count != 1 && count != static_cast<size_t>(classes))
    return "there must be one threshold, or one per class";
  for (size_t i = 0; i < count; ++i) {
    if (!IsFinite(thresholds[i]) || thresholds[i] < 0.0f || thresholds[i] > 1.0f)
      return "thresholds must be in [0, 1]";
  }
  return nullptr;
}

size_t GateNumbers(const GateOptions& options) {
  return options.thresholds.size + (options.weights.size == 0 ? 0 : options.weights.size + 1);
}

const char* PrepareGate(const GateOptions& options, int32_t classes, float* numbers,
                        GateParams* params) {
  if (classes < 2 || classes > (1 << 20)) return "there must be at least 2 logits and at most 2^20";
  ReadVector(options.thresholds, numbers);
  if (const char* reason = CheckGateThresholds(numbers, options.thresholds.size, classes))
    return reason;
  if (options.measure == GateMeasure::kLearned &&
      options.weights.size != static_cast<size_t>(classes) + 3) {
    return "the learned measure needs a weight for each class and three more";
  }
  float* weights = numbers + options.thresholds.size;
  ReadVector(options.weights, weights);
  if (options.weights.size != 0) weights[options.weights.size] = options.bias;
  *params = {options.measure, classes, weights};
  return nullptr;
}

GateDecision GateFloat(const GateParams& params, const float* logits, const float* thresholds,
                       size_t threshold_count) {
  const int32_t best = ArgMax(logits, params.classes);
  for (int32_t i = 0; i < params.classes; ++i) {
    if (!IsFinite(logits[i])) return {best, kNan, true};
  }
  const auto score = [&](int32_t i) { return logits[i] - logits[best]; };
  return Decide(best, Confidence(params, best, score), thresholds, threshold_count);
}

GateDecision GateInt8(const GateParams& params, const int8_t* logits, float scale,
                      const float* thresholds, size_t threshold_count) {
  const int32_t best = ArgMax(logits, params.classes);
  const auto score = [&](int32_t i) {
    return static_cast<float>(logits[i] - logits[best]) * scale;
  };
  return Decide(best, Confidence(params, best, score), thresholds, threshold_count);
}

}  // namespace bcnet

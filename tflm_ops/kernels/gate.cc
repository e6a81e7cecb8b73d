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

// `scores` are the logits less their largest. They become the probabilities.
float Confidence(const GateParams& params, int32_t best, float* scores) {
  const int32_t classes = params.classes;
  float sum = 0.0f;
  for (int32_t i = 0; i < classes; ++i) {
    if (!(scores[i] > -100.0f))
      scores[i] = -100.0f;  // a probability of 0 in float; -infinity would turn into NaN below
    sum += std::exp(scores[i]);
  }
  const float log_sum = std::log(sum);
  float entropy = 0.0f;
  float second = 0.0f;
  for (int32_t i = 0; i < classes; ++i) {
    const float log_probability = scores[i] - log_sum;
    scores[i] = std::exp(log_probability);
    entropy -= scores[i] * log_probability;
    if (i != best && scores[i] > second) second = scores[i];
  }
  const float largest = scores[best];
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
  const float* weights = params.weights;
  float sum_of_products = params.bias;
  for (int32_t i = 0; i < classes; ++i) sum_of_products += weights[i] * scores[i];
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
    return "there must be one threshold, or one a class";
  for (size_t i = 0; i < count; ++i) {
    if (!IsFinite(thresholds[i]) || thresholds[i] < 0.0f || thresholds[i] > 1.0f)
      return "thresholds must be in [0, 1]";
  }
  return nullptr;
}

const char* PrepareGate(const GateOptions& options, int32_t classes, float* thresholds,
                        float* weights, GateParams* params) {
  if (classes < 2 || classes > (1 << 20)) return "there must be at least 2 logits and at most 2^20";
  ReadVector(options.thresholds, thresholds);
  if (const char* reason = CheckGateThresholds(thresholds, options.thresholds.size, classes))
    return reason;
  if (options.measure == GateMeasure::kLearned &&
      options.weights.size != static_cast<size_t>(classes) + 3) {
    return "the learned measure needs a weight for each class and three more";
  }
  ReadVector(options.weights, weights);
  *params = {options.measure, classes, weights, options.bias};
  return nullptr;
}

int32_t GateScratchSize(const GateParams& params) {
  return params.classes * static_cast<int32_t>(sizeof(float));
}

GateDecision GateFloat(const GateParams& params, const float* logits, const float* thresholds,
                       size_t threshold_count, void* scratch) {
  float* scores = static_cast<float*>(scratch);
  const int32_t best = ArgMax(logits, params.classes);
  for (int32_t i = 0; i < params.classes; ++i) {
    if (!IsFinite(logits[i])) return {best, kNan, true};
    scores[i] = logits[i] - logits[best];
  }
  return Decide(best, Confidence(params, best, scores), thresholds, threshold_count);
}

GateDecision GateInt8(const GateParams& params, const int8_t* logits, float scale,
                      const float* thresholds, size_t threshold_count, void* scratch) {
  float* scores = static_cast<float*>(scratch);
  const int32_t best = ArgMax(logits, params.classes);
  for (int32_t i = 0; i < params.classes; ++i)
    scores[i] = static_cast<float>(logits[i] - logits[best]) * scale;
  return Decide(best, Confidence(params, best, scores), thresholds, threshold_count);
}

}  // namespace bcnet

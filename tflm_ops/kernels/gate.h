// BcnetGate: measures how sure a classifier is of its answer and asks for a second opinion when it
// is not.
#ifndef TFLM_OPS_KERNELS_GATE_H_
#define TFLM_OPS_KERNELS_GATE_H_

#include <cstddef>
#include <cstdint>

#include "tflm_ops/kernels/options.h"

namespace bcnet {

struct GateParams {
  GateMeasure measure;
  int32_t classes;
  const float* weights;  // learned only: classes + 3, then the bias
};

struct GateDecision {
  int32_t predicted_class;  // the first of the largest logits
  float confidence;         // in [0, 1], higher is surer; NaN when a logit is NaN or infinite
  bool escalate;            // confidence is not at least the threshold
};

// How many floats PrepareGate writes.
size_t GateNumbers(const GateOptions& options);

// Reads the options into `numbers`, which `params` keeps: first the options.thresholds.size
// thresholds. Returns nullptr, or why the gate cannot serve `classes` logits.
const char* PrepareGate(const GateOptions& options, int32_t classes, float* numbers,
                        GateParams* params);

// Returns nullptr, or what is wrong with `count` thresholds for `classes` classes.
const char* CheckGateThresholds(const float* thresholds, size_t count, int32_t classes);

// `thresholds` holds one number, or one for each class, of which that of the predicted class
// counts. The zero point of int8 logits plays no part: a softmax does not change when the same
// number is added to all logits. No scratch memory is needed.
GateDecision GateFloat(const GateParams& params, const float* logits, const float* thresholds,
                       size_t threshold_count);
GateDecision GateInt8(const GateParams& params, const int8_t* logits, float scale,
                      const float* thresholds, size_t threshold_count);

constexpr int32_t GateScratchSize() { return 0; }

}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_GATE_H_

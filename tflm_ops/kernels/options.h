// The custom options of the operators: a FlexBuffer map in the operator's bytes of the flatbuffer.
// The parsers read no byte outside `data`, whatever it holds; each returns nullptr, or why the
// options cannot be used.
#ifndef TFLM_OPS_KERNELS_OPTIONS_H_
#define TFLM_OPS_KERNELS_OPTIONS_H_

#include <cstddef>
#include <cstdint>

#include "tflm_ops/kernels/flexbuffer.h"
#include "tflm_ops/kernels/window.h"

namespace bcnet {

// The numbers are those of the TensorFlow Lite schema.
enum class Activation : int8_t { kNone = 0, kRelu = 1, kReluN1To1 = 2, kRelu6 = 3 };

struct Bconv2dOptions {
  int32_t channels_in;
  int32_t stride_height;
  int32_t stride_width;
  int32_t dilation_height;
  int32_t dilation_width;
  Padding padding;
  int32_t pad_value;  // what SAME padding stands for: 0 or +1
  Activation activation;
};
const char* ParseBconv2dOptions(const uint8_t* data, size_t size, Bconv2dOptions* options);

struct BMaxPool2dOptions {
  int32_t filter_height;
  int32_t filter_width;
  int32_t stride_height;
  int32_t stride_width;
  Padding padding;
};
const char* ParseBMaxPool2dOptions(const uint8_t* data, size_t size, BMaxPool2dOptions* options);

struct StemOptions {
  int32_t stride_height;
  int32_t stride_width;
  Padding padding;
};
const char* ParseStemOptions(const uint8_t* data, size_t size, StemOptions* options);

// How the sureness of a prediction is measured: each in [0, 1], higher is surer, from the softmax
// of the logits.
enum class GateMeasure : int8_t {
  kScoreMargin,     // largest less second largest probability
  kMaxProbability,  // largest probability
  kEntropy,         // 1 - entropy / log(classes)
  kLearned,         // sigmoid(weights . [probabilities, the three above] + bias)
};

struct GateOptions {
  GateMeasure measure;
  FlexVector thresholds;  // one, or one per class, each in [0, 1]
  FlexVector weights;     // learned only: classes + 3, finite
  float bias;             // learned only, finite
};
const char* ParseGateOptions(const uint8_t* data, size_t size, GateOptions* options);

}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_OPTIONS_H_

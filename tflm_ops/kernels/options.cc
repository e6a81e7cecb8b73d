#include "tflm_ops/kernels/optimize.h"

#include "tflm_ops/kernels/options.h"

#include "tflm_ops/kernels/number.h"

namespace bcnet {
namespace {

constexpr char kNoMap[] = "the options are not a FlexBuffer map";

bool Find(const FlexMap& map, const char* key, int32_t* result) {
  FlexValue value;
  return FlexFind(map, key, &value) && FlexToInt(value, result);
}

bool Find(const FlexMap& map, const char* key, FlexVector* result) {
  FlexValue value;
  return FlexFind(map, key, &value) && FlexToVector(value, result);
}

bool FindPadding(const FlexMap& map, Padding* padding) {
  int32_t code;
  if (!Find(map, "padding", &code) || code < 0 || code > 1) return false;
  *padding = static_cast<Padding>(code);
  return true;
}

}  // namespace

const char* ParseBconv2dOptions(const uint8_t* data, size_t size, Bconv2dOptions* options) {
  FlexMap map;
  int32_t activation;
  if (!FlexRootMap(data, size, &map)) return kNoMap;
  if (!Find(map, "channels_in", &options->channels_in))
    return "option channels_in must be an integer";
  if (!Find(map, "stride_height", &options->stride_height))
    return "option stride_height must be an integer";
  if (!Find(map, "stride_width", &options->stride_width))
    return "option stride_width must be an integer";
  if (!Find(map, "dilation_height_factor", &options->dilation_height)) {
    return "option dilation_height_factor must be an integer";
  }
  if (!Find(map, "dilation_width_factor", &options->dilation_width)) {
    return "option dilation_width_factor must be an integer";
  }
  if (!FindPadding(map, &options->padding)) return "option padding must be 0 (SAME) or 1 (VALID)";
  if (!Find(map, "pad_values", &options->pad_value) || options->pad_value < 0 ||
      options->pad_value > 1) {
    return "option pad_values must be 0 or 1";
  }
  if (!Find(map, "fused_activation_function", &activation) || activation < 0 || activation > 3) {
    return "option fused_activation_function must be 0 (NONE), 1 (RELU), 2 (RELU_N1_TO_1) or 3 "
           "(RELU6)";
  }
  options->activation = static_cast<Activation>(activation);
  return nullptr;
}

const char* ParseBMaxPool2dOptions(const uint8_t* data, size_t size, BMaxPool2dOptions* options) {
  FlexMap map;
  if (!FlexRootMap(data, size, &map)) return kNoMap;
  if (!Find(map, "filter_height", &options->filter_height))
    return "option filter_height must be an integer";
  if (!Find(map, "filter_width", &options->filter_width))
    return "option filter_width must be an integer";
  if (!Find(map, "stride_height", &options->stride_height))
    return "option stride_height must be an integer";
  if (!Find(map, "stride_width", &options->stride_width))
    return "option stride_width must be an integer";
  if (!FindPadding(map, &options->padding)) return "option padding must be 0 (SAME) or 1 (VALID)";
  return nullptr;
}

const char* ParseStemOptions(const uint8_t* data, size_t size, StemOptions* options) {
  FlexMap map;
  if (!FlexRootMap(data, size, &map)) return kNoMap;
  if (!Find(map, "stride_height", &options->stride_height))
    return "option stride_height must be an integer";
  if (!Find(map, "stride_width", &options->stride_width))
    return "option stride_width must be an integer";
  if (!FindPadding(map, &options->padding)) return "option padding must be 0 (SAME) or 1 (VALID)";
  return nullptr;
}

const char* ParseGateOptions(const uint8_t* data, size_t size, GateOptions* options) {
  FlexMap map;
  FlexValue value;
  if (!FlexRootMap(data, size, &map)) return kNoMap;
  constexpr const char* kMeasures[] = {"score_margin", "max_probability", "entropy", "learned"};
  int32_t measure = 0;
  if (!FlexFind(map, "measure", &value)) return "option measure is missing";
  while (measure < 4 && !FlexEquals(value, kMeasures[measure])) ++measure;
  if (measure == 4)
    return "option measure must be score_margin, max_probability, entropy or learned";
  options->measure = static_cast<GateMeasure>(measure);

  if (!Find(map, "threshold", &options->thresholds) || options->thresholds.size == 0) {
    return "option threshold must be a vector of one number, or one per class";
  }
  for (size_t i = 0; i < options->thresholds.size; ++i) {
    float threshold;
    if (!FlexElement(options->thresholds, i, &value) || !FlexToFloat(value, &threshold) ||
        !IsFinite(threshold) || threshold < 0.0f || threshold > 1.0f) {
      return "option threshold must hold numbers in [0, 1]";
    }
  }

  options->weights = {};
  options->bias = 0.0f;
  if (options->measure != GateMeasure::kLearned) return nullptr;
  if (!Find(map, "weights", &options->weights)) return "option weights must be a vector of numbers";
  for (size_t i = 0; i < options->weights.size; ++i) {
    float weight;
    if (!FlexElement(options->weights, i, &value) || !FlexToFloat(value, &weight) ||
        !IsFinite(weight)) {
      return "option weights must hold finite numbers";
    }
  }
  if (!FlexFind(map, "bias", &value) || !FlexToFloat(value, &options->bias) ||
      !IsFinite(options->bias)) {
    return "option bias must be a finite number";
  }
  return nullptr;
}

}  // namespace bcnet

// What is known of a binary convolution before its input is: shapes and the numbers of the output
// transform.
#include <cmath>

#include "tflm_ops/kernels/bconv2d.h"
#include "tflm_ops/kernels/bitpacking.h"
#include "tflm_ops/kernels/number.h"
#include "tflm_ops/kernels/shape.h"

namespace bcnet {
namespace {

// The number of products in a sum.
int32_t Products(const Bconv2dParams& params) {
  return params.height.filter * params.width.filter * params.channels_in_group;
}

}  // namespace

const char* PrepareBconv2d(const Bconv2dOptions& options, const int32_t input_dims[4],
                           const int32_t filter_dims[4], const int32_t output_dims[4],
                           Bconv2dOutput output, Bconv2dParams* params) {
  if (ElementCount(input_dims, 4) == 0)
    return "the input's dimensions must be positive and its size below 2 GiB";
  if (ElementCount(filter_dims, 4) == 0)
    return "the filter's dimensions must be positive and its size below 2 GiB";
  if (ElementCount(output_dims, 4) == 0)
    return "the output's dimensions must be positive and its size below 2 GiB";
  if (options.channels_in < 1) return "option channels_in must be positive";

  params->batches = input_dims[0];
  params->words_in = input_dims[3];
  params->channels_out = filter_dims[0];
  params->words_in_group = filter_dims[3];
  params->zero_padding = options.padding == Padding::kSame && options.pad_value == 0;
  params->activation = options.activation;

  if (params->words_in != BitpackedWords(options.channels_in)) {
    return "the input's last dimension is not the number of words that channels_in takes";
  }
  if (params->words_in % params->words_in_group != 0) {
    return "the words of an input pixel are not a multiple of the words of a filter tap";
  }
  params->groups = params->words_in / params->words_in_group;
  if (options.channels_in % params->groups != 0)
    return "channels_in is not a multiple of the number of groups";
  params->channels_in_group = options.channels_in / params->groups;
  if (params->groups > 1 && params->channels_in_group % kWordBits != 0) {
    return "the input channels of a group must be a multiple of 32";
  }
  if (params->channels_out % params->groups != 0)
    return "the output channels are not a multiple of the groups";

  const char* reason =
      PrepareWindow(options.padding, input_dims[1], filter_dims[1], options.stride_height,
                    options.dilation_height, &params->height);
  if (reason != nullptr) return reason;
  reason = PrepareWindow(options.padding, input_dims[2], filter_dims[2], options.stride_width,
                         options.dilation_width, &params->width);
  if (reason != nullptr) return reason;
  const int64_t bits =
      int64_t{params->height.filter} * params->width.filter * params->words_in_group * kWordBits;
  if (bits >= (1 << 30)) return "the filter has 2^30 or more bits for an output channel";
  if (output == Bconv2dOutput::kBitpacked && params->zero_padding &&
      params->channels_in_group % 2 != 0) {
    return "bitpacked output with SAME padding of 0 needs an even number of input channels";
  }

  const int32_t channels = output == Bconv2dOutput::kBitpacked
                               ? BitpackedWords(params->channels_out)
                               : params->channels_out;
  if (output_dims[0] != params->batches || output_dims[1] != params->height.output ||
      output_dims[2] != params->width.output || output_dims[3] != channels) {
    return "the output's shape does not follow from the shapes of input and filter and the options";
  }
  return nullptr;
}

const char* PrepareBconv2dTransform(const Bconv2dParams& params, const float* post_multiplier,
                                    const float* post_bias, float scale, int32_t zero_point,
                                    float* multiplier, float* bias, Bconv2dTransform* transform) {
  if (!IsFinite(scale) || scale <= 0.0f) return "the output's scale must be positive and finite";
  if (zero_point < -128 || zero_point > 127)
    return "the output's zero point must be in [-128, 127]";
  const int32_t products = Products(params);
  // The activation's range, on the sum n - 2 * m.
  int32_t low = -products;
  int32_t high = products;
  if (params.activation == Activation::kRelu || params.activation == Activation::kRelu6) low = 0;
  if (params.activation == Activation::kRelu6 && high > 6) high = 6;
  if (params.activation == Activation::kReluN1To1) {
    low = -1;
    high = 1;
  }
  transform->clamp_min = products - high;
  transform->clamp_max = products - low;
  // In double, as the converter's numbers are, so that every float comes out the same.
  for (int32_t i = 0; i < params.channels_out; ++i) {
    const double factor = post_multiplier[i];
    const double sum = post_bias[i] + static_cast<double>(products) * factor;
    multiplier[i] = static_cast<float>(-factor / static_cast<double>(scale));
    bias[i] =
        static_cast<float>(sum / static_cast<double>(scale) + static_cast<double>(zero_point));
    if (!IsFinite(multiplier[i]) || !IsFinite(bias[i])) {
      return "post_activation_multiplier and post_activation_bias must be finite, over the "
             "output's scale too";
    }
  }
  transform->multiplier = multiplier;
  transform->bias = bias;
  return nullptr;
}

bool PrepareBconv2dFixedTransform(const Bconv2dParams& params, const Bconv2dTransform& transform,
                                  FixedPointChannel* channels, Bconv2dFixedTransform* fixed) {
  constexpr float kLimit = 1 << 22;
  // 22 bits before the point and 39 after it, a sum of two, and the rounding's half stay below
  // 2^63.
  constexpr int kMaxShift = 39;
  for (int32_t i = 0; i < params.channels_out; ++i) {
    const float multiplier = transform.multiplier[i];
    const float bias = transform.bias[i];
    if (std::fabs(bias) >= kLimit) return false;
    if (std::fabs(multiplier) * static_cast<float>(transform.clamp_max) >= kLimit) return false;
    int exponent;
    std::frexp(multiplier, &exponent);  // |multiplier| < 2^exponent
    int shift = 30 - exponent;          // at least 8, as clamp_max is at least 1
    if (shift > kMaxShift) shift = kMaxShift;
    channels[i].multiplier = static_cast<int32_t>(std::ldexp(multiplier, shift));
    channels[i].bias = static_cast<int64_t>(std::ldexp(static_cast<double>(bias), shift));
    channels[i].shift = shift;
  }
  fixed->clamp_min = transform.clamp_min;
  fixed->clamp_max = transform.clamp_max;
  fixed->channels = channels;
  return true;
}

}  // namespace bcnet

// What is known of a binary convolution before its input is: shapes and the numbers of the output
// transform.
#include "tflm_ops/kernels/optimize.h"

#include <cmath>

#include "tflm_ops/kernels/bconv2d/bconv2d.h"
#include "tflm_ops/kernels/bconv2d/kernels.h"
#include "tflm_ops/kernels/bitpacking.h"
#include "tflm_ops/kernels/number.h"
#include "tflm_ops/kernels/shape.h"

namespace bcnet {
namespace {

// The number of products in a sum.
int32_t Products(const Bconv2dParams& params) {
  return params.height.filter * params.width.filter * params.channels_in_group;
}

// What products and biases of the linear transform stay below.
constexpr int32_t kLinearLimit = 1 << 30;

// The offset of the linear transform; `products` are those of a sum.
int32_t LinearOffset(int32_t products) { return kHasHelium ? 0 : products & ~1; }

// Sets the bias with which the linear transform gives the outputs of the float one for all sums.
// `largest` is what none of its numbers exceeds. Returns false when there is none.
bool FindBias(const Bconv2dParams& params, const Bconv2dTransform& transform, int32_t channel,
              float largest, LinearChannel* linear) {
  constexpr int32_t kOne = 1 << kLinearShift;
  const int32_t last = 2 * Products(params), offset = LinearOffset(Products(params));
  const int64_t multiplier = linear->multiplier;
  const int32_t nearest = static_cast<int32_t>(std::ldexp(transform.bias[channel], kLinearShift)) +
                          kOne / 2 + static_cast<int32_t>(multiplier * offset >> kProductShift);
  // Sums whose output is not clear from the nearest bias, for lack of precision.
  const int32_t slack =
      16 + last / 16 + static_cast<int32_t>(std::ldexp(largest, kLinearShift - 22));
  // Each sum bounds the bias: output * kOne <= product + bias < (output + 1) * kOne, where
  // saturated outputs have no bound on the outside. No product and bias may leave 32 bits.
  int32_t low = -kLinearLimit, high = kLinearLimit - 1;
  for (int32_t sum = 0; sum <= last; sum += params.zero_padding ? 1 : 2) {
    const int32_t product = static_cast<int32_t>(multiplier * (sum - offset) >> kProductShift);
    const int32_t y = product + nearest;
    int32_t output = Bconv2dClamp(y >> kLinearShift, -128, 127);
    if ((y - slack) >> kLinearShift != (y + slack) >> kLinearShift)
      output = Bconv2dInt8Output(transform, channel, sum);
    const int32_t least = output * kOne - product;
    if (output > -128 && least > low) low = least;
    if (output < 127 && least + kOne - 1 < high) high = least + kOne - 1;
  }
  linear->bias = low + (high - low) / 2;
  return low <= high;
}

}  // namespace

const char* PrepareBconv2d(const Bconv2dOptions& options, const int32_t input_dims[4],
                           const int32_t filter_dims[4], const int32_t output_dims[4],
                           Bconv2dOutput output, Bconv2dParams* params) {
  if (ElementCount(input_dims, 4) == 0 || ElementCount(filter_dims, 4) == 0 ||
      ElementCount(output_dims, 4) == 0) {
    return "input, filter and output: dimensions must be positive and sizes below 2 GiB";
  }
  if (options.channels_in < 1) return "option channels_in must be positive";

  params->batches = input_dims[0];
  params->words_in = input_dims[3];
  params->channels_out = filter_dims[0];
  params->words_in_group = filter_dims[3];
  params->zero_padding = options.padding == Padding::kSame && options.pad_value == 0;
  params->activation = options.activation;

  if (params->words_in != BitpackedWords(options.channels_in)) {
    return "the input's last dimension is not the words that channels_in takes";
  }
  if (params->words_in % params->words_in_group != 0) {
    return "the words of an input pixel are no multiple of those of a filter tap";
  }
  params->groups = params->words_in / params->words_in_group;
  if (options.channels_in % params->groups != 0)
    return "channels_in is not a multiple of the groups";
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
    return "the output's shape is not the one that input, filter and options give";
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

bool PrepareBconv2dLinearTransform(const Bconv2dParams& params, const Bconv2dTransform& transform,
                                   LinearChannel* channels, Bconv2dLinearTransform* linear) {
  const int32_t last = 2 * Products(params);
  if (last >= 1 << 15 || transform.clamp_min > 0 || transform.clamp_max < last) return false;
  for (int32_t i = 0; i < params.channels_out; ++i) {
    const float multiplier = std::ldexp(transform.multiplier[i], kProductShift + kLinearShift);
    const float largest = std::fabs(transform.multiplier[i]) * static_cast<float>(last) +
                          std::fabs(transform.bias[i]);
    if (std::fabs(multiplier) >= 2147480000.0f) return false;
    if (largest >= static_cast<float>(kLinearLimit >> kLinearShift)) return false;
    // The next multiplier may do where rounding leaves no bias for the nearest one.
    bool found = false;
    for (int32_t attempt = 0; attempt < 16 && !found; ++attempt) {
      const int32_t offset = (attempt + 1) / 2 << (kProductShift + kLinearShift - 24);
      channels[i].multiplier =
          static_cast<int32_t>(multiplier) + (attempt % 2 != 0 ? offset : -offset);
      found = FindBias(params, transform, i, largest, &channels[i]);
    }
    if (!found) return false;
  }
  linear->channels = channels;
  linear->offset = LinearOffset(Products(params));
  return true;
}

}  // namespace bcnet

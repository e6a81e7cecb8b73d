#include "tflm_ops/kernels/optimize.h"

#include "tflm_ops/kernels/window.h"

namespace bcnet {

const char* PrepareWindow(Padding padding, int32_t input, int32_t filter, int32_t stride,
                          int32_t dilation, WindowAxis* axis) {
  // Large enough for any model, small enough that no product of two of them leaves 32 bits.
  constexpr int32_t kLimit = 1 << 15;
  if (input < 1 || input >= kLimit) return "the input's height and width must be in [1, 32767]";
  if (filter < 1 || filter >= kLimit) return "the filter's height and width must be in [1, 32767]";
  if (stride < 1 || stride >= kLimit) return "strides must be in [1, 32767]";
  if (dilation < 1 || dilation >= kLimit) return "dilations must be in [1, 32767]";
  const int32_t span = (filter - 1) * dilation + 1;
  if (span >= kLimit) return "the filter must span less than 32768 positions";
  int32_t output, pad = 0;
  if (padding == Padding::kValid) {
    if (span > input) return "the window is larger than the input and the padding is VALID";
    output = (input - span) / stride + 1;
  } else {
    output = (input - 1) / stride + 1;
    const int32_t total = (output - 1) * stride + span - input;
    if (total > 0) pad = total / 2;
  }
  *axis = {static_cast<int16_t>(input),  static_cast<int16_t>(filter),
           static_cast<int16_t>(stride), static_cast<int16_t>(dilation),
           static_cast<int16_t>(pad),    static_cast<int16_t>(output)};
  return nullptr;
}

TapRange TapsInside(const WindowAxis& axis, int32_t position) {
  const int32_t first = position * axis.stride - axis.pad;
  const int32_t begin = first < 0 ? (-first + axis.dilation - 1) / axis.dilation : 0;
  int32_t end = first < axis.input ? (axis.input - 1 - first) / axis.dilation + 1 : 0;
  if (end > axis.filter) end = axis.filter;
  return {begin < end ? begin : end, end};
}

}  // namespace bcnet

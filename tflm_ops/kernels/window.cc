#include "tflm_ops/kernels/window.h"

namespace bcnet {

const char* PrepareWindow(Padding padding, WindowAxis* axis) {
  // Large enough for any model, small enough that no product of two of them leaves 32 bits.
  constexpr int32_t kLimit = 1 << 15;
  if (axis->input < 1 || axis->input >= kLimit)
    return "the input's height and width must be in [1, 32767]";
  if (axis->filter < 1 || axis->filter >= kLimit)
    return "the filter's height and width must be in [1, 32767]";
  if (axis->stride < 1 || axis->stride >= kLimit) return "strides must be in [1, 32767]";
  if (axis->dilation < 1 || axis->dilation >= kLimit) return "dilations must be in [1, 32767]";
  const int32_t span = (axis->filter - 1) * axis->dilation + 1;
  if (padding == Padding::kValid) {
    if (span > axis->input) return "the window is larger than the input and the padding is VALID";
    axis->output = (axis->input - span) / axis->stride + 1;
    axis->pad = 0;
    return nullptr;
  }
  axis->output = (axis->input - 1) / axis->stride + 1;
  const int32_t total = (axis->output - 1) * axis->stride + span - axis->input;
  axis->pad = total > 0 ? total / 2 : 0;
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

// The geometry of a sliding window: padding and the size of the output.
#ifndef TFLM_OPS_KERNELS_WINDOW_H_
#define TFLM_OPS_KERNELS_WINDOW_H_

#include <cstdint>

namespace bcnet {

// The numbers are those of the TensorFlow Lite schema.
enum class Padding : int32_t { kSame = 0, kValid = 1 };

// One axis of a window that slides over an input. Small numbers: the arena holds two for each
// operator.
struct WindowAxis {
  int16_t input;     // size of the input
  int16_t filter;    // taps
  int16_t stride;    // step between two outputs
  int16_t dilation;  // step between two taps
  int16_t pad;       // positions before the first input that the first window covers
  int16_t output;    // size of the output
};

// Fills `axis`. Returns nullptr, or why there is no such window.
const char* PrepareWindow(Padding padding, int32_t input, int32_t filter, int32_t stride,
                          int32_t dilation, WindowAxis* axis);

// The taps [begin, end) of the window of output `position` that lie on the input.
struct TapRange {
  int32_t begin;
  int32_t end;
};
TapRange TapsInside(const WindowAxis& axis, int32_t position);

}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_WINDOW_H_

#include "tflm_ops/bench/builtin.h"

#include "tensorflow/lite/kernels/internal/reference/dequantize.h"
#include "tensorflow/lite/kernels/internal/reference/reduce.h"
#include "tensorflow/lite/kernels/internal/reference/requantize.h"
#include "tensorflow/lite/kernels/internal/reference/sub.h"

namespace bench {

void Requantize(const int8_t* data, int32_t size, int8_t* result) {
  tflite::reference_ops::Requantize(data, size, 0x50000000, -1, 3, -5, result);
}

void Dequantize(const int8_t* data, int32_t size, float* result) {
  tflite::DequantizationParams params;
  params.scale = 0.1;
  params.zero_point = 3;
  const tflite::RuntimeShape shape({1, size});
  tflite::reference_ops::Dequantize(params, shape, data, shape, result);
}

void Subtract(const int8_t* data, const int8_t* other, int32_t size, int8_t* result) {
  tflite::ArithmeticParams params = {};
  params.input1_offset = 3;
  params.input2_offset = -5;
  params.output_offset = -7;
  params.left_shift = 20;
  params.input1_multiplier = 0x40000000;
  params.input2_multiplier = -0x50000000;
  params.output_multiplier = 0x60000000;
  params.input1_shift = params.input2_shift = -1;
  params.output_shift = -18;
  params.quantized_activation_min = -128;
  params.quantized_activation_max = 127;
  const tflite::RuntimeShape shape({1, size});
  tflite::reference_ops::Sub(params, shape, data, shape, other, shape, result);
}

void Mean(const int8_t* data, int32_t height, int32_t width, int32_t channels, int32_t* sums,
          int8_t* result) {
  const int input[] = {1, static_cast<int>(height), static_cast<int>(width),
                       static_cast<int>(channels)};
  const int output[] = {1, static_cast<int>(channels)}, axes[] = {1, 2};
  int index[4], resolved[2];
  tflite::reference_ops::QuantizedMeanOrSumExtraArgs<int8_t, int32_t>(
      data, 3, 0.1f, input, 4, result, 0.1f, 0x40000000, -4, -5, output, 2, axes, 2, false, index,
      resolved, sums, false);
}

}  // namespace bench

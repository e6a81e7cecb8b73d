// Operators for which TensorFlow Lite Micro has its reference kernels, CMSIS-NN or not, with
// scales and zero points of a net's kind.
#ifndef TFLM_OPS_BENCH_BUILTIN_H_
#define TFLM_OPS_BENCH_BUILTIN_H_

#include <cstdint>

namespace bench {

// From int8 of one scale to int8 of another.
void Requantize(const int8_t* data, int32_t size, int8_t* result);
void Dequantize(const int8_t* data, int32_t size, float* result);
void Subtract(const int8_t* data, const int8_t* other, int32_t size, int8_t* result);
// Over height and width; `sums` has room for the channels.
void Mean(const int8_t* data, int32_t height, int32_t width, int32_t channels, int32_t* sums,
          int8_t* result);

}  // namespace bench

#endif  // TFLM_OPS_BENCH_BUILTIN_H_

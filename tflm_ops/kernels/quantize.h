// LceQuantize and LceDequantize: between tensors of numbers and bitpacked signs. `rows` is the
// product of all dimensions but the last, `channels` is the last.
#ifndef TFLM_OPS_KERNELS_QUANTIZE_H_
#define TFLM_OPS_KERNELS_QUANTIZE_H_

#include <cstdint>

namespace bcnet {

// A value below 0 (below `zero_point` for int8, `false` for bool) becomes a 1 bit, any other, NaN
// included, a 0 bit. The output has rows * BitpackedWords(channels) words.
void QuantizeFloat(int32_t rows, int32_t channels, const float* input, uint32_t* output);
void QuantizeInt8(int32_t rows, int32_t channels, int32_t zero_point, const int8_t* input,
                  uint32_t* output);
void QuantizeBool(int32_t rows, int32_t channels, const uint8_t* input, uint32_t* output);

// The int8 codes of +1 and -1.
struct SignCodes {
  int8_t plus_one;
  int8_t minus_one;
};

// +1 and -1 rounded to int8 and saturated; `scale` must be positive and finite.
SignCodes PrepareSignCodes(float scale, int32_t zero_point);

// A 0 bit becomes +1 (or true), a 1 bit -1 (or false).
void DequantizeFloat(int32_t rows, int32_t channels, const uint32_t* input, float* output);
void DequantizeInt8(int32_t rows, int32_t channels, SignCodes codes, const uint32_t* input,
                    int8_t* output);
void DequantizeBool(int32_t rows, int32_t channels, const uint32_t* input, uint8_t* output);

// None of these kernels needs scratch memory.
constexpr int32_t QuantizeScratchSize() { return 0; }
constexpr int32_t DequantizeScratchSize() { return 0; }

}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_QUANTIZE_H_

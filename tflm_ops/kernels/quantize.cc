#include "tflm_ops/kernels/optimize_for_speed.h"

#include "tflm_ops/kernels/quantize.h"

#include "tflm_ops/kernels/bitpacking.h"
#include "tflm_ops/kernels/number.h"

namespace bcnet {
namespace {

template <typename T, typename IsMinusOne>
void Pack(int32_t rows, int32_t channels, const T* input, uint32_t* output,
          IsMinusOne is_minus_one) {
  for (int32_t row = 0; row < rows; ++row) {
    for (int32_t left = channels; left > 0; left -= kWordBits) {
      const int32_t bits = left < kWordBits ? left : kWordBits;
      uint32_t word = 0;
      for (int32_t bit = 0; bit < bits; ++bit)
        word |= static_cast<uint32_t>(is_minus_one(input[bit])) << bit;
      *output++ = word;
      input += bits;
    }
  }
}

template <typename T>
void Unpack(int32_t rows, int32_t channels, const uint32_t* input, T plus_one, T minus_one,
            T* output) {
  for (int32_t row = 0; row < rows; ++row) {
    for (int32_t left = channels; left > 0; left -= kWordBits) {
      const int32_t bits = left < kWordBits ? left : kWordBits;
      const uint32_t word = *input++;
      for (int32_t bit = 0; bit < bits; ++bit) *output++ = (word >> bit) & 1 ? minus_one : plus_one;
    }
  }
}

}  // namespace

void QuantizeFloat(int32_t rows, int32_t channels, const float* input, uint32_t* output) {
  Pack(rows, channels, input, output, [](float x) { return IsNegative(x); });
}

void QuantizeInt8(int32_t rows, int32_t channels, int32_t zero_point, const int8_t* input,
                  uint32_t* output) {
  Pack(rows, channels, input, output, [zero_point](int8_t x) { return x < zero_point; });
}

void QuantizeBool(int32_t rows, int32_t channels, const uint8_t* input, uint32_t* output) {
  Pack(rows, channels, input, output, [](uint8_t x) { return x == 0; });
}

SignCodes PrepareSignCodes(float scale, int32_t zero_point) {
  const float steps = 1.0f / scale;
  // 255 steps reach from any code past the end of the range.
  const int32_t offset = steps < 255.0f ? static_cast<int32_t>(steps + 0.5f) : 255;
  const int32_t plus_one = zero_point + offset;
  const int32_t minus_one = zero_point - offset;
  return {static_cast<int8_t>(plus_one < 127 ? plus_one : 127),
          static_cast<int8_t>(minus_one > -128 ? minus_one : -128)};
}

void DequantizeFloat(int32_t rows, int32_t channels, const uint32_t* input, float* output) {
  Unpack(rows, channels, input, 1.0f, -1.0f, output);
}

void DequantizeInt8(int32_t rows, int32_t channels, SignCodes codes, const uint32_t* input,
                    int8_t* output) {
  Unpack(rows, channels, input, codes.plus_one, codes.minus_one, output);
}

void DequantizeBool(int32_t rows, int32_t channels, const uint32_t* input, uint8_t* output) {
  Unpack<uint8_t>(rows, channels, input, 1, 0, output);
}

}  // namespace bcnet

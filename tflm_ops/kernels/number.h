// Facts about floats that hold under any compiler setting, -ffast-math and -Ofast included.
#ifndef TFLM_OPS_KERNELS_NUMBER_H_
#define TFLM_OPS_KERNELS_NUMBER_H_

#include <cstdint>
#include <cstring>

namespace bcnet {

// Neither infinite nor NaN.
inline bool IsFinite(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return (bits & 0x7f800000u) != 0x7f800000u;
}

// x < 0, which NaN is not and -0 is not. Compared as floats, subnormal numbers count 0 where they
// are flushed, and compilers that vectorize for Helium get NaN wrong.
inline bool IsNegative(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return bits - 0x80000001u < 0x7f800000u;
}

// `x` as a number rounded to 32 bits: keeps the compiler from fusing the product that `x` is with
// an addition, which rounds once in place of twice.
inline float Rounded(float x) {
#if defined(__GNUC__) && defined(__ARM_FP)
  __asm__("" : "+t"(x));
#elif defined(__GNUC__) && defined(__SSE__)
  __asm__("" : "+x"(x));
#elif defined(__GNUC__) && defined(__aarch64__)
  __asm__("" : "+w"(x));
#endif
  return x;
}

}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_NUMBER_H_

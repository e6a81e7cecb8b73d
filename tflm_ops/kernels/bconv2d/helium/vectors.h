// What the Helium kernel does with vectors of words: adding and transposing bits. See digits.h.
// What is not inlined is static, so that callers know which registers it leaves alone.
#ifndef TFLM_OPS_KERNELS_BCONV2D_HELIUM_VECTORS_H_
#define TFLM_OPS_KERNELS_BCONV2D_HELIUM_VECTORS_H_

#include <arm_mve.h>

#include <cstdint>

#include "tflm_ops/kernels/bconv2d/bitsliced/digits.h"
#include "tflm_ops/kernels/bconv2d/helium/helium.h"

namespace bcnet {
namespace helium {

using Vector = uint32x4_t;

// Hides where a pointer into the stack comes from. Compilers compute the address of every vector
// there anew, while a register and an offset reach all.
template <typename T>
BCNET_INLINE T* Hidden(T* pointer) {
  __asm__("" : "+r"(pointer));
  return pointer;
}

// sliced::Pair and its adders, on vectors.
struct Pair {
  Vector x;
  Vector p;
};

BCNET_INLINE Pair AddPairs(Vector* sum, Pair a, Pair b) {
  const Vector h = a.p | (a.x ^ *sum);
  const Vector s = *sum ^ a.p;
  *sum = s ^ b.p;
  return {h ^ s, h ^ vbicq_u32(b.x ^ s, b.p)};
}

BCNET_INLINE Vector AddPair(Vector* sum, Pair a) {
  const Vector h = a.p | (a.x ^ *sum);
  *sum = *sum ^ a.p;
  return h ^ *sum;
}

BCNET_INLINE Vector AddDigit(Vector* sum, Vector digit) {
  const Vector carry = *sum & digit;
  *sum = *sum ^ digit;
  return carry;
}

// Adds `numbers`, one for each lane, to all counters of `count` digits of the lane.
static void AddNumbers(Vector numbers, int count, Vector* digits) {
  Vector carry = vdupq_n_u32(0);
  for (int i = 0; i < count; ++i) {
    // All bits of a lane are the lowest bit of its number.
    const Vector add = vdupq_n_u32(0) - (numbers & vdupq_n_u32(1));
    numbers = vshrq_n_u32(numbers, 1);
    const Vector digit = digits[i], half = digit ^ add;
    digits[i] = half ^ carry;
    carry = (digit & add) | (carry & half);
  }
}

BCNET_INLINE void SwapNibbles(Vector* x, Vector* y) {
  const uint8x16_t a = vreinterpretq_u8_u32(*x), b = vreinterpretq_u8_u32(*y);
  *x = vreinterpretq_u32_u8(vsliq_n_u8(a, b, 4));
  *y = vreinterpretq_u32_u8(vsriq_n_u8(b, a, 4));
}

template <int kShift>
BCNET_INLINE void SwapBits(Vector* x, Vector* y, Vector mask) {
  const Vector t = (vshrq_n_u32(*x, kShift) ^ *y) & mask;
  *y = *y ^ t;
  *x = *x ^ vshlq_n_u32(t, kShift);
}

// sliced::TransposeBytes in each lane, of the vectors load(0) to load(7); the results go to
// `store`.
template <typename Load, typename Store>
BCNET_INLINE void TransposeBytes(const Load& load, const Store& store) {
  const Vector twos = vdupq_n_u32(0x33333333u), ones = vdupq_n_u32(0x55555555u);
  Vector w[8];
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    Vector a = load(i), c = load(i + 4);
    SwapNibbles(&a, &c);
    Vector b = load(i + 2), d = load(i + 6);
    SwapNibbles(&b, &d);
    SwapBits<2>(&a, &b, twos);
    SwapBits<2>(&c, &d, twos);
    w[i] = a;
    w[i + 2] = b;
    w[i + 4] = c;
    w[i + 6] = d;
  }
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    Vector a = w[i], b = w[i + 1];
    SwapBits<1>(&a, &b, ones);
    store(i, a);
    store(i + 1, b);
  }
}

static BCNET_NOINLINE void TransposeBytes(Vector w[8]) {
  TransposeBytes([=](int i) { return w[i]; }, [=](int i, Vector x) { w[i] = x; });
}

}  // namespace helium
}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_BCONV2D_HELIUM_VECTORS_H_

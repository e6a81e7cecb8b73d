// Counters of 32 output channels at once. Digit d of the 32 counters is one word: bit c of it is
// the binary digit of weight 2^d of the counter of channel c. Adding is done by full adders on
// words, 32 channels an operation.
#ifndef TFLM_OPS_KERNELS_SLICED_H_
#define TFLM_OPS_KERNELS_SLICED_H_

#include <cstdint>

namespace bcnet {
namespace sliced {

#if defined(__clang__)
#define BCNET_INLINE inline __attribute__((always_inline))
#define BCNET_NOINLINE __attribute__((noinline))
#elif defined(__GNUC__)
#define BCNET_INLINE inline __attribute__((always_inline))
#define BCNET_NOINLINE __attribute__((noinline, noclone))
#else
#define BCNET_INLINE inline
#define BCNET_NOINLINE
#endif

// Two digits of equal weight, the words x and x ^ p. In this form a pair of full adders takes 8
// operations in place of 10: Demenkov, Kojevnikov, Kulikov, Yaroslavtsev, "New upper bounds on the
// Boolean circuit complexity of symmetric functions", 2010.
struct Pair {
  uint32_t x;
  uint32_t p;
};

#if defined(__thumb2__)
// Compilers make one instruction of two neighbouring accesses only where they stand side by side,
// which these do not stay among others.
using Word64 __attribute__((may_alias, aligned(4))) = uint64_t;
#endif

BCNET_INLINE Pair Load(const Pair* from) {
#if defined(__thumb2__)
  uint32_t x, p;
  __asm__("ldrd %0, %1, %2" : "=r"(x), "=r"(p) : "m"(*reinterpret_cast<const Word64*>(from)));
  return {x, p};
#else
  return {from->x, from->p};
#endif
}

BCNET_INLINE void Store(uint32_t x, uint32_t p, uint32_t* to) {
#if defined(__thumb2__)
  __asm__ volatile("strd %1, %2, %0" : "=m"(*reinterpret_cast<Word64*>(to)) : "r"(x), "r"(p));
#else
  to[0] = x;
  to[1] = p;
#endif
}

// Adds two pairs to the digit `sum`; returns the two carries, of twice the weight.
BCNET_INLINE Pair AddPairs(uint32_t* sum, Pair a, Pair b) {
  const uint32_t h = a.p | (a.x ^ *sum);
  const uint32_t s = *sum ^ a.p;
  *sum = s ^ b.p;
  return {h ^ s, h ^ ((b.x ^ s) & ~b.p)};
}

// Adds one pair to `sum`; returns the carry.
BCNET_INLINE uint32_t AddPair(uint32_t* sum, Pair a) {
  const uint32_t h = a.p | (a.x ^ *sum);
  *sum ^= a.p;
  return h ^ *sum;
}

// Adds one digit to `sum`; returns the carry.
BCNET_INLINE uint32_t AddDigit(uint32_t* sum, uint32_t digit) {
  const uint32_t carry = *sum & digit;
  *sum ^= digit;
  return carry;
}

// Adds `number` to all 32 counters of `count` digits.
inline void AddConstant(int32_t number, int count, uint32_t* digits) {
  uint32_t carry = 0;
  for (int i = 0; i < count; ++i) {
    const uint32_t digit = digits[i];
    const uint32_t add = -static_cast<uint32_t>((number >> i) & 1);
    digits[i] = digit ^ add ^ carry;
    carry = (digit & add) | (carry & (digit ^ add));
  }
}

// Swaps the bits of `y` that `mask` selects with those of `x` that lie `shift` places higher.
BCNET_INLINE void SwapBits(uint32_t* x, uint32_t* y, int shift, uint32_t mask) {
  const uint32_t t = ((*x >> shift) ^ *y) & mask;
  *y ^= t;
  *x ^= t << shift;
}

// Transposes four 8x8 matrices of bits: bit j of byte l of word i and bit i of byte l of word j
// change places.
BCNET_INLINE void TransposeBytes(uint32_t w[8]) {
  for (int i = 0; i < 4; ++i) SwapBits(&w[i], &w[i + 4], 4, 0x0f0f0f0fu);
  for (int i = 0; i < 8; i += 4) {
    SwapBits(&w[i], &w[i + 2], 2, 0x33333333u);
    SwapBits(&w[i + 1], &w[i + 3], 2, 0x33333333u);
  }
  for (int i = 0; i < 8; i += 2) SwapBits(&w[i], &w[i + 1], 1, 0x55555555u);
}

// Swaps the high half of `x` with the low half of `y`.
BCNET_INLINE void SwapHalves(uint32_t* x, uint32_t* y) {
#if defined(__ARM_FEATURE_DSP)
  uint32_t low;
  __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(low) : "r"(*x), "r"(*y));
  __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(*y) : "r"(*y), "r"(*x));
  *x = low;
#else
  SwapBits(x, y, 16, 0xffffu);
#endif
}

// The first stages of the transposition of a 32x32 matrix of bits whose rows are the words
// `rows[i * stride]`: byte l of word 8 * k + i becomes byte k of row 8 * l + i. TransposeBytes on
// each eight words from there on gives the columns.
BCNET_INLINE void GatherBytes(const uint32_t* rows, int32_t stride, uint32_t w[32]) {
#pragma GCC unroll 1
  for (int i = 0; i < 8; ++i) {
    uint32_t a = rows[0], b = rows[8 * stride], c = rows[16 * stride], d = rows[24 * stride];
    rows += stride;
    SwapHalves(&a, &c);
    SwapHalves(&b, &d);
    SwapBits(&a, &b, 8, 0x00ff00ffu);
    SwapBits(&c, &d, 8, 0x00ff00ffu);
    w[i] = a;
    w[i + 8] = b;
    w[i + 16] = c;
    w[i + 24] = d;
  }
}

}  // namespace sliced
}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_SLICED_H_

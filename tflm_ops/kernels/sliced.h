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

// The first stage of the transposition of a 32x32 matrix of bits whose rows are the words
// `rows[i * stride]`: byte l of word 8 * k + i becomes byte k of row 8 * l + i. TransposeBytes on
// each eight words from there on gives the columns.
BCNET_INLINE void GatherBytes(const uint32_t* rows, int32_t stride, uint32_t w[32]) {
#pragma GCC unroll 1
  for (int i = 0; i < 8; ++i) {
    const uint32_t a = rows[0], b = rows[8 * stride], c = rows[16 * stride], d = rows[24 * stride];
    rows += stride;
    const uint32_t low_ac = (a & 0xffffu) | c << 16, high_ac = a >> 16 | (c & 0xffff0000u);
    const uint32_t low_bd = (b & 0xffffu) | d << 16, high_bd = b >> 16 | (d & 0xffff0000u);
    w[i] = low_ac;
    w[i + 8] = low_bd;
    SwapBits(&w[i], &w[i + 8], 8, 0x00ff00ffu);
    w[i + 16] = high_ac;
    w[i + 24] = high_bd;
    SwapBits(&w[i + 16], &w[i + 24], 8, 0x00ff00ffu);
  }
}

}  // namespace sliced
}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_SLICED_H_

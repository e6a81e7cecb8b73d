// The higher digits of the bitsliced kernel: adds what the blocks of a pixel left.
// It is a header because GCC allocates the registers of bitsliced.cc by those that Finish leaves
// alone.
#ifndef TFLM_OPS_KERNELS_BCONV2D_BITSLICED_FINISH_H_
#define TFLM_OPS_KERNELS_BCONV2D_BITSLICED_FINISH_H_

#include "tflm_ops/kernels/bconv2d/bitsliced/digits.h"
#include "tflm_ops/kernels/bconv2d/bitsliced/job.h"
#include "tflm_ops/kernels/bconv2d/bitsliced/thumb_pixels.h"
#include "tflm_ops/kernels/bconv2d/bitsliced/wide_thumb.h"
#include "tflm_ops/kernels/fast_code.h"

namespace bcnet {
namespace sliced {

#if BCNET_PIXELS_ASSEMBLY

// Adds what `count` blocks, at least one, left to the digits from kBlockDigits on; returns the
// highest. The carries take the place of the pairs.
static uint32_t Finish(const Job& job, int32_t count, const uint32_t* start, uint32_t* result) {
  PixelEnd end = {job.pairs, job.pairs + count, start, result, job.digits};
  return Finish(&end);
}

#else

// Adds 2^kLevel pairs of digit kBlockDigits; returns one pair of digit kBlockDigits + kLevel.
template <int kLevel>
BCNET_INLINE Pair Reduce(const Pair* pairs, uint32_t* digits) {
  // AddPairs with its first half before the second pair is there: what waits are two words and not
  // three.
  const Pair a = Reduce<kLevel - 1>(pairs, digits);
  uint32_t h = a.p | (a.x ^ digits[kLevel - 1]);
  uint32_t s = digits[kLevel - 1] ^ a.p;
  OptimizationBarrier(&h);
  const Pair b = Reduce<kLevel - 1>(pairs + (1 << (kLevel - 1)), digits);
  digits[kLevel - 1] = s ^ b.p;
  return {h ^ s, h ^ ((b.x ^ s) & ~b.p)};
}
template <>
BCNET_INLINE Pair Reduce<0>(const Pair* pairs, uint32_t*) {
  return Load(pairs);
}

// Adds 2^kLevel pairs to the digits from kBlockDigits on, the first at `digits`; returns the carry
// to digit kGroupDigits.
template <int kLevel>
BCNET_INLINE uint32_t AddGroup(const Pair* pairs, uint32_t* digits) {
  uint32_t carry = AddPair(&digits[kLevel], Reduce<kLevel>(pairs, digits));
#pragma GCC unroll 4
  for (int i = kLevel + 1; i < kGroupDigits - kBlockDigits; ++i)
    carry = AddDigit(&digits[i], carry);
  return carry;
}

// Adds carries, two at a time, to the digits from kGroupDigits on; returns digit kDigits.
template <int kDigits>
BCNET_INLINE uint32_t AddCarries(const uint32_t* carries, const uint32_t* end,
                                 const uint32_t* start, uint32_t* result) {
  uint32_t digits[kDigits + 1];
#pragma GCC unroll 8
  for (int i = kGroupDigits; i <= kDigits; ++i) digits[i] = start[i];
  do {
    const Pair two = {carries[0], carries[0] ^ carries[1]};
    uint32_t carry = AddPair(&digits[kGroupDigits], two);
#pragma GCC unroll 8
    for (int i = kGroupDigits + 1; i < kDigits; ++i) carry = AddDigit(&digits[i], carry);
    digits[kDigits] |= carry;
    carries += 2;
    OptimizationBarrier(&carries);
  } while (carries < end);
#pragma GCC unroll 8
  for (int i = kGroupDigits; i <= kDigits; ++i) result[i] = digits[i];
  return digits[kDigits];
}

// The same.
static BCNET_FAST BCNET_NOINLINE uint32_t Finish(const Job& job, int32_t count,
                                                 const uint32_t* start, uint32_t* result) {
  Pair* pairs = job.pairs;
  uint32_t digits[kGroupDigits - kBlockDigits];
#pragma GCC unroll 4
  for (int i = 0; i < kGroupDigits - kBlockDigits; ++i) digits[i] = start[kBlockDigits + i];
  uint32_t* const carries = &pairs[0].x;
  uint32_t* end = carries;
  for (; count >= 8; count -= 8, pairs += 8) {
    *end++ = AddGroup<3>(pairs, digits);
    OptimizationBarrier(&count);
  }
  if ((count & 4) != 0) {
    *end++ = AddGroup<2>(pairs, digits);
    pairs += 4;
  }
  for (count &= 3; count > 0; --count) {
    *end++ = AddGroup<0>(pairs++, digits);
    OptimizationBarrier(&count);
  }
  *end = 0;
#pragma GCC unroll 4
  for (int i = 0; i < kGroupDigits - kBlockDigits; ++i) result[kBlockDigits + i] = digits[i];
  switch (job.digits) {
    case 9:
      return AddCarries<9>(carries, end, start, result);
    case 11:
      return AddCarries<11>(carries, end, start, result);
    default:
      return AddCarries<13>(carries, end, start, result);
  }
}

#endif

}  // namespace sliced
}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_BCONV2D_BITSLICED_FINISH_H_

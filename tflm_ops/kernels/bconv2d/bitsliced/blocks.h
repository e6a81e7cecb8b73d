// Adds blocks of 32 inputs and 32 output channels to the lowest digits of a pixel.
#ifndef TFLM_OPS_KERNELS_BCONV2D_BITSLICED_BLOCKS_H_
#define TFLM_OPS_KERNELS_BCONV2D_BITSLICED_BLOCKS_H_

#include <cstddef>
#include <cstdint>

#include "tflm_ops/kernels/bconv2d/bitsliced/adder_tables.h"

namespace bcnet {
namespace sliced {

// The lowest digits of a pixel.
struct Low {
  uint32_t twos;
  uint32_t fours;
  uint32_t eights;
};

// The carries of the last two full adders of a block. The sum of the blocks before is among their
// inputs: it is known up to a parity, which chooses the entry.
struct ByParity {
  ptrdiff_t odd;  // bytes from the entry of an even parity

  BCNET_INLINE Pair LookUp(const Tables<5>::Index& index, const uint32_t* even, ptrdiff_t offset) {
    odd ^= index.odd;
    OptimizationBarrier(&odd);
    const auto* entry =
        reinterpret_cast<const uint32_t*>(reinterpret_cast<const uint8_t*>(even) + odd);
    OptimizationBarrier(&entry);
    return {entry[offset], entry[offset + 1]};
  }
};

// The same where blocks are left out, so that the sum is none that the tables know. The carries of
// the other two inputs with a sum of 0 and of 1, their AND and their OR, are those with the sum in
// the table and with its complement.
struct ByChain {
  uint32_t chain;

  BCNET_INLINE Pair LookUp(const Tables<5>::Index&, const uint32_t* even, ptrdiff_t offset) {
    const uint32_t x = even[offset];
    return LastPair(x, x ^ even[offset + 1], x ^ even[offset + 1 + Tables<5>::kOdd]);
  }
  BCNET_INLINE Pair LookUp(uint32_t x, const uint32_t* even, ptrdiff_t offset) {
    return LastPair(x, even[offset], even[offset + Tables<3>::kOdd]);
  }

 private:
  BCNET_INLINE Pair LastPair(uint32_t x, uint32_t one, uint32_t other) {
    const uint32_t both = one & other, any = one | other;
    const uint32_t carry = both | (chain & any);
    chain ^= both ^ any;
    return {x, x ^ carry};
  }
};

// Adds a quarter of a block; returns two carries of weight 4.
template <int kQuarter, typename Last>
BCNET_INLINE Pair AddQuarter(Low* low, Last* last, const Tables<5>::Index& index,
                             ptrdiff_t offset) {
  const uint32_t* first = index.entry[2 * kQuarter];
  const uint32_t* second = index.entry[2 * kQuarter + 1];
  const Pair a = {first[offset], first[offset + 1]};
  if (kQuarter == 3) return AddPairs(&low->twos, a, last->LookUp(index, second, offset));
  return AddPairs(&low->twos, a, {second[offset], second[offset + 1]});
}
template <int kQuarter, typename Last>
BCNET_INLINE Pair AddQuarter(Low* low, Last* last, const Tables<3>::Index& index,
                             ptrdiff_t offset) {
  const uint32_t* const* entry = index.entry + 4 * kQuarter;
  const uint32_t x = entry[0][offset], y = entry[2][offset];
  const Pair a = {x, x ^ entry[1][offset]};
  if (kQuarter == 3) return AddPairs(&low->twos, a, last->LookUp(y, entry[3], offset));
  return AddPairs(&low->twos, a, {y, y ^ entry[3][offset]});
}

// Adds a block to the lowest digits; returns two carries of weight 16.
template <typename Last, typename Index>
BCNET_INLINE Pair AddBlock(Low* low, Last* last, const Index& index, ptrdiff_t offset) {
  const Pair a = AddQuarter<0>(low, last, index, offset);
  const Pair b = AddQuarter<1>(low, last, index, offset);
  Pair ab = AddPairs(&low->fours, a, b);
#if defined(__clang__)
  // Clang would begin the other half before, and spill.
  __asm__ volatile("" : "+r"(ab.x), "+r"(ab.p));
#endif
  const Pair c = AddQuarter<2>(low, last, index, offset);
  const Pair d = AddQuarter<3>(low, last, index, offset);
  return AddPairs(&low->eights, ab, AddPairs(&low->fours, c, d));
}

// Adds the blocks of a window of kSide x kSide taps, channel word by channel word, and writes the
// pairs that they leave to [pair, pairs_end). `rows` are the table indices for the
// first tap of each row.
template <int kSide>
BCNET_INLINE void AddWindow(Low* low, ByParity* last, const Tables<5>::Index* const* rows,
                            int32_t columns, Pair* pair, const Pair* pairs_end) {
  const Tables<5>::Index* index[kSide];
#pragma GCC unroll 3
  for (int r = 0; r < kSide; ++r) index[r] = rows[r];
  do {
#pragma GCC unroll 3
    for (int r = 0; r < kSide; ++r) {
#pragma GCC unroll 3
      for (int c = 0; c < kSide; ++c) {
        const int tap = r * kSide + c;
        pair[tap] = AddBlock(low, last, index[r][c], Tables<5>::Place(tap));
      }
      index[r] += columns;
    }
    pair += kSide * kSide;
  } while (pair != pairs_end);
}

}  // namespace sliced
}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_BCONV2D_BITSLICED_BLOCKS_H_

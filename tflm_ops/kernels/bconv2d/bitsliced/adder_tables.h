// Full adders whose carries come from tables.
//
// 32 products of signs for 32 output channels make a block: column k of the weights is the word
// whose bit c is the weight of input k for channel c, and input bit a[k] adds the word
// column[k] ^ (a[k] ? ~0 : 0) to the counters. The sum of a full adder of three such words is again
// a word that is known before the input, xor a parity of input bits, and goes into the next full
// adder; its carry depends on three parities only. So carries are looked up, and sums are never
// computed. A block takes 32 words and the sum that the block before left over: 16 full adders.
//
// A node is one full adder (kInputs = 3, an entry is the carry) or two (kInputs = 5, an entry is
// the Pair of carries). Let p[k] be the parity of a[0..k]. The sum that enters node j flips with
// p[(kInputs - 1) * j], and input k with p[k - 1] ^ p[k], so that the node's entry is chosen by
// kInputs neighbouring bits of the word p. The last node has the sum of the block before as its
// last input; bit kInputs - 1 of its index is that sum's own parity.
#ifndef TFLM_OPS_KERNELS_BCONV2D_BITSLICED_ADDER_TABLES_H_
#define TFLM_OPS_KERNELS_BCONV2D_BITSLICED_ADDER_TABLES_H_

#include <cstddef>
#include <cstdint>
#include <utility>

#include "tflm_ops/kernels/bconv2d/bitsliced/digits.h"

namespace bcnet {
namespace sliced {

// Blocks of nodes of one full adder lie one after the other. Those of nodes of two, which serve 3x3
// and 1x1 kernels, lie in nines, whose entries are interleaved: the entries of the nine taps are at
// distances that a load instruction can hold.
template <int kInputs>
struct Tables {
  static_assert(kInputs == 3 || kInputs == 5, "a node is one or two full adders");
  static constexpr int kNodes = 32 / (kInputs - 1);
  static constexpr int kEntries = 1 << kInputs;
  static constexpr int kEntryWords = kInputs / 2;
  static constexpr int kBlockWords = kNodes * kEntries * kEntryWords;
  static constexpr int kTogether = kInputs == 3 ? 1 : 9;  // blocks that are interleaved
  // In words: from entry to entry of a node, and from node to node.
  static constexpr int kEntryStep = kTogether * kEntryWords;
  static constexpr int kNodeStep = kEntries * kEntryStep;
  // From an entry of the last node for an even parity before to that for an odd one.
  static constexpr int kOdd = kEntries / 2 * kEntryStep;

  // The place of the tables of a block.
  static constexpr int Place(int block) {
    return block / kTogether * (kTogether * kBlockWords) + block % kTogether * kEntryWords;
  }
  // Words of the tables of `blocks` blocks.
  static constexpr int32_t Size(int32_t blocks) {
    return (blocks + kTogether - 1) / kTogether * (kTogether * kBlockWords);
  }

  // The entries that an input word chooses, as addresses in the tables of one block: those of
  // another block lie at a fixed distance. The last node's is the one for an even parity before.
  struct Index {
    ptrdiff_t odd;  // bytes of kOdd when the word's parity is odd, or 0
    const uint32_t* entry[kNodes];
  };
};

// Carries of a full adder of a, b and c, by the flips of p: bit 0 flips a and b, bit 1 b and c,
// bit 2 c.
BCNET_INLINE void Carries(uint32_t a, uint32_t b, uint32_t c, uint32_t carries[8]) {
  const uint32_t d = a ^ b, e = b ^ c;
  carries[0] = b ^ (d & e);
  carries[4] = b ^ (d & ~e);
  carries[7] = b ^ (e & ~d);
  carries[6] = b ^ (d | e);
  carries[5] = ~carries[0];
  carries[1] = ~carries[4];
  carries[2] = ~carries[7];
  carries[3] = ~carries[6];
}

#if BCNET_THUMB1
// Stores four pairs, eight entries from each to the next: x and p, p ^ d1, p ^ d1 ^ d2 and
// p ^ d1 ^ d2 ^ d3. Moves `*to` on behind the last.
BCNET_INLINE void StoreFour(uint32_t x, uint32_t p, uint32_t d1, uint32_t d2, uint32_t d3,
                            uint32_t** to) {
  register uint32_t r0 __asm__("r0") = x;
  register uint32_t r1 __asm__("r1") = p;
  uint32_t step = 8 * Tables<5>::kEntryStep * sizeof(uint32_t) - sizeof(Pair);
  OptimizationBarrier(&step);
  __asm__ volatile(
      ".syntax unified\n"
      "stmia %[to]!, {r0, r1}\n"
      "eors r1, %[d1]\n"
      "add %[to], %[step]\n"
      "stmia %[to]!, {r0, r1}\n"
      "eors r1, %[d2]\n"
      "add %[to], %[step]\n"
      "stmia %[to]!, {r0, r1}\n"
      "eors r1, %[d3]\n"
      "add %[to], %[step]\n"
      "stmia %[to]!, {r0, r1}\n"
      : "+r"(r1), [to] "+l"(*to)
      : "r"(r0), [d1] "l"(d1), [d2] "l"(d2), [d3] "l"(d3), [step] "r"(step)
      : "cc", "memory");
}

// Writes the table of a node of two full adders from the carries of the first, by bits 0 to 2 of an
// index, and of the second, by bits 2 to 4.
BCNET_INLINE void StoreEntries(const uint32_t (&first)[8], const uint32_t (&second)[8],
                               uint32_t* table) {
  const uint32_t d1 = second[0] ^ second[2], d2 = second[2] ^ second[4], d3 = second[4] ^ second[6];
  ptrdiff_t back = -23 * Tables<5>::kEntryStep - Tables<5>::kEntryWords;
  back *= sizeof(uint32_t);
  OptimizationBarrier(&back);
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    if (i < 4) {
      StoreFour(first[i], first[i] ^ second[0], d1, d2, d3, &table);
    } else {
      StoreFour(first[i], first[i] ^ second[1], d3, ~d2, d1, &table);
    }
    table = reinterpret_cast<uint32_t*>(reinterpret_cast<uint8_t*>(table) + back);
  }
}
#elif defined(__clang__) && defined(__thumb2__)
// Stores an entry and its opposite: bits 0, 2 and 4 of an index together turn all five inputs over,
// and with them both carries. `middle` is entry kMiddle of `table`. Offsets are parts of
// instructions: clang computes the address of an operand in memory by an instruction of its own.
constexpr int kMiddle = BCNET_SINGLE_STORES ? 0 : 17;
template <int kIndex>
BCNET_INLINE void StoreEntry(uint32_t x, uint32_t p, uint32_t* table, uint32_t* middle) {
  constexpr int kBytes = Tables<5>::kEntryStep * static_cast<int>(sizeof(uint32_t));
  constexpr int kPlace = kIndex < 3 ? kIndex : kIndex - kMiddle;
  __asm__ volatile(
#if BCNET_SINGLE_STORES
      "str %2, [%0, %5]\n"
      "str %3, [%0, %5 + 4]\n"
      "str %4, [%1, %6]\n"
      "str %3, [%1, %6 + 4]\n"
#else
      "strd %2, %3, [%0, %5]\n"
      "strd %4, %3, [%1, %6]\n"
#endif
      :
      : "r"(kIndex < 3 ? table : middle), "r"(middle), "r"(x), "r"(p), "r"(~x),
        "n"(kPlace * kBytes), "n"(((kIndex ^ 21) - kMiddle) * kBytes)
      : "memory");
}

template <size_t... kNumbers>
BCNET_INLINE void StoreEntries(const uint32_t (&first)[8], const uint32_t (&second)[8],
                               uint32_t* table, std::index_sequence<kNumbers...>) {
  uint32_t* middle = table + kMiddle * Tables<5>::kEntryStep;
  OptimizationBarrier(&middle);  // not to be computed anew for each
  const int stored[] = {
      (StoreEntry<kNumbers / 4 | kNumbers % 4 << 3>(
           first[kNumbers / 4], first[kNumbers / 4] ^ second[kNumbers % 4 * 2], table, middle),
       0)...};
  static_cast<void>(stored);
}

// The same.
BCNET_INLINE void StoreEntries(const uint32_t (&first)[8], const uint32_t (&second)[8],
                               uint32_t* table) {
  StoreEntries(first, second, table, std::make_index_sequence<16>());
}
#else
// The same.
BCNET_INLINE void StoreEntries(const uint32_t (&first)[8], const uint32_t (&second)[8],
                               uint32_t* table) {
  constexpr int kStep = Tables<5>::kEntryStep;
  // All places are within a distance from one in the middle that instructions can hold, for single
  // stores from the first.
  constexpr int kMiddle = BCNET_SINGLE_STORES ? 0 : 17;
  uint32_t* middle = table + kMiddle * kStep;
  OptimizationBarrier(&middle);  // not to be computed anew for each
  // Bits 0, 2 and 4 together turn all five inputs over, and with them both carries.
  const auto entry = [&](int index) {
    return index < 3 ? table + index * kStep : middle + (index - kMiddle) * kStep;
  };
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < 8; j += 2) {
      const int index = i | j << 2;
      const uint32_t p = first[i] ^ second[j];
      Store(first[i], p, entry(index));
      Store(~first[i], p, entry(index ^ 21));
    }
  }
}
#endif

// Writes the table of a node and returns the sum. In the last node the last input flips with its
// own parity, not with the last two of p.
template <int kInputs>
BCNET_INLINE uint32_t BuildNode(uint32_t* table, uint32_t sum, const uint32_t inputs[]) {
  uint32_t first[8];
  Carries(sum, inputs[0], inputs[1], first);
  sum ^= inputs[0] ^ inputs[1];
  if (kInputs == 3) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) table[i * Tables<3>::kEntryStep] = first[i];
  } else {
    uint32_t second[8];
    Carries(sum, inputs[2], inputs[3], second);
    sum ^= inputs[2] ^ inputs[3];
    StoreEntries(first, second, table);
  }
  return sum;
}

// Writes the tables of a block; a row are the weights for a channel. `sum` is what the block before
// leaves over, the result what this one does.
template <int kInputs>
BCNET_NOINLINE uint32_t BuildBlock(uint32_t* table, const Rows& rows, uint32_t sum) {
  using T = Tables<kInputs>;
  uint32_t columns[33];
  GatherBytes(rows, columns);
  TransposeBytes(columns, columns + 32);
  columns[32] = sum;
  uint32_t chain = columns[0];
#pragma GCC unroll 1
  for (int i = 1; i < 33; i += kInputs - 1, table += T::kNodeStep)
    chain = BuildNode<kInputs>(table, chain, columns + i);
  return chain;
}

// What the word of parities chooses in a node: kInputs bits, in the last node one less.
template <int kInputs>
BCNET_INLINE uint32_t TableIndex(uint32_t parities, int node) {
  const int low = (kInputs - 1) * node;
#if BCNET_THUMB1
  // Two shifts, which compilers take for a shift and a mask that need a move more.
  const int above = node < Tables<kInputs>::kNodes - 1 ? 32 - kInputs - low : 0;
  parities <<= above;
  OptimizationBarrier(&parities);
  return parities >> (low + above);
#else
  return parities >> low & (Tables<kInputs>::kEntries - 1);
#endif
}

// The entries that the input word `x` chooses in tables at `table`.
template <int kInputs>
BCNET_INLINE void MakeIndex(uint32_t x, const uint32_t* table,
                            typename Tables<kInputs>::Index* index) {
  using T = Tables<kInputs>;
  uint32_t p = x;
#pragma GCC unroll 5
  for (int shift = 1; shift < 32; shift *= 2) p ^= p << shift;
  index->odd = static_cast<int32_t>(p) >> 31 & T::kOdd * static_cast<int32_t>(sizeof(uint32_t));
  uint32_t step = T::kEntryStep * sizeof(uint32_t);
  OptimizationBarrier(&step);  // a multiply-accumulate is shorter than shifts and additions
  constexpr int kUnrolled = kInputs == 5 || BCNET_THUMB1 ? T::kNodes : 4;
  const uint32_t** const end = index->entry + T::kNodes;
#pragma GCC unroll 1
  for (const uint32_t** entry = index->entry; entry != end; p >>= (kInputs - 1) * kUnrolled % 32) {
#pragma GCC unroll 16
    for (int i = 0; i < kUnrolled; ++i) {
      StoreAlone(reinterpret_cast<const uint32_t*>(reinterpret_cast<const uint8_t*>(table) +
                                                   TableIndex<kInputs>(p, i) * step),
                 entry++);
      table += T::kNodeStep;
#if BCNET_THUMB1
      OptimizationBarrier(&table);  // to be kept from word to word
#endif
    }
  }
}

}  // namespace sliced
}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_BCONV2D_BITSLICED_ADDER_TABLES_H_

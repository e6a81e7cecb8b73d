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

#if defined(__clang__) && defined(__thumb2__)
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

// Writes the table of a node of two full adders from the carries of the first, by bits 0 to 2 of an
// index, and of the second, by bits 2 to 4.
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

#if BCNET_THUMB1 && BCNET_ASSEMBLY
// clang-format off
// Stores four entries with the first carry x and their opposites with y, as bits 0, 2 and 4 of an
// index together turn all five inputs over, and with them both carries.
#define FOUR_ENTRIES(x, y) \
  "stmia r3!, {" #x ", r2}\n" \
  "add r3, r12\n" \
  "stmia r4!, {" #y ", r2}\n" \
  "add r4, r12\n" \
  "eors r2, r5\n" \
  "stmia r3!, {" #x ", r2}\n" \
  "add r3, r12\n" \
  "stmia r4!, {" #y ", r2}\n" \
  "add r4, r9\n" \
  "eors r2, r7\n" \
  "stmia r3!, {" #x ", r2}\n" \
  "add r3, r12\n" \
  "stmia r4!, {" #y ", r2}\n" \
  "add r4, r12\n" \
  "eors r2, r6\n" \
  "stmia r3!, {" #x ", r2}\n" \
  "stmia r4!, {" #y ", r2}\n"
// Moves on to the next four, whose first carry is x and differs by `flips`.
#define NEXT_FOUR(flips, x, y, move_opposite) \
  "add r3, r9\n" \
  "adds r3, #72\n" \
  "add r4, r12\n" \
  move_opposite \
  "mov r2, " #flips "\n" \
  "eors " #x ", r2\n" \
  "mvns " #y ", " #x "\n" \
  "mov r2, r8\n"

// BuildNode for all nodes of a block. Of the inputs a, b and c of a full adder, with d = a ^ b and
// e = b ^ c, neighbouring carries differ by ~d, d ^ e and d in the order of the bits that a and b
// flip with, and by ~e, ~(d ^ e) and e in that of the others.
// r2: the second carry's p, r3: where entries go, r4: their opposites, r5 to r7: the flips of the
// second adder, r8: its carry with no input flipped, r9: bytes from behind the last of four entries
// to the first, r10 and r11: d and d ^ e of the first adder, r12: bytes from behind an entry to the
// next of four, lr: the sum.
BCNET_INLINE uint32_t BuildNodes(uint32_t* table, uint32_t sum, const uint32_t* inputs) {
  static_assert(Tables<5>::kEntryStep == 18 && Tables<5>::kNodes == 8, "distances below");
  register uint32_t* r0 __asm__("r0") = table;
  register const uint32_t* r1 __asm__("r1") = inputs;
  register uint32_t r2 __asm__("r2") = sum;
  __asm__ volatile(
      ".syntax unified\n"
      "push {r7}\n"
      "mov lr, r2\n"
      "mov r3, r0\n"
      "movs r2, #8 * 32 * 72 >> 7\n"
      "lsls r2, r2, #7\n"
      "adds r2, r2, r0\n"
      "push {r1, r2}\n"
      "movs r2, #(8 * 72 - 8) >> 2\n"
      "lsls r2, r2, #2\n"
      "mov r12, r2\n"
      "movs r2, #(24 * 72 + 8) >> 3\n"
      "lsls r2, r2, #3\n"
      "rsbs r2, r2, #0\n"
      "mov r9, r2\n"
      "1:\n"
      "ldr r0, [sp]\n"
      "ldmia r0!, {r1, r2, r5, r6}\n"
      "str r0, [sp]\n"
      "mov r7, lr\n"
      "eors r7, r1\n"  // d
      "mov r10, r7\n"
      "mov r4, r2\n"
      "eors r4, r1\n"  // e
      "eors r2, r7\n"  // the sum
      "mov r0, r7\n"
      "ands r0, r4\n"
      "eors r0, r1\n"  // the carry with no input flipped
      "eors r4, r7\n"
      "mov r11, r4\n"
      "eors r6, r5\n"  // e of the second adder
      "eors r2, r5\n"  // d
      "mov r7, r2\n"
      "eors r7, r6\n"
      "mov r1, r7\n"
      "eors r1, r5\n"
      "mov lr, r1\n"
      "ands r2, r6\n"
      "eors r2, r5\n"
      "mov r8, r2\n"
      "mvns r5, r6\n"
      "mvns r7, r7\n"
      "mvns r1, r0\n"
      "movs r4, #21 * 72 >> 3\n"
      "lsls r4, r4, #3\n"
      "adds r4, r4, r3\n"
      "eors r2, r0\n"
      FOUR_ENTRIES(r0, r1)
      NEXT_FOUR(r10, r0, r1, "subs r4, #72\n")
      "eors r2, r1\n"
      FOUR_ENTRIES(r1, r0)
      NEXT_FOUR(r11, r1, r0, "adds r4, #216\n")
      "eors r2, r1\n"
      FOUR_ENTRIES(r1, r0)
      NEXT_FOUR(r10, r1, r0, "subs r4, #72\n")
      "eors r2, r1\n"
      FOUR_ENTRIES(r1, r0)
      "adds r3, #176\n"
      "adds r3, #176\n"
      "ldr r4, [sp, #4]\n"
      "cmp r3, r4\n"
      "beq 2f\n"
      "b 1b\n"
      "2:\n"
      "pop {r1, r2}\n"
      "mov r2, lr\n"
      "pop {r7}\n"
      : "+r"(r0), "+r"(r1), "+r"(r2)
      :
      : "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "r12", "lr", "cc", "memory");
  return r2;
}
// clang-format on

#undef NEXT_FOUR
#undef FOUR_ENTRIES
#endif

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
#if BCNET_THUMB1 && BCNET_ASSEMBLY
  if (kInputs == 5) return BuildNodes(table, chain, columns + 1);
#endif
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

#if BCNET_THUMB1 && BCNET_ASSEMBLY
// clang-format off
// The parity of a word's bits up to each.
#define PARITIES(shift) \
  "lsls r3, r2, #" #shift "\n" \
  "eors r2, r3\n"
// The entry of the node whose highest bit lies `above` bits below the word's, in a table at `base`.
#define NODE(entry, above, base) \
  "lsls " #entry ", r2, #" #above "\n" \
  "lsrs " #entry ", " #entry ", #27\n" \
  "muls " #entry ", r7\n" \
  "add " #entry ", " #base "\n"

// What MakeIndexes needs to know: the words, bytes from one to the next, the tables, and where the
// indices end of positions before the words, of the words and of positions behind them.
struct Positions {
  const uint32_t* words;
  ptrdiff_t step;
  const uint32_t* table;
  const Tables<5>::Index* before_end;
  const Tables<5>::Index* words_end;
  const Tables<5>::Index* end;
  Tables<5>::Index* index;
};

// Makes the table indices of positions side by side, those without a word as of 0.
// r0: where indices go, r1: the words, r2: the parities, r7: bytes from entry to entry; the tables
// of nodes 1 to 6 in r8 to r12 and lr. On the stack: the step, the table of the first node,
// before_end, words_end, end and the table of the last node.
BCNET_INLINE void MakeIndexes(const Positions& positions) {
  static_assert(Tables<5>::kNodeStep * sizeof(uint32_t) == 9 << 8 &&
                    Tables<5>::kOdd * sizeof(uint32_t) == 72 << 4,
                "distances below");
  register const Positions* r0 __asm__("r0") = &positions;
  __asm__ volatile(
      ".syntax unified\n"
      "push {r7}\n"
      "ldmia r0!, {r1, r2, r3, r4, r5, r6}\n"
      "ldr r0, [r0]\n"
      "sub sp, #4\n"
      "push {r2, r3, r4, r5, r6}\n"
      "mov r2, r4\n"
      "movs r7, #9\n"
      "lsls r7, r7, #8\n"
      "adds r3, r3, r7\n"
      "mov r8, r3\n"
      "adds r3, r3, r7\n"
      "mov r9, r3\n"
      "adds r3, r3, r7\n"
      "mov r10, r3\n"
      "adds r3, r3, r7\n"
      "mov r11, r3\n"
      "adds r3, r3, r7\n"
      "mov r12, r3\n"
      "adds r3, r3, r7\n"
      "mov lr, r3\n"
      "adds r3, r3, r7\n"
      "str r3, [sp, #20]\n"
      "movs r7, #72\n"
      "b 4f\n"
      "3:\n"
      "movs r3, #0\n"
      "ldr r4, [sp, #4]\n"
      "mov r5, r8\n"
      "mov r6, r9\n"
      "stmia r0!, {r3, r4, r5, r6}\n"
      "mov r3, r10\n"
      "mov r4, r11\n"
      "mov r5, r12\n"
      "mov r6, lr\n"
      "stmia r0!, {r3, r4, r5, r6}\n"
      "ldr r3, [sp, #20]\n"
      "stmia r0!, {r3}\n"
      "4:\n"
      "cmp r0, r2\n"
      "bne 3b\n"
      "b 5f\n"
      "1:\n"
      "ldr r2, [r1]\n"
      "ldr r3, [sp]\n"
      "adds r1, r1, r3\n"
      PARITIES(1)
      PARITIES(2)
      PARITIES(4)
      PARITIES(8)
      PARITIES(16)
      "lsrs r3, r2, #31\n"
      "lsls r3, r3, #4\n"
      "muls r3, r7\n"
      "ldr r5, [sp, #4]\n"
      NODE(r4, 27, r5)
      NODE(r5, 23, r8)
      NODE(r6, 19, r9)
      "stmia r0!, {r3, r4, r5, r6}\n"
      NODE(r3, 15, r10)
      NODE(r4, 11, r11)
      NODE(r5, 7, r12)
      NODE(r6, 3, lr)
      "stmia r0!, {r3, r4, r5, r6}\n"
      "lsrs r3, r2, #28\n"
      "muls r3, r7\n"
      "ldr r4, [sp, #20]\n"
      "adds r3, r3, r4\n"
      "stmia r0!, {r3}\n"
      "5:\n"
      "ldr r4, [sp, #12]\n"
      "cmp r0, r4\n"
      "blo 1b\n"
      "ldr r2, [sp, #16]\n"
      "cmp r0, r2\n"
      "bne 3b\n"
      "add sp, #24\n"
      "pop {r7}\n"
      : "+r"(r0)
      :
      : "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "r12", "lr", "cc", "memory");
}
// clang-format on

#undef NODE
#undef PARITIES
#endif

}  // namespace sliced
}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_BCONV2D_BITSLICED_ADDER_TABLES_H_

// Adding blocks of the Helium kernel to counters.
#ifndef TFLM_OPS_KERNELS_BCONV2D_HELIUM_BLOCKS_H_
#define TFLM_OPS_KERNELS_BCONV2D_HELIUM_BLOCKS_H_

#include <cstdint>

#include "tflm_ops/kernels/bconv2d/helium/tables.h"

namespace bcnet {
namespace helium {

constexpr int kBlockDigits = 4;  // those that blocks sum; a block leaves a pair of the next weight

// The counters of a position while blocks are added: the sum that they leave over, the lowest
// digits, and room for two vectors.
struct Low {
  Vector left_over;
  Vector twos;
  Vector fours;
  Vector eights;
  Pair room;
};

// In assembly, as compilers spill far more of the eight vector registers than must be. FIRST and
// SECOND add the pairs (x1, p1) and (x2, p2) to the digit z; the result is (p1, x1). PAIR_5 and
// PAIR_3 look a pair up, from a node of two full adders or from two nodes, and LAST_PAIR_5 and
// LAST_PAIR_3 the last one; NEXT_5 and NEXT_3 go to the next block. QUARTER adds two pairs to the
// digit of weight 2, in q0. `at` and `to` are the places of a block's index and pair.
// clang-format off
#define FIRST(z, x1, p1) \
  "veor " #x1 ", " #x1 ", " #z "\n" \
  "vorr " #x1 ", " #x1 ", " #p1 "\n" \
  "veor " #z ", " #z ", " #p1 "\n" \
  "veor " #p1 ", " #x1 ", " #z "\n"
#define SECOND(z, x1, x2, p2) \
  "veor " #x2 ", " #x2 ", " #z "\n" \
  "vbic " #x2 ", " #x2 ", " #p2 "\n" \
  "veor " #x1 ", " #x1 ", " #x2 "\n" \
  "veor " #z ", " #z ", " #p2 "\n"
#define PAIR_5(at, number, x, p) \
  "vldrh.u32 q7, [%[index], #" #at " + 8 * (" #number ")]\n" \
  "vldrw.u32 " #x ", [%[table], q7]\n" \
  "vldrw.u32 " #p ", [%[half], q7]\n"
#define PAIR_3(at, number, x, p) \
  "vldrb.u32 q7, [%[index], #8 * (" #number ")]\n" \
  "vldrw.u32 " #x ", [%[table], q7, uxtw #2]\n" \
  "vldrb.u32 q7, [%[index], #8 * (" #number ") + 4]\n" \
  "vldrw.u32 " #p ", [%[table], q7, uxtw #2]\n" \
  "veor " #p ", " #p ", " #x "\n"
// The last carry depends on the sum that is left over, in the bits of q6.
#define LEFT_OVER \
  "vldrw.u32 q5, [%[low]]\n" \
  "veor q5, q5, q6\n" \
  "vstrw.32 q5, [%[low]]\n" \
  "vbic q6, q6, q5\n"
#define LAST_PAIR_5(at) \
  "vldrh.u32 q7, [%[index], #" #at " + 8 * 7]\n" \
  "vldrw.u32 q6, [%[open], q7]\n" \
  LEFT_OVER \
  "vldrw.u32 q5, [%[half], q7]\n" \
  "veor q6, q6, q5\n" \
  "vldrw.u32 q5, [%[table], q7]\n"
#define LAST_PAIR_3(at) \
  "vldrb.u32 q7, [%[index], #4 * 15]\n" \
  "vldrw.u32 q6, [%[open], q7, uxtw #2]\n" \
  LEFT_OVER \
  "vldrw.u32 q5, [%[table], q7, uxtw #2]\n" \
  "vldrb.u32 q7, [%[index], #4 * 14]\n" \
  "veor q6, q6, q5\n" \
  "vldrw.u32 q5, [%[table], q7, uxtw #2]\n" \
  "veor q6, q6, q5\n"
#define NEXT_5 \
  "add %[table], #%c[bytes]\n" \
  "add %[half], #%c[bytes]\n" \
  "add %[open], #%c[bytes]\n"
#define NEXT_3 \
  "add %[table], #%c[bytes]\n" \
  "add %[open], #%c[bytes]\n" \
  "add %[index], #64\n"
#define PAIR_OF_MEMORY(at, number, x, p) \
  "vldrw.u32 " #x ", [%[pairs], #32 * (" #number ")]\n" \
  "vldrw.u32 " #p ", [%[pairs], #32 * (" #number ") + 16]\n"
#define QUARTER(PAIR, at, number, x1, p1, x2, p2) \
  PAIR(at, number, x1, p1) FIRST(q0, x1, p1) PAIR(at, number + 1, x2, p2) SECOND(q0, x1, x2, p2)
#define BLOCK(PAIR, LAST_PAIR, NEXT, at, to) \
  QUARTER(PAIR, at, 0, q1, q2, q3, q4) \
  QUARTER(PAIR, at, 2, q3, q4, q5, q6) \
  "vldrw.u32 q5, [%[low], #32]\n" \
  FIRST(q5, q2, q1) SECOND(q5, q2, q4, q3) \
  "vstrw.32 q5, [%[low], #32]\n" \
  "vstrw.32 q1, [%[low], #64]\n" \
  "vstrw.32 q2, [%[low], #80]\n" \
  QUARTER(PAIR, at, 4, q1, q2, q3, q4) \
  PAIR(at, 6, q3, q4) FIRST(q0, q3, q4) LAST_PAIR(at) SECOND(q0, q3, q5, q6) NEXT \
  "vldrw.u32 q5, [%[low], #32]\n" \
  FIRST(q5, q2, q1) SECOND(q5, q2, q4, q3) \
  "vstrw.32 q5, [%[low], #32]\n" \
  "vldrw.u32 q5, [%[low], #48]\n" \
  "vldrw.u32 q3, [%[low], #64]\n" \
  "vldrw.u32 q4, [%[low], #80]\n" \
  FIRST(q5, q3, q4) SECOND(q5, q3, q1, q2) \
  "vstrw.32 q5, [%[low], #48]\n" \
  "vstrw.32 q4, [%[pairs], #" #to "]\n" \
  "vstrw.32 q3, [%[pairs], #" #to " + 16]\n"
#define ONE_BLOCK(PAIR, LAST_PAIR, NEXT) \
  "vldrw.u32 q0, [%[low], #16]\n" \
  BLOCK(PAIR, LAST_PAIR, NEXT, 0, 0) \
  "vstrw.32 q0, [%[low], #16]\n"
#define THREE_BLOCKS(PAIR, LAST_PAIR, NEXT) \
  "vldrw.u32 q0, [%[low], #16]\n" \
  BLOCK(PAIR, LAST_PAIR, NEXT, 0, 0) \
  BLOCK(PAIR, LAST_PAIR, NEXT, 64, 32) \
  BLOCK(PAIR, LAST_PAIR, NEXT, 128, 64) \
  "vstrw.32 q0, [%[low], #16]\n"
#define VECTORS "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7"
#define ADD_BLOCKS_5(BLOCKS) \
  __asm__ volatile( \
      BLOCKS(PAIR_5, LAST_PAIR_5, NEXT_5) \
      : [table] "+r"(table), [half] "+r"(half), [open] "+r"(open) \
      : [low] "r"(low), [index] "l"(index), [pairs] "r"(pairs), [bytes] "n"(T::kBytes) \
      : VECTORS, "memory")
#define ADD_BLOCKS_3(BLOCKS) \
  __asm__ volatile( \
      BLOCKS(PAIR_3, LAST_PAIR_3, NEXT_3) \
      : [table] "+r"(table), [open] "+r"(open), [index] "+l"(index) \
      : [low] "r"(low), [pairs] "r"(pairs), [bytes] "n"(T::kBytes) \
      : VECTORS, "memory")
// clang-format on

// Adds kBlocks blocks, 1 or 3, to the lowest digits; each leaves a pair of carries of weight 16.
// Returns the table of the next block.
template <int kInputs, int kBlocks>
BCNET_INLINE const uint8_t* AddBlocks(Low* low, const uint8_t* index, const uint8_t* table,
                                      Pair* pairs) {
  using T = Tables<kInputs>;
  static_assert(helium::kIndexBytes == 64 && sizeof(Pair) == 32, "the places above");
  const uint8_t* open = table + T::kOpen;
  if (kInputs == 5) {
    const uint8_t* half = table + kHalfRow;
    if (kBlocks == 3) {
      ADD_BLOCKS_5(THREE_BLOCKS);
    } else {
      ADD_BLOCKS_5(ONE_BLOCK);
    }
  } else {
    if (kBlocks == 3) {
      ADD_BLOCKS_3(THREE_BLOCKS);
    } else {
      ADD_BLOCKS_3(ONE_BLOCK);
    }
  }
  return table;
}

// Adds eight pairs to digits of their weight and the next two; the sum has eight times the
// weight.
BCNET_INLINE Pair AddEight(const Pair* pairs, Vector* digits) {
  Vector room;
  register Vector x __asm__("q2");
  register Vector p __asm__("q0");
  // clang-format off
  __asm__ volatile(
      "vldrw.u32 q0, [%[digits]]\n"
      QUARTER(PAIR_OF_MEMORY, 0, 0, q1, q2, q3, q4)
      QUARTER(PAIR_OF_MEMORY, 0, 2, q3, q4, q5, q6)
      "vldrw.u32 q5, [%[digits], #16]\n"
      FIRST(q5, q2, q1) SECOND(q5, q2, q4, q3)
      "vstrw.32 q5, [%[digits], #16]\n"
      "vstrw.32 q1, [%[room]]\n"
      QUARTER(PAIR_OF_MEMORY, 0, 4, q1, q3, q4, q5)
      QUARTER(PAIR_OF_MEMORY, 0, 6, q4, q5, q6, q7)
      "vstrw.32 q0, [%[digits]]\n"
      "vldrw.u32 q6, [%[digits], #16]\n"
      FIRST(q6, q3, q1) SECOND(q6, q3, q5, q4)
      "vstrw.32 q6, [%[digits], #16]\n"
      "vldrw.u32 q6, [%[digits], #32]\n"
      "vldrw.u32 q0, [%[room]]\n"
      FIRST(q6, q0, q2) SECOND(q6, q0, q1, q3)
      "vstrw.32 q6, [%[digits], #32]\n"
      : "=w"(x), "=w"(p) : [pairs] "r"(pairs), [digits] "r"(digits), [room] "r"(&room)
      : "q1", "q3", "q4", "q5", "q6", "q7", "memory");
  // clang-format on
  return {x, p};
}

// Adds a carry of the weight of `digits` to those up to kDigits.
template <int kFirst, int kDigits>
BCNET_INLINE void AddCarry(Vector carry, Vector* digits) {
#pragma GCC unroll 16
  for (int i = kFirst; i < kDigits; ++i) carry = AddDigit(&digits[i], carry);
  digits[kDigits] = digits[kDigits] | carry;
}

// Adds what `count` blocks left to the digits from kBlockDigits on; returns the digit kDigits.
template <int kDigits>
static BCNET_NOINLINE Vector Finish(const Pair* pairs, int32_t count, const Vector* start,
                                    Vector* result) {
  constexpr int kEights = kBlockDigits + 3;
  Vector digits[kDigits + 1];
#pragma GCC unroll 16
  for (int i = kBlockDigits; i <= kDigits; ++i) digits[i] = start[i];
  for (; count >= 16; count -= 16, pairs += 16) {
    const Pair first = AddEight(pairs, digits + kBlockDigits);
    const Pair second = AddEight(pairs + 8, digits + kBlockDigits);
    const Pair pair = AddPairs(&digits[kEights], first, second);
    AddCarry<kEights + 2, kDigits>(AddPair(&digits[kEights + 1], pair), digits);
  }
  if (count >= 8) {
    const Pair pair = AddEight(pairs, digits + kBlockDigits);
    AddCarry<kEights + 1, kDigits>(AddPair(&digits[kEights], pair), digits);
    count -= 8;
    pairs += 8;
  }
  if (count >= 4) {
    const auto two = [&](const Pair* from) {
      return AddPairs(&digits[kBlockDigits], {from[0].x, from[0].p}, {from[1].x, from[1].p});
    };
    const Pair first = two(pairs);
    const Pair pair = AddPairs(&digits[kBlockDigits + 1], first, two(pairs + 2));
    AddCarry<kBlockDigits + 3, kDigits>(AddPair(&digits[kBlockDigits + 2], pair), digits);
    count -= 4;
    pairs += 4;
  }
  if (count >= 2) {
    const Pair pair =
        AddPairs(&digits[kBlockDigits], {pairs[0].x, pairs[0].p}, {pairs[1].x, pairs[1].p});
    AddCarry<kBlockDigits + 2, kDigits>(AddPair(&digits[kBlockDigits + 1], pair), digits);
    count -= 2;
    pairs += 2;
  }
  if (count != 0) {
    AddCarry<kBlockDigits + 1, kDigits>(AddPair(&digits[kBlockDigits], {pairs->x, pairs->p}),
                                        digits);
  }
  if (result != nullptr) {
#pragma GCC unroll 16
    for (int i = kBlockDigits; i <= kDigits; ++i) result[i] = digits[i];
  }
  return digits[kDigits];
}

#undef FIRST
#undef SECOND
#undef PAIR_5
#undef PAIR_3
#undef LEFT_OVER
#undef LAST_PAIR_5
#undef LAST_PAIR_3
#undef NEXT_5
#undef NEXT_3
#undef PAIR_OF_MEMORY
#undef QUARTER
#undef BLOCK
#undef ONE_BLOCK
#undef THREE_BLOCKS
#undef VECTORS
#undef ADD_BLOCKS_5
#undef ADD_BLOCKS_3

}  // namespace helium
}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_BCONV2D_HELIUM_BLOCKS_H_

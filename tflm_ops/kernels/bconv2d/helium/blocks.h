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

// In assembly, as compilers spill far more of the eight vector registers than must be.
//
// BLOCK_5 and BLOCK_3 add a block to the digits and to what is left over: q0 is the digit of weight
// 2, the others are in `low`; `at` and `to` are the places of the block's index and pair. Each of
// the eight nodes, or pairs of nodes, gives a pair (x, p), and seven times two pairs are added to a
// digit z by sliced::AddPairs: h = p1 | (x1 ^ z), s = z ^ p1, x = h ^ s, p = h ^ ((x2 ^ s) & ~p2),
// z = s ^ p2. The last carry depends on the sum that is left over, in the bits that `open` has. The
// pointers to tables move on to the next block.
//
// The order is not one to write by hand. A vector takes the core's units two cycles, and loads pass
// while the unit of integers works: so the loads of the pairs to come lie between the operations,
// one behind each, an index some operations before the gather that waits for it, and no more in
// advance than registers are there for. bench/NOTES.md says how it was found.
// clang-format off
#define BLOCK_5(at, to) \
  "vldrh.u32 q5, [%[index], #" #at " + 8 * 0]\n" \
  "vldrw.u32 q6, [%[half], q5]\n" \
  "vldrw.u32 q3, [%[table], q5]\n" \
  "veor q2, q0, q6\n" \
  "vldrh.u32 q4, [%[index], #" #at " + 8 * 1]\n" \
  "veor q1, q3, q0\n" \
  "vldrh.u32 q0, [%[index], #" #at " + 8 * 2]\n" \
  "vorr q1, q1, q6\n" \
  "vldrw.u32 q3, [%[low], #32]\n" \
  "veor q6, q1, q2\n" \
  "vldrw.u32 q7, [%[table], q4]\n" \
  "veor q5, q6, q3\n" \
  "vldrw.u32 q6, [%[half], q4]\n" \
  "veor q7, q7, q2\n" \
  "vbic q4, q7, q6\n" \
  "veor q7, q1, q4\n" \
  "vldrw.u32 q1, [%[table], q0]\n" \
  "vorr q5, q5, q7\n" \
  "vldrh.u32 q4, [%[index], #" #at " + 8 * 3]\n" \
  "veor q7, q3, q7\n" \
  "vldrw.u32 q3, [%[half], q0]\n" \
  "veor q2, q2, q6\n" \
  "veor q6, q2, q3\n" \
  "vldrw.u32 q0, [%[table], q4]\n" \
  "veor q2, q1, q2\n" \
  "vorr q1, q2, q3\n" \
  "vldrw.u32 q3, [%[half], q4]\n" \
  "veor q4, q0, q6\n" \
  "vldrh.u32 q0, [%[index], #" #at " + 8 * 4]\n" \
  "vbic q4, q4, q3\n" \
  "veor q2, q1, q4\n" \
  "veor q4, q7, q2\n" \
  "vstrw.32 q4, [%[low], #32]\n" \
  "veor q1, q1, q6\n" \
  "veor q4, q6, q3\n" \
  "vldrh.u32 q3, [%[index], #" #at " + 8 * 5]\n" \
  "veor q6, q1, q7\n" \
  "vldrw.u32 q1, [%[table], q0]\n" \
  "vbic q2, q6, q2\n" \
  "vldrw.u32 q6, [%[half], q0]\n" \
  "veor q0, q5, q7\n" \
  "vstrw.32 q0, [%[low], #64]\n" \
  "veor q7, q1, q4\n" \
  "vorr q7, q7, q6\n" \
  "vldrw.u32 q0, [%[table], q3]\n" \
  "veor q4, q4, q6\n" \
  "vldrw.u32 q6, [%[half], q3]\n" \
  "veor q3, q0, q4\n" \
  "vbic q3, q3, q6\n" \
  "vldrh.u32 q1, [%[index], #" #at " + 8 * 6]\n" \
  "veor q2, q5, q2\n" \
  "vldrh.u32 q5, [%[index], #" #at " + 8 * 7]\n" \
  "veor q6, q4, q6\n" \
  "vstrw.32 q2, [%[low], #80]\n" \
  "veor q3, q7, q3\n" \
  "veor q2, q7, q4\n" \
  "vldrw.u32 q7, [%[low], #32]\n" \
  "veor q0, q7, q3\n" \
  "vldrw.u32 q4, [%[table], q1]\n" \
  "veor q2, q2, q7\n" \
  "vldrw.u32 q7, [%[half], q1]\n" \
  "veor q1, q4, q6\n" \
  "vorr q1, q1, q7\n" \
  "vldrw.u32 q4, [%[table], q5]\n" \
  "veor q7, q6, q7\n" \
  "vldrw.u32 q6, [%[half], q5]\n" \
  "vorr q2, q2, q3\n" \
  "vldrw.u32 q3, [%[open], q5]\n" \
  "veor q5, q4, q7\n" \
  "vldrw.u32 q4, [%[low]]\n" \
  "veor q4, q4, q3\n" \
  "vbic q3, q3, q4\n" \
  "veor q3, q3, q6\n" \
  "vstrw.32 q4, [%[low]]\n" \
  "veor q4, q1, q7\n" \
  "vbic q6, q5, q3\n" \
  "add %[open], #%c[bytes]\n" \
  "veor q5, q4, q0\n" \
  "veor q6, q1, q6\n" \
  "vbic q4, q5, q6\n" \
  "add %[half], #%c[bytes]\n" \
  "veor q1, q2, q0\n" \
  "vldrw.u32 q5, [%[low], #64]\n" \
  "veor q4, q2, q4\n" \
  "vldrw.u32 q2, [%[low], #48]\n" \
  "veor q5, q5, q2\n" \
  "veor q0, q0, q6\n" \
  "vldrw.u32 q6, [%[low], #80]\n" \
  "veor q2, q2, q6\n" \
  "add %[table], #%c[bytes]\n" \
  "veor q1, q1, q2\n" \
  "vorr q5, q5, q6\n" \
  "vbic q6, q1, q4\n" \
  "vstrw.32 q0, [%[low], #32]\n" \
  "veor q1, q5, q2\n" \
  "vstrw.32 q1, [%[pairs], #" #to "]\n" \
  "veor q4, q2, q4\n" \
  "vstrw.32 q4, [%[low], #48]\n" \
  "veor q1, q5, q6\n" \
  "vstrw.32 q1, [%[pairs], #" #to " + 16]\n" \
  "veor q0, q7, q3\n"
#define BLOCK_3(at, to) \
  "vldrb.u32 q5, [%[index], #4 * 0]\n" \
  "vldrb.u32 q6, [%[index], #4 * 1]\n" \
  "vldrw.u32 q3, [%[table], q5, uxtw #2]\n" \
  "veor q2, q3, q0\n" \
  "vldrw.u32 q4, [%[table], q6, uxtw #2]\n" \
  "veor q3, q4, q3\n" \
  "vldrb.u32 q7, [%[index], #4 * 2]\n" \
  "veor q0, q0, q3\n" \
  "vldrw.u32 q4, [%[low], #32]\n" \
  "vorr q2, q2, q3\n" \
  "vldrb.u32 q5, [%[index], #4 * 3]\n" \
  "veor q1, q2, q0\n" \
  "vldrw.u32 q6, [%[table], q7, uxtw #2]\n" \
  "veor q3, q1, q4\n" \
  "vldrw.u32 q7, [%[table], q5, uxtw #2]\n" \
  "veor q5, q6, q0\n" \
  "vldrb.u32 q1, [%[index], #4 * 4]\n" \
  "veor q6, q7, q6\n" \
  "veor q7, q0, q6\n" \
  "vldrb.u32 q0, [%[index], #4 * 5]\n" \
  "vbic q6, q5, q6\n" \
  "vldrb.u32 q5, [%[index], #4 * 7]\n" \
  "veor q2, q2, q6\n" \
  "vldrw.u32 q6, [%[table], q1, uxtw #2]\n" \
  "vorr q1, q3, q2\n" \
  "vldrw.u32 q3, [%[table], q0, uxtw #2]\n" \
  "veor q0, q6, q7\n" \
  "veor q6, q3, q6\n" \
  "vldrb.u32 q3, [%[index], #4 * 6]\n" \
  "veor q2, q4, q2\n" \
  "vldrw.u32 q4, [%[table], q5, uxtw #2]\n" \
  "vorr q0, q0, q6\n" \
  "vldrw.u32 q5, [%[table], q3, uxtw #2]\n" \
  "veor q3, q1, q2\n" \
  "vstrw.32 q3, [%[low], #64]\n" \
  "veor q4, q4, q5\n" \
  "veor q3, q7, q6\n" \
  "veor q7, q0, q3\n" \
  "veor q5, q5, q3\n" \
  "vbic q5, q5, q4\n" \
  "vldrb.u32 q6, [%[index], #4 * 8]\n" \
  "veor q5, q0, q5\n" \
  "vldrb.u32 q0, [%[index], #4 * 11]\n" \
  "veor q7, q7, q2\n" \
  "vbic q7, q7, q5\n" \
  "veor q1, q1, q7\n" \
  "vldrb.u32 q7, [%[index], #4 * 9]\n" \
  "veor q3, q3, q4\n" \
  "vldrw.u32 q4, [%[table], q6, uxtw #2]\n" \
  "veor q5, q2, q5\n" \
  "vldrw.u32 q2, [%[table], q7, uxtw #2]\n" \
  "veor q7, q4, q3\n" \
  "vldrb.u32 q6, [%[index], #4 * 10]\n" \
  "veor q4, q2, q4\n" \
  "vldrw.u32 q2, [%[table], q0, uxtw #2]\n" \
  "veor q3, q3, q4\n" \
  "vldrw.u32 q0, [%[table], q6, uxtw #2]\n" \
  "vorr q7, q7, q4\n" \
  "vstrw.32 q5, [%[low], #32]\n" \
  "veor q4, q2, q0\n" \
  "vstrw.32 q1, [%[low], #80]\n" \
  "veor q6, q7, q3\n" \
  "veor q5, q3, q4\n" \
  "vldrb.u32 q1, [%[index], #4 * 13]\n" \
  "veor q2, q0, q3\n" \
  "vldrw.u32 q3, [%[low], #32]\n" \
  "vbic q0, q2, q4\n" \
  "vldrb.u32 q2, [%[index], #4 * 12]\n" \
  "veor q0, q7, q0\n" \
  "vldrb.u32 q4, [%[index], #4 * 15]\n" \
  "veor q7, q6, q3\n" \
  "vldrw.u32 q6, [%[table], q1, uxtw #2]\n" \
  "vorr q1, q7, q0\n" \
  "vldrw.u32 q7, [%[table], q2, uxtw #2]\n" \
  "veor q2, q3, q0\n" \
  "veor q0, q6, q7\n" \
  "vldrw.u32 q6, [%[table], q4, uxtw #2]\n" \
  "veor q7, q7, q5\n" \
  "vldrw.u32 q3, [%[open], q4, uxtw #2]\n" \
  "vorr q7, q7, q0\n" \
  "vldrb.u32 q4, [%[index], #4 * 14]\n" \
  "veor q0, q5, q0\n" \
  "vldrw.u32 q5, [%[low]]\n" \
  "veor q5, q5, q3\n" \
  "vbic q3, q3, q5\n" \
  "veor q6, q3, q6\n" \
  "vldrw.u32 q3, [%[table], q4, uxtw #2]\n" \
  "veor q4, q7, q0\n" \
  "vstrw.32 q5, [%[low]]\n" \
  "veor q5, q3, q0\n" \
  "veor q6, q6, q3\n" \
  "vbic q3, q5, q6\n" \
  "vldrw.u32 q5, [%[low], #48]\n" \
  "veor q7, q7, q3\n" \
  "veor q3, q2, q7\n" \
  "add %[open], #%c[bytes]\n" \
  "veor q4, q4, q2\n" \
  "vbic q4, q4, q7\n" \
  "vldrw.u32 q7, [%[low], #80]\n" \
  "veor q2, q1, q2\n" \
  "add %[table], #%c[bytes]\n" \
  "veor q1, q1, q4\n" \
  "vldrw.u32 q4, [%[low], #64]\n" \
  "veor q4, q4, q5\n" \
  "veor q5, q5, q7\n" \
  "vstrw.32 q3, [%[low], #32]\n" \
  "veor q3, q2, q5\n" \
  "vbic q3, q3, q1\n" \
  "add %[index], #64\n" \
  "vorr q4, q4, q7\n" \
  "veor q3, q4, q3\n" \
  "vstrw.32 q3, [%[pairs], #" #to " + 16]\n" \
  "veor q3, q4, q5\n" \
  "vstrw.32 q3, [%[pairs], #" #to "]\n" \
  "veor q3, q5, q1\n" \
  "vstrw.32 q3, [%[low], #48]\n" \
  "veor q0, q0, q6\n"
#define ONE_BLOCK(BLOCK) BLOCK(0, 0)
#define THREE_BLOCKS(BLOCK) BLOCK(0, 0) BLOCK(64, 32) BLOCK(128, 64)
#define VECTORS "q1", "q2", "q3", "q4", "q5", "q6", "q7"
#define ADD_BLOCKS_5(BLOCKS) \
  __asm__ volatile( \
      BLOCKS(BLOCK_5) \
      : "+w"(twos), [table] "+r"(table), [half] "+r"(half), [open] "+r"(open) \
      : [low] "r"(low), [index] "l"(index), [pairs] "r"(pairs), [bytes] "n"(T::kBytes) \
      : VECTORS, "memory")
#define ADD_BLOCKS_3(BLOCKS) \
  __asm__ volatile( \
      BLOCKS(BLOCK_3) \
      : "+w"(twos), [table] "+r"(table), [open] "+r"(open), [index] "+l"(index) \
      : [low] "r"(low), [pairs] "r"(pairs), [bytes] "n"(T::kBytes) \
      : VECTORS, "memory")
// clang-format on

// Adds kBlocks blocks, 1 or 3, to the lowest digits; each leaves a pair of carries of weight 16.
// Returns the table of the next block.
template <int kInputs, int kBlocks>
BCNET_INLINE const uint8_t* AddBlocks(Low* low, Vector* digit, const uint8_t* index,
                                      const uint8_t* table, Pair* pairs) {
  register Vector twos __asm__("q0") = *digit;
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
  *digit = twos;
  return table;
}

// Adds eight pairs to the digits of their weight and the next two, those at `from`; the sums go to
// `digits`. The result has eight times the weight.
BCNET_INLINE Pair AddEight(const Pair* pairs, const Vector* from, Vector* digits) {
  Vector room;
  register Vector x __asm__("q0");
  register Vector p __asm__("q7");
  // clang-format off
  __asm__ volatile(
      "vldrw.u32 q4, [%[pairs], #16 * 0]\n"
      "vldrw.u32 q1, [%[from], #16 * 0]\n"
      "veor q7, q4, q1\n"
      "vldrw.u32 q3, [%[pairs], #16 * 1]\n"
      "veor q4, q1, q3\n"
      "vldrw.u32 q6, [%[pairs], #16 * 3]\n"
      "vorr q0, q7, q3\n"
      "veor q3, q0, q4\n"
      "vldrw.u32 q7, [%[pairs], #16 * 4]\n"
      "veor q5, q4, q6\n"
      "vldrw.u32 q1, [%[pairs], #16 * 2]\n"
      "veor q2, q1, q4\n"
      "vbic q6, q2, q6\n"
      "vldrw.u32 q2, [%[from], #16 * 1]\n"
      "veor q1, q3, q2\n"
      "veor q4, q0, q6\n"
      "vorr q3, q1, q4\n"
      "vldrw.u32 q0, [%[pairs], #16 * 5]\n"
      "veor q6, q5, q0\n"
      "veor q1, q7, q5\n"
      "vldrw.u32 q7, [%[pairs], #16 * 6]\n"
      "veor q5, q7, q6\n"
      "vldrw.u32 q7, [%[pairs], #16 * 7]\n"
      "vorr q0, q1, q0\n"
      "vbic q5, q5, q7\n"
      "veor q1, q0, q5\n"
      "veor q5, q2, q4\n"
      "veor q2, q3, q5\n"
      "veor q4, q5, q1\n"
      "vstrw.32 q4, [%[digits], #16 * 1]\n"
      "veor q4, q0, q6\n"
      "veor q6, q6, q7\n"
      "vldrw.u32 q7, [%[pairs], #16 * 9]\n"
      "veor q0, q4, q5\n"
      "vldrw.u32 q4, [%[pairs], #16 * 11]\n"
      "vbic q1, q0, q1\n"
      "veor q5, q3, q1\n"
      "vldrw.u32 q3, [%[pairs], #16 * 8]\n"
      "veor q0, q3, q6\n"
      "vorr q1, q0, q7\n"
      "vldrw.u32 q3, [%[pairs], #16 * 10]\n"
      "veor q0, q6, q7\n"
      "vstrw.32 q2, [%[room]]\n"
      "veor q2, q3, q0\n"
      "vbic q7, q2, q4\n"
      "veor q7, q1, q7\n"
      "vldrw.u32 q3, [%[digits], #16 * 1]\n"
      "veor q6, q1, q0\n"
      "veor q2, q6, q3\n"
      "vorr q6, q2, q7\n"
      "veor q4, q0, q4\n"
      "vldrw.u32 q1, [%[pairs], #16 * 13]\n"
      "veor q2, q4, q1\n"
      "vldrw.u32 q0, [%[pairs], #16 * 12]\n"
      "veor q4, q0, q4\n"
      "vorr q1, q4, q1\n"
      "vldrw.u32 q4, [%[pairs], #16 * 14]\n"
      "veor q0, q1, q2\n"
      "veor q7, q3, q7\n"
      "veor q3, q0, q7\n"
      "veor q4, q4, q2\n"
      "vldrw.u32 q0, [%[pairs], #16 * 15]\n"
      "veor q2, q2, q0\n"
      "vstrw.32 q2, [%[digits], #16 * 0]\n"
      "vbic q4, q4, q0\n"
      "veor q1, q1, q4\n"
      "vldrw.u32 q2, [%[room]]\n"
      "veor q4, q7, q1\n"
      "vstrw.32 q4, [%[digits], #16 * 1]\n"
      "veor q4, q6, q7\n"
      "vbic q1, q3, q1\n"
      "vldrw.u32 q3, [%[from], #16 * 2]\n"
      "veor q0, q3, q5\n"
      "veor q6, q6, q1\n"
      "veor q1, q0, q6\n"
      "veor q7, q4, q0\n"
      "vbic q6, q7, q6\n"
      "vstrw.32 q1, [%[digits], #16 * 2]\n"
      "veor q4, q2, q3\n"
      "vorr q2, q4, q5\n"
      "veor q0, q2, q0\n"
      "veor q7, q2, q6\n"
      : "=w"(x), "=w"(p) : [pairs] "r"(pairs), [from] "r"(from), [digits] "r"(digits), [room] "r"(&room)
      : "q1", "q2", "q3", "q4", "q5", "q6", "memory");
  // clang-format on
  return {x, p};
}

// Adds a carry to the digits from kFirst to kDigits, those at `from`; the sums go to `digits`.
template <int kFirst, int kDigits>
BCNET_INLINE void AddCarry(Vector carry, const Vector* from, Vector* digits) {
#pragma GCC unroll 16
  for (int i = kFirst; i < kDigits; ++i) {
    Vector digit = from[i];
    carry = AddDigit(&digit, carry);
    digits[i] = digit;
  }
  digits[kDigits] = from[kDigits] | carry;
}

// Adds a pair of the weight of digit kFirst.
template <int kFirst, int kDigits>
BCNET_INLINE void AddPairAndCarry(Pair pair, const Vector* from, Vector* digits) {
  Vector digit = from[kFirst];
  const Vector carry = AddPair(&digit, pair);
  digits[kFirst] = digit;
  AddCarry<kFirst + 1, kDigits>(carry, from, digits);
}

// Adds two pairs of the weight of digit kFirst; the result has twice the weight.
template <int kFirst>
BCNET_INLINE Pair AddTwo(Pair a, Pair b, const Vector* from, Vector* digits) {
  Vector digit = from[kFirst];
  const Pair pair = AddPairs(&digit, a, b);
  digits[kFirst] = digit;
  return pair;
}

// Adds what `count` blocks left to the digits from kBlockDigits on; returns the digit kDigits.
template <int kDigits>
static BCNET_NOINLINE Vector Finish(const Pair* pairs, int32_t count, const Vector* start,
                                    Vector* result) {
  constexpr int kFirst = kBlockDigits;
  Vector room[kDigits + 1];
  Vector* const digits = Hidden(room);
  const Vector* from = start;  // those of `digits` that have no sum yet
  for (; count >= 16; count -= 16, pairs += 16) {
    const Pair first = AddEight(pairs, from + kFirst, digits + kFirst);
    const Pair second = AddEight(pairs + 8, digits + kFirst, digits + kFirst);
    const Pair pair = AddTwo<kFirst + 3>(first, second, from, digits);
    AddPairAndCarry<kFirst + 4, kDigits>(pair, from, digits);
    from = digits;
  }
  if (count >= 8) {
    const Pair pair = AddEight(pairs, from + kFirst, digits + kFirst);
    AddPairAndCarry<kFirst + 3, kDigits>(pair, from, digits);
    from = digits;
    count -= 8;
    pairs += 8;
  }
  const auto load = [](const Pair& from) { return Pair{from.x, from.p}; };
  if (count >= 4) {
    const Pair first = AddTwo<kFirst>(load(pairs[0]), load(pairs[1]), from, digits);
    const Pair second = AddTwo<kFirst>(load(pairs[2]), load(pairs[3]), digits, digits);
    const Pair pair = AddTwo<kFirst + 1>(first, second, from, digits);
    AddPairAndCarry<kFirst + 2, kDigits>(pair, from, digits);
    from = digits;
    count -= 4;
    pairs += 4;
  }
  if (count >= 2) {
    const Pair pair = AddTwo<kFirst>(load(pairs[0]), load(pairs[1]), from, digits);
    AddPairAndCarry<kFirst + 1, kDigits>(pair, from, digits);
    from = digits;
    count -= 2;
    pairs += 2;
  }
  if (count != 0) AddPairAndCarry<kFirst, kDigits>(load(*pairs), from, digits);
  if (result != nullptr) {
#pragma GCC unroll 16
    for (int i = kFirst; i <= kDigits; ++i) result[i] = digits[i];
  }
  return digits[kDigits];
}

#undef BLOCK_5
#undef BLOCK_3
#undef ONE_BLOCK
#undef THREE_BLOCKS
#undef VECTORS
#undef ADD_BLOCKS_5
#undef ADD_BLOCKS_3

}  // namespace helium
}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_BCONV2D_HELIUM_BLOCKS_H_

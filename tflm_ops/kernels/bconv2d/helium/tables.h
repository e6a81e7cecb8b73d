// The tables of the Helium kernel, and the indices of their entries.
#ifndef TFLM_OPS_KERNELS_BCONV2D_HELIUM_TABLES_H_
#define TFLM_OPS_KERNELS_BCONV2D_HELIUM_TABLES_H_

#include <cstdint>

#include "tflm_ops/kernels/bconv2d/helium/vectors.h"
#include "tflm_ops/kernels/bitpacking.h"

namespace bcnet {
namespace helium {

// The tables of a block, kInputs being the inputs of a node, as in adder_tables.h: rows of 16
// words, a row for each entry of all nodes but the last, and one of zeros.
//
// Tables<5>: in a row there are the first carries of nodes 0 to 6, and from word 8 on what
// sliced::Pair makes of both. Entry e of the last node takes the place of node 7 in three half rows
// from 3 * e on: the first carry, its sum with the second for an even sum before, and the bits in
// which the second depends on the sum before. Entry 16 has zeros.
//
// Tables<3>: in a row there are the carries of nodes 0 to 14, in the order of kSlots. In the place
// of node 15 row e has the carry for an even sum before, and row e + 5 the bits in which it depends
// on the sum before; e = 4 has zeros.
//
// The table indices of a position's input words are vectors, one per node: of offsets in halfwords,
// or in bytes that count words.
constexpr int kRow = 64;  // bytes
constexpr int kHalfRow = kRow / 2;
template <int kInputs>
struct Tables;
template <>
struct Tables<5> {
  static constexpr int kNodes = 8;
  static constexpr int kZeroRow = 32;
  static constexpr int kBytes = helium::kPairTableBytes;
  static constexpr int kLastPlace = 4 * (kNodes - 1);
  static constexpr int kLastEntry = 3 * kHalfRow;
  static constexpr int kLastZero = 16;
  static constexpr int kOpen = kRow;  // from an entry of the last node to the bits that depend
  static_assert(kBytes == (kZeroRow + 1) * kRow, "a row of zeros is the last");
};
template <>
struct Tables<3> {
  static constexpr int kNodes = 16;
  static constexpr int kZeroRow = 8;
  static constexpr int kBytes = helium::kTableBytes;
  static constexpr int kLastZero = 4;
  static constexpr int kOpen = 5 * kRow;
  static_assert(kBytes == (kLastZero + 6) * kRow, "the last node's zeros are the last");
  // The place of a node in a row: nodes are built in fours, even and odd ones by themselves.
  static constexpr int Slot(int node) { return node / 8 * 8 + node % 2 * 4 + node % 8 / 2; }
};

// Carries of a full adder, as sliced::Carries has them: those of entries 0, 4, 7 and 6; the
// others are their complements.
template <typename T>
struct Carries {
  T of0, of4, of7, of6;

  BCNET_INLINE Carries(T a, T b, T c) {
    const T d = a ^ b, e = b ^ c;
    of0 = b ^ (d & e);
    of4 = b ^ (d & ~e);
    of7 = b ^ (e & ~d);
    of6 = b ^ (d | e);
  }
};

// Writes the entries of four nodes, or of two times four nodes of one full adder, whose inputs are
// `columns`. `sum` is that of all columns before; the sum that enters the last of the nodes is
// returned, for the others it is found by a scan over the lanes. In assembly, in an order that a
// search found, as blocks.h says. The entries are carries as Carries has them, and complements.
// clang-format off
BCNET_INLINE uint32_t BuildNodes(Tables<3>, uint8_t* table, const uint32_t* columns, uint32_t* sum) {
  static_assert(kRow == 64, "the places below");
  uint32_t none, last;
  __asm__ volatile(
      "vld40.32 {q0, q1, q2, q3}, [%[columns]]\n"
      "vld41.32 {q0, q1, q2, q3}, [%[columns]]\n"
      "vld42.32 {q0, q1, q2, q3}, [%[columns]]\n"
      "vld43.32 {q0, q1, q2, q3}, [%[columns]]\n"
      "vmov.i8 q4, #0xff\n"
      "veor q5, q2, q3\n"
      "veor q6, q0, q1\n"
      "mov %[none], #0\n"
      "veor q6, q6, q5\n"
      "vshlc q6, %[sum], #32\n"
      "veor q5, q0, q1\n"
      "vmov q7, q6\n"
      "vshlc q7, %[none], #32\n"
      "mov %[none], #0\n"
      "veor q6, q6, q7\n"
      "vmov q7, q6\n"
      "vshlc q7, %[none], #32\n"
      "mov %[none], #0\n"
      "vshlc q7, %[none], #32\n"
      "veor q6, q6, q7\n"
      "vmov.32 %[last], q6[3]\n"
      "veor q6, q6, q0\n"
      "vand q7, q6, q5\n"
      "veor q7, q0, q7\n"
      "vstrw.32 q7, [%[table], #0]\n"
      "veor q1, q6, q1\n"
      "vmlas.s32 q7, q4, %[minus]\n"
      "veor q1, q1, q2\n"
      "vstrw.32 q7, [%[table], #320]\n"
      "vbic q7, q6, q5\n"
      "veor q7, q0, q7\n"
      "vstrw.32 q7, [%[table], #256]\n"
      "vmlas.s32 q7, q4, %[minus]\n"
      "veor q3, q2, q3\n"
      "vstrw.32 q7, [%[table], #64]\n"
      "vbic q7, q5, q6\n"
      "veor q7, q0, q7\n"
      "vstrw.32 q7, [%[table], #448]\n"
      "vorr q5, q6, q5\n"
      "vmlas.s32 q7, q4, %[minus]\n"
      "veor q0, q0, q5\n"
      "vstrw.32 q0, [%[table], #384]\n"
      "vbic q5, q3, q1\n"
      "vmlas.s32 q0, q4, %[minus]\n"
      "veor q5, q2, q5\n"
      "vstrw.32 q5, [%[table], #464]\n"
      "vorr q6, q1, q3\n"
      "vstrw.32 q7, [%[table], #128]\n"
      "vmlas.s32 q5, q4, %[minus]\n"
      "veor q6, q2, q6\n"
      "vstrw.32 q5, [%[table], #144]\n"
      "vbic q5, q1, q3\n"
      "vstrw.32 q0, [%[table], #192]\n"
      "vand q0, q1, q3\n"
      "vstrw.32 q6, [%[table], #400]\n"
      "vmlas.s32 q6, q4, %[minus]\n"
      "veor q1, q2, q5\n"
      "vstrw.32 q6, [%[table], #208]\n"
      "veor q0, q2, q0\n"
      "vstrw.32 q0, [%[table], #16]\n"
      "vmlas.s32 q0, q4, %[minus]\n"
      "vstrw.32 q1, [%[table], #272]\n"
      "vmlas.s32 q1, q4, %[minus]\n"
      "vstrw.32 q0, [%[table], #336]\n"
      "vstrw.32 q1, [%[table], #80]\n"
      : [sum] "+r"(*sum), [none] "=&r"(none), [last] "=&r"(last)
      : [table] "r"(table), [columns] "r"(columns), [minus] "r"(-1)
      : "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "memory");
  return last;
}

// The first carries are read again where the second ones are made, and both come to lie in the rows
// i + 8 * j; bits 0, 2 and 4 of a row together turn all five inputs over, and with them both carries.
BCNET_INLINE uint32_t BuildNodes(Tables<5>, uint8_t* table, const uint32_t* columns, uint32_t* sum) {
  static_assert(kRow == 64 && Tables<5>::kZeroRow == 32, "the places below");
  uint8_t* const low = table + 496;  // what all rows are within reach of
  uint32_t none, last;
  __asm__ volatile(
      "vld40.32 {q0, q1, q2, q3}, [%[columns]]\n"
      "vld41.32 {q0, q1, q2, q3}, [%[columns]]\n"
      "vld42.32 {q0, q1, q2, q3}, [%[columns]]\n"
      "vld43.32 {q0, q1, q2, q3}, [%[columns]]\n"
      "veor q4, q0, q1\n"
      "veor q5, q2, q3\n"
      "veor q5, q4, q5\n"
      "mov %[none], #0\n"
      "vshlc q5, %[sum], #32\n"
      "veor q4, q0, q1\n"
      "vmov q6, q5\n"
      "vshlc q6, %[none], #32\n"
      "mov %[none], #0\n"
      "veor q5, q5, q6\n"
      "vmov q6, q5\n"
      "vshlc q6, %[none], #32\n"
      "mov %[none], #0\n"
      "vshlc q6, %[none], #32\n"
      "veor q6, q5, q6\n"
      "veor q5, q6, q0\n"
      "vand q7, q5, q4\n"
      "veor q7, q0, q7\n"
      "vstrw.32 q7, [%[low], #16]\n"
      "vmov.32 %[last], q6[3]\n"
      "vstrw.32 q7, [%[high], #16]\n"
      "vstrw.32 q7, [%[high], #-496]\n"
      "vmvn q6, q7\n"
      "vstrw.32 q7, [%[low], #-496]\n"
      "veor q1, q5, q1\n"
      "vstrw.32 q6, [%[low], #-176]\n"
      "vorr q7, q5, q4\n"
      "vstrw.32 q6, [%[high], #-176]\n"
      "vstrw.32 q6, [%[low], #336]\n"
      "veor q7, q0, q7\n"
      "vstrw.32 q7, [%[low], #-112]\n"
      "veor q1, q1, q2\n"
      "vstrw.32 q7, [%[high], #400]\n"
      "vstrw.32 q6, [%[high], #336]\n"
      "vstrw.32 q7, [%[high], #-112]\n"
      "vorn q6, q5, q4\n"
      "vstrw.32 q7, [%[low], #400]\n"
      "veor q6, q0, q6\n"
      "vstrw.32 q6, [%[low], #144]\n"
      "vmvn q7, q7\n"
      "vstrw.32 q6, [%[low], #-368]\n"
      "veor q3, q2, q3\n"
      "vstrw.32 q6, [%[high], #144]\n"
      "vorn q4, q4, q5\n"
      "vstrw.32 q7, [%[low], #208]\n"
      "veor q4, q0, q4\n"
      "vstrw.32 q7, [%[high], #208]\n"
      "vstrw.32 q6, [%[high], #-368]\n"
      "vbic q5, q1, q3\n"
      "vstrw.32 q4, [%[low], #80]\n"
      "vorn q0, q1, q3\n"
      "vstrw.32 q4, [%[high], #80]\n"
      "vmvn q6, q6\n"
      "vstrw.32 q7, [%[high], #-304]\n"
      "veor q5, q2, q5\n"
      "vstrw.32 q4, [%[high], #-432]\n"
      "vstrw.32 q7, [%[low], #-304]\n"
      "vand q7, q1, q3\n"
      "vstrw.32 q6, [%[low], #464]\n"
      "vorr q1, q1, q3\n"
      "vstrw.32 q4, [%[low], #-432]\n"
      "vmvn q3, q4\n"
      "vstrw.32 q6, [%[high], #-48]\n"
      "veor q4, q2, q7\n"
      "vstrw.32 q3, [%[high], #-240]\n"
      "vstrw.32 q6, [%[high], #464]\n"
      "vstrw.32 q3, [%[high], #272]\n"
      "veor q1, q2, q1\n"
      "vstrw.32 q3, [%[low], #-240]\n"
      "veor q0, q2, q0\n"
      "vstrw.32 q3, [%[low], #272]\n"
      "vstrw.32 q6, [%[low], #-48]\n"
      "vldrw.u32 q2, [%[low], #-496]\n"
      "veor q6, q2, q0\n"
      "vldrw.u32 q7, [%[low], #-432]\n"
      "veor q3, q2, q4\n"
      "vstrw.32 q6, [%[low], #48]\n"
      "vstrw.32 q6, [%[high], #368]\n"
      "veor q6, q7, q4\n"
      "vstrw.32 q6, [%[high], #-208]\n"
      "vstrw.32 q3, [%[high], #-144]\n"
      "vstrw.32 q3, [%[low], #-464]\n"
      "veor q3, q2, q1\n"
      "vstrw.32 q6, [%[low], #-400]\n"
      "vstrw.32 q3, [%[low], #368]\n"
      "veor q2, q2, q5\n"
      "vstrw.32 q3, [%[high], #48]\n"
      "veor q3, q7, q5\n"
      "vstrw.32 q2, [%[high], #-464]\n"
      "veor q6, q7, q0\n"
      "vstrw.32 q3, [%[low], #-208]\n"
      "veor q7, q7, q1\n"
      "vstrw.32 q7, [%[high], #112]\n"
      "vstrw.32 q3, [%[high], #-400]\n"
      "vstrw.32 q6, [%[high], #304]\n"
      "vstrw.32 q2, [%[low], #-144]\n"
      "vldrw.u32 q2, [%[low], #-368]\n"
      "vldrw.u32 q3, [%[low], #-304]\n"
      "vstrw.32 q6, [%[low], #112]\n"
      "veor q6, q3, q4\n"
      "vstrw.32 q7, [%[low], #304]\n"
      "veor q7, q2, q5\n"
      "vstrw.32 q6, [%[high], #-80]\n"
      "veor q5, q3, q5\n"
      "vstrw.32 q5, [%[high], #-272]\n"
      "vstrw.32 q7, [%[low], #-16]\n"
      "veor q4, q2, q4\n"
      "vstrw.32 q7, [%[high], #-336]\n"
      "veor q7, q3, q0\n"
      "vstrw.32 q5, [%[low], #-80]\n"
      "veor q5, q2, q1\n"
      "vstrw.32 q7, [%[high], #432]\n"
      "veor q1, q3, q1\n"
      "vstrw.32 q6, [%[low], #-272]\n"
      "veor q0, q2, q0\n"
      "vstrw.32 q4, [%[high], #-16]\n"
      "vstrw.32 q0, [%[high], #496]\n"
      "vstrw.32 q4, [%[low], #-336]\n"
      "vstrw.32 q5, [%[high], #176]\n"
      "vstrw.32 q5, [%[low], #496]\n"
      "vstrw.32 q1, [%[high], #240]\n"
      "vstrw.32 q1, [%[low], #432]\n"
      "vstrw.32 q7, [%[low], #240]\n"
      "vstrw.32 q0, [%[low], #176]\n"
      : [sum] "+r"(*sum), [none] "=&r"(none), [last] "=&r"(last)
      : [low] "r"(low), [high] "r"(low + 16 * kRow), [columns] "r"(columns)
      : "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "memory");
  return last;
}
// clang-format on

// All ones where the bit `bit` of `index` is set. For an exclusive or: compilers make vectors of
// what selects by a pattern that they know, and GCC 12.2 gets those wrong for Helium.
BCNET_INLINE uint32_t Flip(int index, int bit) {
  return 0u - (static_cast<uint32_t>(index) >> bit & 1);
}

// Writes the entries of the last node, which has one input less.
BCNET_INLINE void BuildLastNode(Tables<3>, uint8_t* table, uint32_t sum, const uint32_t inputs[3]) {
  using T = Tables<3>;
  sum ^= inputs[0] ^ inputs[1];
  uint32_t* entry = reinterpret_cast<uint32_t*>(table) + T::Slot(T::kNodes - 1);
  for (int index = 0; index < T::kLastZero; ++index, entry += kRow / 4) {
    const uint32_t s = sum ^ Flip(index, 0);
    const uint32_t last = inputs[2] ^ Flip(index ^ index >> 1, 0);
    entry[0] = s & last;
    entry[T::kOpen / 4] = s ^ last;
  }
  entry[0] = 0;
  entry[T::kOpen / 4] = 0;
}

BCNET_INLINE void BuildLastNode(Tables<5>, uint8_t* table, uint32_t sum, const uint32_t inputs[3]) {
  using T = Tables<5>;
  const Carries<uint32_t> a(sum, inputs[0], inputs[1]);
  const uint32_t firsts[8] = {a.of0, ~a.of4, ~a.of7, ~a.of6, a.of4, ~a.of0, a.of6, a.of7};
  sum ^= inputs[0] ^ inputs[1];
  uint32_t* entry = reinterpret_cast<uint32_t*>(table + T::kLastPlace);
  const auto write = [&](uint32_t x, uint32_t p, uint32_t open) {
    entry[0] = x;
    entry[kHalfRow / 4] = p;
    entry[T::kOpen / 4] = open;
    entry += T::kLastEntry / 4;
  };
#pragma GCC unroll 16
  for (int index = 0; index < T::kLastZero; ++index) {
    const uint32_t s = sum ^ Flip(index, 2);
    const uint32_t last = inputs[2] ^ Flip(index ^ index >> 1, 2);
    const uint32_t x = firsts[index & 7];
    write(x, x ^ (s & last), s ^ last);
  }
  write(0, 0, 0);
}

// Writes the tables of a block, whose weights for channel c are the word rows[c * row_stride];
// channels from `count` on are not there. The row of zeros is left out unless asked for.
template <int kInputs>
BCNET_INLINE void BuildBlock(uint8_t* table, const uint32_t* rows, int32_t row_stride,
                             int32_t count, bool zero_row) {
  // Lane l of vector i is row 8 * l + i, and after the transposition byte b of it byte l of column
  // 8 * b + i.
  const Vector eights = vidupq_n_u32(0, 8);
  const Vector offsets = eights * static_cast<uint32_t>(row_stride);
  Vector words[8];
  if (count == kWordBits) {
    for (int i = 0; i < 8; ++i)
      words[i] = vldrwq_gather_shifted_offset_u32(rows + i * row_stride, offsets);
  } else {
    for (int i = 0; i < 8; ++i) {
      const mve_pred16_t is_there = vcmpltq_n_s32(vreinterpretq_s32_u32(eights), count - i);
      words[i] = vldrwq_gather_shifted_offset_z_u32(rows + i * row_stride, offsets, is_there);
    }
  }
  TransposeBytesInline(words);
  // Column 1 + 4 * j + k is input k of node j of two full adders; the last has no fourth.
  uint32_t columns[kWordBits + 1];
  columns[kWordBits] = 0;
  for (int i = 0; i < 8; i += 4) {
    const uint8x16x4_t bytes = vld4q_u8(reinterpret_cast<const uint8_t*>(words + i));
#pragma GCC unroll 4
    for (int b = 0; b < 4; ++b) vst1q_u32(columns + 8 * b + i, vreinterpretq_u32_u8(bytes.val[b]));
  }
  if (zero_row) {
    for (int i = 0; i < kRow; i += helium::kVectorBytes) {
      vst1q_u32(reinterpret_cast<uint32_t*>(table + Tables<kInputs>::kZeroRow * kRow + i),
                vdupq_n_u32(0));
    }
  }
  uint32_t sum = columns[0];
  constexpr int kGroupBytes = (kInputs == 5 ? 4 : 8) * static_cast<int>(sizeof(uint32_t));
  sum ^= BuildNodes(Tables<kInputs>{}, table, columns + 1, &sum);
  const uint32_t last_sum = BuildNodes(Tables<kInputs>{}, table + kGroupBytes, columns + 17, &sum);
  BuildLastNode(Tables<kInputs>{}, table, last_sum, columns + 29);
}

// Writes the offsets of the entries that the input words choose, by words whose bit k is the parity
// of the bits up to k: see adder_tables.h. Of half a word and 16 ones, a product of polynomials has
// these parities in its lower half, and in its upper half what turns them into the parity of all
// bits. In assembly, in an order that a search found, as blocks.h says; the unit of multiplications
// does what shifts would do in that of integers. Some vector registers are left to the loop around.
// clang-format off
BCNET_INLINE void MakeIndex(Tables<5>, Vector word, uint8_t* index) {
  using T = Tables<5>;
  // The numbers of nodes 0, 2, 4 and 6 are in the bytes of a vector, those of 1, 3, 5 and 7 in
  // another: times kRow, but for the last node's.
  static_assert(kRow == 64 && T::kLastEntry < 256, "factors of a byte");
  static const uint8_t kFactors[16] = {kRow, kRow, kRow, T::kLastEntry, kRow, kRow, kRow, T::kLastEntry,
                                       kRow, kRow, kRow, T::kLastEntry, kRow, kRow, kRow, T::kLastEntry};
  register Vector x __asm__("q0") = word;
  __asm__ volatile(
      "vmov.i8 q3, #0xff\n"
      "vmullt.p16 q2, q0, q3\n"
      "vmov.i8 q1, #0x1f\n"
      "vmullb.p16 q0, q0, q3\n"
      "veor q2, q0, q2\n"
      "vshl.i32 q2, q2, #16\n"
      "veor q2, q0, q2\n"
      "vmov.i8 q3, #64\n"
      "vand q4, q2, q1\n"
      "vmullt.u8 q0, q4, q3\n"
      "vshr.u32 q2, q2, #4\n"
      "vmullb.u8 q4, q4, q3\n"
      "vadd.i32 q0, q0, %[nodes2]\n"
      "vldrw.u32 q3, [%[factors]]\n"
      "vand q1, q2, q1\n"
      "vstrh.32 q0, [%[index], #16]\n"
      "vadd.i32 q2, q4, %[nodes0]\n"
      "vmullb.u8 q4, q1, q3\n"
      "vstrh.32 q2, [%[index], #0]\n"
      "vmullt.u8 q1, q1, q3\n"
      "vadd.i32 q4, q4, %[nodes1]\n"
      "vmov.i16 q3, #1\n"
      "vadd.i32 q1, q1, %[nodes3]\n"
      "vstrh.32 q1, [%[index], #24]\n"
      "vmullt.u16 q1, q1, q3\n"
      "vstrh.32 q4, [%[index], #8]\n"
      "vmullt.u16 q4, q4, q3\n"
      "vstrh.32 q1, [%[index], #56]\n"
      "vmullt.u16 q1, q2, q3\n"
      "vstrh.32 q4, [%[index], #40]\n"
      "vmullt.u16 q0, q0, q3\n"
      "vstrh.32 q1, [%[index], #32]\n"
      "vstrh.32 q0, [%[index], #48]\n"
      : "+w"(x)
      : [index] "l"(index), [factors] "r"(kFactors), [nodes0] "r"(0 | 16 << 16),
        [nodes1] "r"(4 | 20 << 16), [nodes2] "r"(8 | 24 << 16), [nodes3] "r"(12 | T::kLastPlace << 16)
      : "q1", "q2", "q3", "q4", "memory");
}

BCNET_INLINE void MakeIndex(Tables<3>, Vector word, uint8_t* index) {
  using T = Tables<3>;
  // Byte k of vector j is for node j + 4 * k.
  static_assert(kRow == 16 * 4, "the shifts below");
  constexpr uint32_t kSteps = T::Slot(4) << 8 | T::Slot(8) << 16 | T::Slot(12) << 24;
  constexpr uint32_t kOnes = 0x01010101u;
  // Constants, not operands: without inlining GCC calls Slot for these, and what is in q0 is lost.
  constexpr uint32_t kSlots0 = kOnes * T::Slot(0) + kSteps, kSlots1 = kOnes * T::Slot(1) + kSteps;
  constexpr uint32_t kSlots2 = kOnes * T::Slot(2) + kSteps, kSlots3 = kOnes * T::Slot(3) + kSteps;
  register Vector x __asm__("q0") = word;
  __asm__ volatile(
      "vmov.i8 q2, #0xff\n"
      "vmullt.p16 q1, q0, q2\n"
      "vmullb.p16 q2, q0, q2\n"
      "vmov.i16 q0, #1\n"
      "veor q1, q2, q1\n"
      "vshl.i32 q3, q1, #16\n"
      "vmov.i8 q1, #0x70\n"
      "veor q3, q2, q3\n"
      "vmov.i8 q2, #1\n"
      "vshl.i32 q4, q3, #4\n"
      "vand q4, q4, q1\n"
      "vadd.i32 q5, q4, %[slots0]\n"
      "vmullt.u16 q4, q5, q0\n"
      "vstrb.32 q5, [%[index], #0]\n"
      "vmullt.u8 q5, q5, q2\n"
      "vstrb.32 q4, [%[index], #32]\n"
      "vshl.i32 q4, q3, #2\n"
      "vstrb.32 q5, [%[index], #16]\n"
      "vand q4, q4, q1\n"
      "vmullt.u16 q5, q5, q0\n"
      "vadd.i32 q4, q4, %[slots1]\n"
      "vstrb.32 q5, [%[index], #48]\n"
      "vshr.u32 q5, q3, #2\n"
      "vstrb.32 q4, [%[index], #4]\n"
      "vand q3, q3, q1\n"
      "vand q1, q5, q1\n"
      "vmullt.u16 q5, q4, q0\n"
      "vadd.i32 q3, q3, %[slots2]\n"
      "vstrb.32 q3, [%[index], #8]\n"
      "vmullt.u8 q4, q4, q2\n"
      "vstrb.32 q5, [%[index], #36]\n"
      "vadd.i32 q1, q1, %[slots3]\n"
      "vstrb.32 q1, [%[index], #12]\n"
      "vmullt.u16 q5, q4, q0\n"
      "vstrb.32 q4, [%[index], #20]\n"
      "vmullt.u16 q4, q1, q0\n"
      "vstrb.32 q5, [%[index], #52]\n"
      "vmullt.u16 q5, q3, q0\n"
      "vstrb.32 q4, [%[index], #44]\n"
      "vmullt.u8 q3, q3, q2\n"
      "vstrb.32 q5, [%[index], #40]\n"
      "vmullt.u16 q4, q3, q0\n"
      "vstrb.32 q3, [%[index], #24]\n"
      "vmullt.u8 q1, q1, q2\n"
      "vstrb.32 q4, [%[index], #56]\n"
      "vmullt.u16 q0, q1, q0\n"
      "vstrb.32 q1, [%[index], #28]\n"
      "vstrb.32 q0, [%[index], #60]\n"
      : "+w"(x)
      : [index] "l"(index), [slots0] "r"(kSlots0), [slots1] "r"(kSlots1), [slots2] "r"(kSlots2),
        [slots3] "r"(kSlots3)
      : "q1", "q2", "q3", "q4", "q5", "memory");
}
// clang-format on

// Makes the lanes that are `outside` choose zeros for a node.
BCNET_INLINE void LeaveOut(Tables<3>, int node, bool last, mve_pred16_t outside, uint8_t* index) {
  using T = Tables<3>;
  const int place = (last ? T::kLastZero : T::kZeroRow) * kRow / 4 + T::Slot(node);
  vstrbq_p_u32(index + node * kLanes, vdupq_n_u32(static_cast<uint32_t>(place)), outside);
}

BCNET_INLINE void LeaveOut(Tables<5>, int node, bool last, mve_pred16_t outside, uint8_t* index) {
  using T = Tables<5>;
  const int place =
      last ? T::kLastZero * T::kLastEntry + T::kLastPlace : T::kZeroRow * kRow + 4 * node;
  vstrhq_p_u32(reinterpret_cast<uint16_t*>(index) + node * kLanes,
               vdupq_n_u32(static_cast<uint32_t>(place)), outside);
}

// Makes the lanes that are not `inside` choose entries of zeros.
template <int kInputs>
static BCNET_NOINLINE void LeaveOut(mve_pred16_t inside, uint8_t* index) {
  using T = Tables<kInputs>;
  const mve_pred16_t outside = vpnot(inside);
  for (int node = 0; node < T::kNodes; ++node)
    LeaveOut(T{}, node, node == T::kNodes - 1, outside, index);
}

}  // namespace helium
}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_BCONV2D_HELIUM_TABLES_H_

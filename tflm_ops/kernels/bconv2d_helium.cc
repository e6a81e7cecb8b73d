// The Helium kernel, for cores with vectors: the sliced kernel (bconv2d_sliced.cc) on four pixels
// at once.
//
// A word of digits becomes a vector of four, one for each of the pixels that are worked on, and
// table entries are gathered by four offsets. The output is cut into four equal pieces, side by
// side, on top of each other, or two by two; a *position* is the place in a piece, and stands for
// four pixels. Columns are made and tables built by vectors too.
//
// Differences from the sliced kernel: the sum that a block leaves over is data and no table knows
// it, so that the tables of blocks do not depend on each other, and a tap outside the input that
// counts 0 chooses entries of zeros.
#include "tflm_ops/kernels/bconv2d_sink.h"

#if BCNET_HELIUM

#include <arm_mve.h>

#include "tflm_ops/kernels/helium.h"
#include "tflm_ops/kernels/sliced.h"

namespace bcnet {
namespace {

using Vector = uint32x4_t;
using helium::kLanes;
constexpr int kMaxDigits = 16;
constexpr int kBlockDigits = 4;  // those that blocks sum; a block leaves a pair of the next weight

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
void AddNumbers(Vector numbers, int count, Vector* digits) {
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

BCNET_NOINLINE void TransposeBytes(Vector w[8]) {
  TransposeBytes([=](int i) { return w[i]; }, [=](int i, Vector x) { w[i] = x; });
}

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
// The choices of a position's input words are vectors, one a node: of offsets in halfwords, or in
// bytes that count words.
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

// Carries of a full adder, as sliced::Carries has them: those of choices 0, 4, 7 and 6; the others
// are their complements.
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

// Writes the entries of four nodes, or of two times four nodes of one full adder. `sum` and
// `inputs` are those of the full adders.
template <int kInputs>
BCNET_INLINE void BuildNodes(uint8_t* table, Vector sum, const Vector inputs[4]) {
  using T = Tables<kInputs>;
  if constexpr (kInputs == 3) {
    const auto write = [&](Vector a, Vector b, Vector c) {
      const auto entries = [&](int choice, Vector carry) {
        vst1q_u32(reinterpret_cast<uint32_t*>(table + choice * kRow), carry);
        vst1q_u32(reinterpret_cast<uint32_t*>(table + (choice ^ 5) * kRow), ~carry);
      };
      const Vector d = a ^ b, e = b ^ c;
      entries(0, b ^ (d & e));
      entries(4, b ^ vbicq_u32(d, e));
      entries(7, b ^ vbicq_u32(e, d));
      entries(6, b ^ (d | e));
      table += helium::kVectorBytes;
    };
    write(sum, inputs[0], inputs[1]);
    write(sum ^ inputs[0] ^ inputs[1], inputs[2], inputs[3]);
    return;
  }
  const Carries<Vector> a(sum, inputs[0], inputs[1]);
  const Carries<Vector> b(sum ^ inputs[0] ^ inputs[1], inputs[2], inputs[3]);
  const Vector first[4] = {a.of0, ~a.of4, ~a.of7, ~a.of6};
  const Vector second[4] = {b.of0, ~b.of7, b.of4, b.of6};
  // All entries are within a short distance of two places.
  constexpr int kReach = 496, kHalf = T::kZeroRow / 2 * kRow;
  uint8_t* const low = Hidden(table + kReach);
  uint8_t* const high = Hidden(table + kHalf + kReach);
  const auto entry = [&](int row) {
    return reinterpret_cast<uint32_t*>((row < T::kZeroRow / 2 ? low : high - kHalf) + row * kRow -
                                       kReach);
  };
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const Vector x = first[i], opposite = ~x;
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      // Bits 0, 2 and 4 together turn all five inputs over, and with them both carries.
      const int choice = i | j << 3;
      const Vector p = x ^ second[j];
      vst1q_u32(entry(choice), x);
      vst1q_u32(entry(choice) + kHalfRow / 4, p);
      vst1q_u32(entry(choice ^ 21), opposite);
      vst1q_u32(entry(choice ^ 21) + kHalfRow / 4, p);
    }
  }
}

// Writes the entries of the last node, which has one input less.
BCNET_INLINE void BuildLastNode(Tables<3>, uint8_t* table, uint32_t sum, const uint32_t inputs[3]) {
  using T = Tables<3>;
  sum ^= inputs[0] ^ inputs[1];
  uint32_t* entry = reinterpret_cast<uint32_t*>(table) + T::Slot(T::kNodes - 1);
  for (int choice = 0; choice < T::kLastZero; ++choice, entry += kRow / 4) {
    const uint32_t s = (choice & 1) != 0 ? ~sum : sum;
    const uint32_t last = ((choice ^ choice >> 1) & 1) != 0 ? ~inputs[2] : inputs[2];
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
  for (int choice = 0; choice < T::kLastZero; ++choice) {
    const uint32_t s = (choice & 4) != 0 ? ~sum : sum;
    const uint32_t last = ((choice >> 2 ^ choice >> 3) & 1) != 0 ? ~inputs[2] : inputs[2];
    const uint32_t x = firsts[choice & 7];
    write(x, x ^ (s & last), s ^ last);
  }
  write(0, 0, 0);
}

// Writes the tables of a block, whose weights for channel c are the word rows[c * row_stride];
// channels from `count` on are not there. The row of zeros is left out unless asked for.
template <int kInputs>
BCNET_INLINE void BuildBlock(uint8_t* table, const uint32_t* rows, int32_t row_stride,
                             int32_t count, bool zero_row) {
  // Lane l of vector i is row 8 * l + i.
  const Vector eights = vidupq_n_u32(0, 8);
  const Vector offsets = eights * static_cast<uint32_t>(row_stride);
  // Column 1 + 4 * j + k is input k of node j of two full adders. Byte b of lane l of vector i
  // becomes byte l of column 8 * b + i.
  constexpr int kStride = 12;  // words from input to input
  uint32_t columns[4 + 4 * kStride];
  uint32_t* const inputs = columns + 4;
  static const uint8_t kPlaces[16] = {0, 8, 16, 24, 1, 9, 17, 25, 2, 10, 18, 26, 3, 11, 19, 27};
  const uint8x16_t places = vldrbq_u8(kPlaces);
  const auto store = [&](int i, Vector bytes) {
    // Column 0 comes to lie before the inputs 3, and would be input 3 of a node before.
    uint32_t* to = i == 0 ? inputs + 3 * kStride - 1 : inputs + (i - 1) % 4 * kStride + (i - 1) / 4;
    vstrbq_scatter_offset_u8(reinterpret_cast<uint8_t*>(to), places, vreinterpretq_u8_u32(bytes));
  };
  if (count == kWordBits) {
    TransposeBytes(
        [&](int i) { return vldrwq_gather_shifted_offset_u32(rows + i * row_stride, offsets); },
        store);
  } else {
    TransposeBytes(
        [&](int i) {
          const mve_pred16_t is_there = vcmpltq_n_s32(vreinterpretq_s32_u32(eights), count - i);
          return vldrwq_gather_shifted_offset_z_u32(rows + i * row_stride, offsets, is_there);
        },
        store);
  }
  inputs[3 * kStride + 7] = 0;
  if (zero_row) {
    for (int i = 0; i < kRow; i += helium::kVectorBytes) {
      vst1q_u32(reinterpret_cast<uint32_t*>(table + Tables<kInputs>::kZeroRow * kRow + i),
                vdupq_n_u32(0));
    }
  }
  uint32_t sum = inputs[3 * kStride - 1];
  for (int group = 0; group < 2; ++group) {
    Vector in[4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) in[k] = vld1q_u32(inputs + k * kStride + 4 * group);
    // The sums that enter the nodes are those of all columns before: a scan over the lanes.
    uint32_t none = 0;
    Vector sums = vshlcq_u32(in[0] ^ in[1] ^ in[2] ^ in[3], &sum, 32);
    sums = sums ^ vshlcq_u32(sums, &none, 32);
    none = 0;
    Vector shifted = vshlcq_u32(sums, &none, 32);
    none = 0;
    sums = sums ^ vshlcq_u32(shifted, &none, 32);
    BuildNodes<kInputs>(table + group * (kInputs == 5 ? 4 : 8) * kLanes, sums, in);
    const uint32_t last_sum = vgetq_lane_u32(sums, 3);
    if (group == 0) {
      sum ^= last_sum;
      continue;
    }
    const uint32_t last[3] = {inputs[7], inputs[kStride + 7], inputs[2 * kStride + 7]};
    BuildLastNode(Tables<kInputs>{}, table, last_sum, last);
  }
}

// Writes the offsets of the entries that the input words `x` choose.
template <int kInputs>
BCNET_INLINE void MakeIndex(Vector x, uint8_t* index) {
  using T = Tables<kInputs>;
  // Bit k of p is the parity of the bits up to k: see adder_tables.h.
  Vector p = x ^ vshlq_n_u32(x, 1);
  p = p ^ vshlq_n_u32(p, 2);
  p = p ^ vshlq_n_u32(p, 4);
  p = p ^ vshlq_n_u32(p, 8);
  p = p ^ vshlq_n_u32(p, 16);
  if constexpr (kInputs == 3) {
    // Byte k of vector j is for node j + 4 * k.
    static_assert(kRow == 16 * 4, "the shifts below");
    const Vector choices = vdupq_n_u32(0x70707070u);
    const Vector all[4] = {vshlq_n_u32(p, 4), vshlq_n_u32(p, 2), p, vshrq_n_u32(p, 2)};
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j, index += kLanes) {
      constexpr uint32_t kSteps = T::Slot(4) << 8 | T::Slot(8) << 16 | T::Slot(12) << 24;
      Vector entries = vaddq_n_u32(all[j] & choices, 0x01010101u * T::Slot(j) + kSteps);
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) {
        vstrbq_u32(index + 4 * k * kLanes, entries);
        entries = vshrq_n_u32(entries, 8);
      }
    }
  } else {
    static_assert(kRow == 1 << 6, "the shifts below");
    uint16_t* to = reinterpret_cast<uint16_t*>(index);
    const Vector choices = vdupq_n_u32(31 * kRow);
    vstrhq_u32(to, vshlq_n_u32(p, 6) & choices);
    vstrhq_u32(to + 4, vaddq_n_u32(vshlq_n_u32(p, 2) & choices, 4));
    vstrhq_u32(to + 8, vaddq_n_u32(vshrq_n_u32(p, 2) & choices, 8));
    vstrhq_u32(to + 12, vaddq_n_u32(vshrq_n_u32(p, 6) & choices, 12));
    vstrhq_u32(to + 16, vaddq_n_u32(vshrq_n_u32(p, 10) & choices, 16));
    vstrhq_u32(to + 20, vaddq_n_u32(vshrq_n_u32(p, 14) & choices, 20));
    vstrhq_u32(to + 24, vaddq_n_u32(vshrq_n_u32(p, 18) & choices, 24));
    vstrhq_u32(to + 28, vaddq_n_u32(vmulq_n_u32(vshrq_n_u32(p, 28), T::kLastEntry), T::kLastPlace));
  }
}

// Makes the lanes that are not `inside` choose entries of zeros.
template <int kInputs>
BCNET_NOINLINE void LeaveOut(mve_pred16_t inside, uint8_t* index) {
  using T = Tables<kInputs>;
  const mve_pred16_t outside = vpnot(inside);
  for (int node = 0; node < T::kNodes; ++node) {
    const bool last = node == T::kNodes - 1;
    if constexpr (kInputs == 3) {
      const int place = (last ? T::kLastZero : T::kZeroRow) * kRow / 4 + T::Slot(node);
      vstrbq_p_u32(index + node * kLanes, vdupq_n_u32(static_cast<uint32_t>(place)), outside);
    } else {
      const int place =
          last ? T::kLastZero * T::kLastEntry + T::kLastPlace : T::kZeroRow * kRow + 4 * node;
      vstrhq_p_u32(reinterpret_cast<uint16_t*>(index) + node * kLanes,
                   vdupq_n_u32(static_cast<uint32_t>(place)), outside);
    }
  }
}

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
  if constexpr (kInputs == 5) {
    const uint8_t* half = table + kHalfRow;
    if constexpr (kBlocks == 3) {
      ADD_BLOCKS_5(THREE_BLOCKS);
    } else {
      ADD_BLOCKS_5(ONE_BLOCK);
    }
  } else {
    if constexpr (kBlocks == 3) {
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
BCNET_NOINLINE Vector Finish(const Pair* pairs, int32_t count, const Vector* start,
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

// A convolution under way; as in bconv2d_sliced.cc.
struct Job {
  const Bconv2dParams* params;
  const Bconv2dPlan* plan;
  const Bconv2dSink* sink;
  const uint32_t* filter;
  Bconv2dHeliumPieces pieces;
  Bconv2dHeliumLayout layout;
  Bconv2dSlicedGeometry geometry;
  int32_t taps;
  int digits;
  Vector (*finish)(const Pair*, int32_t, const Vector*, Vector*);
  // Of each lane: its first output, and its place in the output.
  Vector first_row;
  Vector first_column;
  Vector pixels;
  // Parts of the scratch memory.
  uint8_t* tables;
  uint8_t* index;  // [row % index_rows][channel word][column of the strip]
  Pair* pairs;
  int32_t kept_size;
  Vector* kept;
  // The pass.
  int32_t word;
  int32_t count;
  Vector start[kMaxDigits + 1];
  // The strip.
  int32_t first_x;
  int32_t width;
  int32_t columns;
  // The part.
  int32_t first_word;
  int32_t words;
  int32_t index_words;  // channel words that there is room for in the index, those of the part or
  int32_t index_word;   // all, and the place of the part's first
  bool is_first;
  bool is_last;
};

int32_t Clip(int32_t x, int32_t low, int32_t high) { return x < low ? low : x > high ? high : x; }

// The counters' start: for a bitpacked output 2^digits less threshold and 1, otherwise 0.
BCNET_NOINLINE void PrepareStart(Job* job) {
  if (job->sink->kind != Bconv2dSink::kBitpacked) return;  // Job began with zeros
  const int32_t most = job->taps * job->params->words_in_group * kWordBits;
  const int32_t* thresholds = job->sink->thresholds + job->word * kWordBits;
  const int32x4_t end = vdupq_n_s32((1 << job->digits) - 1);
  uint16_t values[kWordBits];
  for (int i = 0; i < kWordBits; i += kLanes) {
    // Channels that are not there get a bit that stays 0.
    const mve_pred16_t is_there = vctp32q(static_cast<uint32_t>(Clip(job->count - i, 0, kLanes)));
    int32x4_t threshold = vldrwq_z_s32(thresholds + i, is_there);
    threshold = vpselq_s32(threshold, vdupq_n_s32(most), is_there);
    threshold = vmaxq_s32(vminq_s32(threshold, vdupq_n_s32(most)), vdupq_n_s32(-1));
    vstrhq_u32(values + i, vreinterpretq_u32_s32(end - threshold));
  }
  // Byte l of lane 0 of vector i is the low byte of channel 8 * l + i, that of lane 1 the high
  // byte.
  static const uint8_t kPlaces[16] = {0, 16, 32, 48, 1, 17, 33, 49, 0, 16, 32, 48, 1, 17, 33, 49};
  const uint8x16_t places = vldrbq_u8(kPlaces);
  Vector bytes[8];
  for (int i = 0; i < 8; ++i) {
    bytes[i] = vreinterpretq_u32_u8(
        vldrbq_gather_offset_u8(reinterpret_cast<const uint8_t*>(values + i), places));
  }
  TransposeBytes(bytes);
  for (int i = 0; i < 8; ++i) {
    job->start[i] = vdupq_n_u32(vgetq_lane_u32(bytes[i], 0));
    job->start[8 + i] = vdupq_n_u32(vgetq_lane_u32(bytes[i], 1));
  }
}

// Builds the tables of a part.
template <int kInputs>
BCNET_NOINLINE void Build(const Job& job) {
  const int32_t words = job.params->words_in_group;
  const int32_t row_size = job.taps * words;
  const uint32_t* rows = job.filter + int64_t{job.word} * kWordBits * row_size + job.first_word;
  const bool zero_row = job.params->zero_padding;
  uint8_t* table = job.tables;
  for (int32_t word = 0; word < job.words; ++word) {
    for (int32_t tap = 0; tap < job.taps; ++tap, table += Tables<kInputs>::kBytes)
      BuildBlock<kInputs>(table, rows + tap * words + word, row_size, job.count, zero_row);
  }
}

// Makes the choices of a row of the strip, channel word by channel word. Positions outside the
// input hold +1, which is 0, or count 0.
template <int kInputs>
BCNET_NOINLINE void IndexRow(const Job& job, const uint32_t* image, int32_t row) {
  const Bconv2dParams& params = *job.params;
  const int32_t slot = row % job.plan->index_rows;
  const int32_t step = job.geometry.column_step;
  uint8_t* index = job.index + slot * job.index_words * job.columns * helium::kIndexBytes;
  const Vector y = job.first_row * static_cast<uint32_t>(params.height.stride) +
                   static_cast<uint32_t>(row - params.height.pad);
  const Vector first_x =
      job.first_column * static_cast<uint32_t>(params.width.stride) +
      static_cast<uint32_t>(job.first_x * params.width.stride - params.width.pad);
  // Rows outside have no columns that are inside.
  const Vector input_width = vdupq_n_u32(static_cast<uint32_t>(params.width.input));
  const Vector end = vpselq_u32(vdupq_n_u32(0), input_width,
                                vcmpcsq_n_u32(y, static_cast<uint32_t>(params.height.input)));
  const Vector places = (y * static_cast<uint32_t>(params.width.input) + first_x) *
                        static_cast<uint32_t>(params.words_in);
  const uint32_t* line = image + job.first_word - job.index_word;
  const int32_t columns = job.columns, pixel_step = step * params.words_in;
  const bool zero_padding = params.zero_padding;
  for (int32_t word = job.index_words; word > 0; --word, ++line) {
    const uint32_t* there = line;
    Vector x = first_x;
    for (int32_t i = columns; i > 0; --i, index += helium::kIndexBytes, there += pixel_step) {
      const mve_pred16_t inside = vcmphiq_u32(end, x);
      MakeIndex<kInputs>(vldrwq_gather_shifted_offset_z_u32(there, places, inside), index);
      if (zero_padding) LeaveOut<kInputs>(inside, index);
      x = vaddq_n_u32(x, static_cast<uint32_t>(step));
    }
  }
}

// The number of taps outside the input, of each lane.
Vector TapsOutside(const Job& job, int32_t y, int32_t x) {
  const Bconv2dParams& params = *job.params;
  uint32_t outside[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    const TapRange rows = TapsInside(params.height, static_cast<int32_t>(job.first_row[i]) + y);
    const TapRange columns =
        TapsInside(params.width, static_cast<int32_t>(job.first_column[i]) + x);
    outside[i] =
        static_cast<uint32_t>(job.taps - (rows.end - rows.begin) * (columns.end - columns.begin));
  }
  return vld1q_u32(outside);
}

// Turns digits of sums, digit i of weight 2^i, into the sums: those of channels 16 * h + i are half
// h of vector i, those of channels 16 * h + 8 + i half h of vector 8 + i.
BCNET_INLINE void Unslice(Vector digits[16]) {
  // Byte b of vector i becomes the low byte of channel 8 * b + i, that of vector 8 + i the high
  // byte.
  TransposeBytes(digits);
  TransposeBytes(digits + 8);
  for (int i = 0; i < 8; ++i) {
    const uint16x8_t low = vreinterpretq_u16_u32(digits[i]);
    const uint16x8_t high = vreinterpretq_u16_u32(digits[8 + i]);
    digits[i] = vreinterpretq_u32_u16(vsliq_n_u16(low, high, 8));
    digits[8 + i] = vreinterpretq_u32_u16(vsriq_n_u16(high, low, 8));
  }
}

// Writes the outputs of 32 channels from their sums; see LinearChannel.
BCNET_INLINE void WriteLinear(const Vector sums[16], const LinearChannel* channels, Vector places,
                              mve_pred16_t is_there, uint8_t* output) {
  static_assert(kLinearShift == 12, "what is shifted out below");
  for (int second = 0; second < 2; ++second) {
    for (int half = 0; half < 2; ++half) {
      for (int i = 0; i < 8; i += 4) {
        const int first = 16 * half + 8 * second + i;
        const LinearChannel* channel = channels + first;
        uint32x4_t bytes = {};
#pragma GCC unroll 4
        for (int k = 3; k >= 0; --k) {
          const Vector both = sums[8 * second + i + k];
          const Vector sum = half == 0 ? vshlq_n_u32(both, 16) : both & vdupq_n_u32(0xffff0000u);
          int32x4_t y = vreinterpretq_s32_u32(vshrq_n_u32(sum, 1));
          // Twice the product's upper half: the product of the sum over 2^16.
          y = vqdmulhq_n_s32(y, channel[k].multiplier);
          y = vqshlq_n_s32(vaddq_n_s32(y, channel[k].bias), kLinearShift);
          const Vector x = vreinterpretq_u32_s32(y);  // the output is the highest byte
          bytes = k == 3   ? x
                  : k == 2 ? vsriq_n_u32(bytes, x, 8)
                  : k == 1 ? vsriq_n_u32(bytes, x, 16)
                           : vsriq_n_u32(bytes, x, 24);
        }
        vstrwq_scatter_offset_p_u32(reinterpret_cast<uint32_t*>(output + first), places, bytes,
                                    is_there);
      }
    }
  }
}

// Writes the outputs of lanes `is_there` from digits of their sums.
BCNET_NOINLINE void WriteSums(const Job& job, Vector* digits, int32_t pixel,
                              mve_pred16_t is_there) {
  const Bconv2dSink& sink = *job.sink;
  Unslice(digits);
  if (sink.kind == Bconv2dSink::kLinear && job.count == kWordBits && sink.pixel_size % 4 == 0) {
    const int32_t channel = job.word * kWordBits;
    uint8_t* output = static_cast<uint8_t*>(sink.output) + pixel * sink.pixel_size + channel;
    WriteLinear(digits, sink.linear_transform->channels + channel,
                job.pixels * static_cast<uint32_t>(sink.pixel_size), is_there, output);
    return;
  }
  int32_t sums[kLanes][kWordBits];
  const Vector places = vidupq_n_u32(0, 1) * uint32_t{kWordBits};
  for (int i = 0; i < 8; ++i) {
    uint32_t* to = reinterpret_cast<uint32_t*>(&sums[0][i]);
    vstrwq_scatter_shifted_offset_u32(to, places, digits[i] & vdupq_n_u32(0xffff));
    vstrwq_scatter_shifted_offset_u32(to + 8, places, digits[8 + i] & vdupq_n_u32(0xffff));
    vstrwq_scatter_shifted_offset_u32(to + 16, places, vshrq_n_u32(digits[i], 16));
    vstrwq_scatter_shifted_offset_u32(to + 24, places, vshrq_n_u32(digits[8 + i], 16));
  }
  for (int lane = 0; lane < kLanes; ++lane, is_there >>= 4) {
    if ((is_there & 1) == 0) continue;
    const int32_t place = pixel + static_cast<int32_t>(job.pixels[lane]);
    sink.write(sink, place, job.word, job.count, sums[lane]);
  }
}

// Ends a position.
BCNET_NOINLINE void End(const Job& job, int32_t count, const Low& low, const Vector* start,
                        Vector* kept, Vector outside, int32_t pixel, mve_pred16_t is_there) {
  Vector digits[kMaxDigits + 2];
  Vector* const result = job.is_last ? digits + 1 : kept;
  result[0] = low.left_over;
  result[1] = low.twos;
  result[2] = low.fours;
  result[3] = low.eights;
  job.finish(job.pairs, count, start, result);
  if (!job.is_last) return;
  digits[0] = vdupq_n_u32(0);  // a sum is twice the counter
  for (int i = job.digits + 2; i < kMaxDigits; ++i) digits[i] = vdupq_n_u32(0);
  // Taps outside count half a mismatch a channel.
  if (job.params->zero_padding) {
    AddNumbers(outside * static_cast<uint32_t>(job.params->channels_in_group), job.digits + 2,
               digits);
  }
  WriteSums(job, digits, pixel, is_there);
}

// Adds the blocks of the part to a position's counters. Its taps lie side by side in `rows`.
template <int kInputs, int kSide>
BCNET_INLINE void AddTaps(const Job& job, Low* low, const uint8_t* const* rows) {
  const uint8_t* table = job.tables;
  Pair* pairs = job.pairs;
  int32_t next_word = 0;
  for (int32_t word = job.words; word > 0; --word) {
#pragma GCC unroll 1
    for (int r = 0; r < kSide; ++r, pairs += kSide)
      table = AddBlocks<kInputs, kSide>(low, rows[r] + next_word, table, pairs);
    next_word += job.columns * helium::kIndexBytes;
  }
}

// The same for taps anywhere; `column` is the first tap's.
template <int kInputs>
BCNET_INLINE void AddTapsAnywhere(const Job& job, Low* low, int32_t top, int32_t column) {
  const Bconv2dParams& params = *job.params;
  const uint8_t* table = job.tables;
  Pair* pair = job.pairs;
  const int32_t rows = job.plan->index_rows;
  for (int32_t word = 0; word < job.words; ++word) {
    int32_t slot = top % rows;
    for (int32_t r = params.height.filter; r > 0; --r) {
      const uint8_t* index = job.index + (slot * job.index_words * job.columns +
                                          (job.index_word + word) * job.columns + column) *
                                             helium::kIndexBytes;
      for (int32_t c = params.width.filter; c > 0; --c) {
        table = AddBlocks<kInputs, 1>(low, index, table, pair++);
        index += params.width.dilation * helium::kIndexBytes;
      }
      slot += params.height.dilation;
      if (slot >= rows) slot -= rows;
    }
  }
}

// A row of positions of the strip. `pixel` is the place of lane 0's first one, `kept` their
// counters. kSide is 3 or 1 for kernels of 3x3 or 1x1 taps side by side, and 0 for any.
template <int kInputs, int kSide>
BCNET_NOINLINE void Row(const Job& job, int32_t y, int32_t pixel, Vector* kept) {
  const Bconv2dParams& params = *job.params;
  const Bconv2dSink& sink = *job.sink;
  const int32_t count = job.taps * job.words;
  const int32_t top = y * params.height.stride;
  const bool to_bits = job.is_last && sink.kind == Bconv2dSink::kBitpacked;
  // A lane has outputs up to, and without, column `end` of its own.
  const Vector width =
      vqsubq_u32(vdupq_n_u32(static_cast<uint32_t>(params.width.output)), job.first_column);
  const Vector rows_left = vdupq_n_u32(static_cast<uint32_t>(params.height.output - y));
  const Vector end = vpselq_u32(width, vdupq_n_u32(0), vcmphiq_u32(rows_left, job.first_row));
  const Vector places = job.pixels * static_cast<uint32_t>(sink.pixel_size);
  uint32_t* output = static_cast<uint32_t*>(sink.output) + pixel * sink.pixel_size + job.word;
  const uint8_t* rows[3];
  for (int r = 0; r < kSide; ++r) {
    const int32_t slot = (top + r) % job.plan->index_rows;
    rows[r] =
        job.index + (slot * job.index_words + job.index_word) * job.columns * helium::kIndexBytes;
  }
  Low room;
  for (int32_t x = 0; x < job.width; ++x, ++pixel, output += sink.pixel_size) {
    Vector shifted[kMaxDigits + 1];
    Vector outside = vdupq_n_u32(0);
    const Vector* start = job.is_first ? job.start : kept;
    if (params.zero_padding) {
      outside = TapsOutside(job, y, job.first_x + x);
      if (job.is_first && sink.kind == Bconv2dSink::kBitpacked) {
        // Half of the channels of these taps count as mismatches.
        for (int i = 0; i <= job.digits; ++i) shifted[i] = start[i];
        AddNumbers(outside * static_cast<uint32_t>(params.channels_in_group / 2), job.digits + 1,
                   shifted);
        start = shifted;
      }
    }
    Low* const low = Hidden(&room);
    low->left_over = start[0];
    low->twos = start[1];
    low->fours = start[2];
    low->eights = start[3];
    if constexpr (kSide == 0) {
      AddTapsAnywhere<kInputs>(job, low, top, x * job.geometry.x_step);
    } else {
      AddTaps<kInputs, kSide>(job, low, rows);
      for (int r = 0; r < kSide; ++r) rows[r] += job.geometry.x_step * helium::kIndexBytes;
    }
    const mve_pred16_t is_there = vcmphiq_n_u32(end, static_cast<uint32_t>(job.first_x + x));
    if (to_bits) {
      vstrwq_scatter_shifted_offset_p_u32(output, places,
                                          job.finish(job.pairs, count, start, nullptr), is_there);
    } else {
      End(job, count, *low, start, kept, outside, pixel, is_there);
    }
    kept += job.kept_size;
  }
}

// The code for a convolution.
struct Steps {
  void (*build)(const Job&);
  void (*index_row)(const Job&, const uint32_t*, int32_t);
  void (*row)(const Job&, int32_t, int32_t, Vector*);
};
template <int kInputs, int kSide>
constexpr Steps kSteps = {Build<kInputs>, IndexRow<kInputs>, Row<kInputs, kSide>};

template <int kInputs>
const Steps& StepsOf(const Bconv2dParams& params) {
  const int32_t side = params.height.filter;
  if (side != params.width.filter) return kSteps<kInputs, 0>;
  if (side == 1) return kSteps<kInputs, 1>;
  return side == 3 && params.height.dilation == 1 && params.width.dilation == 1
             ? kSteps<kInputs, 3>
             : kSteps<kInputs, 0>;
}

// A part of a strip of an image; `pixel` is the place of the image's first output.
void RunPart(const Job& job, const Steps& steps, const uint32_t* image, int32_t pixel,
             bool indexed) {
  const Bconv2dParams& params = *job.params;
  const Bconv2dSlicedGeometry& geometry = job.geometry;
  Vector* kept = job.kept;
  int32_t next_row = indexed ? job.layout.rows : 0;
  pixel += job.first_x;
  for (int32_t y = 0; y < job.pieces.height; ++y, pixel += params.width.output) {
    const int32_t top = y * params.height.stride;
    if (next_row < top) next_row = top;
    for (; next_row < top + geometry.row_span; ++next_row) steps.index_row(job, image, next_row);
    steps.row(job, y, pixel, kept);
    kept += job.width * job.kept_size;
  }
}

void Run(Job* job, const Steps& steps, const uint32_t* input) {
  const Bconv2dParams& params = *job->params;
  const Bconv2dPlan& plan = *job->plan;
  const Bconv2dSlicedGeometry& geometry = job->geometry;
  const int32_t words = params.words_in_group;
  const bool one_part = plan.part_words >= words;
  const bool keeps_index = job->layout.keeps_index;
  int32_t indexed_group = -1;
  for (job->word = 0; job->word < BitpackedWords(params.channels_out); ++job->word) {
    const int32_t group = job->word * kWordBits / (params.channels_out / params.groups);
    bool built = false;
    job->count = ChannelsOfWord(params, job->word);
    PrepareStart(job);
    const uint32_t* image = input + group * words;
    for (int32_t batch = 0; batch < params.batches; ++batch) {
      for (job->first_x = 0; job->first_x < job->pieces.width; job->first_x += plan.strip) {
        job->width = Clip(job->pieces.width - job->first_x, 1, plan.strip);
        job->columns = (job->width - 1) * geometry.x_step + geometry.column_span;
        for (job->first_word = 0; job->first_word < words; job->first_word += plan.part_words) {
          job->words = Clip(words - job->first_word, 1, plan.part_words);
          job->is_first = job->first_word == 0;
          job->is_last = job->first_word + job->words == words;
          job->index_words = keeps_index ? words : job->words;
          job->index_word = keeps_index ? job->first_word : 0;
          if (!built || !one_part) steps.build(*job);
          built = true;
          RunPart(*job, steps, image, batch * params.height.output * params.width.output,
                  keeps_index && indexed_group == group);
          indexed_group = group;
        }
      }
      image += params.height.input * params.width.input * params.words_in;
    }
  }
}

}  // namespace

void Bconv2dHelium(const Bconv2dParams& params, const Bconv2dPlan& plan, const uint32_t* input,
                   const uint32_t* filter, const Bconv2dSink& sink, void* scratch) {
  Job job = {};
  job.params = &params;
  job.plan = &plan;
  job.sink = &sink;
  job.filter = filter;
  job.pieces = Bconv2dHeliumPiecesOf(params);
  job.geometry = Bconv2dSlicedGeometryOf(params);
  job.taps = params.height.filter * params.width.filter;
  job.digits = Bconv2dSlicedDigits(params);
  job.finish = job.digits == 9 ? Finish<9> : job.digits == 11 ? Finish<11> : Finish<13>;
  for (int i = 0; i < kLanes; ++i) {
    const int32_t row = i / job.pieces.across * job.pieces.height;
    const int32_t column = i % job.pieces.across * job.pieces.width;
    job.first_row[i] = static_cast<uint32_t>(row);
    job.first_column[i] = static_cast<uint32_t>(column);
    job.pixels[i] = static_cast<uint32_t>(row * params.width.output + column);
  }
  job.layout = Bconv2dHeliumLayoutOf(params, plan);
  uint8_t* bytes = static_cast<uint8_t*>(scratch);
  job.tables = bytes;
  job.index = bytes + job.layout.tables;
  job.pairs = reinterpret_cast<Pair*>(bytes + job.layout.tables + job.layout.index);
  job.kept =
      reinterpret_cast<Vector*>(bytes + job.layout.tables + job.layout.index + job.layout.pairs);
  job.kept_size = job.layout.kept == 0 ? 0 : job.digits + 1;
  Run(&job, plan.table_inputs == 5 ? StepsOf<5>(params) : StepsOf<3>(params), input);
}

}  // namespace bcnet

#endif

// What the Helium kernel does with vectors of words: adding and transposing bits. See digits.h.
// What is not inlined is static, so that callers know which registers it leaves alone.
#ifndef TFLM_OPS_KERNELS_BCONV2D_HELIUM_VECTORS_H_
#define TFLM_OPS_KERNELS_BCONV2D_HELIUM_VECTORS_H_

#include <arm_mve.h>

#include <cstdint>

#include "tflm_ops/kernels/bconv2d/bitsliced/digits.h"
#include "tflm_ops/kernels/bconv2d/helium/helium.h"

namespace bcnet {
namespace helium {

using Vector = uint32x4_t;

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
static void AddNumbers(Vector numbers, int count, Vector* digits) {
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

// In assembly, as compilers spill more than must be and leave the core's units idle. Both of the
// following are sliced::TransposeBytes in each lane: pairs of vectors exchange nibbles, then two
// bits, then one. Of the last two, an exchange of n bits between x and y is
// t = (y << n ^ x) & mask; x ^= t; y ^= t >> n;
// with shifts in the unit of multiplications, beside that of integers, which has the most to do.
// The order is one that a search found, as blocks.h says.
// clang-format off

// Transposes bytes in place.
BCNET_INLINE void TransposeBytesInline(Vector w[8]) {
  __asm__ volatile(
      "vmov.i8 q6, #0xcc\n"
      "vldrw.u32 q7, [%[w], #96]\n"
      "vldrw.u32 q3, [%[w], #32]\n"
      "vsli.8 q3, q7, #4\n"
      "vldrw.u32 q2, [%[w], #32]\n"
      "vsri.8 q7, q2, #4\n"
      "vldrw.u32 q4, [%[w], #64]\n"
      "vmul.i32 q2, q7, %[four]\n"
      "vldrw.u32 q1, [%[w], #0]\n"
      "vsli.8 q1, q4, #4\n"
      "vldrw.u32 q0, [%[w], #0]\n"
      "vsri.8 q4, q0, #4\n"
      "veor q2, q2, q4\n"
      "vmul.i32 q0, q3, %[four]\n"
      "vand q2, q2, q6\n"
      "vmov.i32 q5, #0x40000000\n"
      "veor q4, q4, q2\n"
      "vstrw.32 q4, [%[w], #64]\n"
      "veor q4, q0, q1\n"
      "vmulh.u32 q0, q2, q5\n"
      "vldrw.u32 q2, [%[w], #48]\n"
      "veor q7, q7, q0\n"
      "vstrw.32 q7, [%[w], #96]\n"
      "vand q4, q4, q6\n"
      "vmulh.u32 q0, q4, q5\n"
      "vldrw.u32 q7, [%[w], #16]\n"
      "veor q3, q3, q0\n"
      "vldrw.u32 q0, [%[w], #112]\n"
      "veor q1, q1, q4\n"
      "vldrw.u32 q4, [%[w], #80]\n"
      "vsli.8 q2, q0, #4\n"
      "vstrw.32 q3, [%[w], #32]\n"
      "vsli.8 q7, q4, #4\n"
      "vmul.i32 q3, q2, %[four]\n"
      "vstrw.32 q1, [%[w], #0]\n"
      "veor q1, q3, q7\n"
      "vand q1, q1, q6\n"
      "vldrw.u32 q3, [%[w], #48]\n"
      "veor q7, q7, q1\n"
      "vmulh.u32 q1, q1, q5\n"
      "vsri.8 q0, q3, #4\n"
      "vldrw.u32 q3, [%[w], #16]\n"
      "veor q2, q2, q1\n"
      "vmul.i32 q1, q0, %[four]\n"
      "vsri.8 q4, q3, #4\n"
      "veor q1, q1, q4\n"
      "vmul.i32 q3, q7, %[two]\n"
      "vand q1, q1, q6\n"
      "vldrw.u32 q6, [%[w], #0]\n"
      "veor q4, q4, q1\n"
      "vmulh.u32 q1, q1, q5\n"
      "veor q5, q3, q6\n"
      "vmov.i8 q3, #0xaa\n"
      "veor q0, q0, q1\n"
      "vand q5, q5, q3\n"
      "vmov.i32 q1, #0x80000000\n"
      "veor q6, q6, q5\n"
      "vmulh.u32 q5, q5, q1\n"
      "vstrw.32 q6, [%[w], #0]\n"
      "vmul.i32 q6, q2, %[two]\n"
      "veor q7, q7, q5\n"
      "vldrw.u32 q5, [%[w], #32]\n"
      "veor q6, q6, q5\n"
      "vstrw.32 q7, [%[w], #16]\n"
      "vand q7, q6, q3\n"
      "vmulh.u32 q6, q7, q1\n"
      "veor q5, q5, q7\n"
      "vmul.i32 q7, q4, %[two]\n"
      "veor q2, q2, q6\n"
      "vldrw.u32 q6, [%[w], #64]\n"
      "veor q7, q7, q6\n"
      "vstrw.32 q2, [%[w], #48]\n"
      "vand q2, q7, q3\n"
      "vmulh.u32 q7, q2, q1\n"
      "veor q6, q6, q2\n"
      "vstrw.32 q5, [%[w], #32]\n"
      "vmul.i32 q2, q0, %[two]\n"
      "veor q4, q4, q7\n"
      "vldrw.u32 q5, [%[w], #96]\n"
      "veor q2, q2, q5\n"
      "vstrw.32 q4, [%[w], #80]\n"
      "vand q2, q2, q3\n"
      "vmulh.u32 q1, q2, q1\n"
      "vstrw.32 q6, [%[w], #64]\n"
      "veor q7, q0, q1\n"
      "vstrw.32 q7, [%[w], #112]\n"
      "veor q6, q5, q2\n"
      "vstrw.32 q6, [%[w], #96]\n"
      :
      : [w] "r"(w), [two] "r"(2), [four] "r"(4)
      : "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "memory");
}

// Transposes bytes of `w` whose upper halves are 0, so that the vectors behind the first four are not
// there, and writes them as the upper bytes of halfwords whose lower ones are those of `low`. The
// nibbles come last here.
BCNET_INLINE void JoinUpperNibbles(const Vector w[4], const Vector low[8], uint16_t* to) {
  uint16_t* to4 = to + 4 * 16;  // of the fifth vector
  __asm__ volatile(
      "vmov.i8 q6, #0xcc\n"
      "vldrw.u32 q1, [%[w], #32]\n"
      "vmul.i32 q2, q1, %[four]\n"
      "vldrw.u32 q0, [%[w], #0]\n"
      "veor q3, q2, q0\n"
      "vldrw.u32 q2, [%[w], #48]\n"
      "vand q4, q3, q6\n"
      "vmul.i32 q5, q2, %[four]\n"
      "veor q0, q0, q4\n"
      "vldrw.u32 q3, [%[w], #16]\n"
      "veor q7, q5, q3\n"
      "vmov.i32 q5, #0x40000000\n"
      "vand q6, q7, q6\n"
      "vmulh.u32 q4, q4, q5\n"
      "veor q3, q3, q6\n"
      "vmulh.u32 q5, q6, q5\n"
      "veor q1, q1, q4\n"
      "vmul.i32 q4, q3, %[two]\n"
      "veor q2, q2, q5\n"
      "vmul.i32 q6, q2, %[two]\n"
      "veor q4, q4, q0\n"
      "vmov.i8 q5, #0xaa\n"
      "veor q6, q6, q1\n"
      "vand q7, q4, q5\n"
      "vmov.i32 q4, #0x80000000\n"
      "vand q6, q6, q5\n"
      "vmulh.u32 q5, q7, q4\n"
      "veor q7, q0, q7\n"
      "vmov.i8 q0, #0x0f\n"
      "veor q1, q1, q6\n"
      "vmulh.u32 q4, q6, q4\n"
      "veor q3, q3, q5\n"
      "vldrw.u32 q6, [%[low], #64]\n"
      "veor q2, q2, q4\n"
      "vldrw.u32 q4, [%[low], #0]\n"
      "vand q5, q7, q0\n"
      "vst20.8 {q4, q5}, [%[to0]]\n"
      "vshr.u8 q7, q7, #4\n"
      "vst21.8 {q4, q5}, [%[to0]]!\n"
      "vst20.8 {q6, q7}, [%[to4]]\n"
      "vst21.8 {q6, q7}, [%[to4]]!\n"
      "vldrw.u32 q4, [%[low], #16]\n"
      "vand q5, q3, q0\n"
      "vldrw.u32 q6, [%[low], #80]\n"
      "vst20.8 {q4, q5}, [%[to0]]\n"
      "vshr.u8 q7, q3, #4\n"
      "vst21.8 {q4, q5}, [%[to0]]!\n"
      "vst20.8 {q6, q7}, [%[to4]]\n"
      "vst21.8 {q6, q7}, [%[to4]]!\n"
      "vldrw.u32 q6, [%[low], #96]\n"
      "vand q5, q1, q0\n"
      "vldrw.u32 q4, [%[low], #32]\n"
      "vshr.u8 q7, q1, #4\n"
      "vst20.8 {q4, q5}, [%[to0]]\n"
      "vst21.8 {q4, q5}, [%[to0]]!\n"
      "vst20.8 {q6, q7}, [%[to4]]\n"
      "vst21.8 {q6, q7}, [%[to4]]!\n"
      "vldrw.u32 q4, [%[low], #48]\n"
      "vldrw.u32 q6, [%[low], #112]\n"
      "vand q5, q2, q0\n"
      "vst20.8 {q4, q5}, [%[to0]]\n"
      "vst21.8 {q4, q5}, [%[to0]]!\n"
      "vshr.u8 q7, q2, #4\n"
      "vst20.8 {q6, q7}, [%[to4]]\n"
      "vst21.8 {q6, q7}, [%[to4]]!\n"
      : [to0] "+r"(to), [to4] "+r"(to4)
      : [w] "r"(w), [low] "r"(low), [two] "r"(2), [four] "r"(4)
      : "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "memory");
}
// clang-format on

static BCNET_NOINLINE void TransposeBytes(Vector w[8]) { TransposeBytesInline(w); }

}  // namespace helium
}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_BCONV2D_HELIUM_VECTORS_H_

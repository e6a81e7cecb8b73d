#include "tflm_ops/kernels/optimize_for_speed.h"

#include "tflm_ops/kernels/bconv2d/bitsliced/digits.h"

namespace bcnet {
namespace sliced {

#if BCNET_TRANSPOSE_ASSEMBLY

// clang-format off
#define SWAP_BITS(x, y, shift, mask) \
  "eor r3, " #y ", " #x ", lsr #" #shift "\n" \
  "and r3, r3, #" #mask "\n" \
  "eors " #y ", " #y ", r3\n" \
  "eor " #x ", " #x ", r3, lsl #" #shift "\n"

extern "C" BCNET_NAKED void bcnet_transpose_r4_to_r11() {
  __asm__(
      SWAP_BITS(r4, r8, 4, 0x0f0f0f0f)
      SWAP_BITS(r5, r9, 4, 0x0f0f0f0f)
      SWAP_BITS(r6, r10, 4, 0x0f0f0f0f)
      SWAP_BITS(r7, r11, 4, 0x0f0f0f0f)
      SWAP_BITS(r4, r6, 2, 0x33333333)
      SWAP_BITS(r5, r7, 2, 0x33333333)
      SWAP_BITS(r8, r10, 2, 0x33333333)
      SWAP_BITS(r9, r11, 2, 0x33333333)
      SWAP_BITS(r4, r5, 1, 0x55555555)
      SWAP_BITS(r6, r7, 1, 0x55555555)
      SWAP_BITS(r8, r9, 1, 0x55555555)
      SWAP_BITS(r10, r11, 1, 0x55555555)
      "bx lr\n");
}
// clang-format on

#undef SWAP_BITS

BCNET_NAKED void TransposeBytes(uint32_t*, const uint32_t*) {
  __asm__(
      "push {r4-r11, lr}\n"
      "1:\n"
      "ldm r0, {r4-r11}\n"
      "bl bcnet_transpose_r4_to_r11\n"
      "stm r0!, {r4-r11}\n"
      "cmp r0, r1\n"
      "bne 1b\n"
      "pop {r4-r11, pc}\n");
}

#elif BCNET_THUMB1 && BCNET_ASSEMBLY

// clang-format off
// SwapBits by a temporary register t.
#define SWAP_BITS(x, y, shift, mask, t) \
  "lsrs " #t ", " #x ", #" #shift "\n" \
  "eors " #t ", " #y "\n" \
  mask(t) \
  "eors " #y ", " #t "\n" \
  "lsls " #t ", " #t ", #" #shift "\n" \
  "eors " #x ", " #t "\n"
#define BY_R1(t) "ands " #t ", r1\n"
#define BY_R7(t) "ands " #t ", r7\n"
#define LOW_HALF(t) "uxth " #t ", " #t "\n"

// The first two of three stages for words of even or of odd numbers, the first at `place`.
#define TWO_STAGES(place) \
  "ldr r3, [r0, #" #place "]\n" \
  "ldr r4, [r0, #" #place " + 8]\n" \
  "ldr r5, [r0, #" #place " + 16]\n" \
  "ldr r6, [r0, #" #place " + 24]\n" \
  SWAP_BITS(r3, r5, 4, BY_R1, r2) \
  SWAP_BITS(r4, r6, 4, BY_R1, r2) \
  SWAP_BITS(r3, r4, 2, BY_R7, r2) \
  SWAP_BITS(r5, r6, 2, BY_R7, r2)
// The last stage of a word of an even number, which waits in a high register, and the next one.
#define LAST_STAGE(even, odd) \
  "mov r2, " #even "\n" \
  SWAP_BITS(r2, odd, 1, BY_R1, r7) \
  "stmia r0!, {r2, " #odd "}\n"

BCNET_NOINLINE void TransposeBytes(uint32_t* words, const uint32_t* end) {
  if (words == end) return;
  register uint32_t* r0 __asm__("r0") = words;
  register const uint32_t* r1 __asm__("r1") = end;
  register uint32_t r2 __asm__("r2") = 0x0f0f0f0fu;
  __asm__ volatile(
      ".syntax unified\n"
      "push {r7}\n"
      "mov lr, r1\n"
      "mov r12, r2\n"
      "1:\n"
      "mov r1, r12\n"
      "lsls r7, r1, #2\n"
      "eors r7, r1\n"  // 0x33333333
      TWO_STAGES(0)
      "mov r8, r3\n"
      "mov r9, r4\n"
      "mov r10, r5\n"
      "mov r11, r6\n"
      TWO_STAGES(4)
      "lsls r1, r7, #1\n"
      "eors r1, r7\n"  // 0x55555555
      LAST_STAGE(r8, r3)
      LAST_STAGE(r9, r4)
      LAST_STAGE(r10, r5)
      LAST_STAGE(r11, r6)
      "cmp r0, lr\n"
      "beq 2f\n"
      "b 1b\n"
      "2:\n"
      "pop {r7}\n"
      : "+r"(r0), "+r"(r1), "+r"(r2)
      :
      : "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "r12", "lr", "cc", "memory");
}

BCNET_NOINLINE void GatherBytes(const Rows& rows, uint32_t w[32]) {
  register const uint32_t* r0 __asm__("r0") = rows.first;
  register uint32_t* r1 __asm__("r1") = w;
  register uint32_t r2 __asm__("r2") = static_cast<uint32_t>(rows.step) * sizeof(uint32_t);
  register uint32_t r3 __asm__("r3") = static_cast<uint32_t>(rows.byte_step) * sizeof(uint32_t);
  register uint32_t r4 __asm__("r4") = 0x00ff00ffu;
  __asm__ volatile(
      ".syntax unified\n"
      "push {r7}\n"
      "mov r7, r4\n"
      "mov r8, r2\n"
      "mov r9, r3\n"
      "mov r2, r1\n"
      "adds r2, #32\n"
      "mov r10, r2\n"
      "1:\n"
      "mov r2, r0\n"
      "ldr r3, [r2]\n"
      "add r2, r9\n"
      "ldr r4, [r2]\n"
      "add r2, r9\n"
      "ldr r5, [r2]\n"
      "add r2, r9\n"
      "ldr r6, [r2]\n"
      "add r0, r8\n"
      SWAP_BITS(r3, r5, 16, LOW_HALF, r2)
      SWAP_BITS(r4, r6, 16, LOW_HALF, r2)
      SWAP_BITS(r3, r4, 8, BY_R7, r2)
      SWAP_BITS(r5, r6, 8, BY_R7, r2)
      "str r4, [r1, #32]\n"
      "str r5, [r1, #64]\n"
      "str r6, [r1, #96]\n"
      "stmia r1!, {r3}\n"
      "cmp r1, r10\n"
      "bne 1b\n"
      "pop {r7}\n"
      : "+r"(r0), "+r"(r1), "+r"(r2), "+r"(r3), "+r"(r4)
      :
      : "r5", "r6", "r8", "r9", "r10", "cc", "memory");
}
// clang-format on

#undef LAST_STAGE
#undef TWO_STAGES
#undef LOW_HALF
#undef BY_R7
#undef BY_R1
#undef SWAP_BITS

#else

BCNET_NOINLINE void TransposeBytes(uint32_t* words, const uint32_t* end) {
  for (; words != end; words += 8) {
    uint32_t w[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) w[i] = words[i];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) SwapBits(&w[i], &w[i + 4], 4, 0x0f0f0f0fu);
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
      SwapBits(&w[i], &w[i + 2], 2, 0x33333333u);
      SwapBits(&w[i + 1], &w[i + 3], 2, 0x33333333u);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) SwapBits(&w[i], &w[i + 1], 1, 0x55555555u);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) words[i] = w[i];
  }
}

#endif

#if !BCNET_THUMB1 || !BCNET_ASSEMBLY

BCNET_NOINLINE void GatherBytes(const Rows& rows, uint32_t w[32]) {
  const uint32_t* row = rows.first;
  const int32_t step = rows.step, byte_step = rows.byte_step;
#pragma GCC unroll 1
  for (int i = 0; i < 8; ++i) {
    uint32_t a = row[0], b = row[byte_step], c = row[2 * byte_step], d = row[3 * byte_step];
    row += step;
    SwapHalves(&a, &c);
    SwapHalves(&b, &d);
    SwapBits(&a, &b, 8, 0x00ff00ffu);
    SwapBits(&c, &d, 8, 0x00ff00ffu);
    w[i] = a;
    w[i + 8] = b;
    w[i + 16] = c;
    w[i + 24] = d;
  }
}

#endif

}  // namespace sliced
}  // namespace bcnet

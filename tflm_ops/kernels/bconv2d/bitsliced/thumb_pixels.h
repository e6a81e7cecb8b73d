// A pixel of the sliced kernel on a Cortex-M0+, from its table indices to its highest digit. In
// assembly: most of its instructions take eight of the registers only and write the result over an
// input, and compilers spend half of a block on moving values. A load takes two cycles, one of n
// words 1 + n.
#ifndef TFLM_OPS_KERNELS_BCONV2D_BITSLICED_THUMB_PIXELS_H_
#define TFLM_OPS_KERNELS_BCONV2D_BITSLICED_THUMB_PIXELS_H_

#include <cstdint>

#include "tflm_ops/kernels/bconv2d/bitsliced/pixels.h"
#include "tflm_ops/kernels/fast_code.h"

#if BCNET_THUMB1 && BCNET_PIXELS_ASSEMBLY

namespace bcnet {
namespace sliced {

// FIRST and SECOND add the pairs (x, xp) and (y, yp) to the digit z; the carries come in x and y.
// Between them x and z wait in two registers, where pair and digit would take three. PAIR adds one
// pair; the carry comes in x. DIGIT adds x; the carry comes in carry.
// clang-format off
#define FIRST(z, x, xp) \
  "eors " #x ", " #z "\n" \
  "orrs " #x ", " #xp "\n" \
  "eors " #z ", " #xp "\n"
#define SECOND(z, x, y, yp) \
  "eors " #y ", " #z "\n" \
  "bics " #y ", " #yp "\n" \
  "eors " #y ", " #x "\n" \
  "eors " #x ", " #z "\n" \
  "eors " #z ", " #yp "\n"
#define PAIR(z, x, xp) \
  FIRST(z, x, xp) \
  "eors " #x ", " #z "\n"
#define DIGIT(z, x, carry) \
  "mov " #carry ", " #x "\n" \
  "ands " #carry ", " #z "\n" \
  "eors " #z ", " #x "\n"

// The entry at xp: of a tap, and of a single one, whose two words a load of several takes in three
// cycles in place of four.
#define TAP(tap, x, xp) \
  "ldr " #x ", [" #xp ", #8 * " #tap "]\n" \
  "ldr " #xp ", [" #xp ", #8 * " #tap " + 4]\n"
#define SINGLE(tap, x, xp) \
  "ldmia " #xp ", {" #x ", " #xp "}\n"
// A quarter adds two entries to the digit of weight 2, a block all of a tap to three digits.
// r5: the digit of weight 2, r6: of weight 4, r7: the table indices, r8: the parity of the bits
// before, as in Index, r9: the digit of weight 8, r10: where the pair goes, r11: the x that waits
// with r9.
#define QUARTER(entry, tap, x, xp, y, yp) \
  entry(tap, x, xp) \
  entry(tap, y, yp) \
  FIRST(r5, x, xp) \
  SECOND(r5, x, y, yp)
#define BLOCK(entry, tap) \
  "ldmia r7!, {r1, r2, r3}\n" \
  "mov r0, r8\n" \
  "eors r0, r1\n" \
  "mov r8, r0\n" \
  QUARTER(entry, tap, r0, r2, r1, r3) \
  FIRST(r6, r0, r1) \
  "ldmia r7!, {r2, r4}\n" \
  QUARTER(entry, tap, r1, r2, r3, r4) \
  SECOND(r6, r0, r1, r3) \
  "mov r2, r9\n" \
  FIRST(r2, r0, r1) \
  "mov r9, r2\n" \
  "mov r11, r0\n" \
  "ldmia r7!, {r2, r4}\n" \
  QUARTER(entry, tap, r1, r2, r3, r4) \
  FIRST(r6, r1, r3) \
  "ldmia r7!, {r3, r4}\n" \
  "add r4, r8\n" \
  QUARTER(entry, tap, r2, r3, r0, r4) \
  SECOND(r6, r1, r2, r0) \
  "mov r0, r11\n" \
  "mov r3, r9\n" \
  SECOND(r3, r0, r1, r2) \
  "mov r9, r3\n" \
  "mov r2, r10\n" \
  "stmia r2!, {r0, r1}\n" \
  "mov r10, r2\n"

// BEGIN begins a pixel, by the Pixels in r0, of which it leaves `start` there. END ends it by the
// PixelEnd in r0. NEXT moves on where the highest digits have a place to go, from the first row of
// taps in r1.
#define BEGIN \
  "0:\n" \
  "adds r0, #12\n" \
  "ldmia r0!, {r1, r2, r3, r4}\n" \
  "mov r12, r1\n" \
  "mov r10, r3\n" \
  "mov lr, r4\n" \
  "ldr r1, [r0]\n" \
  "ldmia r1!, {r4, r5, r6, r7}\n" \
  "mov r8, r4\n" \
  "mov r9, r7\n"
#define END \
  "ldr r4, [r0, #12]\n" \
  "cmp r4, #0\n" \
  "beq 3f\n" \
  "mov r3, r8\n" \
  "mov r7, r9\n" \
  "stmia r4!, {r3, r5, r6, r7}\n" \
  "3:\n" \
  "bl bcnet_finish\n"
#define NEXT \
  "mov r3, r4\n" \
  "adds r3, #40\n" \
  "ldmia r3!, {r2, r5, r6, r7}\n" \
  "ldr r3, [r4, #28]\n" \
  "adds r3, r2\n" \
  "str r3, [r4, #28]\n" \
  "cmp r5, #0\n" \
  "beq 4f\n" \
  "str r0, [r5]\n" \
  "adds r5, r6\n" \
  "str r5, [r4, #44]\n" \
  "mov r0, r4\n" \
  "cmp r1, r7\n" \
  "beq 4f\n" \
  "b 0b\n" \
  "4:\n"
// clang-format on

#define CLOBBERS \
  "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "r12", "lr", "cc", "memory"

// Adds the blocks of pixels whose 3x3 or 1x1 taps all count and lie side by side, channel word by
// channel word, and what they leave. Does all pixels where the highest digits have a place to go,
// else one.
template <int kSide>
BCNET_INLINE void AddPixels(Pixels* pixels) {
  // The stack has r7, which compilers may not let go of, `pixels`, and the rows of 3x3 taps.
  register uint32_t r0 __asm__("r0") = reinterpret_cast<uint32_t>(pixels);
  if (kSide == 1) {
    __asm__ volatile(
        ".syntax unified\n"
        "push {r0, r7}\n"  //
        BEGIN              //
        "mov r1, r12\n"
        "subs r1, #36\n"
        "mov r12, r1\n"
        "subs r0, #28\n"
        "ldr r7, [r0]\n"
        "1:\n"            //
        BLOCK(SINGLE, 0)  //
        "add r7, r12\n"
        "cmp r10, lr\n"
        "bne 1b\n"
        "ldr r0, [sp]\n"
        "ldr r1, [r0, #16]\n"
        "adds r7, r1\n"
        "str r7, [r0]\n"
        "adds r0, #20\n"  //
        END               //
        "ldr r4, [sp]\n"
        "ldr r1, [r4]\n"  //
        NEXT              //
        "pop {r0, r7}\n"
        : "+r"(r0)
        :
        : CLOBBERS);
  } else {
    __asm__ volatile(
        ".syntax unified\n"
        "push {r0, r7}\n"
        "ldr r1, [r0]\n"
        "ldr r2, [r0, #4]\n"
        "ldr r3, [r0, #8]\n"
        "push {r1, r2, r3}\n"                         //
        BEGIN                                         //
        "1:\n"                                        //
        "ldr r7, [sp]\n"                              //
        BLOCK(SINGLE, 0) BLOCK(TAP, 1) BLOCK(TAP, 2)  //
        "ldr r7, [sp, #4]\n"                          //
        BLOCK(TAP, 3) BLOCK(TAP, 4) BLOCK(TAP, 5)     //
        "ldr r7, [sp, #8]\n"                          //
        BLOCK(TAP, 6) BLOCK(TAP, 7) BLOCK(TAP, 8)     //
        "cmp r10, lr\n"
        "beq 2f\n"
        "pop {r1, r2, r3}\n"
        "add r1, r12\n"
        "add r2, r12\n"
        "add r3, r12\n"
        "push {r1, r2, r3}\n"
        "b 1b\n"
        "2:\n"
        "ldr r0, [sp, #12]\n"
        "adds r0, #20\n"  //
        END               //
        "pop {r1, r2, r3}\n"
        "ldr r4, [sp]\n"
        "ldr r7, [r4, #16]\n"
        "adds r1, r7\n"
        "adds r2, r7\n"
        "adds r3, r7\n"
        "push {r1, r2, r3}\n"  //
        NEXT                   //
        "pop {r1, r2, r3}\n"
        "pop {r0, r7}\n"
        "stmia r0!, {r1, r2, r3}\n"
        : "+r"(r0)
        :
        : CLOBBERS);
  }
}

#undef NEXT
#undef END
#undef BEGIN
#undef BLOCK
#undef QUARTER
#undef SINGLE
#undef TAP

// clang-format off
// Adds four pairs, or eight: the carries of the first and the second four come in (r1, r3) and
// (r2, r6), of all four pairs in (r1, r2).
#define FOUR_PAIRS \
  "ldmia r0!, {r1, r2, r3, r6}\n" \
  FIRST(r4, r1, r2) \
  SECOND(r4, r1, r3, r6) \
  FIRST(r5, r1, r3) \
  "ldmia r0!, {r2, r3, r6, r7}\n" \
  FIRST(r4, r2, r3) \
  SECOND(r4, r2, r6, r7) \
  SECOND(r5, r1, r2, r6)
// Adds the carry in r1 to the digits in r9 and r10, and puts what that leaves to the other carries.
#define CARRY_TO_R9 \
  "mov r3, r9\n" \
  DIGIT(r3, r1, r2) \
  "mov r9, r3\n" \
  CARRY_TO_R10(r2, r1)
#define CARRY_TO_R10(x, carry) \
  "mov r3, r10\n" \
  DIGIT(r3, x, carry) \
  "mov r10, r3\n" \
  PUT_CARRY(carry)
#define PUT_CARRY(carry) \
  "mov r3, r12\n" \
  "stmia r3!, {" #carry "}\n" \
  "mov r12, r3\n"
// The next two carries as a pair.
#define NEXT_CARRIES(x, xp) \
  "ldmia r0!, {" #x ", " #xp "}\n" \
  "eors " #xp ", " #x "\n"
// Adds them to the digits in r4 to r6; the carry comes in r1.
#define THREE_DIGITS \
  NEXT_CARRIES(r1, r3) \
  PAIR(r4, r1, r3) \
  DIGIT(r5, r1, r3) \
  DIGIT(r6, r3, r1)

// Adds what blocks left to the digits from kBlockDigits on, by a PixelEnd in r0; the highest digit
// comes in r0. Pairs are summed in groups of eight, four, two and one by the digits r4, r5, r9 and
// r10, and leave a carry each, which are added two at a time to the others. r8: where the last
// group of eight may begin, r12: the end of the carries, lr: of the pairs. Takes all registers; it
// is for assembly to call, which link-time optimisation does not see.
extern "C" __attribute__((used)) BCNET_FAST BCNET_NAKED void bcnet_finish() {
  __asm__(
      ".syntax unified\n"
      "push {r0, lr}\n"
      "ldmia r0!, {r1, r2, r3}\n"
      "mov lr, r2\n"
      "mov r0, r1\n"
      "mov r12, r1\n"
      "subs r2, #64\n"
      "mov r8, r2\n"
      "adds r3, #16\n"
      "ldmia r3!, {r4, r5, r6, r7}\n"
      "mov r9, r6\n"
      "mov r10, r7\n"
      "cmp r0, r2\n"
      "bhi 4f\n"
      "8:\n"
      FOUR_PAIRS
      "mov r3, r9\n"
      FIRST(r3, r1, r2)
      "mov r9, r3\n"
      "mov r11, r1\n"
      FOUR_PAIRS
      "mov r3, r9\n"
      "mov r6, r11\n"
      SECOND(r3, r6, r1, r2)
      "mov r9, r3\n"
      "mov r3, r10\n"
      PAIR(r3, r6, r1)
      "mov r10, r3\n"
      PUT_CARRY(r6)
      "cmp r0, r8\n"
      "bls 8b\n"
      "4:\n"
      "mov r1, lr\n"
      "subs r1, r0\n"
      "beq 5f\n"
      "lsls r1, r1, #27\n"
      "bcc 3f\n"
      "mov r11, r1\n"
      FOUR_PAIRS
      "mov r3, r9\n"
      PAIR(r3, r1, r2)
      "mov r9, r3\n"
      CARRY_TO_R10(r1, r2)
      "mov r1, r11\n"
      "cmp r1, #0\n"
      "beq 5f\n"
      "3:\n"
      "bpl 1f\n"
      "mov r11, r1\n"
      "ldmia r0!, {r1, r2, r3, r6}\n"
      FIRST(r4, r1, r2)
      SECOND(r4, r1, r3, r6)
      PAIR(r5, r1, r3)
      CARRY_TO_R9
      "mov r1, r11\n"
      "lsls r1, r1, #1\n"
      "beq 5f\n"
      "1:\n"
      "ldmia r0!, {r2, r3}\n"
      PAIR(r4, r2, r3)
      DIGIT(r5, r2, r1)
      CARRY_TO_R9
      "5:\n"
      "mov r2, r12\n"
      "movs r1, #0\n"
      "str r1, [r2]\n"  // where there is an odd number of carries
      "ldr r3, [sp]\n"
      "ldmia r3, {r0, r1, r3, r6, r7}\n"
      "mov r1, r6\n"
      "cmp r1, #0\n"
      "beq 6f\n"
      "adds r1, #16\n"
      "mov r8, r7\n"
      "mov r6, r9\n"
      "mov r7, r10\n"
      "stmia r1!, {r4, r5, r6, r7}\n"
      "mov r7, r8\n"
      "6:\n"
      "adds r3, #32\n"
      "cmp r7, #9\n"
      "bne 7f\n"
      "ldmia r3!, {r4, r5}\n"
      "9:\n"
      NEXT_CARRIES(r6, r7)
      PAIR(r4, r6, r7)
      "orrs r5, r6\n"
      "cmp r0, r2\n"
      "blo 9b\n"
      "cmp r1, #0\n"
      "beq 6f\n"
      "stmia r1!, {r4, r5}\n"
      "6:\n"
      "mov r0, r5\n"
      "pop {r1, pc}\n"
      "7:\n"
      "mov r8, r1\n"
      "cmp r7, #11\n"
      "ldmia r3!, {r4, r5, r6, r7}\n"
      "bne 7f\n"
      "9:\n"
      THREE_DIGITS
      "orrs r7, r1\n"
      "cmp r0, r2\n"
      "blo 9b\n"
      "mov r1, r8\n"
      "cmp r1, #0\n"
      "beq 6f\n"
      "stmia r1!, {r4, r5, r6, r7}\n"
      "6:\n"
      "mov r0, r7\n"
      "pop {r1, pc}\n"
      "7:\n"
      "ldmia r3, {r1, r3}\n"
      "mov r9, r1\n"
      "mov r10, r3\n"
      "mov r11, r2\n"
      "9:\n"
      THREE_DIGITS
      DIGIT(r7, r1, r3)
      "mov r2, r9\n"
      DIGIT(r2, r3, r1)
      "mov r9, r2\n"
      "mov r2, r10\n"
      "orrs r2, r1\n"
      "mov r10, r2\n"
      "cmp r0, r11\n"
      "blo 9b\n"
      "mov r1, r8\n"
      "cmp r1, #0\n"
      "beq 6f\n"
      "stmia r1!, {r4, r5, r6, r7}\n"
      "mov r3, r9\n"
      "str r3, [r1]\n"
      "str r2, [r1, #4]\n"
      "6:\n"
      "mov r0, r2\n"
      "pop {r1, pc}\n");
}
// clang-format on

// Adds what blocks left; returns the highest digit.
static BCNET_NOINLINE uint32_t Finish(PixelEnd* end) {
  register uint32_t r0 __asm__("r0") = reinterpret_cast<uint32_t>(end);
  __asm__ volatile(
      ".syntax unified\n"
      "push {r7}\n"
      "bl bcnet_finish\n"
      "pop {r7}\n"
      : "+r"(r0)
      :
      : CLOBBERS);
  return r0;
}

#undef THREE_DIGITS
#undef NEXT_CARRIES
#undef PUT_CARRY
#undef CARRY_TO_R10
#undef CARRY_TO_R9
#undef FOUR_PAIRS
#undef CLOBBERS
#undef DIGIT
#undef PAIR
#undef SECOND
#undef FIRST

}  // namespace sliced
}  // namespace bcnet

#endif  // BCNET_THUMB1 && BCNET_PIXELS_ASSEMBLY

#endif  // TFLM_OPS_KERNELS_BCONV2D_BITSLICED_THUMB_PIXELS_H_

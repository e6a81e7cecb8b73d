// A pixel of the sliced kernel on cores with Thumb-2, from its table indices to its highest digit.
// In assembly for the order of its loads: on Cortex-M3 and M4 one behind another takes a cycle, one
// by itself two and LDRD three. All loads of a block stand in three chains, as long as the
// registers allow, which compilers do not find.
#ifndef TFLM_OPS_KERNELS_BCONV2D_BITSLICED_WIDE_THUMB_H_
#define TFLM_OPS_KERNELS_BCONV2D_BITSLICED_WIDE_THUMB_H_

#include <cstdint>

#include "tflm_ops/kernels/bconv2d/bitsliced/pixels.h"
#include "tflm_ops/kernels/fast_code.h"

#if BCNET_PIXELS_ASSEMBLY && !BCNET_THUMB1

namespace bcnet {
namespace sliced {

// FIRST and SECOND add the pairs (x, xp) and (y, yp) to the digit z; the carries come in x and y.
// Between them x and z wait in two registers, where pair and digit would take three. PAIR adds one
// pair; the carry comes in x. DIGIT adds x; the carry comes in carry.
// clang-format off
#define FIRST(z, x, xp) \
  "eors " #x ", " #x ", " #z "\n" \
  "eors " #z ", " #z ", " #xp "\n" \
  "orrs " #x ", " #x ", " #xp "\n"
#define SECOND(z, x, y, yp) \
  "eors " #y ", " #y ", " #z "\n" \
  "bics " #y ", " #y ", " #yp "\n" \
  "eors " #y ", " #y ", " #x "\n" \
  "eors " #x ", " #x ", " #z "\n" \
  "eors " #z ", " #z ", " #yp "\n"
#define PAIR(z, x, xp) \
  FIRST(z, x, xp) \
  "eors " #x ", " #x ", " #z "\n"
#define DIGIT(z, x, carry) \
  "and " #carry ", " #x ", " #z "\n" \
  "eors " #z ", " #z ", " #x "\n"

// BLOCK adds a block. r6: the digit of weight 2, r8: of weight 4, r10: of weight 8, r7: the table
// indices of a row of taps, r11: the parity of the bits before, as in Index, r12: where the pairs
// go.
// Cores may pipeline a load of four bytes at addresses divisible by four only: a block begins at
// one and takes a multiple of four bytes, the first chain has a load of four bytes more than it
// needs, and the others begin where those of theirs lie well.
#define INDEX(ldr, column, word, x) \
  #ldr " " #x ", [r7, #36 * " #column " + 4 * " #word "]\n"
#define ENTRY(ldr, tap, from, x, xp) \
  #ldr " " #xp ", [" #from ", #8 * " #tap " + 4]\n" \
  #ldr " " #x ", [" #from ", #8 * " #tap "]\n"
#define BLOCK(tap, column, last_loads, last_store) \
  INDEX(ldr.w, column, 4, lr) \
  INDEX(ldr.w, column, 1, r0) \
  INDEX(ldr, column, 2, r1) \
  INDEX(ldr, column, 3, r2) \
  ENTRY(ldr, tap, r0, r0, r3) \
  ENTRY(ldr, tap, r1, r1, r4) \
  ENTRY(ldr, tap, r2, r2, r5) \
  ENTRY(ldr.w, tap, lr, lr, r9) \
  FIRST(r6, r0, r3) \
  SECOND(r6, r0, r1, r4) \
  FIRST(r6, r2, r5) \
  SECOND(r6, r2, lr, r9) \
  FIRST(r8, r0, r1) \
  SECOND(r8, r0, r2, lr) \
  FIRST(r10, r0, r2) \
  INDEX(ldr, column, 5, r1) \
  INDEX(ldr.w, column, 8, r9) \
  INDEX(ldr.w, column, 7, lr) \
  INDEX(ldr, column, 0, r5) \
  INDEX(ldr, column, 6, r2) \
  ENTRY(ldr, tap, r1, r1, r3) \
  ENTRY(ldr, tap, r2, r2, r4) \
  "eor r11, r11, r5\n" \
  "add r9, r11\n" \
  FIRST(r6, r1, r3) \
  SECOND(r6, r1, r2, r4) \
  FIRST(r8, r1, r2) \
  ENTRY(ldr.w, tap, lr, r2, r4) \
  ENTRY(ldr.w, tap, r9, r3, r5) \
  last_loads \
  FIRST(r6, r2, r4) \
  SECOND(r6, r2, r3, r5) \
  SECOND(r8, r1, r2, r3) \
  "eors r1, r1, r10\n" \
  "bics r1, r1, r2\n" \
  "eors r1, r1, r0\n" \
  "str.w r1, [r12, #8 * " #tap " + 4]\n" \
  "eors r0, r0, r10\n" \
  last_store \
  "eor r10, r10, r2\n"

// BEGIN begins a pixel, by the Pixels in r0, END ends it. MOVE loads what moving on to the
// next pixel needs. NEXT moves on where the highest digits have a place to go, with the row in r7.
#define BEGIN \
  "0:\n" \
  "ldr lr, [r0, #28]\n" \
  "ldr r12, [r0, #20]\n" \
  "ldr r11, [lr]\n" \
  "ldr r6, [lr, #4]\n" \
  "ldr r8, [lr, #8]\n" \
  "ldr r10, [lr, #12]\n" \
  ".balign 4\n" \
  "1:\n"
#define END \
  "ldm r0, {r1, r2, r3, r4}\n" \
  "cbz r4, 3f\n" \
  "str r11, [r4]\n" \
  "str r6, [r4, #4]\n" \
  "str r8, [r4, #8]\n" \
  "str r10, [r4, #12]\n" \
  "3:\n" \
  "bl bcnet_finish\n"
#define MOVE \
  "ldr r5, [r4, #28]\n" \
  "ldr r6, [r4, #44]\n" \
  "ldr r8, [r4, #40]\n" \
  "ldr r9, [r4, #48]\n" \
  "ldr r10, [r4, #52]\n" \
  "add r5, r5, r8\n" \
  "str r5, [r4, #28]\n"
#define NEXT \
  "cbz r6, 4f\n" \
  "str r0, [r6]\n" \
  "add r6, r6, r9\n" \
  "str r6, [r4, #44]\n" \
  "mov r0, r4\n" \
  "cmp r7, r10\n" \
  "bne 0b\n" \
  "4:\n"
// clang-format on

#define CLOBBERS \
  "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "r12", "lr", "cc", "memory"

// Adds the blocks of pixels whose 3x3 or 1x1 taps all count and lie side by side, channel word by
// channel word, and what they leave. Does all pixels where the highest digits have a place to go,
// else one, and returns its highest digit.
template <int kSide>
BCNET_INLINE uint32_t AddPixels(Pixels* pixels) {
  register uint32_t r0 __asm__("r0") = reinterpret_cast<uint32_t>(pixels);
  // The stack has what the loop needs, without the rows for one tap, and r7, which compilers may
  // not let go of.
  if (kSide == 1) {
    __asm__ volatile(
        ".syntax unified\n"
        "ldr r1, [r0, #24]\n"
        "ldr r2, [r0, #12]\n"
        "ldr r3, [r0]\n"
        "push {r0, r1, r2, r7}\n"
        "mov r7, r3\n"  //
        BEGIN           //
        BLOCK(0, 0,
              "ldr.w lr, [sp, #8]\n"
              "ldr.w r9, [sp, #4]\n",
              "str r0, [r12], #8\n")
        "add r7, lr\n"
        "cmp r12, r9\n"
        "bne 1b\n"
        "ldr r0, [sp]\n"
        "str r7, [r0], #20\n"  //
        END               //
        "ldr r4, [sp]\n"
        "ldr r1, [r4, #16]\n"
        "ldr r7, [r4]\n"  //
        MOVE              //
        "add r7, r7, r1\n"
        NEXT  //
        "str r7, [r4]\n"
        "ldr r7, [sp, #12]\n"
        "add sp, sp, #16\n"
        : "+r"(r0)
        :
        : CLOBBERS);
  } else {
#define TAP(tap, column, last_loads) \
  BLOCK(tap, column, last_loads, "str.w r0, [r12, #8 * " #tap "]\n")
    __asm__ volatile(
        ".syntax unified\n"
        "ldm r0, {r1, r2, r3, r4}\n"
        "ldr r5, [r0, #24]\n"
        "mov r6, r0\n"
        "push {r1, r2, r3, r4, r5, r6, r7}\n"
        "mov r7, r1\n"                                                     //
        BEGIN                                                              //
            TAP(0, 0, "") TAP(1, 1, "") TAP(2, 2, "ldr.w r7, [sp, #4]\n")  //
        TAP(3, 0, "") TAP(4, 1, "") TAP(5, 2, "ldr.w r7, [sp, #8]\n")      //
        TAP(6, 0, "") TAP(7, 1, "") TAP(8, 2, "ldr.w r9, [sp, #16]\n")     //
        "add r12, r12, #72\n"
        "cmp r12, r9\n"
        "beq 2f\n"
        "ldm sp, {r0, r1, r2, r3}\n"
        "add r0, r0, r3\n"
        "add r1, r1, r3\n"
        "add r2, r2, r3\n"
        "stm sp, {r0, r1, r2}\n"
        "mov r7, r0\n"
        "b 1b\n"
        "2:\n"
        "ldr r0, [sp, #20]\n"
        "adds r0, #20\n"  //
        END               //
        "ldr r4, [sp, #20]\n"
        "ldr r7, [r4, #16]\n"  //
        MOVE                   //
        "ldm sp, {r1, r2, r3}\n"
        "add r1, r1, r7\n"
        "add r2, r2, r7\n"
        "add r3, r3, r7\n"
        "stm sp, {r1, r2, r3}\n"
        "mov r7, r1\n"  //
        NEXT            //
        "stm r4, {r1, r2, r3}\n"
        "ldr r7, [sp, #24]\n"
        "add sp, sp, #28\n"
        : "+r"(r0)
        :
        : CLOBBERS);
#undef TAP
  }
  return r0;
}

#undef NEXT
#undef MOVE
#undef END
#undef BEGIN
#undef BLOCK
#undef ENTRY
#undef INDEX

// clang-format off
// Puts the carry of a group of pairs to the others; then r1 are the bytes of the pairs left, which
// flags compare with 0, and r2 is the end of the carries.
#define PUT_CARRY(carry) \
  "ldr r2, [sp, #4]\n" \
  "ldr r3, [sp, #8]\n" \
  "str " #carry ", [r2], #4\n" \
  "str r2, [sp, #4]\n" \
  "subs r1, r3, r0\n"
// The next two carries as a pair.
#define NEXT_CARRIES(x, xp) \
  "ldm r3!, {" #x ", " #xp "}\n" \
  "eors " #xp ", " #xp ", " #x "\n"

// Adds what blocks left to the digits from kBlockDigits on, by a PixelEnd in r0 and its first
// three members in r1 to r3; the highest digit comes in r0. Pairs are summed in groups of eight, four, two and one by the digits r7, r10,
// r11 and r12, and leave a carry each, which are added two at a time to the others. On the stack:
// the PixelEnd, the end of the carries and pairs_end. Takes all registers; it is for assembly
// to call, which link-time optimisation does not see.
extern "C" __attribute__((used)) BCNET_FAST BCNET_NAKED void bcnet_finish() {
  __asm__(
      ".syntax unified\n"
      "push {r0, r1, r2, lr}\n"
      "mov r0, r1\n"
      "adds r3, #16\n"
      "ldm r3, {r7, r10, r11, r12}\n"
      "subs r1, r2, r0\n"
      "cmp r1, #32\n"
      "blo 4f\n"
      "8:\n"
      "mov lr, r1\n"
      "ldm r0!, {r1, r2, r3, r4, r5, r6, r8, r9}\n"
      FIRST(r7, r1, r2)
      SECOND(r7, r1, r3, r4)
      FIRST(r7, r5, r6)
      SECOND(r7, r5, r8, r9)
      FIRST(r10, r1, r3)
      SECOND(r10, r1, r5, r8)
      FIRST(r11, r1, r5)
      "cmp lr, #64\n"
      "blo 3f\n"
      "ldm r0!, {r2, r3, r4, r5, r6, r8, r9, lr}\n"
      FIRST(r7, r2, r3)
      SECOND(r7, r2, r4, r5)
      FIRST(r7, r6, r8)
      SECOND(r7, r6, r9, lr)
      FIRST(r10, r2, r4)
      SECOND(r10, r2, r6, r9)
      SECOND(r11, r1, r2, r6)
      PAIR(r12, r1, r2)
      PUT_CARRY(r1)
      "cmp r1, #32\n"
      "bhs 8b\n"
      "4:\n"
      "cmp r1, #16\n"
      "blo 1f\n"
      "ldm r0!, {r1, r2, r3, r4}\n"
      FIRST(r7, r1, r2)
      SECOND(r7, r1, r3, r4)
      PAIR(r10, r1, r3)
      DIGIT(r11, r1, r2)
      DIGIT(r12, r2, r1)
      PUT_CARRY(r1)
      "1:\n"
      "cbz r1, 5f\n"
      "ldm r0!, {r1, r2}\n"
      PAIR(r7, r1, r2)
      DIGIT(r10, r1, r2)
      DIGIT(r11, r2, r3)
      DIGIT(r12, r3, r1)
      PUT_CARRY(r1)
      "5:\n"
      "str r1, [r2]\n"  // 0, where there is an odd number of carries
      "ldr r4, [sp]\n"
      "ldr r3, [r4]\n"
      "ldr r1, [r4, #8]\n"
      "ldr r5, [r4, #16]\n"
      "ldr r4, [r4, #12]\n"
      "cmp r5, #9\n"
      "bne 7f\n"
      "ldr r5, [r1, #32]\n"
      "ldr r0, [r1, #36]\n"
      "9:\n"
      NEXT_CARRIES(r8, r9)
      PAIR(r5, r8, r9)
      "orrs r0, r0, r8\n"
      "cmp r3, r2\n"
      "blo 9b\n"
      "cbz r4, 0f\n"
      "adds r4, #16\n"
      "stm r4!, {r7, r10, r11, r12}\n"
      "strd r5, r0, [r4]\n"
      "0:\n"
      "add sp, sp, #12\n"
      "pop {pc}\n"
      "7:\n"
      "cbz r4, 6f\n"
      "adds r4, #16\n"
      "stm r4!, {r7, r10, r11, r12}\n"
      "6:\n"
      "cmp r5, #11\n"
      "ldr r5, [r1, #32]\n"
      "ldr r6, [r1, #36]\n"
      "ldr r9, [r1, #40]\n"
      "ldr r10, [r1, #44]\n"
      "bne 7f\n"
      "9:\n"
      NEXT_CARRIES(r7, r8)
      PAIR(r5, r7, r8)
      DIGIT(r6, r7, r8)
      DIGIT(r9, r8, r7)
      "orr r10, r10, r7\n"
      "cmp r3, r2\n"
      "blo 9b\n"
      "mov r0, r10\n"
      "b 6f\n"
      "7:\n"
      "ldr r11, [r1, #48]\n"
      "ldr r12, [r1, #52]\n"
      "9:\n"
      NEXT_CARRIES(r7, r8)
      PAIR(r5, r7, r8)
      DIGIT(r6, r7, r8)
      DIGIT(r9, r8, r7)
      DIGIT(r10, r7, r8)
      DIGIT(r11, r8, r7)
      "orr r12, r12, r7\n"
      "cmp r3, r2\n"
      "blo 9b\n"
      "mov r0, r12\n"
      "cbz r4, 0f\n"
      "strd r11, r12, [r4, #16]\n"
      "6:\n"
      "cbz r4, 0f\n"
      "strd r9, r10, [r4, #8]\n"
      "strd r5, r6, [r4]\n"
      "0:\n"
      "add sp, sp, #12\n"
      "pop {pc}\n"
      "3:\n"
      "eors r1, r1, r11\n"
      DIGIT(r12, r1, r4)
      PUT_CARRY(r4)
      "beq 5b\n"
      "b 4b\n");
}
// clang-format on

// Adds what blocks left; returns the highest digit.
static BCNET_NOINLINE uint32_t Finish(PixelEnd* end) {
  register uint32_t r0 __asm__("r0") = reinterpret_cast<uint32_t>(end);
  __asm__ volatile(
      ".syntax unified\n"
      "push {r7}\n"
      "ldm r0, {r1, r2, r3}\n"
      "bl bcnet_finish\n"
      "pop {r7}\n"
      : "+r"(r0)
      :
      : CLOBBERS);
  return r0;
}

#undef NEXT_CARRIES
#undef PUT_CARRY
#undef CLOBBERS
#undef DIGIT
#undef PAIR
#undef SECOND
#undef FIRST

}  // namespace sliced
}  // namespace bcnet

#endif  // BCNET_PIXELS_ASSEMBLY && !BCNET_THUMB1

#endif  // TFLM_OPS_KERNELS_BCONV2D_BITSLICED_WIDE_THUMB_H_

// Adding blocks on a Cortex-M0+. In assembly: most of its instructions take eight of the registers
// only and write the result over an input, and compilers spend half of a block on moving values.
#ifndef TFLM_OPS_KERNELS_BCONV2D_BITSLICED_THUMB_BLOCKS_H_
#define TFLM_OPS_KERNELS_BCONV2D_BITSLICED_THUMB_BLOCKS_H_

#include <cstddef>
#include <cstdint>

#include "tflm_ops/kernels/bconv2d/bitsliced/adder_tables.h"

#if BCNET_THUMB1 && BCNET_ASSEMBLY

namespace bcnet {
namespace sliced {

// What AddThumbBlocks works on, in the order in which it loads and stores.
struct ThumbBlocks {
  ptrdiff_t odd;  // the parity of the bits before, as in Index
  uint32_t eights;
  Pair* pair;  // where those of the blocks go, up to pairs_end
  uint32_t fours;
  uint32_t twos;
  const Pair* pairs_end;
  ptrdiff_t step;  // bytes from the end of a row of taps to its start in the next channel word
  const Tables<5>::Index* rows[3];  // table indices for the first tap of each row
};

// FIRST and SECOND add the pairs (x, xp) and (y, yp) to the digit z; the carries come in x and y.
// Between them x and z wait in two registers, where pair and digit would take three. QUARTER adds
// the pairs of the entries at x and y to the digit of weight 2, BLOCK those of a tap to all three.
// r5: the digit of weight 4, r6: the index, r7: the digit of weight 2, r8: odd, r9: the digit of
// weight 8, r10: where the pair goes, r11: the x that waits with r9, r12: the ThumbBlocks.
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
#define QUARTER(tap, x, xp, y, yp) \
  "ldr " #xp ", [" #x ", #8 * " #tap " + 4]\n" \
  "ldr " #x ", [" #x ", #8 * " #tap "]\n" \
  "ldr " #yp ", [" #y ", #8 * " #tap " + 4]\n" \
  "ldr " #y ", [" #y ", #8 * " #tap "]\n" \
  FIRST(r7, x, xp) \
  SECOND(r7, x, y, yp)
#define BLOCK(tap) \
  "ldmia r6!, {r1, r2, r3}\n" \
  "mov r0, r8\n" \
  "eors r0, r1\n" \
  "mov r8, r0\n" \
  QUARTER(tap, r2, r0, r3, r1) \
  FIRST(r5, r2, r3) \
  "ldmia r6!, {r0, r3}\n" \
  QUARTER(tap, r0, r1, r3, r4) \
  SECOND(r5, r2, r0, r3) \
  "mov r1, r9\n" \
  FIRST(r1, r2, r0) \
  "mov r9, r1\n" \
  "mov r11, r2\n" \
  "ldmia r6!, {r2, r3}\n" \
  QUARTER(tap, r2, r0, r3, r1) \
  FIRST(r5, r2, r3) \
  "ldmia r6!, {r0, r3}\n" \
  "add r3, r8\n" \
  QUARTER(tap, r0, r1, r3, r4) \
  SECOND(r5, r2, r0, r3) \
  "mov r1, r11\n" \
  "mov r3, r9\n" \
  SECOND(r3, r1, r2, r0) \
  "mov r9, r3\n" \
  "mov r0, r10\n" \
  "stmia r0!, {r1, r2}\n" \
  "mov r10, r0\n"
#define BEGIN_ROW(row) \
  "ldr r6, [r0, #28 + 4 * " #row "]\n"
#define END_ROW(row) \
  "mov r0, r12\n" \
  "ldr r1, [r0, #24]\n" \
  "adds r6, r1\n" \
  "str r6, [r0, #28 + 4 * " #row "]\n"
#define BEGIN \
  ".syntax unified\n" \
  "push {r7}\n" \
  "mov r12, r0\n" \
  "ldmia r0!, {r1, r2, r3, r5, r7}\n" \
  "mov r8, r1\n" \
  "mov r9, r2\n" \
  "mov r10, r3\n" \
  "mov r0, r12\n" \
  "1:\n"
#define END \
  "ldr r1, [r0, #20]\n" \
  "cmp r10, r1\n" \
  "beq 2f\n" \
  "b 1b\n" \
  "2:\n" \
  "mov r1, r8\n" \
  "mov r2, r9\n" \
  "mov r3, r10\n" \
  "stmia r0!, {r1, r2, r3, r5, r7}\n" \
  "pop {r7}\n"
// clang-format on

// Adds the blocks of a window of 3x3 or 1x1 taps, channel word by channel word, to the parity and
// the digits of `blocks`. Its rows are changed.
template <int kSide>
BCNET_INLINE void AddThumbBlocks(ThumbBlocks* blocks) {
  static_assert(Tables<5>::Place(1) == 2, "the distance of taps above");
  static_assert(offsetof(ThumbBlocks, pairs_end) == 20 && offsetof(ThumbBlocks, rows) == 28);
  // r7 is saved by hand, since compilers may not let go of it.
  register ThumbBlocks* r0 __asm__("r0") = blocks;
#define CLOBBERS "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "r12", "cc", "memory"
  if (kSide == 1) {
    __asm__ volatile(BEGIN BEGIN_ROW(0) BLOCK(0) END_ROW(0) END : "+r"(r0) : : CLOBBERS);
  } else {
    __asm__ volatile(BEGIN BEGIN_ROW(0) BLOCK(0) BLOCK(1) BLOCK(2) END_ROW(0)  //
                     BEGIN_ROW(1) BLOCK(3) BLOCK(4) BLOCK(5) END_ROW(1)        //
                     BEGIN_ROW(2) BLOCK(6) BLOCK(7) BLOCK(8) END_ROW(2) END
                     : "+r"(r0)
                     :
                     : CLOBBERS);
  }
}

#undef CLOBBERS
#undef END
#undef BEGIN
#undef END_ROW
#undef BEGIN_ROW
#undef BLOCK
#undef QUARTER
#undef SECOND
#undef FIRST

}  // namespace sliced
}  // namespace bcnet

#endif  // BCNET_THUMB1 && BCNET_ASSEMBLY

#endif  // TFLM_OPS_KERNELS_BCONV2D_BITSLICED_THUMB_BLOCKS_H_

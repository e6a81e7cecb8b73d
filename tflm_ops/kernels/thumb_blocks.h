// Adding blocks on a Cortex-M0+. In assembly: of its registers most instructions take eight only,
// and change one of the two that they take, so that compilers move values about in two instructions
// of five.
#ifndef TFLM_OPS_KERNELS_THUMB_BLOCKS_H_
#define TFLM_OPS_KERNELS_THUMB_BLOCKS_H_

#include <cstddef>
#include <cstdint>

#include "tflm_ops/kernels/adder_tables.h"

#if defined(__GNUC__) && defined(__thumb__) && !defined(__thumb2__)
#define BCNET_THUMB_BLOCKS 1
#else
#define BCNET_THUMB_BLOCKS 0
#endif

#if BCNET_THUMB_BLOCKS

namespace bcnet {
namespace sliced {

// What AddThumbBlocks works on, at the places that it knows.
struct ThumbBlocks {
  ptrdiff_t odd;  // the parity of the bits before, as in Index
  uint32_t fours;
  uint32_t eights;
  Pair* pair;  // where those of the blocks go, up to pairs_end
  uint32_t twos;
  const Pair* pairs_end;
  ptrdiff_t step;  // bytes from behind a row of taps to it in the next channel word
  const Tables<5>::Index* rows[3];  // choices for the first tap of each row
};

// ADD_PAIRS is AddPairs(&z, {x, xp}, {y, yp}) with the carries in x and y. ADD_QUARTER does that
// with the entries at x and y. BLOCK adds that of a tap. r6: the index, r7: the digit of weight 2,
// r8 to r11: odd, the digits of weights 4 and 8, and where the pair goes.
// clang-format off
#define ADD_PAIRS(z, x, xp, y, yp) \
  "eors " #x ", " #z "\n" \
  "orrs " #x ", " #xp "\n" \
  "eors " #z ", " #xp "\n" \
  "eors " #y ", " #z "\n" \
  "bics " #y ", " #yp "\n" \
  "eors " #y ", " #x "\n" \
  "eors " #x ", " #z "\n" \
  "eors " #z ", " #yp "\n"
#define ADD_QUARTER(tap, x, xp, y, yp) \
  "ldr " #xp ", [" #x ", #8 * " #tap " + 4]\n" \
  "ldr " #x ", [" #x ", #8 * " #tap "]\n" \
  "ldr " #yp ", [" #y ", #8 * " #tap " + 4]\n" \
  "ldr " #y ", [" #y ", #8 * " #tap "]\n" \
  ADD_PAIRS(r7, x, xp, y, yp)
#define ADD_HALVES \
  "mov r1, r9\n" \
  ADD_PAIRS(r1, r4, r5, r0, r2) \
  "mov r9, r1\n"
#define BLOCK(tap) \
  "ldmia r6!, {r3, r4, r5}\n" \
  "mov r0, r8\n" \
  "eors r0, r3\n" \
  "mov r8, r0\n" \
  ADD_QUARTER(tap, r4, r0, r5, r1) \
  "ldmia r6!, {r0, r2}\n" \
  ADD_QUARTER(tap, r0, r1, r2, r3) \
  ADD_HALVES \
  "mov r12, r4\n" \
  "mov lr, r0\n" \
  "ldmia r6!, {r4, r5}\n" \
  ADD_QUARTER(tap, r4, r0, r5, r1) \
  "ldmia r6!, {r0, r2}\n" \
  "add r2, r8\n" \
  ADD_QUARTER(tap, r0, r1, r2, r3) \
  ADD_HALVES \
  "mov r1, r12\n" \
  "mov r2, lr\n" \
  "mov r3, r10\n" \
  ADD_PAIRS(r3, r1, r2, r4, r0) \
  "mov r10, r3\n" \
  "mov r0, r11\n" \
  "stmia r0!, {r1, r4}\n" \
  "mov r11, r0\n"
#define BEGIN_ROW(row) \
  "ldr r6, [r0, #28 + 4 * " #row "]\n"
#define END_ROW(row) \
  "ldr r0, [sp]\n" \
  "ldr r1, [r0, #24]\n" \
  "adds r6, r1\n" \
  "str r6, [r0, #28 + 4 * " #row "]\n"
#define BEGIN \
  ".syntax unified\n" \
  "push {r0, r7}\n" \
  "ldmia r0!, {r1, r2, r3, r4, r7}\n" \
  "mov r8, r1\n" \
  "mov r9, r2\n" \
  "mov r10, r3\n" \
  "mov r11, r4\n" \
  "ldr r0, [sp]\n" \
  "1:\n"
#define END \
  "ldr r1, [r0, #20]\n" \
  "cmp r11, r1\n" \
  "beq 2f\n" \
  "b 1b\n" \
  "2:\n" \
  "mov r1, r8\n" \
  "mov r2, r9\n" \
  "mov r3, r10\n" \
  "stmia r0!, {r1, r2, r3}\n" \
  "str r7, [r0, #4]\n" \
  "pop {r0, r7}\n"
// clang-format on

// Adds the blocks of a window of 3x3 or 1x1 taps, channel word by channel word, to the parity and
// the digits of `blocks`. Its rows are changed.
template <int kSide>
BCNET_INLINE void AddThumbBlocks(ThumbBlocks* blocks) {
  static_assert(Tables<5>::Place(1) == 2);
  static_assert(offsetof(ThumbBlocks, pairs_end) == 20 && offsetof(ThumbBlocks, rows) == 28);
  // r7 is saved by hand, since compilers may not let go of it.
  register ThumbBlocks* r0 __asm__("r0") = blocks;
#define CLOBBERS \
  "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "r12", "lr", "cc", "memory"
  if constexpr (kSide == 1) {
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
#undef ADD_HALVES
#undef ADD_QUARTER
#undef ADD_PAIRS

}  // namespace sliced
}  // namespace bcnet

#endif  // BCNET_THUMB_BLOCKS

#endif  // TFLM_OPS_KERNELS_THUMB_BLOCKS_H_

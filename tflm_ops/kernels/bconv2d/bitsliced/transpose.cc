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

}  // namespace sliced
}  // namespace bcnet

#include "tflm_ops/kernels/sliced.h"

namespace bcnet {
namespace sliced {

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

BCNET_NOINLINE void GatherBytes(const uint32_t* rows, int32_t stride, uint32_t w[32]) {
#pragma GCC unroll 1
  for (int i = 0; i < 8; ++i) {
    uint32_t a = rows[0], b = rows[8 * stride], c = rows[16 * stride], d = rows[24 * stride];
    rows += stride;
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

// Bitpacked tensors, as Larq Compute Engine lays them out: the channels of a pixel fill words of 32
// bits, channel c is bit c % 32 of word c / 32, a 0 bit stands for +1 and a 1 bit for -1. Bits past
// the last channel are 0.
#ifndef TFLM_OPS_KERNELS_BITPACKING_H_
#define TFLM_OPS_KERNELS_BITPACKING_H_

#include <cstdint>

namespace bcnet {

constexpr int32_t kWordBits = 32;

constexpr int32_t BitpackedWords(int32_t channels) {
  return channels / kWordBits + (channels % kWordBits != 0);
}

// Number of 1 bits. Adds neighbouring bit fields: Cortex-M has no popcount instruction, and the
// compiler's built-in one calls a slower table look-up there.
inline int32_t PopCount(uint32_t x) {
  x -= (x >> 1) & 0x55555555u;
  x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
  x = (x + (x >> 4)) & 0x0f0f0f0fu;
  return static_cast<int32_t>((x * 0x01010101u) >> 24);
}

}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_BITPACKING_H_

// How a stem lies in its scratch memory, and what the forms of it for several cores share.
//
// Columns of the image, one above the other as a window sees them, are copied side by side: the
// numbers of a window are then all of its columns, one behind the other. A tile of a row of outputs
// and a group of filters are worked on at a time.
#ifndef TFLM_OPS_KERNELS_STEM_LAYOUT_H_
#define TFLM_OPS_KERNELS_STEM_LAYOUT_H_

#include <cstdint>

#include "tflm_ops/kernels/bconv2d/bitsliced/digits.h"
#include "tflm_ops/kernels/bitpacking.h"
#include "tflm_ops/kernels/stem.h"

// The form of the stem.
#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1) && BCNET_ASSEMBLY
#define BCNET_STEM_HELIUM 1
#else
#define BCNET_STEM_HELIUM 0
#endif
#if !BCNET_STEM_HELIUM && defined(__thumb2__) && defined(__ARM_FEATURE_DSP) && BCNET_ASSEMBLY
#define BCNET_STEM_DSP 1
#else
#define BCNET_STEM_DSP 0
#endif
#if !BCNET_STEM_HELIUM && !BCNET_STEM_DSP && defined(__thumb__) && BCNET_ASSEMBLY
#define BCNET_STEM_THUMB 1
#else
#define BCNET_STEM_THUMB 0
#endif

namespace bcnet {
namespace stem {

// Scratch memory stays near these numbers of bytes where a window and a word of output allow it.
constexpr int32_t kColumnsBudget = 4096, kWeightsBudget = 4096;

struct Layout {
  int32_t column;  // numbers of a column
  int32_t step;    // columns from a window to the next one
  int32_t tile;    // outputs of a tile
  int32_t group;   // filters of a group, which fill whole words where there is another group
  int32_t columns_bytes, weights_bytes;
  int32_t bytes;  // of all scratch memory
};

inline int32_t TapsOf(const StemParams& params) {
  return params.height.filter * params.width.filter * params.channels;
}

// The largest number of outputs of a tile, an even one: a form keeps `columns` columns less than
// the windows of so many outputs have, of `bytes` for two columns.
inline int32_t TileOf(const StemParams& params, int32_t step, int32_t columns, int32_t bytes) {
  const int32_t width = params.width.output + params.width.output % 2;
  const int32_t fitting = 2 * kColumnsBudget / bytes + columns - params.width.filter;
  const int32_t tile = fitting < step ? 2 : (fitting / step + 1) & ~1;
  return tile < width ? tile : width;
}

// The number of filters of a group, each of `bytes`.
inline int32_t GroupOf(const StemParams& params, int32_t bytes) {
  int32_t unit = 32;  // filters of which the bits fill words
  while (unit > 4 && params.planes * (unit / 2) % kWordBits == 0) unit /= 2;
  const int32_t fitting = kWeightsBudget / bytes / unit * unit;
  const int32_t group = fitting < unit ? unit : fitting;
  return group < params.filters ? group : params.filters;
}

// Collects the bits of two pixels, from the last filter and threshold to the first.
class Bits {
 public:
  Bits(int32_t count, uint32_t* a, uint32_t* b)
      : a_(a + BitpackedWords(count)),
        b_(b + BitpackedWords(count)),
        left_(count % kWordBits == 0 ? kWordBits : count % kWordBits) {}

  // Compares the sums of a filter with its thresholds, of which the last one ends at `end`.
  BCNET_INLINE void Compare(int32_t a, int32_t b, int32_t planes, const int32_t* end) {
    while (planes > 0) {
      int32_t count = planes < left_ ? planes : left_;
      planes -= count;
      left_ -= count;
      uint32_t bits_a = bits_a_, bits_b = bits_b_;
      for (; count > 0; --count) {
        const int32_t threshold = *--end;
        bits_a = 2 * bits_a + (a < threshold);
        bits_b = 2 * bits_b + (b < threshold);
      }
      bits_a_ = bits_a;
      bits_b_ = bits_b;
      if (left_ > 0) continue;
      *--b_ = bits_b;  // the same place where there is no second pixel
      *--a_ = bits_a;
      left_ = kWordBits;
      bits_a_ = bits_b_ = 0;
    }
  }

 private:
  uint32_t *a_, *b_;
  int32_t left_;
  uint32_t bits_a_ = 0, bits_b_ = 0;
};

}  // namespace stem
}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_STEM_LAYOUT_H_

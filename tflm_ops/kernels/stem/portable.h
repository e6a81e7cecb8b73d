// The stem where there is no assembly, with one multiplication for two filters.
#ifndef TFLM_OPS_KERNELS_STEM_PORTABLE_H_
#define TFLM_OPS_KERNELS_STEM_PORTABLE_H_

#include <cstring>

#include "tflm_ops/kernels/stem/layout.h"

namespace bcnet {
namespace stem {

// A weight of one filter lies 16 bits above that of another, so that a product has those of both,
// and the sum of two products, each at least -128 * 127 and at most 128 * 128, fits in each half:
// with kOffset added both halves are without sign. The upper halves are summed, and so are the
// whole words, from which the sum of the lower ones follows.
constexpr uint32_t kUpperOffset = 2 * 128 * 127, kLowerOffset = 0x7fff;
constexpr uint32_t kOffset = (kUpperOffset << 16) + kLowerOffset;

BCNET_SMALL static Layout LayOut(const StemParams& params) {
  Layout layout;
  layout.column = params.height.filter * params.channels;
  layout.step =
      params.width.stride < params.width.filter ? params.width.stride : params.width.filter;
  layout.tile = TileOf(params, layout.step, 0, 2 * layout.column);
  layout.group = GroupOf(params, 2 * TapsOf(params));
  const int32_t columns = (layout.tile - 1) * layout.step + params.width.filter;
  layout.columns_bytes = (columns * layout.column + 3) & ~3;
  layout.weights_bytes = (layout.group + 1) / 2 * TapsOf(params) * 4;
  layout.bytes = layout.columns_bytes + layout.weights_bytes;
  return layout;
}

class Form {
 public:
  Form(const StemParams& params, const Layout& layout, void* scratch)
      : params_(params),
        layout_(layout),
        columns_(static_cast<int8_t*>(scratch)),
        weights_(reinterpret_cast<uint32_t*>(columns_ + layout.columns_bytes)) {}

  // Prepares `filters` filters.
  BCNET_SMALL void SetFilters(const int8_t* filter, const int32_t* thresholds, int32_t filters) {
    thresholds_ = thresholds;
    filters_ = filters;
    const int32_t row = params_.width.filter * params_.channels, taps = TapsOf(params_);
    uint32_t* weights = weights_;
    for (int32_t i = 0; i < filters; i += 2, filter += 2 * taps) {
      const int32_t second = i + 1 < filters ? taps : 0;
      for (int32_t x = 0; x < row; x += params_.channels) {
        for (int32_t y = 0; y < taps; y += row) {
          for (int32_t channel = 0; channel < params_.channels; ++channel) {
            const int8_t* weight = filter + x + y + channel;
            *weights++ =
                static_cast<uint32_t>(weight[0]) + (static_cast<uint32_t>(weight[second]) << 16);
          }
        }
      }
    }
  }

  // Puts pixels of row `row` of the windows into columns from `column` on; without `pixels` those
  // outside the image.
  BCNET_NOINLINE void Put(int32_t row, int32_t column, int32_t count, const int8_t* pixels) {
    const int32_t channels = params_.channels;
    int8_t* to = columns_ + column * layout_.column + row * channels;
    for (; count > 0; --count, to += layout_.column) {
      for (int32_t channel = 0; channel < channels; ++channel)
        to[channel] = pixels != nullptr ? *pixels++ : static_cast<int8_t>(params_.zero_point);
    }
  }

  // Fills rows from `row` on, of which `rows` lie on the image, `row_size` apart; returns how many.
  int32_t PutRows(int32_t row, int32_t, int32_t column, int32_t count, const int8_t* pixels,
                  int32_t) {
    Put(row, column, count, pixels);
    return 1;
  }

  // Writes the outputs of the tile's first `count` pixels.
  void Run(int32_t count, uint32_t* output, int32_t words) {
    const int32_t advance = layout_.step * layout_.column;
    const int8_t* window = columns_;
    for (; count > 0; count -= 2, output += 2 * words, window += 2 * advance)
      Pixels(window, count > 1 ? advance : 0, output, count > 1 ? words : 0);
  }

 private:
  // Two pixels; `next` and `next_output` are 0 where there is but one.
  BCNET_NOINLINE void Pixels(const int8_t* window, int32_t next, uint32_t* output,
                             int32_t next_output) {
    const int32_t taps = TapsOf(params_), planes = params_.planes;
    const int32_t* thresholds = thresholds_ + filters_ * planes;
    Bits bits(filters_ * planes, output, output + next_output);
    uint32_t each = kOffset;
    sliced::OptimizationBarrier(&each);  // or compilers add its parts one after the other
    const uint32_t sums = static_cast<uint32_t>(taps + 1) / 2;
    const uint32_t upper_offset = sums * kUpperOffset, offset = sums * kOffset;
    for (int32_t i = (filters_ - 1) / 2; i >= 0; --i) {
      const uint32_t* weights = weights_ + i * taps;
      const int8_t *a = window, *b = window + next;
      uint32_t whole_a = 0, whole_b = 0, upper_a = 0, upper_b = 0;
      const uint32_t* const end = weights + (taps & ~1);
      while (weights != end) {
        const uint32_t first = *weights++, second = *weights++;
        const uint32_t at_a = Product(a[0], first) + Product(a[1], second) + each;
        const uint32_t at_b = Product(b[0], first) + Product(b[1], second) + each;
        a += 2;
        b += 2;
        whole_a += at_a;
        whole_b += at_b;
        upper_a += at_a >> 16;
        upper_b += at_b >> 16;
      }
      if (taps % 2 != 0) {
        const uint32_t at_a = Product(*a, *weights) + each;
        const uint32_t at_b = Product(*b, *weights) + each;
        whole_a += at_a;
        whole_b += at_b;
        upper_a += at_a >> 16;
        upper_b += at_b >> 16;
      }
      upper_a -= upper_offset;
      upper_b -= upper_offset;
      whole_a -= offset + (upper_a << 16);
      whole_b -= offset + (upper_b << 16);
      if (2 * i + 1 < filters_) {
        bits.Compare(static_cast<int32_t>(upper_a), static_cast<int32_t>(upper_b), planes,
                     thresholds);
        thresholds -= planes;
      }
      bits.Compare(static_cast<int32_t>(whole_a), static_cast<int32_t>(whole_b), planes,
                   thresholds);
      thresholds -= planes;
    }
  }

  BCNET_INLINE static uint32_t Product(int8_t x, uint32_t weights) {
    return static_cast<uint32_t>(static_cast<int32_t>(x)) * weights;
  }

  const StemParams& params_;
  const Layout& layout_;
  int8_t* columns_;
  uint32_t* weights_;
  const int32_t* thresholds_ = nullptr;
  int32_t filters_ = 0;
};

}  // namespace stem
}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_STEM_PORTABLE_H_

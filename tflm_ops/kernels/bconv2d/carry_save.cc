// The carry-save kernel: full adders on the words of mismatches of one output channel, 32 input
// channels per operation, and a population count of their digits at the end.
#include "tflm_ops/kernels/optimize_for_speed.h"

#include "tflm_ops/kernels/bconv2d/bitsliced/digits.h"
#include "tflm_ops/kernels/bconv2d/kernels.h"

namespace bcnet {
namespace {

using sliced::Pair;

// The bits of each byte of `x`.
BCNET_INLINE uint32_t CountBytes(uint32_t x) {
  x -= x >> 1 & 0x55555555u;
  x = (x & 0x33333333u) + (x >> 2 & 0x33333333u);
  return (x + (x >> 4)) & 0x0f0f0f0fu;
}

// Words to compare: `length` ones from each line, [first, end) with `step` between.
struct Lines {
  int32_t first;
  int32_t end;
  int32_t step;
  int32_t length;
};

// The mismatches of words in `a` and `b`.
BCNET_NOINLINE int32_t Mismatches(const uint32_t* a, const uint32_t* b, const Lines& lines) {
  uint32_t ones = 0, twos = 0, fours = 0;
  int32_t eights = 0;
  const auto add_four = [&] {
    const uint32_t x = a[0] ^ b[0], y = a[2] ^ b[2];
    const Pair low = {x, x ^ a[1] ^ b[1]}, high = {y, y ^ a[3] ^ b[3]};
    a += 4;
    b += 4;
    return sliced::AddPairs(&ones, low, high);
  };
  a += lines.first;
  b += lines.first;
  for (int32_t line = lines.first; line < lines.end; line += lines.step) {
    int32_t count = lines.length;
    for (; count >= 8; count -= 8) {
      const Pair low = add_four();
      eights += PopCount(sliced::AddPair(&fours, sliced::AddPairs(&twos, low, add_four())));
      sliced::OptimizationBarrier(&count);
    }
    uint32_t carry = 0;
    if ((count & 4) != 0) carry = sliced::AddDigit(&fours, sliced::AddPair(&twos, add_four()));
    for (count &= 3;; --count) {
      if (carry != 0) eights += PopCount(carry);
      if (count == 0) break;
      carry = sliced::AddDigit(&twos, sliced::AddDigit(&ones, *a++ ^ *b++));
      carry = sliced::AddDigit(&fours, carry);
      sliced::OptimizationBarrier(&count);
    }
    a += lines.step - lines.length;
    b += lines.step - lines.length;
  }
  const uint32_t bytes = CountBytes(ones) + 2 * CountBytes(twos) + 4 * CountBytes(fours);
  return static_cast<int32_t>(bytes * 0x01010101u >> 24) + 8 * eights;
}

// Copies the words that the taps of an output pixel see of a group, in the order of their weights.
// `group` are the group's words, `first` the place of the first tap's, which may lie outside.
BCNET_SMALL void Gather(const Bconv2dParams& params, TapRange rows, TapRange columns,
                        const uint32_t* group, int32_t first, uint32_t* window) {
  const int32_t words = params.words_in_group;
  for (int32_t row = 0; row < params.height.filter; ++row) {
    const int32_t from = first + row * params.height.dilation * params.width.input;
    for (int32_t column = 0; column < params.width.filter; ++column, window += words) {
      const bool inside =
          row >= rows.begin && row < rows.end && column >= columns.begin && column < columns.end;
      if (inside) {
        const int32_t place = (from + column * params.width.dilation) * params.words_in;
        for (int32_t word = 0; word < words; ++word) window[word] = group[place + word];
      } else {
        for (int32_t word = 0; word < words; ++word) window[word] = 0;
      }
    }
  }
}

}  // namespace

int32_t Bconv2dCarrySaveScratchSize(const Bconv2dParams& params) {
  return params.height.filter * params.width.filter * params.words_in_group *
         static_cast<int32_t>(sizeof(uint32_t));
}

BCNET_SMALL void Bconv2dCarrySave(const Bconv2dParams& params, const uint32_t* input,
                                  const uint32_t* filter, const Bconv2dOutputStage& stage,
                                  void* scratch) {
  uint32_t* const window = static_cast<uint32_t*>(scratch);
  const int32_t words = params.words_in_group;
  const int32_t line = params.width.filter * words;
  const int32_t size = params.height.filter * line;
  const int32_t channels_out_group = params.channels_out / params.groups;
  int32_t pixel = 0;
  for (int32_t batch = 0; batch < params.batches; ++batch) {
    for (int32_t y = 0; y < params.height.output; ++y) {
      const TapRange rows = TapsInside(params.height, y);
      const int32_t top = y * params.height.stride - params.height.pad;
      for (int32_t x = 0; x < params.width.output; ++x, ++pixel) {
        const TapRange columns = TapsInside(params.width, x);
        const int32_t left = x * params.width.stride - params.width.pad;
        // The whole window, or what of it lies on the input.
        Lines lines = {0, size, size, size};
        int32_t sum = 0;
        const int32_t inside = (rows.end - rows.begin) * (columns.end - columns.begin);
        const int32_t outside = params.height.filter * params.width.filter - inside;
        if (outside != 0 && params.zero_padding) {
          const int32_t first = columns.begin * words, length = columns.end * words - first;
          lines = {rows.begin * line + first, rows.end * line, line, length};
          sum = outside * params.channels_in_group;
        }
        const uint32_t* weights = filter;
        const uint32_t* group = input;
        int32_t sums[kWordBits];
        for (int32_t channel = 0, end = 0; channel < params.channels_out; group += words) {
          Gather(params, rows, columns, group, top * params.width.input + left, window);
          for (end += channels_out_group; channel < end; weights += size) {
            sums[channel % kWordBits] = sum + 2 * Mismatches(window, weights, lines);
            ++channel;
            if (channel % kWordBits == 0 || channel == params.channels_out)
              stage.write(stage, pixel, (channel - 1) / kWordBits, (channel - 1) % kWordBits + 1,
                          sums);
          }
        }
      }
    }
    input += params.height.input * params.width.input * params.words_in;
  }
}

}  // namespace bcnet

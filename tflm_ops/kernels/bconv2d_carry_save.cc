// The carry-save kernel: full adders on the words of mismatches of one output channel, 32 input
// channels an operation, and a population count of their digits at the end.
#include "tflm_ops/kernels/bconv2d_sink.h"
#include "tflm_ops/kernels/sliced.h"

namespace bcnet {
namespace {

using sliced::Pair;

// The mismatches of `count` words.
class Counter {
 public:
  void Add(const uint32_t* a, const uint32_t* b, int32_t count) {
    for (; count >= 8; count -= 8, a += 8, b += 8) {
      const auto pair = [&](int i) {
        const uint32_t x = a[i] ^ b[i];
        return Pair{x, x ^ a[i + 1] ^ b[i + 1]};
      };
      const Pair low = sliced::AddPairs(&ones_, pair(0), pair(2));
      const Pair high = sliced::AddPairs(&ones_, pair(4), pair(6));
      eights_ += PopCount(sliced::AddPair(&fours_, sliced::AddPairs(&twos_, low, high)));
    }
    for (int32_t i = 0; i < count; ++i) {
      uint32_t carry = sliced::AddDigit(&ones_, a[i] ^ b[i]);
      carry = sliced::AddDigit(&twos_, carry);
      carry = sliced::AddDigit(&fours_, carry);
      if (carry != 0) eights_ += PopCount(carry);
    }
  }

  int32_t Total() const {
    return PopCount(ones_) + 2 * PopCount(twos_) + 4 * PopCount(fours_) + 8 * eights_;
  }

 private:
  uint32_t ones_ = 0;
  uint32_t twos_ = 0;
  uint32_t fours_ = 0;
  int32_t eights_ = 0;
};

}  // namespace

int32_t Bconv2dCarrySaveScratchSize(const Bconv2dParams& params) {
  return params.height.filter * params.width.filter * params.words_in_group *
         static_cast<int32_t>(sizeof(uint32_t));
}

void Bconv2dCarrySave(const Bconv2dParams& params, const uint32_t* input, const uint32_t* filter,
                      const Bconv2dSink& sink, void* scratch) {
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
        const int32_t taps_inside = (rows.end - rows.begin) * (columns.end - columns.begin);
        const int32_t outside = params.height.filter * params.width.filter - taps_inside;
        int32_t sums[kWordBits];
        for (int32_t channel = 0; channel < params.channels_out; ++channel) {
          if (channel % channels_out_group == 0) {
            // The words that the channels of the group see, in the order of their weights.
            const uint32_t* group = input + channel / channels_out_group * words;
            for (int32_t i = 0; i < size; ++i) window[i] = 0;
            for (int32_t row = rows.begin; row < rows.end; ++row) {
              const int32_t from = (top + row * params.height.dilation) * params.width.input + left;
              for (int32_t column = columns.begin; column < columns.end; ++column) {
                const uint32_t* there =
                    group + (from + column * params.width.dilation) * params.words_in;
                uint32_t* to = window + row * line + column * words;
                for (int32_t word = 0; word < words; ++word) to[word] = there[word];
              }
            }
          }
          const uint32_t* weights = filter + int64_t{channel} * size;
          Counter counter;
          int32_t sum = 0;
          if (outside == 0 || !params.zero_padding) {
            counter.Add(window, weights, size);
          } else {
            sum = outside * params.channels_in_group;
            for (int32_t row = rows.begin; row < rows.end; ++row) {
              const int32_t first = row * line + columns.begin * words;
              counter.Add(window + first, weights + first, (columns.end - columns.begin) * words);
            }
          }
          sums[channel % kWordBits] = sum + 2 * counter.Total();
          if (channel % kWordBits == kWordBits - 1 || channel + 1 == params.channels_out)
            sink.write(sink, pixel, channel / kWordBits, channel % kWordBits + 1, sums);
        }
      }
    }
    input += params.height.input * params.width.input * params.words_in;
  }
}

}  // namespace bcnet

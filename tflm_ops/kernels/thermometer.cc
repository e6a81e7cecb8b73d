#include "tflm_ops/kernels/optimize_for_speed.h"

#include "tflm_ops/kernels/thermometer.h"

#include <cstring>

#include "tflm_ops/kernels/bitpacking.h"
#include "tflm_ops/kernels/shape.h"

namespace bcnet {
namespace {

constexpr int32_t kMaxPairs = 8;

// Compares channel `input[0]` of all pixels with 2 * kPairs thresholds and puts the bits into the
// output words from bit `shift` on.
//
// Two comparisons share a word: each half of it holds 0x7fff + threshold - x, whose top bit is set
// just where x < threshold, and never borrows from the other half. `pairs` holds the thresholds so,
// the first kPairs of them in the low halves.
template <int32_t kPairs>
void ComparePairs(int32_t pixels, const int8_t* input, int32_t channels, const uint32_t* pairs,
                  int32_t shift, uint32_t* output, int32_t words) {
  uint32_t pair[kPairs];  // in registers
  for (int32_t i = 0; i < kPairs; ++i) pair[i] = pairs[i];
  for (; pixels > 0; --pixels) {
    const uint32_t x = static_cast<uint32_t>(*input) * 0x10001u;
    uint32_t bits = 0;
    for (int32_t i = 0; i < kPairs; ++i) bits = bits >> 1 | ((pair[i] - x) & 0x80008000u);
    const uint32_t low = bits >> (16 - kPairs) & ((1u << kPairs) - 1);
    const uint32_t high = bits >> (32 - kPairs);
    *output |= (low | high << kPairs) << shift;
    input += channels;
    output += words;
  }
}

// Fills `pairs` from `count` thresholds and returns their number. Code for size: it runs once a
// pass.
[[gnu::cold]] int32_t PackPairs(const int32_t* thresholds, int32_t count, uint32_t* pairs) {
  const int32_t size = (count + 1) / 2;
  for (int32_t i = 0; i < size; ++i) {
    const int32_t high = size + i < count ? thresholds[size + i] : -128;  // no x is below that
    pairs[i] = static_cast<uint32_t>(0x7fff + thresholds[i]) +
               (static_cast<uint32_t>(0x7fff + high) << 16);
  }
  return size;
}

constexpr decltype(&ComparePairs<1>) kComparePairs[kMaxPairs] = {
    ComparePairs<1>, ComparePairs<2>, ComparePairs<3>, ComparePairs<4>,
    ComparePairs<5>, ComparePairs<6>, ComparePairs<7>, ComparePairs<8>};

}  // namespace

const char* CheckThermometer(const int32_t input_dims[4], const int32_t output_dims[4],
                             const int32_t* thresholds, int32_t count) {
  if (ElementCount(input_dims, 4) == 0)
    return "the input's dimensions must be positive, and its size below 2 GiB";
  if (count < 1 || count % input_dims[3] != 0)
    return "there must be as many thresholds for each channel, and at least one";
  bool fits = ElementCount(output_dims, 4) != 0 && output_dims[3] == BitpackedWords(count);
  for (int i = 0; i < 3; ++i) fits = fits && output_dims[i] == input_dims[i];
  if (!fits)
    return "the output's shape must be the input's, with a bit for each threshold in words";
  for (int32_t i = 0; i < count; ++i) {
    if (thresholds[i] < -128 || thresholds[i] > 128)
      return "the thresholds must lie between -128 and 128";
  }
  return nullptr;
}

void Thermometer(int32_t pixels, int32_t channels, const int8_t* input, const int32_t* thresholds,
                 int32_t count, uint32_t* output) {
  const int32_t planes = count / channels;
  const int32_t words = BitpackedWords(count);
  std::memset(output, 0, static_cast<size_t>(pixels) * static_cast<size_t>(words) * 4);
  for (int32_t bit = 0; bit < count;) {
    // The bits up to the end of the channel, of the word, or of what one pass can do.
    int32_t bits = planes - bit % planes;
    if (bits > kWordBits - bit % kWordBits) bits = kWordBits - bit % kWordBits;
    if (bits > 2 * kMaxPairs) bits = 2 * kMaxPairs;
    uint32_t pairs[kMaxPairs];
    const int32_t count_of_pairs = PackPairs(thresholds + bit, bits, pairs);
    kComparePairs[count_of_pairs - 1](pixels, input + bit / planes, channels, pairs,
                                      bit % kWordBits, output + bit / kWordBits, words);
    bit += bits;
  }
}

}  // namespace bcnet

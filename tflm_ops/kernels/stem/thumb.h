// The stem on cores without SMLAD, Cortex-M0+, M23 and M3, with one multiplication for two filters,
// in instructions that all of them have. Sums of a pixel and four filters are in registers at a
// time.
#ifndef TFLM_OPS_KERNELS_STEM_THUMB_H_
#define TFLM_OPS_KERNELS_STEM_THUMB_H_

#include <cstring>

#include "tflm_ops/kernels/stem/layout.h"

namespace bcnet {
namespace stem {

// What the code in assembly works on, pixels of a row.
//
// A word of weights has one of a filter and, 16 bits above, one of another. They are negated: then
// the sum of two products is at least -128 * 256 and at most 127 * 256, which fits in 16 bits.
// Whole words are summed, and so are the upper halves: a negative lower half takes 1 from these,
// and ASR leaves as much in the carry. The sums of the lower halves follow from both.
struct Job {
  const int32_t* window;
  int32_t window_bytes;  // an even number of words
  int32_t window_step;   // to the next pixel
  const uint32_t* weights;
  const uint32_t* thresholds;
  const uint32_t* thresholds_end;
  uint32_t* output;  // the last word of a pixel
  int32_t output_step;
  int32_t pixels;
  uint32_t first_bits;
  int32_t rest;  // bytes of code for rounds that are left over by whole turns of the loop
  int32_t filter_thresholds;
  int32_t mode;
};
constexpr int32_t kFours = 0, kOnePlane = 1, kTwos = 2, kSingles = 3;
constexpr int32_t kUnrolled = 8, kBytesOfRound = 30;

// clang-format off
// r0: window, r1: weights, r2 and r3: numbers of the window, r6 and r7: sums of upper halves of two
// filters each, r8 and r9: of whole words.
#define TWO_FILTERS(upper, whole) \
  "ldmia r1!, {r4, r5}\n" \
  "muls r4, r2\n" \
  "muls r5, r3\n" \
  "adds r4, r4, r5\n" \
  "add " #whole ", r4\n" \
  "asrs r4, r4, #16\n" \
  "adcs " #upper ", r4\n"
#define ROUND \
  "ldmia r0!, {r2, r3}\n" \
  TWO_FILTERS(r6, r8) \
  TWO_FILTERS(r7, r9)
// The carry tells that a sum is not below a threshold. It becomes the lowest bit of the pixel.
#define COMPARE(sum, threshold) \
  "cmp " #sum ", " #threshold "\n" \
  "adcs r2, r2\n"
#define COMPARE_NEXT(sum) \
  "ldmia r4!, {r0}\n" \
  COMPARE(sum, r0)
// Of a full word, where sums are on the stack or done with.
#define STORE_WORD \
  "mov r5, lr\n" \
  "ldr r0, [r5, #56]\n" \
  "str r2, [r0]\n" \
  "subs r0, r0, #4\n" \
  "str r0, [r5, #56]\n" \
  "movs r2, #1\n"

// r4 to r7 may become temporary numbers between rounds. r10: the window's end, then that of the
// thresholds of four filters, r11: thresholds, r12: bits of the pixel behind a 1 that leaves them
// as the word is full, lr: the stack, which has the Job, the window's end at 52 and the output at
// 56, and below sums that wait.
BCNET_NAKED static void RunPixels(const Job*) {
  __asm__(
      ".syntax unified\n"
      "push {r4-r7, lr}\n"
      "mov r4, r8\n"
      "mov r5, r9\n"
      "mov r6, r10\n"
      "mov r7, r11\n"
      "push {r4-r7}\n"
      "sub sp, sp, #60\n"
      "mov r1, sp\n"
      "ldmia r0!, {r2-r7}\n"
      "stmia r1!, {r2-r7}\n"
      "ldmia r0!, {r2-r7}\n"
      "stmia r1!, {r2-r7}\n"
      "ldr r0, [r0]\n"
      "str r0, [r1]\n"
      "adr r0, 4f\n"
      "subs r0, r0, r6\n"
      "str r0, [sp, #40]\n"
      "mov lr, sp\n"
      // A pixel.
      "1:\n"
      "ldr r0, [sp]\n"
      "ldr r1, [sp, #4]\n"
      "ldr r2, [sp, #16]\n"
      "ldr r3, [sp, #36]\n"
      "ldr r4, [sp, #24]\n"
      "adds r1, r1, r0\n"
      "str r1, [sp, #52]\n"
      "str r4, [sp, #56]\n"
      "ldr r1, [sp, #12]\n"
      "mov r11, r2\n"
      "mov r12, r3\n"
      // Four filters.
      "2:\n"
      "ldr r2, [sp, #52]\n"
      "ldr r0, [sp]\n"
      "mov r10, r2\n"
      "movs r6, #1\n"
      "lsls r6, r6, #31\n"
      "mov r7, r6\n"
      "mov r8, r6\n"
      "mov r9, r6\n"
      "ldr r2, [sp, #40]\n"
      "mov pc, r2\n"
      ".p2align 2\n"
      "3:\n"
      ROUND ROUND ROUND ROUND ROUND ROUND ROUND ROUND
      "4:\n"
      "cmp r0, r10\n"
      "bne 3b\n"
      "mov r3, r8\n"
      "mov r5, r9\n"
      "lsls r0, r6, #16\n"
      "lsls r2, r7, #16\n"
      "subs r3, r3, r0\n"
      "subs r5, r5, r2\n"
      "mov r4, r11\n"
      "mov r2, r12\n"
      "ldr r0, [sp, #48]\n"
      "cmp r0, #1\n"
      "beq 8f\n"
      // Sums wait on the stack. The last filters may be fewer than four.
      "push {r3, r5, r6, r7}\n"
      "mov r6, r0\n"
      "ldr r3, [sp, #60]\n"
      "ldr r5, [sp, #36]\n"
      "mov r9, r3\n"
      "lsls r3, r3, #2\n"
      "adds r3, r3, r4\n"
      "cmp r3, r5\n"
      "bls 5f\n"
      "mov r3, r5\n"
      "5:\n"
      "mov r10, r3\n"
      "cmp r6, #2\n"
      "beq 9f\n"
      "bhi 13f\n"
      // A multiple of four planes.
      "5:\n"
      "pop {r3}\n"
      "mov r8, r4\n"
      "add r8, r9\n"
      "6:\n"
      "ldmia r4!, {r0, r5, r6, r7}\n"
      COMPARE(r3, r0)
      COMPARE(r3, r5)
      COMPARE(r3, r6)
      COMPARE(r3, r7)
      "bcs 10f\n"
      "7:\n"
      "cmp r4, r8\n"
      "bne 6b\n"
      "cmp r4, r10\n"
      "bne 5b\n"
      "mov sp, lr\n"
      "12:\n"
      "ldr r0, [sp, #20]\n"
      "mov r11, r4\n"
      "mov r12, r2\n"
      "cmp r4, r0\n"
      "beq 6f\n"
      "b 2b\n"
      "6:\n"
      "ldr r0, [sp]\n"
      "ldr r1, [sp, #8]\n"
      "ldr r2, [sp, #24]\n"
      "ldr r3, [sp, #28]\n"
      "ldr r4, [sp, #32]\n"
      "adds r0, r0, r1\n"
      "adds r2, r2, r3\n"
      "subs r4, r4, #1\n"
      "str r0, [sp]\n"
      "str r2, [sp, #24]\n"
      "str r4, [sp, #32]\n"
      "beq 6f\n"
      "b 1b\n"
      "6:\n"
      "add sp, sp, #60\n"
      "pop {r4-r7}\n"
      "mov r8, r4\n"
      "mov r9, r5\n"
      "mov r10, r6\n"
      "mov r11, r7\n"
      "pop {r4-r7, pc}\n"
      // One plane.
      "8:\n"
      COMPARE_NEXT(r3)
      COMPARE_NEXT(r5)
      COMPARE_NEXT(r6)
      COMPARE_NEXT(r7)
      "bcc 12b\n"
      STORE_WORD
      "b 12b\n"
      // Any other even number of planes.
      "9:\n"
      "pop {r3}\n"
      "mov r8, r4\n"
      "add r8, r9\n"
      "8:\n"
      "ldmia r4!, {r0, r5}\n"
      COMPARE(r3, r0)
      COMPARE(r3, r5)
      "bcs 11f\n"
      "5:\n"
      "cmp r4, r8\n"
      "bne 8b\n"
      "cmp r4, r10\n"
      "bne 9b\n"
      "mov sp, lr\n"
      "b 12b\n"
      // An odd number of planes.
      "13:\n"
      "pop {r3}\n"
      "mov r8, r4\n"
      "add r8, r9\n"
      "8:\n"
      COMPARE_NEXT(r3)
      "bcs 14f\n"
      "6:\n"
      "cmp r4, r8\n"
      "bne 8b\n"
      "cmp r4, r10\n"
      "bne 13b\n"
      "mov sp, lr\n"
      "b 12b\n"
      "10:\n"
      STORE_WORD
      "b 7b\n"
      "11:\n"
      STORE_WORD
      "b 5b\n"
      "14:\n"
      STORE_WORD
      "b 6b\n");
}
// clang-format on
#undef TWO_FILTERS
#undef ROUND
#undef COMPARE
#undef COMPARE_NEXT
#undef STORE_WORD

// Numbers of a window, with one that has no weight where their number is odd.
inline int32_t WordsOf(const StemParams& params) { return (TapsOf(params) + 1) & ~1; }

// The number of filters without weights that are put behind the last one, where their bits are
// unused ones of the last word: words of one plane are stored behind four filters only.
inline int32_t MissingOf(const StemParams& params, int32_t filters) {
  return params.planes == 1 ? -filters & 3 : 0;
}

BCNET_SMALL static Layout LayOut(const StemParams& params) {
  Layout layout;
  layout.column = params.height.filter * params.channels;
  layout.step =
      params.width.stride < params.width.filter ? params.width.stride : params.width.filter;
  layout.tile = TileOf(params, layout.step, 0, 8 * layout.column);
  const int32_t words = WordsOf(params);
  layout.group = GroupOf(params, 2 * words);
  const int32_t columns = (layout.tile - 1) * layout.step + params.width.filter;
  layout.columns_bytes = 4 * (columns * layout.column + words - TapsOf(params));
  layout.weights_bytes = (layout.group + 3) / 4 * words * 8;
  layout.bytes = layout.columns_bytes + layout.weights_bytes +
                 4 * params.planes * (layout.group + MissingOf(params, layout.group));
  return layout;
}

class Form {
 public:
  Form(const StemParams& params, const Layout& layout, void* scratch)
      : params_(params), layout_(layout), columns_(static_cast<int32_t*>(scratch)) {
    uint8_t* bytes = static_cast<uint8_t*>(scratch) + layout.columns_bytes;
    const int32_t words = WordsOf(params);
    job_.window_bytes = 4 * words;
    job_.window_step = 4 * layout.step * layout.column;
    job_.weights = reinterpret_cast<uint32_t*>(bytes);
    job_.thresholds = reinterpret_cast<uint32_t*>(bytes + layout.weights_bytes);
    job_.rest = kBytesOfRound * ((words / 2 - 1) % kUnrolled + 1);
    job_.filter_thresholds = 4 * params.planes;
    const int32_t planes = params.planes;
    job_.mode = planes == 1       ? kOnePlane
                : planes % 4 == 0 ? kFours
                : planes % 2 == 0 ? kTwos
                                  : kSingles;
  }

  // Prepares `filters` filters.
  BCNET_SMALL void SetFilters(const int8_t* filter, const int32_t* thresholds, int32_t filters) {
    const int32_t planes = params_.planes, missing = MissingOf(params_, filters);
    const int32_t words = WordsOf(params_), taps = TapsOf(params_);
    auto* weights = const_cast<uint32_t*>(job_.weights);
    overflows_ = false;
    std::memset(weights, 0, static_cast<size_t>((filters + 3) / 4 * words) * 8);
    for (int32_t i = filters - 1, place = missing; i >= 0; --i, ++place) {
      SetWeights(filter + i * taps, IsUpper(place), const_cast<uint32_t*>(WeightsOf(place)));
    }
    auto* to = const_cast<uint32_t*>(job_.thresholds);
    for (int32_t i = 0; i < missing; ++i) *to++ = UINT32_MAX;
    // Sums are negated, and 2^31 is added.
    for (int32_t i = filters * planes - 1; i >= 0; --i) {
      const uint32_t limit = 0x80000001u - static_cast<uint32_t>(thresholds[i]);
      *to++ = thresholds[i] < -INT32_MAX + 1 ? UINT32_MAX : limit;
    }
    job_.thresholds_end = to;
    thresholds_ = thresholds;
    filters_ = filters;
    const int32_t bits = (filters + missing) * planes % kWordBits;
    job_.first_bits = uint32_t{1} << (bits == 0 ? 0 : kWordBits - bits);
  }

  // Puts pixels of row `row` of the windows into columns from `column` on; without `pixels` those
  // outside the image.
  BCNET_NOINLINE void Put(int32_t row, int32_t column, int32_t count, const int8_t* pixels) {
    const int32_t channels = params_.channels, size = layout_.column;
    int32_t* to = columns_ + column * size + row * channels;
    if (pixels == nullptr) {
      for (; count > 0; --count, to += size) {
        for (int32_t channel = 0; channel < channels; ++channel) to[channel] = params_.zero_point;
      }
    } else if (channels == 1) {
      for (; count > 0; --count, to += size) *to = *pixels++;
    } else if (channels == 3) {
      for (; count > 0; --count, to += size, pixels += 3) {
        const int32_t first = pixels[0], second = pixels[1], third = pixels[2];
        to[0] = first;
        to[1] = second;
        to[2] = third;
      }
    } else {
      for (; count > 0; --count, to += size) {
        for (int32_t channel = 0; channel < channels; ++channel) to[channel] = *pixels++;
      }
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
    if (overflows_) return RunInSingles(count, output, words);
    job_.window = columns_;
    job_.output = output + BitpackedWords(filters_ * params_.planes) - 1;
    job_.output_step = 4 * words;
    job_.pixels = count;
    RunPixels(&job_);
  }

 private:
  // Run for weights of -128 side by side, which converters to TensorFlow Lite do not write.
  BCNET_SMALL void RunInSingles(int32_t count, uint32_t* output, int32_t words) const {
    const int32_t planes = params_.planes, numbers = WordsOf(params_);
    const int32_t* window = columns_;
    for (; count > 0; --count, output += words, window += layout_.step * layout_.column) {
      Bits bits(filters_ * planes, output, output);
      int32_t place = MissingOf(params_, filters_);
      for (int32_t i = filters_; i > 0; --i, ++place) {
        const uint32_t* weights = WeightsOf(place);
        int32_t sum = 0;
        for (int32_t number = 0; number < numbers; number += 2, weights += 4) {
          sum -= window[number] * WeightOf(weights[0], place) +
                 window[number + 1] * WeightOf(weights[1], place);
        }
        bits.Compare(sum, sum, planes, thresholds_ + i * planes);
      }
    }
  }

  // The words of a filter's weights, two of every four words; the last filter comes first. Of four
  // the first two are lower halves.
  const uint32_t* WeightsOf(int32_t place) const {
    return job_.weights + place / 4 * WordsOf(params_) * 2 + place % 2 * 2;
  }
  static bool IsUpper(int32_t place) { return place % 4 >= 2; }
  static int32_t WeightOf(uint32_t word, int32_t place) {
    return IsUpper(place) ? static_cast<int32_t>(word + 0x8000u) >> 16 : static_cast<int16_t>(word);
  }

  // Puts the weights of a filter, in the order of columns.
  BCNET_NOINLINE void SetWeights(const int8_t* filter, bool upper, uint32_t* to) {
    const int32_t channels = params_.channels, row = params_.width.filter * channels;
    const int32_t shift = upper ? 16 : 0;
    int32_t before = 0, step = 1;
    for (int32_t x = 0; x < row; x += channels) {
      const int8_t* from = filter + x;
      int32_t left = channels;
      for (int32_t number = layout_.column; number > 0; --number) {
        const int32_t weight = *from++;
        *to -= static_cast<uint32_t>(weight) << shift;
        // -128 * 256 in the upper half has no room for what a negative lower half takes.
        if (before + weight == -256 && upper && step == 3) overflows_ = true;
        before = weight;
        to += step;
        step ^= 2;
        if (--left > 0) continue;
        left = channels;
        from += row - channels;
      }
    }
  }

  const StemParams& params_;
  const Layout& layout_;
  int32_t* columns_;
  const int32_t* thresholds_ = nullptr;
  int32_t filters_ = 0;
  bool overflows_ = false;
  Job job_;
};

}  // namespace stem
}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_STEM_THUMB_H_

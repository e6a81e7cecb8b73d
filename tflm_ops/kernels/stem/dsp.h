// The stem on cores whose SMLAD adds two products of 16 bits to a sum: Cortex-M4, M7 and M33. Sums
// of two pixels and four filters are in registers at a time.
#ifndef TFLM_OPS_KERNELS_STEM_DSP_H_
#define TFLM_OPS_KERNELS_STEM_DSP_H_

#include <cstring>

#include "tflm_ops/kernels/stem/layout.h"

namespace bcnet {
namespace stem {

// What the code in assembly works on, pairs of pixels of a row. The word of window w is that of two
// numbers of a pixel; that of the other pixel lies behind it.
struct Job {
  const int16_t* window;
  int32_t window_bytes;  // less, but for four planes
  int32_t window_step;   // to the next pair of pixels
  const uint32_t* weights;
  const uint32_t* weights_end;
  const uint32_t* thresholds;
  uint32_t* output;  // the last word of the first pixel
  int32_t next_output, output_step;
  int32_t rest;  // bytes of code for words that are left over by whole rounds of the loop
  int32_t pairs;
  uint32_t first_bits;
  int32_t mode;
  int32_t filter_thresholds;  // in bytes
  const uint32_t* thresholds_end;
};
constexpr int32_t kFourPlanes = 0, kOnePlane = 1, kTwoPlanes = 2;
constexpr int32_t kFours = 3, kTwos = 4, kSingles = 5;
constexpr int32_t kUnrolled = 8, kBytesOfWord = 56;

// clang-format off
// Loads stand in chains, which take a cycle each on Cortex-M4 but for the first, and every
// instruction takes four bytes, as those behind others in a chain need to.
// r0: weights, r1: window, r2 and r3: words of the two pixels, r4 to r11: sums of pixels and filters.
#define WORD(r0_, r1_, r2_, r3_, r4_, r5_, r6_, r7_) \
  "ldr r12, [r0], #16\n" \
  "ldr r2, [r1], #8\n" \
  "ldr lr, [r0, #-12]\n" \
  "ldr r3, [r1, #-4]\n" \
  "smlad r4, r2, r12, " #r0_ "\n" \
  "smlad r5, r3, r12, " #r1_ "\n" \
  "smlad r6, r2, lr, " #r2_ "\n" \
  "smlad r7, r3, lr, " #r3_ "\n" \
  "ldr r12, [r0, #-8]\n" \
  "ldr lr, [r0, #-4]\n" \
  "smlad r8, r2, r12, " #r4_ "\n" \
  "smlad r9, r3, r12, " #r5_ "\n" \
  "smlad r10, r2, lr, " #r6_ "\n" \
  "smlad r11, r3, lr, " #r7_ "\n"
#define FIRST_WORD WORD(r11, r11, r11, r11, r11, r11, r11, r11)
#define NEXT_WORD WORD(r4, r5, r6, r7, r8, r9, r10, r11)
// The carry tells that a threshold is not below a sum. It becomes the lowest bit of a pixel.
#define COMPARE(threshold, a, b) \
  "cmp " #threshold ", " #a "\n" \
  "adcs r2, r2, r2\n" \
  "cmp " #threshold ", " #b "\n" \
  "adcs r3, r3, r3\n"
#define COMPARE_FOUR(t0, t1, t2, t3, a, b) \
  COMPARE(t0, a, b) COMPARE(t1, a, b) COMPARE(t2, a, b) COMPARE(t3, a, b)
// A word of both pixels is full, where r6 and r7 are free.
#define STORE_WORDS \
  "ldr r6, [sp, #68]\n" \
  "ldr r7, [sp, #28]\n" \
  "str r3, [r6, r7]\n" \
  "str r2, [r6], #-4\n" \
  "movs r2, #1\n" \
  "movs r3, #1\n" \
  "str r6, [sp, #68]\n"

// On the stack: the Job up to its mode, the bits of both pixels at 52, thresholds at 60, the
// window's end at 64, the output at 68, the rest of the Job, and sums at 80.
BCNET_NAKED static void RunPairs(const Job*) {
  __asm__(
      "push {r4-r11, lr}\n"
      "sub sp, sp, #112\n"
      "ldrd r1, r2, [r0, #52]\n"
      "strd r1, r2, [sp, #72]\n"
      "ldm r0, {r1-r12, lr}\n"
      "adr r0, 5f\n"
      "subs r10, r0, r10\n"
      "orr r10, r10, #1\n"
      "stm sp, {r1-r12, lr}\n"
      // A pair of pixels.
      "1:\n"
      "ldrd r1, r2, [sp]\n"
      "ldr r0, [sp, #12]\n"
      "ldrd r3, r12, [sp, #20]\n"
      "ldr lr, [sp, #44]\n"
      "add r2, r2, r1\n"
      "strd r3, r2, [sp, #60]\n"
      "str r12, [sp, #68]\n"
      "strd lr, lr, [sp, #52]\n"
      // Four filters.
      ".p2align 2\n"
      "2:\n"
      "mov r11, #0x80000000\n"
      "ldr.w r1, [sp]\n"
      FIRST_WORD
      "ldr.w pc, [sp, #36]\n"
      ".p2align 2\n"
      "3:\n"
      NEXT_WORD NEXT_WORD NEXT_WORD NEXT_WORD NEXT_WORD NEXT_WORD NEXT_WORD NEXT_WORD
      ".p2align 2\n"
      "5:\n"
      "ldr r2, [sp, #64]\n"
      "cmp r1, r2\n"
      "blo 3b\n"
      "bhi 7f\n"
      // Four planes.
      ".p2align 2\n"
      "ldr.w r1, [sp, #60]\n"
      "ldr.w r2, [sp, #52]\n"
      "ldr.w r3, [sp, #56]\n"
      "ldr r12, [r1]\n"
      "ldr lr, [r1, #4]\n"
      COMPARE(r12, r4, r5)
      COMPARE(lr, r4, r5)
      "ldr r12, [r1, #8]\n"
      "ldr lr, [r1, #12]\n"
      COMPARE(r12, r4, r5)
      COMPARE(lr, r4, r5)
      "ldr r4, [r1, #16]\n"
      "ldr r5, [r1, #20]\n"
      "ldr r12, [r1, #24]\n"
      "ldr lr, [r1, #28]\n"
      COMPARE_FOUR(r4, r5, r12, lr, r6, r7)
      "ldr r4, [r1, #32]\n"
      "ldr r5, [r1, #36]\n"
      "ldr r12, [r1, #40]\n"
      "ldr lr, [r1, #44]\n"
      COMPARE_FOUR(r4, r5, r12, lr, r8, r9)
      "ldr r4, [r1, #48]\n"
      "ldr r5, [r1, #52]\n"
      "ldr r12, [r1, #56]\n"
      "ldr lr, [r1, #60]\n"
      "adds r1, r1, #64\n"
      COMPARE_FOUR(r4, r5, r12, lr, r10, r11)
      "str r1, [sp, #60]\n"
      "bcs 6f\n"
      "str r2, [sp, #52]\n"
      "str r3, [sp, #56]\n"
      "b 2b\n"
      // A word of both pixels is full.
      "6:\n"
      "ldr r1, [sp, #68]\n"
      "ldr.w r12, [sp, #28]\n"
      "ldr.w lr, [sp, #16]\n"
      "str r3, [r1, r12]\n"
      "str r2, [r1], #-4\n"
      "movs r2, #1\n"
      "cmp r0, lr\n"
      "str r1, [sp, #68]\n"
      "str r2, [sp, #52]\n"
      "str r2, [sp, #56]\n"
      "bne 2b\n"
      "8:\n"
      "ldr r1, [sp]\n"
      "ldr r2, [sp, #8]\n"
      "ldr r3, [sp, #24]\n"
      "ldr.w r12, [sp, #32]\n"
      "ldr.w lr, [sp, #40]\n"
      "add r1, r1, r2\n"
      "add r3, r3, r12\n"
      "subs lr, lr, #1\n"
      "str r1, [sp]\n"
      "str r3, [sp, #24]\n"
      "str lr, [sp, #40]\n"
      "bne 1b\n"
      "add sp, sp, #112\n"
      "pop {r4-r11, pc}\n"
      // Other planes, for which the window's end is given too low.
      "7:\n"
      "ldr r1, [sp, #60]\n"
      "ldr.w r12, [sp, #48]\n"
      "ldr r2, [sp, #52]\n"
      "ldr r3, [sp, #56]\n"
      "cmp.w r12, #1\n"
      "bne 9f\n"
      // One plane.
      ".p2align 2\n"
      "ldr.w r12, [r1]\n"
      "ldr.w lr, [r1, #4]\n"
      COMPARE(r12, r4, r5)
      COMPARE(lr, r6, r7)
      "ldr r4, [r1, #8]\n"
      "ldr r5, [r1, #12]\n"
      "adds r1, r1, #16\n"
      COMPARE(r4, r8, r9)
      COMPARE(r5, r10, r11)
      "str r1, [sp, #60]\n"
      "bcs 6b\n"
      "str r2, [sp, #52]\n"
      "str r3, [sp, #56]\n"
      "b 2b\n"
      "9:\n"
      "cmp.w r12, #2\n"
      "bne 10f\n"
      // Two planes.
      ".p2align 2\n"
      "ldr.w r12, [r1]\n"
      "ldr.w lr, [r1, #4]\n"
      COMPARE(r12, r4, r5)
      COMPARE(lr, r4, r5)
      "ldr r12, [r1, #8]\n"
      "ldr lr, [r1, #12]\n"
      COMPARE(r12, r6, r7)
      COMPARE(lr, r6, r7)
      "ldr r4, [r1, #16]\n"
      "ldr r5, [r1, #20]\n"
      "ldr r6, [r1, #24]\n"
      "ldr r7, [r1, #28]\n"
      "adds r1, r1, #32\n"
      COMPARE(r4, r8, r9)
      COMPARE(r5, r8, r9)
      COMPARE(r6, r10, r11)
      COMPARE(r7, r10, r11)
      "str r1, [sp, #60]\n"
      "bcs.w 6b\n"
      "str r2, [sp, #52]\n"
      "str r3, [sp, #56]\n"
      "b 2b\n"
      // Any other number of planes: r4 and r5: sums of a filter, r10: the next ones, r11: the end of
      // its thresholds, r12: of those of four filters, or of fewer, the last ones.
      "10:\n"
      "mov lr, r12\n"
      "add r12, sp, #80\n"
      "stm r12, {r4-r11}\n"
      "mov r10, r12\n"
      "ldrd r6, r12, [sp, #72]\n"
      "add r7, r1, r6, lsl #2\n"
      "cmp r7, r12\n"
      "it lo\n"
      "movlo r12, r7\n"
      "cmp lr, #4\n"
      "mov lr, r6\n"
      "beq 14f\n"
      "bhi 20f\n"
      // A multiple of four.
      "11:\n"
      "ldrd r4, r5, [r10], #8\n"
      "add r11, r1, lr\n"
      ".p2align 2\n"
      "12:\n"
      "ldr r6, [r1], #16\n"
      "ldr r7, [r1, #-12]\n"
      "ldr r8, [r1, #-8]\n"
      "ldr r9, [r1, #-4]\n"
      COMPARE_FOUR(r6, r7, r8, r9, r4, r5)
      "bcs 17f\n"
      "13:\n"
      "cmp r1, r11\n"
      "bne 12b\n"
      "cmp r1, r12\n"
      "bne 11b\n"
      "b 16f\n"
      // Any other even number.
      "14:\n"
      "ldrd r4, r5, [r10], #8\n"
      "add r11, r1, lr\n"
      ".p2align 2\n"
      "15:\n"
      "ldr r6, [r1], #8\n"
      "ldr r7, [r1, #-4]\n"
      COMPARE(r6, r4, r5)
      COMPARE(r7, r4, r5)
      "bcs 18f\n"
      "19:\n"
      "cmp r1, r11\n"
      "bne 15b\n"
      "cmp r1, r12\n"
      "bne 14b\n"
      "b 16f\n"
      // An odd number.
      "20:\n"
      "ldrd r4, r5, [r10], #8\n"
      "add r11, r1, lr\n"
      ".p2align 2\n"
      "21:\n"
      "ldr r6, [r1], #4\n"
      COMPARE(r6, r4, r5)
      "bcs 23f\n"
      "22:\n"
      "cmp r1, r11\n"
      "bne 21b\n"
      "cmp r1, r12\n"
      "bne 20b\n"
      "16:\n"
      "ldr r6, [sp, #16]\n"
      "str r1, [sp, #60]\n"
      "strd r2, r3, [sp, #52]\n"
      "cmp r0, r6\n"
      "bne.w 2b\n"
      "b 8b\n"
      "17:\n"
      STORE_WORDS
      "b 13b\n"
      "18:\n"
      STORE_WORDS
      "b 19b\n"
      "23:\n"
      STORE_WORDS
      "b 22b\n");
}
// clang-format on
#undef WORD
#undef FIRST_WORD
#undef NEXT_WORD
#undef COMPARE
#undef COMPARE_FOUR
#undef STORE_WORDS

// Words of 16 bits in pairs of words, one of each of two pixels. A column with an odd number of
// numbers shares a word with the next one, where it is an even column of the windows.
inline int32_t WordsOf(int32_t columns, int32_t column) { return (columns * column + 1) / 2; }

inline int32_t PlanesMode(int32_t planes) {
  if (planes == 4) return kFourPlanes;
  if (planes <= 2) return planes == 1 ? kOnePlane : kTwoPlanes;
  return planes % 4 == 0 ? kFours : planes % 2 == 0 ? kTwos : kSingles;
}

// The number of filters without weights that are put behind the last one, where their bits are
// unused ones of the last word: words of 1, 2 and 4 planes are stored behind four filters only.
inline int32_t MissingOf(const StemParams& params, int32_t filters) {
  return PlanesMode(params.planes) < kFours ? -filters & 3 : 0;
}

BCNET_SMALL static Layout LayOut(const StemParams& params) {
  Layout layout;
  layout.column = params.height.filter * params.channels;
  layout.step =
      params.width.stride < params.width.filter ? params.width.stride : params.width.filter;
  layout.tile = TileOf(params, layout.step, layout.step, 8 * layout.column);
  const int32_t words = WordsOf(params.width.filter, layout.column);
  layout.group = GroupOf(params, 4 * words);
  const int32_t columns = (layout.tile - 2) * layout.step + params.width.filter;
  const int32_t filters = (layout.group + 3) & ~3;
  layout.columns_bytes =
      8 * WordsOf(columns + layout.step + 2 * ((layout.step + 1) / 2), layout.column);
  layout.weights_bytes = filters * words * 4;
  layout.bytes = layout.columns_bytes + layout.weights_bytes +
                 4 * params.planes * (layout.group + MissingOf(params, layout.group));
  return layout;
}

class Form {
 public:
  Form(const StemParams& params, const Layout& layout, void* scratch)
      : params_(params),
        layout_(layout),
        columns_(static_cast<int16_t*>(scratch) + 4 * ((layout.step + 1) / 2) * layout.column),
        zero_point_(static_cast<int8_t>(params.zero_point)) {
    uint8_t* bytes = static_cast<uint8_t*>(scratch) + layout.columns_bytes;
    const int32_t words = WordsOf(params.width.filter, layout.column);
    job_.window_bytes = 8 * words - (PlanesMode(params.planes) == kFourPlanes ? 0 : 4);
    job_.window_step = 8 * layout.step * layout.column;
    job_.weights = reinterpret_cast<uint32_t*>(bytes);
    job_.thresholds = reinterpret_cast<uint32_t*>(bytes + layout.weights_bytes);
    job_.rest = words == 1 ? 0 : kBytesOfWord * ((words - 2) % kUnrolled + 1);
    job_.mode = PlanesMode(params.planes);
    job_.filter_thresholds = 4 * params.planes;
  }

  BCNET_SMALL void SetFilters(const int8_t* filter, const int32_t* thresholds, int32_t filters) {
    const int32_t planes = params_.planes, words = WordsOf(params_.width.filter, layout_.column);
    const int32_t all = (filters + 3) & ~3;
    const int32_t missing = MissingOf(params_, filters);
    filters_ = filters;
    auto* weights = const_cast<uint32_t*>(job_.weights);
    std::memset(weights, 0, static_cast<size_t>(all * words) * 4);
    job_.weights_end = weights + all * words;
    const int32_t channels = params_.channels, row_size = params_.width.filter * channels;
    for (int32_t row = 0; row < params_.height.filter; ++row) {
      for (int32_t channel = 0; channel < channels; ++channel) {
        SetWeights(filter + row * row_size + channel, NumberOf(row, channel), missing,
                   reinterpret_cast<int16_t*>(weights));
      }
    }
    // The last filter comes first.
    const int32_t count = (filters + missing) * planes;
    auto* to = const_cast<uint32_t*>(job_.thresholds);
    for (int32_t i = count - 1; i >= 0; --i) {
      const int32_t threshold = i < filters * planes ? thresholds[i] : INT32_MIN;
      *to++ = static_cast<uint32_t>(threshold - (threshold != INT32_MIN)) ^ 0x80000000u;
    }
    job_.thresholds_end = to;
    const int32_t bits = count % kWordBits;
    job_.first_bits = uint32_t{1} << (bits == 0 ? 0 : kWordBits - bits);
  }

  // Fills row `row` of columns from `column` on with `pixels`, or with what lies outside the image.
  BCNET_SMALL void Put(int32_t row, int32_t column, int32_t count, const int8_t* pixels) {
    const int32_t channels = params_.channels, step = pixels != nullptr ? channels : 0;
    const int32_t advance = 4 * layout_.column;
    for (int32_t channel = 0; channel < channels; ++channel) {
      const int32_t number = NumberOf(row, channel);
      const int32_t places[2] = {PlaceOf(number, 0), PlaceOf(number, 1)};
      for (int32_t slot = 0; slot < 2; ++slot) {
        const int8_t* from = pixels != nullptr ? pixels + channel : &zero_point_;
        const int32_t first = column - slot * layout_.step, odd = first & 1;
        int16_t* here = ColumnOf(first - odd) + 2 * slot;
        int16_t* there = here + places[odd ^ 1] + odd * advance;
        here += places[odd];
        for (int32_t left = count; left > 0; --left, from += step) {
          *here = *from;
          int16_t* next = there;
          there = here + advance;
          here = next;
        }
      }
    }
  }

  // Fills rows from `row` on, of which `rows` lie on the image, `row_size` apart; returns how many.
  BCNET_SMALL int32_t PutRows(int32_t row, int32_t rows, int32_t column, int32_t count,
                              const int8_t* pixels, int32_t row_size) {
    const int32_t channels = params_.channels;
    const bool last = row == params_.height.filter - 1;
    const bool two = row % 2 == 0 && !last && rows > 1;
    const bool single = row % 2 == 0 && last;
    if (!(two || single) || (channels != 1 && channels != 3)) {
      Put(row, column, count, pixels);
      return 1;
    }
    if (channels == 3 && rows == 1 + two) {
      // Pixels are read as words: behind the last one there may be no more memory.
      --count;
      Put(row, column + count, 1, pixels + 3 * count);
      if (two) Put(row + 1, column + count, 1, pixels + 3 * count + row_size);
    }
    const int32_t place = Place(row * channels);
    if (channels == 3 && two) PutTwoRows<3>(column, count, pixels, row_size, place);
    if (channels == 1 && two) PutTwoRows<1>(column, count, pixels, row_size, place);
    if (channels == 3 && !two) PutLastRow<3>(column, count, pixels, place);
    if (channels == 1 && !two) PutLastRow<1>(column, count, pixels, place);
    return two ? 2 : 1;
  }

  void Run(int32_t count, uint32_t* output, int32_t words) {
    Job job = job_;
    const int32_t group_words = BitpackedWords(filters_ * params_.planes);
    job.window = columns_;
    job.output = output + group_words - 1;
    job.next_output = 4 * words;
    job.output_step = 8 * words;
    job.pairs = count / 2;
    for (int32_t left = count; left > 0;) {
      if (left == 1) {
        job.next_output = 0;
        job.pairs = 1;
      }
      RunPairs(&job);
      left -= 2 * job.pairs;
      job.window += job.pairs * job.window_step / 2;
      job.output += job.pairs * 2 * words;
    }
  }

 private:
  // Where the first of two columns lies, from an even one on. In front are as many columns as the
  // second pixels of pairs see others than the first, for what only the first ones see.
  int16_t* ColumnOf(int32_t column) const { return columns_ + column * 2 * layout_.column; }
  // And a column of either kind.
  int16_t* OddColumnOf(int32_t column) const {
    return ColumnOf(column & ~1) + (column & 1 ? Place(layout_.column + layout_.column % 2) : 0);
  }

  // The number in a column of a channel of a row. Of two rows with three channels, SXTB16 gives
  // the first and third channel of a row, and what is left of both comes last.
  int32_t NumberOf(int32_t row, int32_t channel) const {
    if (params_.channels != 3) return row * params_.channels + channel;
    if (row % 2 == 0 && row == params_.height.filter - 1)
      return 3 * row + (channel == 0 ? 0 : 3 - channel);
    return row / 2 * 6 + (channel == 1 ? 4 + row % 2 : row % 2 * 2 + channel / 2);
  }

  // Where number `number` of a column lies, from the first of two columns on.
  int32_t PlaceOf(int32_t number, int32_t odd) const {
    if (odd && layout_.column % 2 != 0 && number == layout_.column - 1) return Place(number + 1);
    return Place(number) + (odd ? Place(layout_.column + layout_.column % 2) : 0);
  }
  static int32_t Place(int32_t number) { return number / 2 * 4 + number % 2; }

  // Puts the weights of a channel of a row of all filters.
  BCNET_NOINLINE void SetWeights(const int8_t* filter, int32_t number, int32_t missing,
                                 int16_t* numbers) {
    const int32_t channels = params_.channels, taps = TapsOf(params_);
    const int32_t even = PlaceOf(number, 0), odd = PlaceOf(number, 1);
    const int32_t words = WordsOf(params_.width.filter, layout_.column);
    for (int32_t i = filters_ - 1, place = missing; i >= 0; --i, ++place) {
      const int8_t* from = filter + i * taps;
      int16_t* to = numbers + place / 4 * words * 8 + place % 4 * 2;
      int16_t* here = to + even / 4 * 8 + even % 4;
      int16_t* there = to + odd / 4 * 8 + odd % 4;
      for (int32_t x = params_.width.filter; x > 0; --x, from += channels) {
        *here = *from;
        int16_t* next = there;
        there = here + 8 * layout_.column;
        here = next;
      }
    }
  }

  static BCNET_INLINE void Store(int16_t* to, uint32_t word) { std::memcpy(to, &word, 4); }
  static BCNET_INLINE uint32_t Pack(uint32_t low, uint32_t high) {
    uint32_t result;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(result) : "r"(low), "r"(high));
    return result;
  }
  struct Pixel {
    uint32_t outer, middle;
  };
  template <int32_t kChannels>
  static BCNET_INLINE Pixel Read(const int8_t* pixel) {
    if (kChannels == 1) return {0, static_cast<uint32_t>(static_cast<int32_t>(*pixel))};
    uint32_t word;
    Pixel result;
    std::memcpy(&word, pixel, 4);
    __asm__("sxtb16 %0, %1" : "=r"(result.outer) : "r"(word));
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(result.middle) : "r"(word));
    return result;
  }

  template <int32_t kChannels>
  static BCNET_INLINE void PutTwoPixels(const int8_t* from, int32_t row_size, int16_t* a,
                                        int16_t* b) {
    const Pixel upper = Read<kChannels>(from), lower = Read<kChannels>(from + row_size);
    if (kChannels == 3) {
      Store(a, upper.outer);
      Store(a + 4, lower.outer);
      Store(b, upper.outer);
      Store(b + 4, lower.outer);
    }
    Store(a + 4 * (kChannels - 1), Pack(upper.middle, lower.middle));
    Store(b + 4 * (kChannels - 1), Pack(upper.middle, lower.middle));
  }

  // Both fill columns for the first and for the second pixels of pairs, two in a round.
  template <int32_t kChannels>
  BCNET_NOINLINE void PutTwoRows(int32_t column, int32_t count, const int8_t* from,
                                 int32_t row_size, int32_t place) {
    const int32_t advance = 4 * layout_.column;
    int16_t *a[2], *b[2];
    for (int32_t i = 0; i < 2; ++i) {
      a[i] = OddColumnOf(column + i) + place;
      b[i] = OddColumnOf(column + i - layout_.step) + place + 2;
    }
    for (; count > 0; count -= 2, from += 2 * kChannels) {
      PutTwoPixels<kChannels>(from, row_size, a[0], b[0]);
      if (count > 1) PutTwoPixels<kChannels>(from + kChannels, row_size, a[1], b[1]);
      for (int32_t i = 0; i < 2; ++i) {
        a[i] += advance;
        b[i] += advance;
      }
    }
  }

  template <int32_t kChannels>
  BCNET_NOINLINE void PutLastRow(int32_t column, int32_t count, const int8_t* from, int32_t place) {
    const int32_t advance = 4 * layout_.column, step = layout_.step;
    // Of three channels, and the single number that an even column has before that of an odd one.
    int16_t *a[2], *b[2], *last_a[2], *last_b[2];
    for (int32_t i = 0; i < 2; ++i) {
      const int32_t first = column + i, second = column + i - step;
      a[i] = OddColumnOf(first) + place;
      b[i] = OddColumnOf(second) + place + 2;
      last_a[i] = ColumnOf(first & ~1) + place + 2 * (kChannels - 1) + (first & 1);
      last_b[i] = ColumnOf(second & ~1) + place + 2 * (kChannels - 1) + (second & 1) + 2;
    }
    for (; count > 0; count -= 2) {
      for (int32_t i = 0; i < 2; ++i, from += kChannels) {
        if (i == 1 && count == 1) return;
        const Pixel pixel = Read<kChannels>(from);
        if (kChannels == 3) {
          Store(a[i], pixel.outer);
          Store(b[i], pixel.outer);
          a[i] += advance;
          b[i] += advance;
        }
        *last_a[i] = static_cast<int16_t>(pixel.middle);
        *last_b[i] = static_cast<int16_t>(pixel.middle);
        last_a[i] += advance;
        last_b[i] += advance;
      }
    }
  }

  const StemParams& params_;
  const Layout& layout_;
  int16_t* columns_;
  int8_t zero_point_;
  int32_t filters_ = 0;
  Job job_;
};

}  // namespace stem
}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_STEM_DSP_H_

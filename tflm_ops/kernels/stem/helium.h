// The stem with Helium: sixteen products of bytes are added to a sum at once, and a sum is compared
// with four thresholds at once.
#ifndef TFLM_OPS_KERNELS_STEM_HELIUM_H_
#define TFLM_OPS_KERNELS_STEM_HELIUM_H_

#include <arm_mve.h>

#include <cstring>

#include "tflm_ops/kernels/stem/layout.h"

namespace bcnet {
namespace stem {

constexpr int32_t kLanes = 16;  // bytes of a vector

inline int32_t RoundUp(int32_t size, int32_t multiple) {
  return (size + multiple - 1) / multiple * multiple;
}

// What the code in assembly works on, pairs of pixels of a row.
struct Job {
  const int8_t* window;
  int32_t next_window, window_step;  // to the other pixel, and to the next pair
  const int8_t* weights;
  const int8_t* weights_end;
  const void* thresholds;  // or where sums go
  uint32_t* output;        // the first word of the first pixel
  int32_t next_output, output_step;
  int32_t vectors, taps;  // of a filter; taps fill whole vectors
  int32_t pairs;
  int32_t mode;
  int32_t fours;   // vectors of thresholds of one filter
  int32_t phases;  // 2 where there is one of two filters between those of each, else 1
};
constexpr int32_t kFourPlanes = 0, kOnePlane = 1, kTwoPlanes = 2, kEvenPlanes = 3, kSums = 4;

// clang-format off
// Sets the bits of the mask in q4 where a threshold is above the sum.
#define SET_BELOW(bits, thresholds, sum) \
  "vpt.s32 gt, " #thresholds ", " #sum "\n" \
  "vorrt " #bits ", " #bits ", q4\n"

// r0: weights, r1 and r2: windows, r3: thresholds, r4, r6, r8 and r10: sums of two filters and two
// pixels, r11: bytes of a filter, r12: its vectors, q4: the mask of four bits, q5: the first one,
// q6 and q7: bits of two pixels, in four words each. On the stack: the Job up to its mode, the
// output at 52, the rest of the Job, and at 64 how many times four bits a word lacks.
BCNET_NAKED static void RunPairs(const Job*) {
  __asm__(
      "push {r4-r11, lr}\n"
      "vpush {d8-d15}\n"
      "sub sp, sp, #72\n"
      "ldrd r1, r2, [r0, #52]\n"
      "strd r1, r2, [sp, #56]\n"
      "ldm r0, {r1-r12, lr}\n"
      "stm sp, {r1-r12, lr}\n"
      "movs r4, #0\n"
      "vidup.u32 q5, r4, #1\n"
      "movs r4, #1\n"
      "vdup.32 q4, r4\n"
      "vshl.u32 q5, q4, q5\n"
      "ldr r5, [sp, #48]\n"
      "cmp r5, #1\n"
      "bne 1f\n"
      "movs r4, #0\n"
      "vmov d11, r4, r4\n"
      // A pair of pixels.
      "1:\n"
      "ldrd r1, r2, [sp]\n"
      "ldr r0, [sp, #12]\n"
      "ldrd r3, r4, [sp, #20]\n"
      "ldrd r12, r11, [sp, #36]\n"
      "add r2, r2, r1\n"
      "movs r5, #8\n"
      "str r4, [sp, #52]\n"
      "str r5, [sp, #64]\n"
      "vmov q4, q5\n"
      "vmov.i32 q6, #0\n"
      "vmov.i32 q7, #0\n"
      // Two filters.
      "2:\n"
      "dls lr, r12\n"
      "mov r5, r1\n"
      "mov r7, r2\n"
      "add r9, r0, r11\n"
      "movs r4, #0\n"
      "movs r6, #0\n"
      "mov r8, #0\n"
      "mov r10, #0\n"
      "3:\n"
      "vldrb.8 q0, [r5], #16\n"
      "vldrb.8 q1, [r0], #16\n"
      "vmladava.s8 r4, q0, q1\n"
      "vldrb.8 q2, [r7], #16\n"
      "vmladava.s8 r6, q2, q1\n"
      "vldrb.8 q3, [r9], #16\n"
      "vmladava.s8 r8, q0, q3\n"
      "vmladava.s8 r10, q2, q3\n"
      "le lr, 3b\n"
      "mov r0, r9\n"
      "ldr r5, [sp, #48]\n"
      "ldr r7, [sp, #16]\n"
      "cmp r5, #0\n"
      "bne 6f\n"
      "vldrw.32 q0, [r3], #16\n"
      SET_BELOW(q6, q0, r4)
      "vldrw.32 q1, [r3], #16\n"
      SET_BELOW(q7, q0, r6)
      "vshl.i32 q4, q4, #4\n"
      SET_BELOW(q6, q1, r8)
      SET_BELOW(q7, q1, r10)
      "vshl.i32 q4, q4, #4\n"
      "vmov r5, s16\n"
      "cmp r0, r7\n"
      "beq 4f\n"
      "cmp r5, #0\n"
      "bne 2b\n"
      // A word of both pixels is full, or it is the last one.
      "4:\n"
      "vaddv.u32 r4, q6\n"
      "vaddv.u32 r6, q7\n"
      "ldr r5, [sp, #52]\n"
      "ldr r9, [sp, #28]\n"
      "vmov q4, q5\n"
      "vmov.i32 q6, #0\n"
      "vmov.i32 q7, #0\n"
      "str r6, [r5, r9]\n"
      "str r4, [r5], #4\n"
      "str r5, [sp, #52]\n"
      "cmp r0, r7\n"
      "bne 2b\n"
      "5:\n"
      "ldr r0, [sp]\n"
      "ldr r1, [sp, #8]\n"
      "ldr r2, [sp, #24]\n"
      "ldr r3, [sp, #32]\n"
      "ldr r4, [sp, #44]\n"
      "add r0, r0, r1\n"
      "add r2, r2, r3\n"
      "subs r4, r4, #1\n"
      "str r0, [sp]\n"
      "str r2, [sp, #24]\n"
      "str r4, [sp, #44]\n"
      "bne 1b\n"
      "add sp, sp, #72\n"
      "vpop {d8-d15}\n"
      "pop {r4-r11, pc}\n"
      "6:\n"
      "cmp r5, #2\n"
      "beq 14f\n"
      "bhi 7f\n"
      // One plane, of which the mask has two bits.
      "ldrd r5, r9, [r3], #8\n"
      "vmov d2, r4, r8\n"
      "vmov d4, r6, r10\n"
      "vshl.i32 q3, q4, #2\n"
      "vmov d0, r5, r9\n"
      SET_BELOW(q6, q0, q1)
      "vmov r5, s12\n"
      SET_BELOW(q7, q0, q2)
      "vmov q4, q3\n"
      "cmp r0, r7\n"
      "beq 4b\n"
      "cmp r5, #0\n"
      "bne 2b\n"
      "b 4b\n"
      // Two planes.
      "14:\n"
      "vldrw.32 q0, [r3], #16\n"
      "vmov d2, r4, r4\n"
      "vmov d3, r8, r8\n"
      "vmov d4, r6, r6\n"
      "vmov d5, r10, r10\n"
      "vshl.i32 q3, q4, #4\n"
      SET_BELOW(q6, q0, q1)
      "vmov r5, s12\n"
      SET_BELOW(q7, q0, q2)
      "vmov q4, q3\n"
      "cmp r0, r7\n"
      "beq 4b\n"
      "cmp r5, #0\n"
      "bne 2b\n"
      "b 4b\n"
      // Any other even number of planes: q1 and q2: sums of two pixels, r5: vectors of thresholds with
      // them, r9: what comes behind these.
      "7:\n"
      "cmp r5, #4\n"
      "beq 16f\n"
      "ldrd r5, r9, [sp, #56]\n"
      "vdup.32 q1, r4\n"
      "vdup.32 q2, r6\n"
      "ldr r12, [sp, #64]\n"
      "cbz r5, 10f\n"
      "8:\n"
      "vldrw.32 q0, [r3], #16\n"
      SET_BELOW(q6, q0, q1)
      SET_BELOW(q7, q0, q2)
      "subs r12, r12, #1\n"
      "vshl.i32 q4, q4, #4\n"
      "beq 13f\n"
      "9:\n"
      "subs r5, r5, #1\n"
      "bne 8b\n"
      "10:\n"
      "subs r9, r9, #1\n"
      "bmi 12f\n"
      "bne 11f\n"
      "ldr r5, [sp, #56]\n"
      "vdup.32 q1, r8\n"
      "vdup.32 q2, r10\n"
      "cmp r5, #0\n"
      "bne 8b\n"
      "b 12f\n"
      "11:\n"
      "vmov d3, r8, r8\n"
      "vmov d5, r10, r10\n"
      "movs r5, #1\n"
      "b 8b\n"
      "12:\n"
      "str r12, [sp, #64]\n"
      "cmp r0, r7\n"
      "mov r5, r12\n"
      "ldr r12, [sp, #36]\n"
      "bne 2b\n"
      "cmp r5, #8\n"
      "bne 4b\n"
      "b 5b\n"
      "13:\n"
      "vaddv.u32 r12, q6\n"
      "vaddv.u32 lr, q7\n"
      "ldr r7, [sp, #52]\n"
      "ldr r11, [sp, #28]\n"
      "vmov q4, q5\n"
      "vmov.i32 q6, #0\n"
      "vmov.i32 q7, #0\n"
      "str lr, [r7, r11]\n"
      "str r12, [r7], #4\n"
      "str r7, [sp, #52]\n"
      "ldr r11, [sp, #40]\n"
      "ldr r7, [sp, #16]\n"
      "movs r12, #8\n"
      "b 9b\n"
      // Sums are stored.
      "16:\n"
      "strd r4, r6, [r3], #8\n"
      "strd r8, r10, [r3], #8\n"
      "cmp r0, r7\n"
      "bne 2b\n"
      "b 5b\n");
}
// clang-format on
#undef SET_BELOW

// Whether bits are made of sums in registers, of two filters at a time: where they are whole
// vectors and none is put behind the last filter but as unused bits of the last word.
inline int32_t ModeOf(const StemParams& params) {
  const int32_t planes = params.planes;
  if (params.filters % 2 != 0 && 16 % planes != 0) return kSums;
  if (planes <= 2) return planes == 1 ? kOnePlane : kTwoPlanes;
  return planes == 4 ? kFourPlanes : planes % 2 == 0 ? kEvenPlanes : kSums;
}

BCNET_SMALL static Layout LayOut(const StemParams& params) {
  Layout layout;
  layout.column = params.height.filter * params.channels;
  layout.step =
      params.width.stride < params.width.filter ? params.width.stride : params.width.filter;
  layout.tile = TileOf(params, layout.step, 0, 2 * layout.column);
  const int32_t taps = RoundUp(TapsOf(params), kLanes);
  layout.group = GroupOf(params, taps);
  const int32_t columns = (layout.tile - 1) * layout.step + params.width.filter;
  // The last vector of the last window reaches past its end.
  layout.columns_bytes = RoundUp(columns * layout.column + kLanes - 1, 4);
  layout.weights_bytes = (layout.group + layout.group % 2) * taps;
  layout.bytes = layout.columns_bytes + layout.weights_bytes;
  // Sums and the places of those that bits come of, or thresholds where the last filter has none
  // beside it.
  if (ModeOf(params) == kSums) {
    layout.bytes += 8 * RoundUp(layout.group, 4) + 2 * RoundUp(params.planes * layout.group, 2);
  } else if (params.filters % 2 != 0) {
    layout.bytes += 4 * params.planes * (layout.group + 1);
  }
  return layout;
}

class Form {
 public:
  Form(const StemParams& params, const Layout& layout, void* scratch)
      : params_(params),
        layout_(layout),
        columns_(static_cast<int8_t*>(scratch)),
        weights_(columns_ + layout.columns_bytes),
        taps_(RoundUp(TapsOf(params), kLanes)),
        mode_(ModeOf(params)),
        sums_(reinterpret_cast<int32_t*>(weights_ + layout.weights_bytes)),
        places_(reinterpret_cast<uint16_t*>(sums_ + 2 * RoundUp(layout.group, 4))) {}

  BCNET_NOINLINE void SetFilters(const int8_t* filter, const int32_t* thresholds, int32_t filters) {
    thresholds_ = thresholds;
    filters_ = filters;
    weights_end_ = weights_ + (filters + filters % 2) * taps_;
    const int32_t planes = params_.planes;
    if (mode_ != kSums && filters % 2 != 0) {
      std::memcpy(sums_, thresholds, static_cast<size_t>(filters * planes) * 4);
      for (int32_t i = 0; i < planes; ++i) sums_[planes * filters + i] = INT32_MIN;
    }
    if (mode_ == kSums) {
      for (int32_t i = 0, bit = 0; i < filters; ++i) {
        for (int32_t plane = 0; plane < planes; ++plane)
          places_[bit++] = static_cast<uint16_t>(8 * i);
      }
    }
    const int32_t channels = params_.channels, row = params_.width.filter * channels;
    std::memset(weights_, 0, static_cast<size_t>(layout_.weights_bytes));
    for (int32_t i = 0; i < filters; ++i, filter += TapsOf(params_)) {
      int8_t* weight = weights_ + i * taps_;
      for (int32_t x = 0; x < row; x += channels) {
        const int8_t* from = filter + x;
        int32_t left = channels;
        for (int32_t number = layout_.column; number > 0; --number) {
          *weight++ = *from++;
          if (--left > 0) continue;
          left = channels;
          from += row - channels;
        }
      }
    }
  }

  void Put(int32_t row, int32_t column, int32_t count, const int8_t* pixels) {
    const int32_t channels = params_.channels, size = layout_.column;
    int8_t* to = columns_ + column * size + row * channels;
    if (pixels == nullptr) {
      for (; count > 0; --count, to += size) {
        for (int32_t channel = 0; channel < channels; ++channel)
          to[channel] = static_cast<int8_t>(params_.zero_point);
      }
    } else if (channels == 1) {
      for (; count > 0; --count, to += size) *to = *pixels++;
    } else if (channels == 3) {
      for (; count > 0; --count, to += size, pixels += 3) {
        const int8_t first = pixels[0], second = pixels[1], third = pixels[2];
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

  int32_t PutRows(int32_t row, int32_t, int32_t column, int32_t count, const int8_t* pixels,
                  int32_t) {
    Put(row, column, count, pixels);
    return 1;
  }

  void Run(int32_t count, uint32_t* output, int32_t words) {
    const int32_t advance = layout_.step * layout_.column;
    Job job = {columns_, advance,   2 * advance, weights_,           weights_end_,
               sums_,    output,    4 * words,   8 * words,          taps_ / kLanes,
               taps_,    count / 2, mode_,       params_.planes / 4, 1 + (params_.planes % 4 != 0)};
    if (mode_ == kSums) {
      job.pairs = 1;
    } else if (filters_ % 2 == 0) {
      job.thresholds = thresholds_;
    }
    while (count > 0) {
      if (count == 1) {
        job.next_window = job.next_output = 0;
        job.pairs = 1;
      }
      RunPairs(&job);
      if (mode_ == kSums) Compare(job.output, job.output + job.next_output / 4);
      count -= 2 * job.pairs;
      job.window += job.pairs * job.window_step;
      job.output += job.pairs * 2 * words;
    }
  }

 private:
  // Writes the bits of sums.
  BCNET_NOINLINE void Compare(uint32_t* a, uint32_t* b) const {
    const int32_t* thresholds = thresholds_;
    const uint16_t* places = places_;
    const uint32x4_t first = vshlq_u32(vdupq_n_u32(1), vreinterpretq_s32_u32(vidupq_n_u32(0, 1)));
    for (int32_t left = filters_ * params_.planes; left > 0; left -= kWordBits) {
      const int32_t count = left < kWordBits ? left : kWordBits;
      uint32x4_t mask = first, bits_a = vdupq_n_u32(0), bits_b = bits_a;
      int32_t i = 0;
      for (; i < (count & ~3); i += 4, thresholds += 4, places += 4) {
        const int32x4_t four = vldrwq_s32(thresholds);
        const uint32x4_t place = vldrhq_u32(places);
        const int32x4_t of_a = vldrwq_gather_offset_s32(sums_, place);
        const int32x4_t of_b = vldrwq_gather_offset_s32(sums_ + 1, place);
        bits_a = vorrq_m_u32(bits_a, bits_a, mask, vcmpgtq_s32(four, of_a));
        bits_b = vorrq_m_u32(bits_b, bits_b, mask, vcmpgtq_s32(four, of_b));
        mask = vshlq_n_u32(mask, 4);
      }
      uint32_t word_a = vaddvq_u32(bits_a), word_b = vaddvq_u32(bits_b);
      for (; i < count; ++i, ++thresholds) {
        const int32_t* two = sums_ + *places++ / 4;
        word_a |= static_cast<uint32_t>(two[0] < *thresholds) << i;
        word_b |= static_cast<uint32_t>(two[1] < *thresholds) << i;
      }
      *b++ = word_b;
      *a++ = word_a;
    }
  }

  const StemParams& params_;
  const Layout& layout_;
  int8_t* columns_;
  int8_t* weights_;
  int32_t taps_;
  int32_t mode_;
  int32_t* sums_;
  uint16_t* places_;
  const int32_t* thresholds_ = nullptr;
  int32_t filters_ = 0;
  const int8_t* weights_end_ = nullptr;
};

}  // namespace stem
}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_STEM_HELIUM_H_

// The outputs of the bitsliced kernel, from the digits of the counters, and what the counters start
// with.
#include "tflm_ops/kernels/optimize_for_speed.h"

#include <cstddef>
#include <cstring>

#include "tflm_ops/kernels/bconv2d/bitsliced/digits.h"
#include "tflm_ops/kernels/bconv2d/bitsliced/job.h"
#include "tflm_ops/kernels/bconv2d/kernels.h"
#include "tflm_ops/kernels/bitpacking.h"
#include "tflm_ops/kernels/fast_code.h"

namespace bcnet {
namespace sliced {

BCNET_SMALL void WriteSums(const Job& job, uint32_t* digits) {
  const Bconv2dOutputStage& stage = *job.stage;
  int32_t more = job.half;
  uint32_t sign = 0;
  if (job.linear != nullptr) {
    more += stage.linear_transform->offset;
    sign = digits[job.digits - 1];
  }
  uint32_t* bytes = digits - 1;
  bytes[0] = 0;  // a sum is twice the counter
#pragma GCC unroll 1
  for (int i = job.digits + 1; i < 16; ++i) {
    bytes[i] = sign;
    OptimizationBarrier(&i);
  }
  // Byte l of word i becomes the low byte of channel 8 * l + i, that of word 8 + i the high byte.
  TransposeBytes(bytes, bytes + 16);
  int32_t sums[kWordBits];
  int32_t* sum = sums;
  const int32_t step = job.step, byte_step = job.byte_step;
#pragma GCC unroll 1
  for (int i = 0; i < 8; ++i, sum += step) {
    uint32_t even = bytes[i], odd = bytes[8 + i];
    SwapBits(&even, &odd, 8, 0x00ff00ffu);
    sum[0] = more + static_cast<int16_t>(even);
    sum[byte_step] = more + static_cast<int16_t>(odd);
    sum[2 * byte_step] = more + (static_cast<int32_t>(even) >> 16);
    sum[3 * byte_step] = more + (static_cast<int32_t>(odd) >> 16);
  }
  stage.write(stage, job.pixel++, job.word, job.count, sums);
}

namespace {

// WriteLinear for sums that do not fit a byte.
BCNET_SMALL void WriteLargeSums(const Job& job, uint32_t* digits) {
  const int32_t place = static_cast<int32_t>(job.outputs - static_cast<int8_t*>(job.stage->output));
  job.outputs += job.pixel_size;
  job.pixel = place / job.pixel_size;
  WriteSums(job, digits);
}

// Writes the outputs of a pixel from the digits of its sums, which are mismatches less half the
// offset. There are nine digits; where the last two are the same, sums fit a byte.
#if BCNET_TRANSPOSE_ASSEMBLY && defined(__ARM_FEATURE_DSP)

static_assert(offsetof(Job, outputs) == 4 && offsetof(Job, pixel_size) == 8 &&
                  offsetof(Job, write_large_sums) == 12,
              "places that are known below");

// clang-format off
// Outputs of four channels whose sums are the bytes of `x`. r1: numbers of the channels, lr: mask.
#define FOUR_OUTPUTS(x) \
  "ldm r1!, {r4-r11}\n" \
  "and r12, lr, " #x "\n" \
  "and " #x ", lr, " #x ", lsl #8\n" \
  "smlawb r5, r4, " #x ", r5\n" \
  "smlawb r7, r6, r12, r7\n" \
  "smlawt r9, r8, " #x ", r9\n" \
  "smlawt r11, r10, r12, r11\n" \
  "pkhtb " #x ", r9, r5, asr #16\n" \
  "ssat r7, #8, r7, asr #16\n" \
  "ssat r11, #8, r11, asr #16\n" \
  "ssat16 " #x ", #8, " #x "\n" \
  "bfi " #x ", r7, #8, #8\n" \
  "bfi " #x ", r11, #24, #8\n"
#define EIGHT_OUTPUTS \
  "pop {r0, r3}\n" \
  FOUR_OUTPUTS(r0) \
  FOUR_OUTPUTS(r3) \
  "strd r0, r3, [r2], #8\n"

BCNET_FAST BCNET_NAKED void WriteLinear(const Job&, uint32_t*) {
  __asm__(
      "push {r4-r11, lr}\n"
      "ldm r1, {r4-r12}\n"
      "cmp r11, r12\n"
      "bne 1f\n"
      "bl bcnet_transpose_r4_to_r11\n"
      "ldm r0, {r1, r2, r3}\n"
      "add r3, r3, r2\n"
      "str r3, [r0, #4]\n"
      "push {r4-r11}\n"
      "mov lr, #0xff00ff00\n"
      EIGHT_OUTPUTS EIGHT_OUTPUTS EIGHT_OUTPUTS EIGHT_OUTPUTS
      "pop {r4-r11, pc}\n"
      "1:\n"
      "pop {r4-r11, lr}\n"
      "ldr pc, [r0, #12]\n");
}
// clang-format on

#undef EIGHT_OUTPUTS
#undef FOUR_OUTPUTS

#else

#if BCNET_THUMB1 && BCNET_ASSEMBLY
// clang-format off
// An output from the sum in r6: floor(multiplier * sum / 256), of which a product of the upper 24
// bits and one of the lower 8 are added, the bias, and a shift. LIMIT is for those out of range.
#define OUTPUT(number) \
  "ldmia r0!, {r4, r5}\n" \
  "asrs r7, r4, #8\n" \
  "uxtb r4, r4\n" \
  "muls r7, r6\n" \
  "muls r4, r6\n" \
  "asrs r4, r4, #8\n" \
  "adds r4, r4, r7\n" \
  "adds r4, r4, r5\n" \
  "asrs r4, r4, #16\n" \
  "sxtb r5, r4\n" \
  "cmp r5, r4\n" \
  "bne 2" #number "f\n" \
  "3" #number ":\n" \
  "strb r4, [r2, #" #number "]\n"
#define LIMIT(number) \
  "2" #number ":\n" \
  "asrs r4, r4, #31\n" \
  "movs r5, #127\n" \
  "eors r4, r5\n" \
  "b 3" #number "b\n"

// The outputs of 32 channels from sums of a byte.
BCNET_INLINE void WriteOutputs(const LinearChannel* channels, const uint32_t* sums, int8_t* output) {
  static_assert(sizeof(LinearChannel) == 8 && kProductShift == 9 && kLinearShift == 16, "as below");
  register const LinearChannel* r0 __asm__("r0") = channels;
  register const uint32_t* r1 __asm__("r1") = sums;
  register int8_t* r2 __asm__("r2") = output;
  __asm__ volatile(
      ".syntax unified\n"
      "push {r7}\n"
      "mov r3, r1\n"
      "adds r3, #32\n"
      "mov r12, r3\n"
      "1:\n"
      "ldmia r1!, {r3}\n"
      "sxtb r6, r3\n"
      OUTPUT(0)
      "lsls r6, r3, #16\n"
      "asrs r6, r6, #24\n"
      OUTPUT(1)
      "lsls r6, r3, #8\n"
      "asrs r6, r6, #24\n"
      OUTPUT(2)
      "asrs r6, r3, #24\n"
      OUTPUT(3)
      "adds r2, #4\n"
      "cmp r1, r12\n"
      "bne 1b\n"
      "b 4f\n"
      LIMIT(0)
      LIMIT(1)
      LIMIT(2)
      LIMIT(3)
      "4:\n"
      "pop {r7}\n"
      : "+r"(r0), "+r"(r1), "+r"(r2)
      :
      : "r3", "r4", "r5", "r6", "r12", "cc", "memory");
}
// clang-format on

#undef LIMIT
#undef OUTPUT
#else
// The outputs of 32 channels from sums of a byte.
BCNET_INLINE void WriteOutputs(const LinearChannel* channels, const uint32_t* sums,
                               int8_t* output) {
  const int8_t* sum = reinterpret_cast<const int8_t*>(sums);
  for (const LinearChannel* channel = channels; channel != channels + kWordBits; ++channel) {
    *output++ = Bconv2dInt8Output(*channel, 2 * *sum++);
    OptimizationBarrier(&channel);
  }
}
#endif

BCNET_FAST BCNET_NOINLINE void WriteLinear(const Job& job, uint32_t* digits) {
  if (digits[7] != digits[8]) return WriteLargeSums(job, digits);
  TransposeBytes(digits, digits + 8);
  int8_t* output = job.outputs;
  job.outputs += job.pixel_size;
  WriteOutputs(job.linear, digits, output);
}

#endif

// WriteLinear for more digits.
BCNET_SMALL void WriteLinearLong(const Job& job, uint32_t* digits) {
  for (int i = job.digits - 1; i > 8; --i)
    if (digits[i] != digits[8]) return job.write_large_sums(job, digits);
  WriteLinear(job, digits);
}

}  // namespace

// The counters' start: for a bitpacked output as said above, for WriteLinear less half the offset,
// otherwise 0.
BCNET_SMALL void PrepareStart(Job* job) {
  const Bconv2dOutputStage& stage = *job->stage;
  job->linear = nullptr;
  job->write_large_sums = WriteLargeSums;
  job->end = WriteSums;
  job->step = 1;
  job->byte_step = 8;
  if (stage.kind != Bconv2dOutputStage::kBitpacked) {
    std::memset(job->start, 0, sizeof(job->start));
    const auto place = reinterpret_cast<uintptr_t>(stage.output);
    if (!kHasHelium && stage.kind == Bconv2dOutputStage::kLinear && job->count == kWordBits &&
        (place | static_cast<uintptr_t>(stage.pixel_size)) % 4 == 0) {
      job->linear = stage.linear_transform->channels + job->word * kWordBits;
      job->end = job->digits == 9 ? WriteLinear : WriteLinearLong;
      job->step = 4;
      job->byte_step = 1;
      AddConstant(-(stage.linear_transform->offset >> 1), job->digits, job->start);
    }
    job->first_sum = job->start[0];
    job->start[0] = 0;
    return;
  }
  const int32_t most = job->taps * job->params->words_in_group * kWordBits;
  const int32_t* thresholds = job->stage->thresholds + job->word * kWordBits;
  uint8_t* bytes = reinterpret_cast<uint8_t*>(job->start);
  const int32_t end = 1 << job->digits;
  for (int i = 0; i < kWordBits; ++i) {
    // Channels that are not there get a bit that stays 0.
    const int32_t threshold = i < job->count ? Bconv2dClamp(thresholds[i], -1, most) : most;
    const int32_t value = end - 1 - threshold;
    // Channel 8 * l + i is in byte l of word i.
    uint8_t* byte = bytes + i % 8 * 4 + i / 8;
    byte[0] = static_cast<uint8_t>(value);
    byte[32] = static_cast<uint8_t>(value >> 8);
  }
  TransposeBytes(job->start, job->start + 16);
  job->first_sum = job->start[0];
  job->start[0] = 0;
}

}  // namespace sliced
}  // namespace bcnet

// The sliced kernel: the counters of 32 output channels are kept as words of digits (digits.h), and
// the carries of the full adders that add to them are looked up (adder_tables.h).
//
// One word of output channels is a pass: build the tables of its weights, then run over the output.
// The choices of an input word are made once and serve all taps that meet it, and all passes when
// those of the whole input are kept. Where the tables do not fit into the scratch memory, a part of
// the input channels follows on the other, strip by strip of the output, and the counters of the
// strip are kept between. For a bitpacked output the counters start at 2^kDigits less threshold and
// 1, so that the digit of weight 2^kDigits is the output.
#include "tflm_ops/kernels/optimize_for_speed.h"

#include <cstddef>
#include <cstring>

#include "tflm_ops/kernels/bconv2d/bconv2d.h"
#include "tflm_ops/kernels/bconv2d/bitsliced/adder_tables.h"
#include "tflm_ops/kernels/bconv2d/bitsliced/thumb_blocks.h"
#include "tflm_ops/kernels/bconv2d/kernels.h"
#include "tflm_ops/kernels/bitpacking.h"

namespace bcnet {
namespace {

using sliced::Pair;
using sliced::Tables;

constexpr int kMaxDigits = 13;

// Digits below kBlockDigits are summed by the blocks, which leave a pair of the next weight each,
// and those below kGroupDigits by groups of these pairs, which leave a carry each.
constexpr int kBlockDigits = 4;
constexpr int kGroupDigits = 8;

// Adds 2^kLevel pairs of digit kBlockDigits; returns one pair of digit kBlockDigits + kLevel.
template <int kLevel>
BCNET_INLINE Pair Reduce(const Pair* pairs, uint32_t* digits) {
  // AddPairs with its first half before the second pair is there: what waits are two words and not
  // three.
  const Pair a = Reduce<kLevel - 1>(pairs, digits);
  uint32_t h = a.p | (a.x ^ digits[kLevel - 1]);
  uint32_t s = digits[kLevel - 1] ^ a.p;
  sliced::Hide(&h);
#if BCNET_THUMB1
  sliced::Hide(&s);
#endif
  const Pair b = Reduce<kLevel - 1>(pairs + (1 << (kLevel - 1)), digits);
  digits[kLevel - 1] = s ^ b.p;
  return {h ^ s, h ^ ((b.x ^ s) & ~b.p)};
}
template <>
BCNET_INLINE Pair Reduce<0>(const Pair* pairs, uint32_t*) {
  return sliced::Load(pairs);
}

// Adds 2^kLevel pairs to the digits from kBlockDigits on, the first at `digits`; returns the carry
// to digit kGroupDigits.
template <int kLevel>
BCNET_INLINE uint32_t AddGroup(const Pair* pairs, uint32_t* digits) {
  uint32_t carry = sliced::AddPair(&digits[kLevel], Reduce<kLevel>(pairs, digits));
#pragma GCC unroll 4
  for (int i = kLevel + 1; i < kGroupDigits - kBlockDigits; ++i)
    carry = sliced::AddDigit(&digits[i], carry);
  return carry;
}

// Adds carries, two at a time, to the digits from kGroupDigits on; returns digit kDigits.
template <int kDigits>
BCNET_INLINE uint32_t AddCarries(const uint32_t* carries, const uint32_t* end,
                                 const uint32_t* start, uint32_t* result) {
  uint32_t digits[kDigits + 1];
#pragma GCC unroll 8
  for (int i = kGroupDigits; i <= kDigits; ++i) digits[i] = start[i];
  do {
    const Pair two = {carries[0], carries[0] ^ carries[1]};
    uint32_t carry = sliced::AddPair(&digits[kGroupDigits], two);
#pragma GCC unroll 8
    for (int i = kGroupDigits + 1; i < kDigits; ++i) carry = sliced::AddDigit(&digits[i], carry);
    digits[kDigits] |= carry;
    carries += 2;
    sliced::Hide(&carries);
  } while (carries < end);
#pragma GCC unroll 8
  for (int i = kGroupDigits; i <= kDigits; ++i) result[i] = digits[i];
  return digits[kDigits];
}

// A convolution under way.
struct Job {
  // Writes the outputs of the next pixel: WriteSums or one of those for the linear transform.
  // The latter need the numbers of the pass's first channel, which are nullptr otherwise, where the
  // outputs go, bytes from pixel to pixel, and WriteLargeSums, all at these places. WriteSums needs
  // the pixel and whether half a mismatch comes on top.
  const LinearChannel* linear;
  mutable int8_t* outputs;
  int32_t pixel_size;
  void (*write_large_sums)(const Job&, uint32_t*);
  mutable int32_t pixel;
  mutable int32_t half;
  void (*end)(const Job&, uint32_t*);
  const Bconv2dParams* params;
  const Bconv2dPlan* plan;
  const Bconv2dSink* sink;
  const uint32_t* filter;
  Bconv2dSlicedGeometry geometry;
  int32_t taps;
  int digits;
  int32_t index_bytes;  // of an input word
  // Computes outputs whose taps all count and lie side by side, or nullptr.
  void (*row)(const Job&, int32_t, int32_t, int32_t, uint32_t*);
  // Parts of the scratch memory.
  uint32_t* tables;
  Pair* pairs;        // that the blocks of a pixel leave
  int32_t kept_size;  // words of a pixel's, 0 when there is one part
  uint32_t* kept;     // counters of the strip's pixels: the first sum's parity or value, the digits
  void* index;        // [row % index_rows][channel word of the part][column of the strip]
  // The pass.
  int32_t word;   // of the output channels
  int32_t count;  // channels in it
  // Bit 8 * l + i stands for its channel i * step + l * byte_step.
  int32_t step;
  int32_t byte_step;
  uint32_t start[16];  // of the counters, as they are kept: the first sum's parity, the digits
  uint32_t first_sum;  // before the first block
  uint32_t left_over;  // the last block's sum, before the input's parity
  // The strip.
  int32_t first_x;
  int32_t width;
  int32_t columns;
  // The part: words of the input channels.
  int32_t first_word;
  int32_t words;
  bool is_first;
  bool is_last;
};

// Adds what `count` blocks, at least one, left to the digits from kBlockDigits on; returns the
// highest. The carries take the place of the pairs.
BCNET_NOINLINE uint32_t Finish(const Job& job, int32_t count, const uint32_t* start,
                               uint32_t* result) {
  Pair* pairs = job.pairs;
  uint32_t digits[kGroupDigits - kBlockDigits];
#pragma GCC unroll 4
  for (int i = 0; i < kGroupDigits - kBlockDigits; ++i) digits[i] = start[kBlockDigits + i];
  uint32_t* const carries = &pairs[0].x;
  uint32_t* end = carries;
  for (; count >= 8; count -= 8, pairs += 8) {
    *end++ = AddGroup<3>(pairs, digits);
    sliced::Hide(&count);
  }
  if ((count & 4) != 0) {
    *end++ = AddGroup<2>(pairs, digits);
    pairs += 4;
  }
  for (count &= 3; count > 0; --count) {
    *end++ = AddGroup<0>(pairs++, digits);
    sliced::Hide(&count);
  }
  *end = 0;
#pragma GCC unroll 4
  for (int i = 0; i < kGroupDigits - kBlockDigits; ++i) result[kBlockDigits + i] = digits[i];
  switch (job.digits) {
    case 9:
      return AddCarries<9>(carries, end, start, result);
    case 11:
      return AddCarries<11>(carries, end, start, result);
    default:
      return AddCarries<13>(carries, end, start, result);
  }
}

// Columns of a strip, those of [begin, end) on the input; `step` words lie between two of them.
struct Columns {
  int32_t count;
  int32_t begin;
  int32_t end;
  int32_t step;
};

// Makes the choices of a row of the strip in the tables of one channel word. Positions outside the
// input hold +1, which is 0.
template <int kInputs>
BCNET_NOINLINE void MakeIndexes(const uint32_t* pixel, const Columns& columns,
                                const uint32_t* table, void* indexes) {
  auto* index = static_cast<typename Tables<kInputs>::Index*>(indexes);
  const uint32_t inside = static_cast<uint32_t>(columns.end - columns.begin);
  const int32_t step = columns.step, end = columns.count - columns.begin;
  for (int32_t i = -columns.begin; i < end; ++i) {
    uint32_t x = 0;
    if (static_cast<uint32_t>(i) < inside) {
      x = *pixel;
      pixel += step;
    }
    sliced::MakeIndex<kInputs>(x, table, index++);
    sliced::Hide(&i);
  }
}

// The lowest digits of a pixel.
struct Low {
  uint32_t twos;
  uint32_t fours;
  uint32_t eights;
};

// The carries of the last two full adders of a block. The sum of the blocks before is among their
// inputs: it is known up to a parity, which chooses the entry.
struct ByParity {
  ptrdiff_t odd;  // bytes from the entry of an even parity

  BCNET_INLINE Pair LookUp(const Tables<5>::Index& index, const uint32_t* even, ptrdiff_t offset) {
    odd ^= index.odd;
    sliced::Hide(&odd);
    const auto* entry =
        reinterpret_cast<const uint32_t*>(reinterpret_cast<const uint8_t*>(even) + odd);
    sliced::Hide(&entry);
    return {entry[offset], entry[offset + 1]};
  }
};

// The same where blocks are left out, so that the sum is none that the tables know. The carries of
// the other two inputs with a sum of 0 and of 1, their AND and their OR, are those with the sum in
// the table and with its complement.
struct ByChain {
  uint32_t chain;

  BCNET_INLINE Pair LookUp(const Tables<5>::Index&, const uint32_t* even, ptrdiff_t offset) {
    const uint32_t x = even[offset];
    return LastPair(x, x ^ even[offset + 1], x ^ even[offset + 1 + Tables<5>::kOdd]);
  }
  BCNET_INLINE Pair LookUp(uint32_t x, const uint32_t* even, ptrdiff_t offset) {
    return LastPair(x, even[offset], even[offset + Tables<3>::kOdd]);
  }

 private:
  BCNET_INLINE Pair LastPair(uint32_t x, uint32_t one, uint32_t other) {
    const uint32_t both = one & other, any = one | other;
    const uint32_t carry = both | (chain & any);
    chain ^= both ^ any;
    return {x, x ^ carry};
  }
};

// Adds a quarter of a block; returns two carries of weight 4.
template <int kQuarter, typename Last>
BCNET_INLINE Pair AddQuarter(Low* low, Last* last, const Tables<5>::Index& index,
                             ptrdiff_t offset) {
  const uint32_t* first = index.entry[2 * kQuarter];
  const uint32_t* second = index.entry[2 * kQuarter + 1];
  const Pair a = {first[offset], first[offset + 1]};
  if (kQuarter == 3) return sliced::AddPairs(&low->twos, a, last->LookUp(index, second, offset));
  return sliced::AddPairs(&low->twos, a, {second[offset], second[offset + 1]});
}
template <int kQuarter, typename Last>
BCNET_INLINE Pair AddQuarter(Low* low, Last* last, const Tables<3>::Index& index,
                             ptrdiff_t offset) {
  const uint32_t* const* entry = index.entry + 4 * kQuarter;
  const uint32_t x = entry[0][offset], y = entry[2][offset];
  const Pair a = {x, x ^ entry[1][offset]};
  if (kQuarter == 3) return sliced::AddPairs(&low->twos, a, last->LookUp(y, entry[3], offset));
  return sliced::AddPairs(&low->twos, a, {y, y ^ entry[3][offset]});
}

// Adds a block to the lowest digits; returns two carries of weight 16.
template <typename Last, typename Index>
BCNET_INLINE Pair AddBlock(Low* low, Last* last, const Index& index, ptrdiff_t offset) {
  const Pair a = AddQuarter<0>(low, last, index, offset);
  const Pair b = AddQuarter<1>(low, last, index, offset);
  Pair ab = sliced::AddPairs(&low->fours, a, b);
#if defined(__clang__)
  // Clang would begin the other half before, and spill.
  __asm__ volatile("" : "+r"(ab.x), "+r"(ab.p));
#endif
  const Pair c = AddQuarter<2>(low, last, index, offset);
  const Pair d = AddQuarter<3>(low, last, index, offset);
  return sliced::AddPairs(&low->eights, ab, sliced::AddPairs(&low->fours, c, d));
}

// Adds the blocks of a window of kSide x kSide taps, channel word by channel word, and writes the
// pairs that they leave to [pair, pairs_end). `rows` are the choices for the first tap of each row.
template <int kSide>
BCNET_INLINE void AddWindow(Low* low, ByParity* last, const Tables<5>::Index* const* rows,
                            int32_t columns, Pair* pair, const Pair* pairs_end) {
#if BCNET_THUMB1 && BCNET_ASSEMBLY
  sliced::ThumbBlocks blocks;
  blocks.odd = last->odd;
  blocks.twos = low->twos;
  blocks.fours = low->fours;
  blocks.eights = low->eights;
  blocks.pair = pair;
  blocks.pairs_end = pairs_end;
  blocks.step = (columns - kSide) * static_cast<ptrdiff_t>(sizeof(Tables<5>::Index));
#pragma GCC unroll 3
  for (int r = 0; r < kSide; ++r) blocks.rows[r] = rows[r];
  sliced::AddThumbBlocks<kSide>(&blocks);
  *low = {blocks.twos, blocks.fours, blocks.eights};
  last->odd = blocks.odd;
#else
  const Tables<5>::Index* index[kSide];
#pragma GCC unroll 3
  for (int r = 0; r < kSide; ++r) index[r] = rows[r];
  do {
#pragma GCC unroll 3
    for (int r = 0; r < kSide; ++r) {
#pragma GCC unroll 3
      for (int c = 0; c < kSide; ++c) {
        const int tap = r * kSide + c;
        pair[tap] = AddBlock(low, last, index[r][c], Tables<5>::Place(tap));
      }
      index[r] += columns;
    }
    pair += kSide * kSide;
  } while (pair != pairs_end);
#endif
}

// Writes the outputs of a pixel from the digits of its mismatches, less half the offset in a pass
// of the linear transform. There is room for one digit before them.
BCNET_SMALL void WriteSums(const Job& job, uint32_t* digits) {
  const Bconv2dSink& sink = *job.sink;
  int32_t more = job.half;
  uint32_t sign = 0;
  if (job.linear != nullptr) {
    more += sink.linear_transform->offset;
    sign = digits[job.digits - 1];
  }
  uint32_t* bytes = digits - 1;
  bytes[0] = 0;  // a sum is twice the counter
#pragma GCC unroll 1
  for (int i = job.digits + 1; i < 16; ++i) {
    bytes[i] = sign;
    sliced::Hide(&i);
  }
  // Byte l of word i becomes the low byte of channel 8 * l + i, that of word 8 + i the high byte.
  sliced::TransposeBytes(bytes, bytes + 16);
  int32_t sums[kWordBits];
  int32_t* sum = sums;
  const int32_t step = job.step, byte_step = job.byte_step;
#pragma GCC unroll 1
  for (int i = 0; i < 8; ++i, sum += step) {
    uint32_t even = bytes[i], odd = bytes[8 + i];
    sliced::SwapBits(&even, &odd, 8, 0x00ff00ffu);
    sum[0] = more + static_cast<int16_t>(even);
    sum[byte_step] = more + static_cast<int16_t>(odd);
    sum[2 * byte_step] = more + (static_cast<int32_t>(even) >> 16);
    sum[3 * byte_step] = more + (static_cast<int32_t>(odd) >> 16);
  }
  sink.write(sink, job.pixel++, job.word, job.count, sums);
}

// WriteLinear for sums that do not fit a byte.
BCNET_SMALL void WriteLargeSums(const Job& job, uint32_t* digits) {
  const int32_t place = static_cast<int32_t>(job.outputs - static_cast<int8_t*>(job.sink->output));
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

BCNET_NAKED void WriteLinear(const Job&, uint32_t*) {
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

BCNET_NOINLINE void WriteLinear(const Job& job, uint32_t* digits) {
  if (digits[7] != digits[8]) return WriteLargeSums(job, digits);
  sliced::TransposeBytes(digits, digits + 8);
  const int8_t* sum = reinterpret_cast<const int8_t*>(digits);
  int8_t* output = job.outputs;
  job.outputs += job.pixel_size;
  const LinearChannel* const channels = job.linear;
  for (const LinearChannel* channel = channels; channel != channels + kWordBits; ++channel) {
    *output++ = Bconv2dInt8Output(*channel, 2 * *sum++);
    sliced::Hide(&channel);
  }
}

#endif

// WriteLinear for more digits.
BCNET_SMALL void WriteLinearLong(const Job& job, uint32_t* digits) {
  for (int i = job.digits - 1; i > 8; --i)
    if (digits[i] != digits[8]) return job.write_large_sums(job, digits);
  WriteLinear(job, digits);
}

// The counters' start: for a bitpacked output as said above, for WriteLinear less half the offset,
// otherwise 0.
BCNET_SMALL void PrepareStart(Job* job) {
  const Bconv2dSink& sink = *job->sink;
  job->linear = nullptr;
  job->end = WriteSums;
  job->step = 1;
  job->byte_step = 8;
  if (sink.kind != Bconv2dSink::kBitpacked) {
    std::memset(job->start, 0, sizeof(job->start));
    const auto place = reinterpret_cast<uintptr_t>(sink.output);
    if (!kHasHelium && sink.kind == Bconv2dSink::kLinear && job->count == kWordBits &&
        (place | static_cast<uintptr_t>(sink.pixel_size)) % 4 == 0) {
      job->linear = sink.linear_transform->channels + job->word * kWordBits;
      job->end = job->digits == 9 ? WriteLinear : WriteLinearLong;
      job->step = 4;
      job->byte_step = 1;
      sliced::AddConstant(-(sink.linear_transform->offset >> 1), job->digits, job->start);
    }
    job->first_sum = job->start[0];
    job->start[0] = 0;
    return;
  }
  const int32_t most = job->taps * job->params->words_in_group * kWordBits;
  const int32_t* thresholds = job->sink->thresholds + job->word * kWordBits;
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
  sliced::TransposeBytes(job->start, job->start + 16);
  job->first_sum = job->start[0];
  job->start[0] = 0;
}

// The choices of a row of the input for a channel word.
BCNET_SMALL uint8_t* IndexesOf(const Job& job, int32_t row, int32_t word) {
  const int32_t slot = row % job.plan->index_rows * job.words + word;
  return static_cast<uint8_t*>(job.index) + slot * job.columns * job.index_bytes;
}

// Says what the functions that end pixels need to know of the next one.
BCNET_SMALL void SetPixel(const Job& job, int32_t pixel, int32_t half) {
  job.half = half;
  job.pixel = pixel;
  job.outputs = Bconv2dOutputs<int8_t>(*job.sink, pixel, job.word);
}

// The outputs [begin, end) of a row of the strip, where all taps count and lie side by side: 3x3
// and 1x1. `kept` are the counters of the strip's first output.
template <int kSide>
BCNET_NOINLINE void Row(const Job& job, int32_t y, int32_t begin, int32_t end, uint32_t* kept) {
  using T = Tables<5>;
  const Bconv2dSink& sink = *job.sink;
  const int32_t count = kSide * kSide * job.words;
  const int32_t columns = job.columns, x_step = job.geometry.x_step;
  const T::Index* rows[kSide];
  for (int r = 0; r < kSide; ++r) {
    const int32_t slot = (y * job.params->height.stride + r) % job.plan->index_rows;
    rows[r] = static_cast<const T::Index*>(job.index) + slot * columns * job.words + begin * x_step;
  }
  const int32_t output_step = sink.pixel_size;
  uint32_t* output = nullptr;
  if (job.is_last && sink.kind == Bconv2dSink::kBitpacked)
    output = static_cast<uint32_t*>(sink.output) + job.pixel * output_step + job.word;
  kept += begin * job.kept_size;
  const uint32_t* start = job.is_first ? job.start : kept;
  const int32_t start_step = job.is_first ? 0 : job.kept_size;
  const T::Index* const rows_end = rows[0] + (end - begin) * x_step;
  for (; rows[0] != rows_end; start += start_step) {
    ByParity last = {static_cast<ptrdiff_t>(start[0])};
    Low low = {start[1], start[2], start[3]};
    AddWindow<kSide>(&low, &last, rows, columns, job.pairs, job.pairs + count);
    for (int r = 0; r < kSide; ++r) rows[r] += x_step;
    uint32_t sums[16];
    if (output != nullptr) {
      *output = Finish(job, count, start, sums);
      output += output_step;
      continue;
    }
    const uint32_t odd = static_cast<uint32_t>(last.odd);
    if (job.is_last) {
      static_assert(T::kOdd * sizeof(uint32_t) >> 10 == 1, "bit 10 is 1 where the parity is odd");
      sums[1] = job.left_over ^ static_cast<uint32_t>(static_cast<int32_t>(odd << 21) >> 31);
      sums[2] = low.twos;
      sums[3] = low.fours;
      sums[4] = low.eights;
      Finish(job, count, start, sums + 1);
      job.end(job, sums + 1);
      continue;
    }
    kept[0] = odd;
    kept[1] = low.twos;
    kept[2] = low.fours;
    kept[3] = low.eights;
    Finish(job, count, start, kept);
    kept += job.kept_size;
  }
}

// Taps of a pixel that are added, and what comes of them.
struct AnyTaps {
  Low low;
  ByChain last;
  Pair* pair;
  int32_t count;  // side by side
  int32_t step;   // from one to the next on the input
};

// Adds taps side by side. `index` are the choices for the first, `offset` the place of its tables.
template <int kInputs>
BCNET_NOINLINE void AddTaps(AnyTaps* taps, const void* indexes, ptrdiff_t offset) {
  using T = Tables<kInputs>;
  const auto* index = static_cast<const typename T::Index*>(indexes);
  Low low = taps->low;
  ByChain last = taps->last;
  Pair* pair = taps->pair;
  for (int32_t i = taps->count; i > 0; --i, index += taps->step, offset += T::Place(1))
    *pair++ = AddBlock(&low, &last, *index, offset);
  taps->low = low;
  taps->last = last;
  taps->pair = pair;
}

// What differs with the inputs of a table.
struct Steps {
  uint32_t (*build_block)(uint32_t*, const sliced::Rows&, uint32_t);
  void (*make_indexes)(const uint32_t*, const Columns&, const uint32_t*, void*);
  void (*add_taps)(AnyTaps*, const void*, ptrdiff_t);
  int16_t tap_words;       // from the tables of a tap to those of the next
  int16_t together;        // blocks that are interleaved,
  int16_t together_words;  // and their tables
};
template <int kInputs>
constexpr Steps StepsOf() {
  using T = Tables<kInputs>;
  return {sliced::BuildBlock<kInputs>,
          MakeIndexes<kInputs>,
          AddTaps<kInputs>,
          T::Place(1),
          T::kTogether,
          T::kTogether * T::kBlockWords};
}
constexpr Steps kSteps[] = {StepsOf<3>(), StepsOf<5>()};

const Steps& StepsFor(const Job& job) { return kSteps[job.plan->table_inputs == 5]; }

uint32_t* TablesOf(const Job& job, int32_t block) {
  const Steps& steps = StepsFor(job);
  return job.tables + block / steps.together * steps.together_words +
         block % steps.together * steps.tap_words;
}

// Builds the tables of a part.
BCNET_SMALL void Build(Job* job) {
  const int32_t words = job->params->words_in_group;
  const int32_t row_size = job->taps * words;
  const uint32_t* first = job->filter + int64_t{job->word} * kWordBits * row_size + job->first_word;
  uint32_t sum = job->is_first ? job->first_sum : job->left_over;
  const Steps& steps = StepsFor(*job);
  uint32_t* table = job->tables;
  int32_t left = steps.together;
  for (int32_t word = 0; word < job->words; ++word) {
    const uint32_t* row_of_tap = first + word;
    for (int32_t tap = 0; tap < job->taps; ++tap, row_of_tap += words) {
      sliced::Rows rows = {row_of_tap, job->step * row_size, job->byte_step * row_size};
      uint32_t some[kWordBits];
      if (job->count < kWordBits) {  // the channels that are not there have weights of 0
        for (int32_t i = 0; i < kWordBits; ++i)
          some[i] = i < job->count ? row_of_tap[i * row_size] : 0;
        rows = {some, 1, 8};
      }
      sum = steps.build_block(table, rows, sum);
      table += steps.tap_words;
      if (--left == 0) {
        table += steps.together_words - steps.together * steps.tap_words;
        left = steps.together;
      }
    }
  }
  job->left_over = sum;
}

// Makes the choices of a row of the strip, channel word by channel word.
BCNET_SMALL void IndexRow(const Job& job, const uint32_t* image, int32_t row) {
  const Bconv2dParams& params = *job.params;
  const int32_t y = row - params.height.pad;
  const int32_t step = job.geometry.column_step;
  const int32_t first_x = job.first_x * params.width.stride - params.width.pad;
  Columns columns = {job.columns, job.columns, job.columns, step * params.words_in};
  const uint32_t* line = image + job.first_word;
  if (y >= 0 && y < params.height.input) {
    columns.begin = first_x < 0 ? Bconv2dClamp((step - 1 - first_x) / step, 0, job.columns) : 0;
    columns.end =
        Bconv2dClamp((params.width.input - first_x + step - 1) / step, columns.begin, job.columns);
    line += y * params.width.input * params.words_in;
    if (columns.begin < columns.end) line += (first_x + columns.begin * step) * params.words_in;
  }
  uint8_t* indexes = IndexesOf(job, row, 0);
  for (int32_t word = 0; word < job.words; ++word) {
    StepsFor(job).make_indexes(line + word, columns, TablesOf(job, word * job.taps), indexes);
    indexes += job.columns * job.index_bytes;
  }
}

// The outputs [begin, end) of a row of the strip, where taps may lie outside the input and count 0.
BCNET_SMALL void RowOfAnyTaps(const Job& job, int32_t y, int32_t begin, int32_t end, int32_t pixel,
                              uint32_t* kept) {
  const Bconv2dParams& params = *job.params;
  const Bconv2dSink& sink = *job.sink;
  const Steps& steps = StepsFor(job);
  TapRange rows = {0, params.height.filter}, columns = {0, params.width.filter};
  kept += begin * job.kept_size;
  for (int32_t x = begin; x < end; ++x, kept += job.kept_size) {
    uint32_t start[kMaxDigits + 1];
    const uint32_t* from = job.is_first ? job.start : kept;
    for (int i = 0; i <= job.digits; ++i) start[i] = from[i];
    if (job.is_first) start[0] = job.first_sum;
    int32_t outside = 0;
    if (params.zero_padding) {
      rows = TapsInside(params.height, y);
      columns = TapsInside(params.width, job.first_x + x);
      outside = job.taps - (rows.end - rows.begin) * (columns.end - columns.begin);
      // Half of the channels of these taps count as mismatches.
      outside *= params.channels_in_group;
      if (job.is_first) sliced::AddConstant(outside >> 1, job.digits + 1, start);
    }
    AnyTaps taps = {{start[1], start[2], start[3]},
                    {start[0]},
                    job.pairs,
                    columns.end - columns.begin,
                    params.width.dilation};
    const int32_t column = x * job.geometry.x_step + columns.begin * params.width.dilation;
    for (int32_t word = 0; word < job.words; ++word) {
      for (int32_t r = rows.begin; r < rows.end; ++r) {
        const int32_t row = y * params.height.stride + r * params.height.dilation;
        steps.add_taps(&taps, IndexesOf(job, row, word) + column * job.index_bytes,
                       (r * params.width.filter + columns.begin) * steps.tap_words);
      }
    }
    if (taps.pair == job.pairs) *taps.pair++ = {0, 0};  // no tap lies inside
    uint32_t sums[16];
    uint32_t* result = job.is_last ? sums + 1 : kept;
    result[0] = taps.last.chain;
    result[1] = taps.low.twos;
    result[2] = taps.low.fours;
    result[3] = taps.low.eights;
    const uint32_t top = Finish(job, static_cast<int32_t>(taps.pair - job.pairs), start, result);
    if (!job.is_last) continue;
    if (sink.kind == Bconv2dSink::kBitpacked) {
      static_cast<uint32_t*>(sink.output)[(pixel + x) * sink.pixel_size + job.word] = top;
    } else {
      SetPixel(job, pixel + x, outside & 1);
      (job.half == 0 ? job.end : WriteSums)(job, sums + 1);
    }
  }
}

// The outputs along an axis all of whose taps lie on the input.
BCNET_SMALL TapRange WholeWindows(const WindowAxis& axis) {
  const int32_t span = (axis.filter - 1) * axis.dilation + 1;
  const int32_t begin = (axis.pad + axis.stride - 1) / axis.stride;
  const int32_t room = axis.input + axis.pad - span;
  int32_t end = room < 0 ? 0 : room / axis.stride + 1;
  if (end > axis.output) end = axis.output;
  return {begin < end ? begin : end, end};
}

// A part of a strip of an image; `pixel` is the place of the image's first output.
BCNET_SMALL void RunPart(const Job& job, const uint32_t* image, int32_t pixel, bool indexed) {
  const Bconv2dParams& params = *job.params;
  const Bconv2dSlicedGeometry& geometry = job.geometry;
  const TapRange rows = WholeWindows(params.height), columns = WholeWindows(params.width);
  uint32_t* kept = job.kept;
  int32_t next_row = indexed ? geometry.rows : 0;
  pixel += job.first_x;
  for (int32_t y = 0; y < params.height.output; ++y, pixel += params.width.output) {
    const int32_t top = y * params.height.stride;
    if (next_row < top) next_row = top;
    for (; next_row < top + geometry.row_span; ++next_row) IndexRow(job, image, next_row);
    int32_t begin = 0, end = job.row == nullptr ? 0 : job.width;
    if (params.zero_padding) {  // taps outside the input are left out
      begin = Bconv2dClamp(columns.begin - job.first_x, 0, end);
      end = y >= rows.begin && y < rows.end ? Bconv2dClamp(columns.end - job.first_x, begin, end)
                                            : begin;
    }
    if (begin < end) {
      SetPixel(job, pixel + begin, 0);
      job.row(job, y, begin, end, kept);
    }
    if (begin > 0) RowOfAnyTaps(job, y, 0, begin, pixel, kept);
    if (end < job.width) RowOfAnyTaps(job, y, end, job.width, pixel, kept);
    kept += job.width * job.kept_size;
  }
}

BCNET_SMALL void Run(Job* job, const uint32_t* input) {
  const Bconv2dParams& params = *job->params;
  const Bconv2dPlan& plan = *job->plan;
  const Bconv2dSlicedGeometry& geometry = job->geometry;
  const int32_t words = params.words_in_group;
  const bool one_part = plan.part_words >= words;
  const bool keeps_index = Bconv2dSlicedKeepsIndex(params, plan);
  const int32_t last_part = (words - 1) / plan.part_words * plan.part_words;
  const uint32_t* indexed = nullptr;  // the first word of the part whose choices are there
  for (job->word = 0; job->word < BitpackedWords(params.channels_out); ++job->word) {
    const int32_t group = job->word * kWordBits / (params.channels_out / params.groups);
    bool built = false;
    job->count = ChannelsOfWord(params, job->word);
    PrepareStart(job);
    const uint32_t* image = input + group * words;
    for (int32_t batch = 0; batch < params.batches; ++batch) {
      for (job->first_x = 0; job->first_x < params.width.output; job->first_x += plan.strip) {
        job->width = Bconv2dClamp(params.width.output - job->first_x, 1, plan.strip);
        job->columns = (job->width - 1) * geometry.x_step + geometry.column_span;
        // Every other pass takes the parts backwards, so that the choices for the part that one
        // ends with serve the next.
        const bool backwards = job->word % 2 != 0;
        for (int32_t i = 0; i <= last_part; i += plan.part_words) {
          job->first_word = backwards ? last_part - i : i;
          job->words = Bconv2dClamp(words - job->first_word, 1, plan.part_words);
          job->is_first = i == 0;
          job->is_last = i == last_part;
          if (!built || !one_part) Build(job);
          built = true;
          RunPart(*job, image, batch * params.height.output * params.width.output,
                  keeps_index && indexed == image + job->first_word);
          indexed = image + job->first_word;
        }
      }
      image += params.height.input * params.width.input * params.words_in;
    }
  }
}

}  // namespace

BCNET_SMALL void Bconv2dSliced(const Bconv2dParams& params, const Bconv2dPlan& plan,
                               const uint32_t* input, const uint32_t* filter,
                               const Bconv2dSink& sink, void* scratch) {
  Job job = {};
  job.params = &params;
  job.plan = &plan;
  job.sink = &sink;
  job.pixel_size = sink.pixel_size;
  job.write_large_sums = WriteLargeSums;
  job.filter = filter;
  job.geometry = Bconv2dSlicedGeometryOf(params);
  job.taps = params.height.filter * params.width.filter;
  job.digits = Bconv2dSlicedDigits(params);
  job.index_bytes = plan.table_inputs == 5 ? sizeof(Tables<5>::Index) : sizeof(Tables<3>::Index);
  const Bconv2dSlicedMemory memory = Bconv2dSlicedMemoryOf(params, plan);
  uint8_t* bytes = static_cast<uint8_t*>(scratch);
  job.tables = reinterpret_cast<uint32_t*>(bytes);
  job.index = bytes + memory.tables;
  job.pairs = reinterpret_cast<Pair*>(bytes + memory.tables + memory.index);
  job.kept = reinterpret_cast<uint32_t*>(bytes + memory.tables + memory.index + memory.pairs);
  job.kept_size = memory.kept == 0 ? 0 : job.digits + 1;
  if (plan.table_inputs == 5) job.row = job.taps == 1 ? Row<1> : Row<3>;
  Run(&job, input);
}

}  // namespace bcnet

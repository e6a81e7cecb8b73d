// The sliced kernel: the counters of 32 output channels are kept as words of digits (sliced.h), and
// the carries of the full adders that add to them are looked up (adder_tables.h).
//
// One word of output channels is a pass: build the tables of its weights, then run over the output.
// The choices of an input word are made once and serve all taps that meet it, and all passes when
// those of the whole input are kept. Where the tables do not fit into the scratch memory, a part of
// the input channels follows on the other, strip by strip of the output, and the counters of the
// strip are kept between. For a bitpacked output the counters start at 2^kDigits less threshold and
// 1, so that the digit of weight 2^kDigits is the output.
#include <cstring>

#if defined(__ARM_FEATURE_DSP)
#include <arm_acle.h>
#endif

#include "tflm_ops/kernels/adder_tables.h"
#include "tflm_ops/kernels/bconv2d.h"
#include "tflm_ops/kernels/bconv2d_sink.h"
#include "tflm_ops/kernels/bitpacking.h"

namespace bcnet {
namespace {

using sliced::Pair;
using sliced::Tables;

constexpr int kMaxDigits = 16;

// Digits below kBlockDigits are summed by the blocks, which leave a pair of the next weight each.
constexpr int kBlockDigits = 4;

// Adds 2^kLevel pairs of digit kBlockDigits; returns one pair of digit kBlockDigits + kLevel.
template <int kLevel>
BCNET_INLINE Pair Reduce(const Pair* pairs, uint32_t* digits) {
  if constexpr (kLevel == 0) {
    return sliced::Load(pairs);
  } else {
    const Pair a = Reduce<kLevel - 1>(pairs, digits);
    const Pair b = Reduce<kLevel - 1>(pairs + (1 << (kLevel - 1)), digits);
    return sliced::AddPairs(&digits[kBlockDigits + kLevel - 1], a, b);
  }
}

// Adds 2^kLevel pairs to the digits up to kDigits.
template <int kLevel, int kDigits>
BCNET_INLINE void AddGroup(const Pair* pairs, uint32_t* digits) {
  constexpr int kDigit = kBlockDigits + kLevel;
  uint32_t carry = sliced::AddPair(&digits[kDigit], Reduce<kLevel>(pairs, digits));
#pragma GCC unroll 16
  for (int i = kDigit + 1; i < kDigits; ++i) carry = sliced::AddDigit(&digits[i], carry);
  digits[kDigits] |= carry;
}

// Adds what `count` blocks left to the digits from kBlockDigits on; returns the digit kDigits.
template <int kDigits>
BCNET_NOINLINE uint32_t Finish(const Pair* pairs, int32_t count, const uint32_t* start,
                               uint32_t* result) {
  uint32_t digits[kDigits + 1];
#pragma GCC unroll 16
  for (int i = kBlockDigits; i <= kDigits; ++i) digits[i] = start[i];
  for (; count >= 8; count -= 8, pairs += 8) AddGroup<3, kDigits>(pairs, digits);
  if ((count & 4) != 0) {
    AddGroup<2, kDigits>(pairs, digits);
    pairs += 4;
  }
  if ((count & 2) != 0) {
    AddGroup<1, kDigits>(pairs, digits);
    pairs += 2;
  }
  if ((count & 1) != 0) AddGroup<0, kDigits>(pairs, digits);
  if (result != nullptr) {
#pragma GCC unroll 16
    for (int i = kBlockDigits; i <= kDigits; ++i) result[i] = digits[i];
  }
  return digits[kDigits];
}

// A convolution under way.
struct Job {
  const Bconv2dParams* params;
  const Bconv2dPlan* plan;
  const Bconv2dSink* sink;
  const uint32_t* filter;
  Bconv2dSlicedGeometry geometry;
  int32_t taps;
  int digits;
  uint32_t (*finish)(const Pair*, int32_t, const uint32_t*, uint32_t*);
  void (*unslice)(uint32_t*);
  // Parts of the scratch memory.
  uint32_t* tables;
  Pair* pairs;        // that the blocks of a pixel leave
  int32_t kept_size;  // words of a pixel's, 0 when there is one part
  uint32_t* kept;     // counters of the strip's pixels: the first sum's parity or value, the digits
  void* index;        // [row % index_rows][channel word of the part][column of the strip]
  // The pass.
  int32_t word;   // of the output channels
  int32_t count;  // channels in it
  uint32_t start[kMaxDigits + 1];
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

int32_t Clip(int32_t x, int32_t low, int32_t high) { return x < low ? low : x > high ? high : x; }

BCNET_NOINLINE void Transpose(uint32_t w[8]) { sliced::TransposeBytes(w); }

// The counters' start: for a bitpacked output as said above, otherwise 0.
BCNET_NOINLINE void PrepareStart(Job* job) {
  std::memset(job->start, 0, sizeof(job->start));
  if (job->sink->kind != Bconv2dSink::kBitpacked) return;
  const int32_t most = job->taps * job->params->words_in_group * kWordBits;
  const int32_t* thresholds = job->sink->thresholds + job->word * kWordBits;
  uint8_t* bytes = reinterpret_cast<uint8_t*>(job->start);
  const int32_t end = 1 << job->digits;
  for (int i = 0; i < kWordBits; ++i) {
    // Channels that are not there get a bit that stays 0.
    const int32_t threshold = i < job->count ? Clip(thresholds[i], -1, most) : most;
    const int32_t value = end - 1 - threshold;
    // Channel 8 * l + i is in byte l of word i.
    uint8_t* byte = bytes + i % 8 * 4 + i / 8;
    byte[0] = static_cast<uint8_t>(value);
    byte[32] = static_cast<uint8_t>(value >> 8);
  }
  Transpose(job->start);
  Transpose(job->start + 8);
}

// Builds the tables of a part.
template <int kInputs>
BCNET_NOINLINE void Build(Job* job) {
  const int32_t words = job->params->words_in_group;
  const int32_t row_size = job->taps * words;
  const uint32_t* rows = job->filter + int64_t{job->word} * kWordBits * row_size + job->first_word;
  uint32_t sum = job->is_first ? job->start[0] : job->left_over;
  int32_t block = 0;
  for (int32_t word = 0; word < job->words; ++word) {
    for (int32_t tap = 0; tap < job->taps; ++tap, ++block) {
      const uint32_t* row = rows + tap * words + word;
      int32_t row_stride = row_size;
      uint32_t some[kWordBits];
      if (job->count < kWordBits) {  // the channels that are not there have weights of 0
        for (int32_t i = 0; i < kWordBits; ++i) some[i] = i < job->count ? row[i * row_size] : 0;
        row = some;
        row_stride = 1;
      }
      uint32_t* table = job->tables + Tables<kInputs>::Place(block);
      sum = sliced::BuildBlock<kInputs>(table, row, row_stride, sum);
    }
  }
  job->left_over = sum;
}

// Makes the choices of a row of the strip, channel word by channel word. Positions outside the
// input hold +1, which is 0.
template <int kInputs>
BCNET_NOINLINE void IndexRow(const Job& job, const uint32_t* image, int32_t row) {
  using T = Tables<kInputs>;
  const Bconv2dParams& params = *job.params;
  const int32_t slot = row % job.plan->index_rows;
  auto* index = static_cast<typename T::Index*>(job.index) + slot * job.columns * job.words;
  const int32_t y = row - params.height.pad;
  const int32_t step = job.geometry.column_step;
  const int32_t first_x = job.first_x * params.width.stride - params.width.pad;
  // The columns of the strip that lie on the input: [begin, end).
  int32_t begin = job.columns, end = job.columns;
  if (y >= 0 && y < params.height.input) {
    begin = first_x < 0 ? Clip((step - 1 - first_x) / step, 0, job.columns) : 0;
    end = Clip((params.width.input - first_x + step - 1) / step, begin, job.columns);
  }
  const int32_t pixel_step = step * params.words_in;
  const uint32_t* line = image + job.first_word;
  if (begin < end) line += (y * params.width.input + first_x + begin * step) * params.words_in;
  for (int32_t word = 0; word < job.words; ++word) {
    const uint32_t* table = job.tables + T::Place(word * job.taps);
    const uint32_t* pixel = line + word;
    int32_t i = 0;
    for (; i < begin; ++i) sliced::MakeIndex<kInputs>(0, table, index++);
    for (; i < end; ++i, pixel += pixel_step) sliced::MakeIndex<kInputs>(*pixel, table, index++);
    for (; i < job.columns; ++i) sliced::MakeIndex<kInputs>(0, table, index++);
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
  ptrdiff_t odd;  // words from the entry of an even parity

  BCNET_INLINE Pair LookUp(const Tables<5>::Index& index, const uint32_t* even, ptrdiff_t offset) {
    const uint32_t* entry = even + odd;
    odd ^= index.odd;
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
  if constexpr (kQuarter == 3)
    return sliced::AddPairs(&low->twos, a, last->LookUp(index, second, offset));
  return sliced::AddPairs(&low->twos, a, {second[offset], second[offset + 1]});
}
template <int kQuarter, typename Last>
BCNET_INLINE Pair AddQuarter(Low* low, Last* last, const Tables<3>::Index& index,
                             ptrdiff_t offset) {
  const uint32_t* const* entry = index.entry + 4 * kQuarter;
  const uint32_t x = entry[0][offset], y = entry[2][offset];
  const Pair a = {x, x ^ entry[1][offset]};
  if constexpr (kQuarter == 3)
    return sliced::AddPairs(&low->twos, a, last->LookUp(y, entry[3], offset));
  return sliced::AddPairs(&low->twos, a, {y, y ^ entry[3][offset]});
}

// Adds a block to the lowest digits; returns two carries of weight 16.
template <typename Last, typename Index>
BCNET_INLINE Pair AddBlock(Low* low, Last* last, const Index& index, ptrdiff_t offset) {
  const Pair a = AddQuarter<0>(low, last, index, offset);
  const Pair b = AddQuarter<1>(low, last, index, offset);
  const Pair ab = sliced::AddPairs(&low->fours, a, b);
  const Pair c = AddQuarter<2>(low, last, index, offset);
  const Pair d = AddQuarter<3>(low, last, index, offset);
  return sliced::AddPairs(&low->eights, ab, sliced::AddPairs(&low->fours, c, d));
}

// Turns the digits of sums into their bytes: byte l of word i is the low byte of channel 8 * l + i,
// that of word 8 + i the high byte.
template <int kDigits>
BCNET_NOINLINE void Unslice(uint32_t* sums) {
#pragma GCC unroll 16
  for (int i = kDigits; i < 16; ++i) sums[i] = 0;
  sliced::TransposeBytes(sums);
  sliced::TransposeBytes(sums + 8);
}

// The outputs of two channels from their sums, the one of `first` in the low half of `sums`.
BCNET_INLINE void WriteTwo(const LinearChannel* first, const LinearChannel* second, uint32_t sums,
                           int8_t* first_output, int8_t* second_output) {
#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__)
  const Pair a = sliced::Load(reinterpret_cast<const Pair*>(first));
  const Pair b = sliced::Load(reinterpret_cast<const Pair*>(second));
  const auto word = [](uint32_t x) { return static_cast<int32_t>(x); };
  const int32_t low = __smlawb(word(a.x), word(sums), word(a.p)) >> kLinearShift;
  const int32_t high = __smlawt(word(b.x), word(sums), word(b.p)) >> kLinearShift;
  *first_output = static_cast<int8_t>(__ssat(low, 8));
  *second_output = static_cast<int8_t>(__ssat(high, 8));
#else
  *first_output = Bconv2dInt8Output(*first, static_cast<int32_t>(sums & 0xffffu));
  *second_output = Bconv2dInt8Output(*second, static_cast<int32_t>(sums >> 16));
#endif
}

// Ends a pixel, whose blocks left `count` pairs, when it goes on in another part or has no
// bitpacked output. `start` are the counters that it began with, `result` those that it ends with,
// the lowest four already there; before them there is a word to use. `outside` taps of the pixel
// count 0.
BCNET_NOINLINE void End(const Job& job, int32_t count, const uint32_t* start, uint32_t* result,
                        int32_t pixel, int32_t outside) {
  job.finish(job.pairs, count, start, result);
  if (!job.is_last) return;
  const Bconv2dSink& sink = *job.sink;
  uint32_t* bytes = result - 1;
  bytes[0] = 0;  // a sum is twice the counter
  // Taps outside count half a mismatch a channel.
  if (outside != 0)
    sliced::AddConstant(outside * job.params->channels_in_group, job.digits + 1, bytes);
  job.unslice(bytes);
  const int32_t channel = job.word * kWordBits;
  if (sink.kind == Bconv2dSink::kLinear && job.count == kWordBits) {
    const LinearChannel* channels = sink.linear_transform->channels + channel;
    int8_t* output = static_cast<int8_t*>(sink.output) + pixel * sink.pixel_size + channel;
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      uint32_t even = bytes[i], odd = bytes[8 + i];
      sliced::SwapBits(&even, &odd, 8, 0x00ff00ffu);
      WriteTwo(channels + i, channels + i + 16, even, output + i, output + i + 16);
      WriteTwo(channels + i + 8, channels + i + 24, odd, output + i + 8, output + i + 24);
    }
    return;
  }
  int32_t sums[kWordBits];
  for (int i = 0; i < 8; ++i) {
    uint32_t even = bytes[i], odd = bytes[8 + i];
    sliced::SwapBits(&even, &odd, 8, 0x00ff00ffu);
    sums[i] = static_cast<int32_t>(even & 0xffffu);
    sums[i + 8] = static_cast<int32_t>(odd & 0xffffu);
    sums[i + 16] = static_cast<int32_t>(even >> 16);
    sums[i + 24] = static_cast<int32_t>(odd >> 16);
  }
  sink.write(sink, pixel, job.word, job.count, sums);
}

// The outputs [begin, end) of a row of the strip, where all taps count and lie side by side: 3x3
// and 1x1. `pixel` is the place of the strip's first output, `kept` its counters.
template <int kSide>
BCNET_NOINLINE void Row(const Job& job, int32_t y, int32_t begin, int32_t end, int32_t pixel,
                        uint32_t* kept) {
  using T = Tables<5>;
  const Bconv2dSink& sink = *job.sink;
  const int32_t count = kSide * kSide * job.words;
  const T::Index* rows[kSide];
  for (int r = 0; r < kSide; ++r) {
    const int32_t slot = (y * job.params->height.stride + r) % job.plan->index_rows;
    rows[r] = static_cast<const T::Index*>(job.index) + slot * job.columns * job.words +
              begin * job.geometry.x_step;
  }
  uint32_t* output = nullptr;
  if (job.is_last && sink.kind == Bconv2dSink::kBitpacked)
    output = static_cast<uint32_t*>(sink.output) + (pixel + begin) * sink.pixel_size + job.word;
  kept += begin * job.kept_size;
  for (int32_t x = begin; x < end; ++x, kept += job.kept_size) {
    const uint32_t* start = job.is_first ? job.start : kept;
    Low low = {start[1], start[2], start[3]};
    ByParity last = {job.is_first ? 0 : static_cast<ptrdiff_t>(kept[0])};
    Pair* pair = job.pairs;
    const T::Index* index[kSide];
    for (int r = 0; r < kSide; ++r) index[r] = rows[r];
    int32_t word = job.words;
    do {
#pragma GCC unroll 3
      for (int r = 0; r < kSide; ++r) {
#pragma GCC unroll 3
        for (int c = 0; c < kSide; ++c) {
          pair[r * kSide + c] = AddBlock(&low, &last, index[r][c], T::Place(r * kSide + c));
        }
      }
      pair += kSide * kSide;
      for (int r = 0; r < kSide; ++r) index[r] += job.columns;
    } while (--word != 0);
    for (int r = 0; r < kSide; ++r) rows[r] += job.geometry.x_step;
    if (output != nullptr) {
      *output = job.finish(job.pairs, count, start, nullptr);
      output += sink.pixel_size;
    } else {
      uint32_t sums[kMaxDigits + 2];
      uint32_t* result = job.is_last ? sums + 1 : kept;
      const uint32_t odd = static_cast<uint32_t>(last.odd);
      result[0] = job.is_last ? job.left_over ^ -uint32_t{odd != 0} : odd;
      result[1] = low.twos;
      result[2] = low.fours;
      result[3] = low.eights;
      End(job, count, start, result, pixel + x, 0);
    }
  }
}

// The same for any kernel; taps may lie outside the input and count 0.
template <int kInputs>
BCNET_NOINLINE void RowOfAnyTaps(const Job& job, int32_t y, int32_t begin, int32_t end,
                                 int32_t pixel, uint32_t* kept) {
  using T = Tables<kInputs>;
  const Bconv2dParams& params = *job.params;
  const Bconv2dSink& sink = *job.sink;
  TapRange rows = {0, params.height.filter}, columns = {0, params.width.filter};
  kept += begin * job.kept_size;
  for (int32_t x = begin; x < end; ++x, kept += job.kept_size) {
    uint32_t start[kMaxDigits + 1];
    const uint32_t* from = job.is_first ? job.start : kept;
    for (int i = 0; i <= job.digits; ++i) start[i] = from[i];
    int32_t outside = 0;
    if (params.zero_padding) {
      rows = TapsInside(params.height, y);
      columns = TapsInside(params.width, job.first_x + x);
      outside = job.taps - (rows.end - rows.begin) * (columns.end - columns.begin);
      // Half of the channels of these taps count as mismatches.
      if (sink.kind == Bconv2dSink::kBitpacked && job.is_first)
        sliced::AddConstant(outside * params.channels_in_group / 2, job.digits + 1, start);
    }
    Low low = {start[1], start[2], start[3]};
    ByChain last = {start[0]};
    Pair* pair = job.pairs;
    for (int32_t word = 0; word < job.words; ++word) {
      for (int32_t r = rows.begin; r < rows.end; ++r) {
        const int32_t row = y * params.height.stride + r * params.height.dilation;
        const auto* index = static_cast<const typename T::Index*>(job.index) +
                            (row % job.plan->index_rows * job.words + word) * job.columns +
                            x * job.geometry.x_step;
        for (int32_t c = columns.begin; c < columns.end; ++c) {
          const int32_t tap = r * params.width.filter + c;
          *pair++ = AddBlock(&low, &last, index[c * params.width.dilation], T::Place(tap));
        }
      }
    }
    const int32_t count = static_cast<int32_t>(pair - job.pairs);
    if (job.is_last && sink.kind == Bconv2dSink::kBitpacked) {
      static_cast<uint32_t*>(sink.output)[(pixel + x) * sink.pixel_size + job.word] =
          job.finish(job.pairs, count, start, nullptr);
    } else {
      uint32_t sums[kMaxDigits + 2];
      uint32_t* result = job.is_last ? sums + 1 : kept;
      result[0] = last.chain;
      result[1] = low.twos;
      result[2] = low.fours;
      result[3] = low.eights;
      End(job, count, start, result, pixel + x, outside);
    }
  }
}

// The outputs along an axis all of whose taps lie on the input.
TapRange WholeWindows(const WindowAxis& axis) {
  const int32_t span = (axis.filter - 1) * axis.dilation + 1;
  const int32_t begin = (axis.pad + axis.stride - 1) / axis.stride;
  const int32_t room = axis.input + axis.pad - span;
  int32_t end = room < 0 ? 0 : room / axis.stride + 1;
  if (end > axis.output) end = axis.output;
  return {begin < end ? begin : end, end};
}

// The code for a convolution.
struct Steps {
  void (*build)(Job*);
  void (*index_row)(const Job&, const uint32_t*, int32_t);
  // Outputs whose taps all count, and any; the first may be null.
  void (*row)(const Job&, int32_t, int32_t, int32_t, int32_t, uint32_t*);
  void (*row_of_any_taps)(const Job&, int32_t, int32_t, int32_t, int32_t, uint32_t*);
};
constexpr Steps kSteps3x3 = {Build<5>, IndexRow<5>, Row<3>, RowOfAnyTaps<5>};
constexpr Steps kSteps1x1 = {Build<5>, IndexRow<5>, Row<1>, nullptr};  // has no taps outside
constexpr Steps kStepsOfAny = {Build<3>, IndexRow<3>, nullptr, RowOfAnyTaps<3>};

// A part of a strip of an image; `pixel` is the place of the image's first output.
void RunPart(const Job& job, const Steps& steps, const uint32_t* image, int32_t pixel,
             bool indexed) {
  const Bconv2dParams& params = *job.params;
  const Bconv2dSlicedGeometry& geometry = job.geometry;
  const TapRange rows = WholeWindows(params.height), columns = WholeWindows(params.width);
  uint32_t* kept = job.kept;
  int32_t next_row = indexed ? geometry.rows : 0;
  pixel += job.first_x;
  for (int32_t y = 0; y < params.height.output; ++y, pixel += params.width.output) {
    const int32_t top = y * params.height.stride;
    if (next_row < top) next_row = top;
    for (; next_row < top + geometry.row_span; ++next_row) steps.index_row(job, image, next_row);
    int32_t begin = 0, end = steps.row == nullptr ? 0 : job.width;
    if (params.zero_padding) {  // taps outside the input are left out
      begin = Clip(columns.begin - job.first_x, 0, end);
      end = y >= rows.begin && y < rows.end ? Clip(columns.end - job.first_x, begin, end) : begin;
    }
    if (begin < end) steps.row(job, y, begin, end, pixel, kept);
    if (begin > 0) steps.row_of_any_taps(job, y, 0, begin, pixel, kept);
    if (end < job.width) steps.row_of_any_taps(job, y, end, job.width, pixel, kept);
    kept += job.width * job.kept_size;
  }
}

void Run(Job* job, const Steps& steps, const uint32_t* input) {
  const Bconv2dParams& params = *job->params;
  const Bconv2dPlan& plan = *job->plan;
  const Bconv2dSlicedGeometry& geometry = job->geometry;
  const int32_t words = params.words_in_group;
  const bool one_part = plan.part_words >= words;
  const bool keeps_index = one_part && plan.index_rows >= geometry.rows &&
                           plan.strip >= params.width.output && params.batches == 1;
  int32_t indexed_group = -1;
  for (job->word = 0; job->word < BitpackedWords(params.channels_out); ++job->word) {
    const int32_t group = job->word * kWordBits / (params.channels_out / params.groups);
    bool built = false;
    job->count = ChannelsOfWord(params, job->word);
    PrepareStart(job);
    const uint32_t* image = input + group * words;
    for (int32_t batch = 0; batch < params.batches; ++batch) {
      for (job->first_x = 0; job->first_x < params.width.output; job->first_x += plan.strip) {
        job->width = Clip(params.width.output - job->first_x, 1, plan.strip);
        job->columns = (job->width - 1) * geometry.x_step + geometry.column_span;
        for (job->first_word = 0; job->first_word < words; job->first_word += plan.part_words) {
          job->words = Clip(words - job->first_word, 1, plan.part_words);
          job->is_first = job->first_word == 0;
          job->is_last = job->first_word + job->words == words;
          if (!built || !one_part) steps.build(job);
          built = true;
          RunPart(*job, steps, image, batch * params.height.output * params.width.output,
                  keeps_index && indexed_group == group);
        }
      }
      image += params.height.input * params.width.input * params.words_in;
    }
    indexed_group = group;
  }
}

}  // namespace

void Bconv2dSliced(const Bconv2dParams& params, const Bconv2dPlan& plan, const uint32_t* input,
                   const uint32_t* filter, const Bconv2dSink& sink, void* scratch) {
  Job job = {};
  job.params = &params;
  job.plan = &plan;
  job.sink = &sink;
  job.filter = filter;
  job.geometry = Bconv2dSlicedGeometryOf(params);
  job.taps = params.height.filter * params.width.filter;
  job.digits = Bconv2dSlicedDigits(params);
  job.finish = job.digits == 9 ? Finish<9> : job.digits == 11 ? Finish<11> : Finish<13>;
  job.unslice = job.digits == 9 ? Unslice<10> : job.digits == 11 ? Unslice<12> : Unslice<14>;
  const Bconv2dSlicedMemory memory = Bconv2dSlicedMemoryOf(params, plan);
  uint8_t* bytes = static_cast<uint8_t*>(scratch);
  job.tables = reinterpret_cast<uint32_t*>(bytes);
  job.index = bytes + memory.tables;
  job.pairs = reinterpret_cast<Pair*>(bytes + memory.tables + memory.index);
  job.kept = reinterpret_cast<uint32_t*>(bytes + memory.tables + memory.index + memory.pairs);
  job.kept_size = memory.kept == 0 ? 0 : job.digits + 1;
  Run(&job, plan.table_inputs == 3 ? kStepsOfAny : job.taps == 1 ? kSteps1x1 : kSteps3x3, input);
}

}  // namespace bcnet

// The sliced kernel: the counters of 32 output channels are kept as words of digits (sliced.h), and
// the carries of the full adders that add to them are looked up (adder_tables.h).
//
// One word of output channels is a pass: build the tables of its weights, then run over the output.
// The choices of an input word are made once and serve all taps that meet it, and all passes when
// those of the whole input are kept. For a bitpacked output the counters start at 2^kDigits less
// threshold and 1, so that the digit of weight 2^kDigits is the output.
#include <cstring>

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
    return {pairs->x, pairs->p};
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
    for (int i = kBlockDigits; i < kDigits; ++i) result[i] = digits[i];
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
  int32_t blocks;
  int digits;
  uint32_t (*finish)(const Pair*, int32_t, const uint32_t*, uint32_t*);
  // Parts of the scratch memory.
  uint32_t* tables;
  Pair* pairs;  // that the blocks of a pixel leave
  void* index;  // [row % index_rows][channel word][column of the strip]
  // The pass and the strip.
  int32_t word;     // of the output channels
  int32_t count;    // channels in it
  int32_t columns;  // of the strip
  uint32_t start[kMaxDigits + 1];
  uint32_t left_over;  // the last block's sum, before the input's parity
};

BCNET_NOINLINE void Transpose(uint32_t w[8]) { sliced::TransposeBytes(w); }

// The counters' start: for a bitpacked output as said above, otherwise 0.
BCNET_NOINLINE void PrepareStart(Job* job) {
  std::memset(job->start, 0, sizeof(job->start));
  if (!job->sink->bitpacked) return;
  const int32_t most = job->blocks * kWordBits;
  uint8_t* bytes = reinterpret_cast<uint8_t*>(job->start);
  for (int i = 0; i < kWordBits; ++i) {
    int32_t threshold = most;  // a bit that stays 0, for channels that are not there
    if (i < job->count) threshold = job->sink->thresholds[job->word * kWordBits + i];
    if (threshold < -1) threshold = -1;
    if (threshold > most) threshold = most;
    const int32_t value = (1 << job->digits) - (threshold + 1);
    // Channel 8 * l + i is in byte l of word i.
    uint8_t* byte = bytes + i % 8 * 4 + i / 8;
    byte[0] = static_cast<uint8_t>(value);
    byte[32] = static_cast<uint8_t>(value >> 8);
  }
  Transpose(job->start);
  Transpose(job->start + 8);
}

// Builds the tables of a pass.
template <int kInputs, int kStride>
BCNET_NOINLINE void Build(Job* job) {
  const Bconv2dParams& params = *job->params;
  const int32_t words = params.words_in_group;
  const int32_t taps = params.height.filter * params.width.filter;
  const uint32_t* rows = job->filter + int64_t{job->word} * kWordBits * job->blocks;
  // Taps interleave their entries when their number is known, and lie one after the other when it
  // is not.
  constexpr int kTapSize =
      kStride == 1 ? Tables<kInputs>::kBlockWords : Tables<kInputs>::kEntryWords;
  uint32_t* tables = job->tables;
  uint32_t sum = job->start[0];
  for (int32_t word = 0; word < words; ++word) {
    for (int32_t tap = 0; tap < taps; ++tap) {
      const uint32_t* row = rows + tap * words + word;
      int32_t row_stride = job->blocks;
      uint32_t some[kWordBits] = {};
      if (job->count < kWordBits) {  // the channels that are not there have weights of 0
        for (int32_t i = 0; i < job->count; ++i) some[i] = row[i * row_stride];
        row = some;
        row_stride = 1;
      }
      sum = sliced::BuildBlock<kInputs, kStride>(tables + tap * kTapSize, row, row_stride, sum);
    }
    tables += taps * Tables<kInputs>::kBlockWords;
  }
  job->left_over = sum;
}

// Makes the choices of a row of the strip, channel word by channel word. Positions outside the
// input hold +1, which is 0.
template <int kInputs, int kStride>
BCNET_NOINLINE void IndexRow(const Job& job, const uint32_t* image, int32_t row,
                             int32_t first_column) {
  const Bconv2dParams& params = *job.params;
  const int32_t words = params.words_in_group;
  const int32_t taps = params.height.filter * params.width.filter;
  const int32_t slot = row % job.plan->index_rows;
  auto* index =
      static_cast<typename Tables<kInputs>::Index*>(job.index) + slot * job.columns * words;
  const int32_t y = row - params.height.pad;
  const bool inside = y >= 0 && y < params.height.input;
  const int32_t step = job.geometry.column_step;
  const uint32_t* tables = job.tables;
  for (int32_t word = 0; word < words; ++word) {
    int32_t x = first_column - params.width.pad;
    const uint32_t* pixel =
        image + ((inside ? y : 0) * params.width.input + x) * params.words_in + word;
    for (int32_t i = 0; i < job.columns; ++i, x += step, pixel += step * params.words_in) {
      const bool there = inside && x >= 0 && x < params.width.input;
      sliced::MakeIndex<kInputs, kStride>(there ? *pixel : 0, tables, index++);
    }
    tables += taps * Tables<kInputs>::kBlockWords;
  }
}

// The lowest digits of a pixel.
struct Low {
  uint32_t twos;
  uint32_t fours;
  uint32_t eights;
  ptrdiff_t odd;  // not 0 where the parity of all words so far is odd
};

// The carries of the last two full adders of a block. The sum of the blocks before is among their
// inputs: it is known up to a parity, which chooses the entry.
struct ByParity {
  template <int kInputs>
  BCNET_INLINE Pair LookUpLast(Low* low, const typename Tables<kInputs>::Index& index,
                               ptrdiff_t tap) {
    const uint32_t* entry = index.entry[Tables<kInputs>::kNodes - 1] + low->odd;
    low->odd ^= index.odd;
    if constexpr (kInputs == 3) {
      const uint32_t x = index.entry[Tables<kInputs>::kNodes - 2][tap];
      return {x, x ^ entry[tap]};
    } else {
      return {entry[2 * tap], entry[2 * tap + 1]};
    }
  }
};

// The same where blocks are left out, so that the sum is none that the tables know. The carries of
// the other two inputs with a sum of 0 and of 1, their AND and their OR, are those with the sum in
// the table and with its complement.
struct ByChain {
  uint32_t chain;
  ptrdiff_t odd;  // words between entries of an even and of an odd parity

  template <int kInputs>
  BCNET_INLINE Pair LookUpLast(Low*, const typename Tables<kInputs>::Index& index, ptrdiff_t tap) {
    const uint32_t* even = index.entry[Tables<kInputs>::kNodes - 1];
    uint32_t x, one, other;
    if constexpr (kInputs == 3) {
      x = index.entry[Tables<kInputs>::kNodes - 2][tap];
      one = even[tap];
      other = even[odd + tap];
    } else {
      x = even[2 * tap];
      one = x ^ even[2 * tap + 1];
      other = x ^ even[odd + 2 * tap + 1];
    }
    const uint32_t both = one & other, any = one | other;
    const uint32_t carry = both | (chain & any);
    chain ^= both ^ any;
    return {x, x ^ carry};
  }
};

// Adds a block to the lowest digits; returns the carries of weight 16.
template <int kInputs, typename Last>
BCNET_INLINE Pair AddBlock(Low* low, Last* last, const typename Tables<kInputs>::Index& index,
                           ptrdiff_t tap) {
  using sliced::AddPairs;
  const auto pair = [&](int two) { return sliced::LookUp<kInputs>(index, two, tap); };
  const Pair a = AddPairs(&low->twos, pair(0), pair(1));
  const Pair b = AddPairs(&low->twos, pair(2), pair(3));
  const Pair ab = AddPairs(&low->fours, a, b);
  const Pair c = AddPairs(&low->twos, pair(4), pair(5));
  const Pair d = AddPairs(&low->twos, pair(6), last->template LookUpLast<kInputs>(low, index, tap));
  return AddPairs(&low->eights, ab, AddPairs(&low->fours, c, d));
}

// Writes out a pixel that is not bitpacked: its lowest digits, and the blocks' pairs. `outside`
// taps of it count 0.
BCNET_NOINLINE void EmitSums(const Job& job, int32_t pixel, int32_t blocks, const Low& low,
                             uint32_t ones, int32_t outside) {
  uint32_t digits[kMaxDigits] = {ones, low.twos, low.fours, low.eights};
  job.finish(job.pairs, blocks, job.start, digits);
  Transpose(digits);
  Transpose(digits + 8);
  const uint8_t* bytes = reinterpret_cast<const uint8_t*>(digits);
  const int32_t extra = outside * job.params->channels_in_group;
  int32_t sums[kWordBits];
  for (int i = 0; i < kWordBits; ++i) {
    const uint8_t* byte = bytes + i % 8 * 4 + i / 8;
    sums[i] = 2 * (byte[0] | byte[32] << 8) + extra;
  }
  job.sink->write(*job.sink, pixel, job.word, job.count, sums);
}

// The outputs [begin, end) of a row of the strip, where all taps count and lie side by side: 3x3
// and 1x1. `pixel` is the place of the strip's first output.
template <int kInputs, int kSide>
BCNET_NOINLINE void Row(const Job& job, int32_t y, int32_t begin, int32_t end, int32_t pixel) {
  using Index = typename Tables<kInputs>::Index;
  const int32_t words = job.params->words_in_group;
  const Bconv2dSink& sink = *job.sink;
  const Index* rows[kSide];
  for (int r = 0; r < kSide; ++r) {
    const int32_t slot = (y * job.params->height.stride + r) % job.plan->index_rows;
    rows[r] = static_cast<const Index*>(job.index) + slot * job.columns * words +
              begin * job.geometry.x_step;
  }
  uint32_t* output = nullptr;
  if (sink.bitpacked)
    output = static_cast<uint32_t*>(sink.output) + (pixel + begin) * sink.pixel_size + job.word;
  for (int32_t x = begin; x < end; ++x) {
    Low low = {job.start[1], job.start[2], job.start[3], 0};
    ByParity last;
    Pair* pair = job.pairs;
    ptrdiff_t position = 0;
    int32_t word = words;
    do {
#pragma GCC unroll 3
      for (int r = 0; r < kSide; ++r) {
        const Index* index = rows[r] + position;
#pragma GCC unroll 3
        for (int c = 0; c < kSide; ++c)
          pair[r * kSide + c] = AddBlock<kInputs>(&low, &last, index[c], r * kSide + c);
      }
      pair += kSide * kSide;
      position += job.columns;
    } while (--word != 0);
    for (int r = 0; r < kSide; ++r) rows[r] += job.geometry.x_step;
    if (output != nullptr) {
      *output = job.finish(job.pairs, job.blocks, job.start, nullptr);
      output += sink.pixel_size;
    } else {
      const uint32_t ones = job.left_over ^ -static_cast<uint32_t>(low.odd != 0);
      EmitSums(job, pixel + x, job.blocks, low, ones, 0);
    }
  }
}

// The same for any kernel; taps may lie outside the input and count 0. `first_x` is the output that
// the strip begins with.
template <int kInputs, int kStride>
BCNET_NOINLINE void RowOfAnyTaps(const Job& job, int32_t y, int32_t begin, int32_t end,
                                 int32_t pixel, int32_t first_x) {
  using T = Tables<kInputs>;
  using Index = typename T::Index;
  const Bconv2dParams& params = *job.params;
  const Bconv2dSink& sink = *job.sink;
  const int32_t words = params.words_in_group;
  const int32_t taps = params.height.filter * params.width.filter;
  constexpr ptrdiff_t kTapSize = kStride == 1 ? T::kBlockWords / T::kEntryWords : 1;
  TapRange rows = {0, params.height.filter}, columns = {0, params.width.filter};
  for (int32_t x = begin; x < end; ++x) {
    uint32_t start[kMaxDigits + 1];
    std::memcpy(start, job.start, sizeof(start));
    int32_t outside = 0;
    if (params.zero_padding) {
      rows = TapsInside(params.height, y);
      columns = TapsInside(params.width, first_x + x);
      outside = taps - (rows.end - rows.begin) * (columns.end - columns.begin);
      // Half of the channels of these taps count as mismatches.
      if (sink.bitpacked) {
        sliced::AddConstant(outside * params.channels_in_group / 2, kMaxDigits + 1, start);
      }
    }
    Low low = {start[1], start[2], start[3], 0};
    ByChain last = {start[0], T::kEntries / 2 * kStride * T::kEntryWords};
    Pair* pair = job.pairs;
    for (int32_t word = 0; word < words; ++word) {
      for (int32_t r = rows.begin; r < rows.end; ++r) {
        const int32_t row = y * params.height.stride + r * params.height.dilation;
        const Index* index = static_cast<const Index*>(job.index) +
                             (row % job.plan->index_rows * words + word) * job.columns +
                             x * job.geometry.x_step;
        for (int32_t c = columns.begin; c < columns.end; ++c) {
          *pair++ = AddBlock<kInputs>(&low, &last, index[c * params.width.dilation],
                                      (r * params.width.filter + c) * kTapSize);
        }
      }
    }
    const int32_t blocks = static_cast<int32_t>(pair - job.pairs);
    if (sink.bitpacked) {
      static_cast<uint32_t*>(sink.output)[(pixel + x) * sink.pixel_size + job.word] =
          job.finish(job.pairs, blocks, start, nullptr);
    } else {
      EmitSums(job, pixel + x, blocks, low, last.chain, outside);
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

int32_t Clip(int32_t x, int32_t low, int32_t high) { return x < low ? low : x > high ? high : x; }

// The code for a kernel of the convolution.
struct Steps {
  void (*build)(Job*);
  void (*index_row)(const Job&, const uint32_t*, int32_t, int32_t);
  void (*row)(const Job&, int32_t, int32_t, int32_t, int32_t);  // null: there is only the next
  void (*row_of_any_taps)(const Job&, int32_t, int32_t, int32_t, int32_t, int32_t);
};
constexpr Steps kSteps3x3[] = {{Build<3, 9>, IndexRow<3, 9>, Row<3, 3>, RowOfAnyTaps<3, 9>},
                               {Build<5, 9>, IndexRow<5, 9>, Row<5, 3>, RowOfAnyTaps<5, 9>}};
constexpr Steps kSteps1x1 = {Build<3, 1>, IndexRow<3, 1>, Row<3, 1>, RowOfAnyTaps<3, 1>};
constexpr Steps kStepsOfAny = {Build<3, 1>, IndexRow<3, 1>, nullptr, RowOfAnyTaps<3, 1>};

// One row of outputs of a strip of `width` outputs that begins at `x`.
void RunRow(const Job& job, const Steps& steps, int32_t x, int32_t y, int32_t width,
            int32_t pixel) {
  const Bconv2dParams& params = *job.params;
  int32_t begin = 0, end = steps.row == nullptr ? 0 : width;
  if (params.zero_padding) {  // taps outside the input are left out
    const TapRange rows = WholeWindows(params.height), columns = WholeWindows(params.width);
    begin = Clip(columns.begin - x, 0, end);
    end = y >= rows.begin && y < rows.end ? Clip(columns.end - x, begin, end) : begin;
  }
  if (begin < end) steps.row(job, y, begin, end, pixel);
  if (begin > 0) steps.row_of_any_taps(job, y, 0, begin, pixel, x);
  if (end < width) steps.row_of_any_taps(job, y, end, width, pixel, x);
}

void Run(Job* job, const Steps& steps, const uint32_t* input) {
  const Bconv2dParams& params = *job->params;
  const Bconv2dPlan& plan = *job->plan;
  const Bconv2dSlicedGeometry& geometry = job->geometry;
  const int32_t image_size = params.height.input * params.width.input * params.words_in;
  const bool keep =
      plan.index_rows >= geometry.rows && plan.strip >= params.width.output && params.batches == 1;
  int32_t indexed_group = -1;
  for (job->word = 0; job->word < BitpackedWords(params.channels_out); ++job->word) {
    const int32_t group = job->word * kWordBits / (params.channels_out / params.groups);
    job->count = ChannelsOfWord(params, job->word);
    PrepareStart(job);
    steps.build(job);
    const uint32_t* image = input + group * params.words_in_group;
    int32_t pixel = 0;
    for (int32_t batch = 0; batch < params.batches; ++batch, image += image_size) {
      for (int32_t x = 0; x < params.width.output; x += plan.strip) {
        const int32_t width = Clip(params.width.output - x, 1, plan.strip);
        job->columns = (width - 1) * geometry.x_step + geometry.column_span;
        int32_t next_row = keep && indexed_group == group ? geometry.rows : 0;
        for (int32_t y = 0; y < params.height.output; ++y) {
          const int32_t top = y * params.height.stride;
          if (next_row < top) next_row = top;
          for (; next_row < top + geometry.row_span; ++next_row)
            steps.index_row(*job, image, next_row, x * params.width.stride);
          RunRow(*job, steps, x, y, width, pixel + y * params.width.output + x);
        }
      }
      pixel += params.height.output * params.width.output;
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
  job.blocks = params.height.filter * params.width.filter * params.words_in_group;
  const bool five = plan.table_inputs == 5;
  const int32_t block_words = five ? Tables<5>::kBlockWords : Tables<3>::kBlockWords;
  job.tables = static_cast<uint32_t*>(scratch);
  job.pairs = reinterpret_cast<Pair*>(job.tables + job.blocks * block_words);
  job.index = job.pairs + job.blocks;
  job.digits = Bconv2dSlicedDigits(params);
  job.finish = job.digits == 9 ? Finish<9> : job.digits == 11 ? Finish<11> : Finish<13>;
  const Steps* steps = &kStepsOfAny;
  if (params.height.filter == 1 && params.width.filter == 1) steps = &kSteps1x1;
  if (Bconv2dSlicedIs3x3(params)) steps = &kSteps3x3[five];
  Run(&job, *steps, input);
}

}  // namespace bcnet

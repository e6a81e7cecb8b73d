// The sliced kernel: the counters of 32 output channels are kept as words of digits (digits.h), and
// the carries of the full adders that add to them are looked up (adder_tables.h).
//
// One word of output channels is a pass: build the tables of its weights, then run over the output.
// The table indices of an input word are made once. They serve all taps that meet the word, and all
// passes where the indices of the whole input are kept. Where the tables do not fit into the
// scratch memory, the output is cut into tiles. For each tile the input channels are added block by
// block, and the tile's counters are kept in between. For a bitpacked output the counters start at
// 2^kDigits less threshold and 1, so that the digit of weight 2^kDigits is the output.
#include "tflm_ops/kernels/optimize_for_speed.h"

#include "tflm_ops/kernels/bconv2d/bconv2d.h"
#include "tflm_ops/kernels/bconv2d/bitsliced/adder_tables.h"
#include "tflm_ops/kernels/bconv2d/bitsliced/blocks.h"
#include "tflm_ops/kernels/bconv2d/bitsliced/finish.h"
#include "tflm_ops/kernels/bconv2d/bitsliced/job.h"
#include "tflm_ops/kernels/bconv2d/bitsliced/thumb_pixels.h"
#include "tflm_ops/kernels/bconv2d/bitsliced/wide_thumb.h"
#include "tflm_ops/kernels/bconv2d/kernels.h"
#include "tflm_ops/kernels/bitpacking.h"
#include "tflm_ops/kernels/fast_code.h"

namespace bcnet {
namespace sliced {
namespace {

// Columns of a tile, those of [begin, end) on the input; `step` words lie between two of them.
struct Columns {
  int32_t count;
  int32_t begin;
  int32_t end;
  int32_t step;
};

// Makes the table indices of a row of the tile for one channel word. Positions outside the input
// hold +1, which is 0.
template <int kInputs>
BCNET_NOINLINE void IndexColumns(const uint32_t* pixel, const Columns& columns,
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
    MakeIndex<kInputs>(x, table, index++);
    OptimizationBarrier(&i);
  }
}

#if BCNET_THUMB1 && BCNET_ASSEMBLY
template <>
BCNET_NOINLINE void IndexColumns<5>(const uint32_t* pixel, const Columns& columns,
                                    const uint32_t* table, void* indexes) {
  auto* index = static_cast<Tables<5>::Index*>(indexes);
  MakeIndexes({pixel, columns.step * static_cast<ptrdiff_t>(sizeof(uint32_t)), table,
               index + columns.begin, index + columns.end, index + columns.count, index});
}
#endif

// The table indices of a row of the input for a channel word.
BCNET_SMALL uint8_t* IndexesOf(const Job& job, int32_t row, int32_t word) {
  const int32_t slot = row % job.plan->index_rows * job.words + word;
  return static_cast<uint8_t*>(job.index) + slot * job.columns * job.index_bytes;
}

// Says what the functions that end pixels need to know of the next one.
BCNET_SMALL void SetPixel(const Job& job, int32_t pixel, int32_t half) {
  job.half = half;
  job.pixel = pixel;
  job.outputs = Bconv2dOutputs<int8_t>(*job.stage, pixel, job.word);
}

#if BCNET_PIXELS_ASSEMBLY

// The outputs [begin, end) of a row of the tile, where all taps count and lie side by side: 3x3
// and 1x1. `kept` are the counters of the tile's first output.
template <int kSide>
BCNET_INLINE void Row(const Job& job, int32_t y, int32_t begin, int32_t end, uint32_t* kept) {
  constexpr ptrdiff_t kIndexBytes = sizeof(Tables<5>::Index);
  const Bconv2dOutputStage& stage = *job.stage;
  const int32_t columns = job.columns, x_step = job.geometry.x_step;
  Pixels pixels;
  for (int r = 0; r < kSide; ++r) {
    const int32_t slot = (y * job.params->height.stride + r) % job.plan->index_rows;
    pixels.rows[r] = static_cast<const uint8_t*>(job.index) +
                     (slot * columns * job.words + begin * x_step) * kIndexBytes;
  }
  // After its last channel word a single tap stands behind it, and the rows of 3x3 taps at it.
  pixels.step = columns * kIndexBytes;
  pixels.next = x_step * kIndexBytes - (job.words - (kSide == 1 ? 0 : 1)) * pixels.step;
  pixels.rows_end = pixels.rows[0] + (end - begin) * x_step * kIndexBytes;
  pixels.end.pairs = job.pairs;
  pixels.end.pairs_end = job.pairs + kSide * kSide * job.words;
  pixels.end.digits = job.digits;
  kept += begin * job.kept_size;
  pixels.end.start = job.is_first ? job.start : kept;
  pixels.start_step = job.is_first ? 0 : job.kept_size * static_cast<ptrdiff_t>(sizeof(uint32_t));
  uint32_t sums[16];
  int32_t result_step = 0;
  pixels.end.result = sums + 1;
  pixels.output = nullptr;
  if (!job.is_last) {
    pixels.end.result = kept;
    result_step = job.kept_size;
  } else if (stage.kind == Bconv2dOutputStage::kBitpacked) {
    pixels.end.result = nullptr;
    pixels.output = static_cast<uint32_t*>(stage.output) + job.pixel * stage.pixel_size + job.word;
    pixels.output_step = stage.pixel_size * static_cast<ptrdiff_t>(sizeof(uint32_t));
  }
  do {
    AddPixels<kSide>(&pixels);
    if (pixels.output != nullptr) return;
    pixels.end.result += result_step;
    if (!job.is_last) continue;
    static_assert(Tables<5>::kOdd * sizeof(uint32_t) >> 10 == 1,
                  "bit 10 is 1 where the parity is odd");
    sums[1] = job.left_over ^ static_cast<uint32_t>(static_cast<int32_t>(sums[1] << 21) >> 31);
    job.end(job, sums + 1);
  } while (pixels.rows[0] != pixels.rows_end);
}

#else

// The outputs [begin, end) of a row of the tile, where all taps count and lie side by side: 3x3
// and 1x1. `kept` are the counters of the tile's first output.
template <int kSide>
BCNET_INLINE void Row(const Job& job, int32_t y, int32_t begin, int32_t end, uint32_t* kept) {
  using T = Tables<5>;
  const Bconv2dOutputStage& stage = *job.stage;
  const int32_t count = kSide * kSide * job.words;
  const int32_t columns = job.columns, x_step = job.geometry.x_step;
  const T::Index* rows[kSide];
  for (int r = 0; r < kSide; ++r) {
    const int32_t slot = (y * job.params->height.stride + r) % job.plan->index_rows;
    rows[r] = static_cast<const T::Index*>(job.index) + slot * columns * job.words + begin * x_step;
  }
  const int32_t output_step = stage.pixel_size;
  uint32_t* output = nullptr;
  if (job.is_last && stage.kind == Bconv2dOutputStage::kBitpacked)
    output = static_cast<uint32_t*>(stage.output) + job.pixel * output_step + job.word;
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

#endif

// No templates, as GCC forgets the section of these.
BCNET_FAST BCNET_NOINLINE void Row3x3(const Job& job, int32_t y, int32_t begin, int32_t end,
                                      uint32_t* kept) {
  Row<3>(job, y, begin, end, kept);
}
BCNET_NOINLINE void Row1x1(const Job& job, int32_t y, int32_t begin, int32_t end, uint32_t* kept) {
  Row<1>(job, y, begin, end, kept);
}

// Taps of a pixel that are added, and what comes of them.
struct AnyTaps {
  Low low;
  ByChain last;
  Pair* pair;
  int32_t count;  // side by side
  int32_t step;   // from one to the next on the input
};

// Adds taps side by side. `indexes` are the table indices for the first, `offset` the place of its
// tables.
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
  uint32_t (*build_block)(uint32_t*, const Rows&, uint32_t);
  void (*index_columns)(const uint32_t*, const Columns&, const uint32_t*, void*);
  void (*add_taps)(AnyTaps*, const void*, ptrdiff_t);
  int16_t tap_words;       // from the tables of a tap to those of the next
  int16_t together;        // blocks that are interleaved,
  int16_t together_words;  // and their tables
};
template <int kInputs>
constexpr Steps StepsOf() {
  using T = Tables<kInputs>;
  return {BuildBlock<kInputs>, IndexColumns<kInputs>, AddTaps<kInputs>,
          T::Place(1),         T::kTogether,          T::kTogether * T::kBlockWords};
}
constexpr Steps kSteps[] = {StepsOf<3>(), StepsOf<5>()};

const Steps& StepsFor(const Job& job) { return kSteps[job.plan->table_inputs == 5]; }

uint32_t* TablesOf(const Job& job, int32_t block) {
  const Steps& steps = StepsFor(job);
  return job.tables + block / steps.together * steps.together_words +
         block % steps.together * steps.tap_words;
}

// Builds the tables of a channel block.
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
      Rows rows = {row_of_tap, job->step * row_size, job->byte_step * row_size};
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

// Makes the table indices of a row of the tile, channel word by channel word.
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
    StepsFor(job).index_columns(line + word, columns, TablesOf(job, word * job.taps), indexes);
    indexes += job.columns * job.index_bytes;
  }
}

// The outputs [begin, end) of a row of the tile, where taps may lie outside the input and count 0.
BCNET_SMALL void RowOfAnyTaps(const Job& job, int32_t y, int32_t begin, int32_t end, int32_t pixel,
                              uint32_t* kept) {
  const Bconv2dParams& params = *job.params;
  const Bconv2dOutputStage& stage = *job.stage;
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
      if (job.is_first) AddConstant(outside >> 1, job.digits + 1, start);
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
    if (stage.kind == Bconv2dOutputStage::kBitpacked) {
      static_cast<uint32_t*>(stage.output)[(pixel + x) * stage.pixel_size + job.word] = top;
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

// A channel block of a tile of an image; `pixel` is the place of the image's first output.
BCNET_SMALL void RunChannelBlock(const Job& job, const uint32_t* image, int32_t pixel,
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
  const bool one_channel_block = plan.channel_block_words >= words;
  const bool keeps_index = Bconv2dSlicedKeepsIndex(params, plan);
  const int32_t last_channel_block =
      (words - 1) / plan.channel_block_words * plan.channel_block_words;
  const uint32_t* indexed = nullptr;  // the first word of the block whose indices are made
  for (job->word = 0; job->word < BitpackedWords(params.channels_out); ++job->word) {
    const int32_t group = job->word * kWordBits / (params.channels_out / params.groups);
    bool built = false;
    job->count = ChannelsOfWord(params, job->word);
    PrepareStart(job);
    const uint32_t* image = input + group * words;
    for (int32_t batch = 0; batch < params.batches; ++batch) {
      for (job->first_x = 0; job->first_x < params.width.output; job->first_x += plan.tile_width) {
        job->width = Bconv2dClamp(params.width.output - job->first_x, 1, plan.tile_width);
        job->columns = (job->width - 1) * geometry.x_step + geometry.column_span;
        // Every other pass takes the channel blocks backwards, so that the table indices of the
        // block that a pass ends with serve the next pass.
        const bool backwards = job->word % 2 != 0;
        for (int32_t i = 0; i <= last_channel_block; i += plan.channel_block_words) {
          job->first_word = backwards ? last_channel_block - i : i;
          job->words = Bconv2dClamp(words - job->first_word, 1, plan.channel_block_words);
          job->is_first = i == 0;
          job->is_last = i == last_channel_block;
          if (!built || !one_channel_block) Build(job);
          built = true;
          RunChannelBlock(*job, image, batch * params.height.output * params.width.output,
                          keeps_index && indexed == image + job->first_word);
          indexed = image + job->first_word;
        }
      }
      image += params.height.input * params.width.input * params.words_in;
    }
  }
}

}  // namespace
}  // namespace sliced

BCNET_SMALL void Bconv2dSliced(const Bconv2dParams& params, const Bconv2dPlan& plan,
                               const uint32_t* input, const uint32_t* filter,
                               const Bconv2dOutputStage& stage, void* scratch) {
  sliced::Job job = {};
  job.params = &params;
  job.plan = &plan;
  job.stage = &stage;
  job.pixel_size = stage.pixel_size;
  job.filter = filter;
  job.geometry = Bconv2dSlicedGeometryOf(params);
  job.taps = params.height.filter * params.width.filter;
  job.digits = Bconv2dSlicedDigits(params);
  job.index_bytes =
      plan.table_inputs == 5 ? sizeof(sliced::Tables<5>::Index) : sizeof(sliced::Tables<3>::Index);
  const Bconv2dSlicedMemory memory = Bconv2dSlicedMemoryOf(params, plan);
  uint8_t* bytes = static_cast<uint8_t*>(scratch);
  job.tables = reinterpret_cast<uint32_t*>(bytes);
  job.index = bytes + memory.tables;
  job.pairs = reinterpret_cast<sliced::Pair*>(bytes + memory.tables + memory.index);
  job.kept = reinterpret_cast<uint32_t*>(bytes + memory.tables + memory.index + memory.pairs);
  job.kept_size = memory.kept == 0 ? 0 : job.digits + 1;
  if (plan.table_inputs == 5) job.row = job.taps == 1 ? sliced::Row1x1 : sliced::Row3x3;
  sliced::Run(&job, input);
}

}  // namespace bcnet

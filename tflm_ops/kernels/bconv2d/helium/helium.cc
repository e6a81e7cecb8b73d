// The Helium kernel, for cores with vectors: the sliced kernel (bitsliced.cc) on four pixels
// at once.
//
// A word of digits becomes a vector of four, one for each of the pixels that are worked on, and
// table entries are gathered by four offsets. The output is cut into four equal pieces, side by
// side, on top of each other, or two by two; a *position* is the place in a piece, and stands for
// four pixels. Columns are made and tables built by vectors too.
//
// Differences from the sliced kernel: the sum that a block leaves over is data and no table knows
// it, so that the tables of blocks do not depend on each other, and a tap outside the input that
// counts 0 chooses entries of zeros.
#include "tflm_ops/kernels/optimize_for_speed.h"

// The scheduler lengthens the lives of values, for which there are only eight vector registers.
#if defined(__GNUC__) && !defined(__clang__) && defined(__OPTIMIZE__)
#pragma GCC optimize("no-schedule-insns")
#endif

#include "tflm_ops/kernels/bconv2d/kernels.h"

#if BCNET_HELIUM

#include "tflm_ops/kernels/bconv2d/helium/blocks.h"

namespace bcnet {
namespace helium {
namespace {

constexpr int kMaxDigits = 16;
constexpr int kFewDigits = 12;  // sums of counters with fewer digits have no more

// The numbers of the linear transform of 32 channels: lane b of vector i has those of channel
// 8 * b + i. And the places of lanes in an output.
struct LinearNumbers {
  int32x4_t multipliers[8];
  int32x4_t biases[8];
  Vector places;
};

// A convolution under way; as in bitsliced.cc.
struct Job {
  const Bconv2dParams* params;
  const Bconv2dPlan* plan;
  const Bconv2dOutputStage* stage;
  const uint32_t* filter;
  Bconv2dHeliumPieces pieces;
  Bconv2dHeliumLayout layout;
  Bconv2dSlicedGeometry geometry;
  int32_t taps;
  int digits;
  Vector (*finish)(const Pair*, int32_t, const Vector*, Vector*);
  // Of each lane: its first output, and its place in the output.
  Vector first_row;
  Vector first_column;
  Vector pixels;
  // Parts of the scratch memory.
  uint8_t* tables;
  uint8_t* index;  // [row % index_rows][channel word][column of the tile]
  Pair* pairs;
  int32_t kept_size;
  Vector* kept;
  // The pass.
  int32_t word;
  int32_t count;
  Vector start[kMaxDigits + 1];
  bool is_linear;  // whether the outputs are written by these numbers
  LinearNumbers linear;
  // The tile.
  int32_t first_x;
  int32_t width;
  int32_t columns;
  // The channel block.
  int32_t first_word;
  int32_t words;
  int32_t index_words;  // channel words that the index has room for: the block's, or all
  int32_t index_word;   // the place of the block's first among them
  bool is_first;
  bool is_last;
};

int32_t Clip(int32_t x, int32_t low, int32_t high) { return x < low ? low : x > high ? high : x; }

// The numbers of the linear transform of 32 channels.
void PrepareLinear(Job* job) {
  const LinearChannel* channel = job->stage->linear_transform->channels + job->word * kWordBits;
  const Vector places = vidupq_n_u32(0, 1) * static_cast<uint32_t>(8 * sizeof(LinearChannel));
  for (int i = 0; i < 8; ++i, ++channel) {
    job->linear.multipliers[i] = vldrwq_gather_offset_s32(&channel->multiplier, places);
    job->linear.biases[i] = vldrwq_gather_offset_s32(&channel->bias, places);
  }
  job->linear.places = vidupq_n_u32(0, 8);
}

// The counters' start: for a bitpacked output 2^digits less threshold and 1, otherwise 0.
BCNET_NOINLINE void PrepareStart(Job* job) {
  job->is_linear = job->stage->kind == Bconv2dOutputStage::kLinear && job->count == kWordBits &&
                   job->stage->pixel_size % 4 == 0;
  if (job->is_linear) PrepareLinear(job);
  if (job->stage->kind != Bconv2dOutputStage::kBitpacked) return;  // Job began with zeros
  const int32_t most = job->taps * job->params->words_in_group * kWordBits;
  const int32_t* thresholds = job->stage->thresholds + job->word * kWordBits;
  const int32x4_t end = vdupq_n_s32((1 << job->digits) - 1);
  uint16_t values[kWordBits];
  for (int i = 0; i < kWordBits; i += kLanes) {
    // Channels that are not there get a bit that stays 0.
    const mve_pred16_t is_there = vctp32q(static_cast<uint32_t>(Clip(job->count - i, 0, kLanes)));
    int32x4_t threshold = vldrwq_z_s32(thresholds + i, is_there);
    threshold = vpselq_s32(threshold, vdupq_n_s32(most), is_there);
    threshold = vmaxq_s32(vminq_s32(threshold, vdupq_n_s32(most)), vdupq_n_s32(-1));
    vstrhq_u32(values + i, vreinterpretq_u32_s32(end - threshold));
  }
  // Byte l of lane 0 of vector i is the low byte of channel 8 * l + i, that of lane 1 the high
  // byte.
  static const uint8_t kPlaces[16] = {0, 16, 32, 48, 1, 17, 33, 49, 0, 16, 32, 48, 1, 17, 33, 49};
  const uint8x16_t places = vldrbq_u8(kPlaces);
  Vector bytes[8];
  for (int i = 0; i < 8; ++i) {
    bytes[i] = vreinterpretq_u32_u8(
        vldrbq_gather_offset_u8(reinterpret_cast<const uint8_t*>(values + i), places));
  }
  TransposeBytes(bytes);
  for (int i = 0; i < 8; ++i) {
    job->start[i] = vdupq_n_u32(vgetq_lane_u32(bytes[i], 0));
    job->start[8 + i] = vdupq_n_u32(vgetq_lane_u32(bytes[i], 1));
  }
}

// Builds the tables of a channel block.
template <int kInputs>
BCNET_NOINLINE void Build(const Job& job) {
  const int32_t words = job.params->words_in_group;
  const int32_t row_size = job.taps * words;
  const uint32_t* rows = job.filter + int64_t{job.word} * kWordBits * row_size + job.first_word;
  const bool zero_row = job.params->zero_padding;
  uint8_t* table = job.tables;
  for (int32_t word = 0; word < job.words; ++word) {
    for (int32_t tap = 0; tap < job.taps; ++tap, table += Tables<kInputs>::kBytes)
      BuildBlock<kInputs>(table, rows + tap * words + word, row_size, job.count, zero_row);
  }
}

// Makes the table indices of a row of the tile, channel word by channel word. Positions outside the
// input hold +1, which is 0, or count 0.
template <int kInputs>
BCNET_NOINLINE void IndexRow(const Job& job, const uint32_t* image, int32_t row) {
  const Bconv2dParams& params = *job.params;
  const int32_t slot = row % job.plan->index_rows;
  const int32_t step = job.geometry.column_step;
  uint8_t* index = job.index + slot * job.index_words * job.columns * helium::kIndexBytes;
  const Vector y = job.first_row * static_cast<uint32_t>(params.height.stride) +
                   static_cast<uint32_t>(row - params.height.pad);
  const Vector first_x =
      job.first_column * static_cast<uint32_t>(params.width.stride) +
      static_cast<uint32_t>(job.first_x * params.width.stride - params.width.pad);
  // Rows outside have no columns that are inside.
  const Vector input_width = vdupq_n_u32(static_cast<uint32_t>(params.width.input));
  const Vector end = vpselq_u32(vdupq_n_u32(0), input_width,
                                vcmpcsq_n_u32(y, static_cast<uint32_t>(params.height.input)));
  const Vector places = (y * static_cast<uint32_t>(params.width.input) + first_x) *
                        static_cast<uint32_t>(params.words_in);
  const uint32_t* line = image + job.first_word - job.index_word;
  const int32_t columns = job.columns, pixel_step = step * params.words_in;
  const bool zero_padding = params.zero_padding;
  for (int32_t word = job.index_words; word > 0; --word, ++line) {
    const uint32_t* pixels = line;
    Vector x = first_x;
    for (int32_t i = columns; i > 0; --i, index += helium::kIndexBytes, pixels += pixel_step) {
      const mve_pred16_t inside = vcmphiq_u32(end, x);
      MakeIndex(Tables<kInputs>{}, vldrwq_gather_shifted_offset_z_u32(pixels, places, inside),
                index);
      if (zero_padding) LeaveOut<kInputs>(inside, index);
      x = vaddq_n_u32(x, static_cast<uint32_t>(step));
    }
  }
}

// The number of taps outside the input, of each lane.
Vector TapsOutside(const Job& job, int32_t y, int32_t x) {
  const Bconv2dParams& params = *job.params;
  uint32_t outside[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    const TapRange rows = TapsInside(params.height, static_cast<int32_t>(job.first_row[i]) + y);
    const TapRange columns =
        TapsInside(params.width, static_cast<int32_t>(job.first_column[i]) + x);
    outside[i] =
        static_cast<uint32_t>(job.taps - (rows.end - rows.begin) * (columns.end - columns.begin));
  }
  return vld1q_u32(outside);
}

// Turns digits of sums, digit i of weight 2^i, into the sums: those of channels 16 * h + i are half
// h of vector i, those of channels 16 * h + 8 + i half h of vector 8 + i.
BCNET_INLINE void Unslice(Vector digits[16]) {
  // Byte b of vector i becomes the low byte of channel 8 * b + i, that of vector 8 + i the high
  // byte.
  TransposeBytes(digits);
  TransposeBytes(digits + 8);
  for (int i = 0; i < 8; ++i) {
    const uint16x8_t low = vreinterpretq_u16_u32(digits[i]);
    const uint16x8_t high = vreinterpretq_u16_u32(digits[8 + i]);
    digits[i] = vreinterpretq_u32_u16(vsliq_n_u16(low, high, 8));
    digits[8 + i] = vreinterpretq_u32_u16(vsriq_n_u16(high, low, 8));
  }
}

// Writes the outputs of 32 channels of lanes `is_there` from digits of their sums; see
// LinearChannel.
BCNET_INLINE void WriteLinear(const Job& job, Vector* digits, int32_t pixel,
                              mve_pred16_t is_there) {
  static_assert(kProductShift == 16 && kLinearShift == 12 && kLanes == 4, "as below");
  const Bconv2dOutputStage& stage = *job.stage;
  uint8_t* const output =
      static_cast<uint8_t*>(stage.output) + pixel * stage.pixel_size + job.word * kWordBits;
  uint8_t* outputs[kLanes];  // those of a pixel that is not there go where digits were
  for (int l = 0; l < kLanes; ++l, is_there >>= 4) {
    outputs[l] = (is_there & 1) != 0
                     ? output + static_cast<int32_t>(job.pixels[l]) * stage.pixel_size
                     : reinterpret_cast<uint8_t*>(digits);
  }
  uint16_t room[8 * kLanes * 4];  // [i][lane][b] the sum of channel 8 * b + i
  const uint16_t* sums = room;
  TransposeBytesInline(digits);
  if (job.digits < kFewDigits) {
    JoinUpperNibbles(digits + 8, digits, room);
  } else {
    TransposeBytes(digits + 8);
    for (int i = 0; i < 8; ++i) {
      const uint8x16x2_t bytes = {
          {vreinterpretq_u8_u32(digits[i]), vreinterpretq_u8_u32(digits[8 + i])}};
      vst2q_u8(reinterpret_cast<uint8_t*>(room + 4 * kLanes * i), bytes);
    }
  }
  const int32x4_t* numbers = job.linear.multipliers;
  static_assert(sizeof(job.linear.multipliers) == 128, "the place of biases below");
  // Four lanes' outputs of channels 8 * b + i for the four lowest i, then for the others. Those of
  // a lane are the bytes of a vector, of which lane b goes to 8 * b. The product is twice the upper
  // half of that of the sum, shifted by 15.
#pragma GCC unroll 1
  for (int half = 0; half < 2; ++half) {
    // clang-format off
    __asm__ volatile(
        "vldrh.u32 q6, [%[sums], #104]\n"
        "vmul.i32 q6, q6, %[scale]\n"
        "vldrw.u32 q0, [%[numbers], #48]\n"
        "vqdmulh.s32 q3, q6, q0\n"
        "vldrh.u32 q6, [%[sums], #96]\n"
        "vmul.i32 q5, q6, %[scale]\n"
        "vldrh.u32 q6, [%[sums], #112]\n"
        "vqdmulh.s32 q4, q5, q0\n"
        "vldrh.u32 q7, [%[sums], #120]\n"
        "vmul.i32 q5, q7, %[scale]\n"
        "vldrh.u32 q7, [%[sums], #64]\n"
        "vmul.i32 q1, q6, %[scale]\n"
        "vldrw.u32 q2, [%[numbers], #176]\n"
        "vadd.i32 q6, q4, q2\n"
        "vqdmulh.s32 q4, q5, q0\n"
        "vldrh.u32 q5, [%[sums], #72]\n"
        "vadd.i32 q3, q3, q2\n"
        "vqdmulh.s32 q0, q1, q0\n"
        "vqshl.s32 q6, q6, #12\n"
        "vmul.i32 q1, q7, %[scale]\n"
        "vqshl.s32 q3, q3, #12\n"
        "vldrw.u32 q7, [%[numbers], #32]\n"
        "vadd.i32 q0, q0, q2\n"
        "vqdmulh.s32 q1, q1, q7\n"
        "vadd.i32 q4, q4, q2\n"
        "vldrw.u32 q2, [%[numbers], #160]\n"
        "vadd.i32 q1, q1, q2\n"
        "vmul.i32 q5, q5, %[scale]\n"
        "vqshl.s32 q1, q1, #12\n"
        "vqdmulh.s32 q5, q5, q7\n"
        "vsri.32 q6, q1, #8\n"
        "vldrh.u32 q1, [%[sums], #88]\n"
        "vadd.i32 q5, q5, q2\n"
        "vmul.i32 q1, q1, %[scale]\n"
        "vqshl.s32 q5, q5, #12\n"
        "vqdmulh.s32 q1, q1, q7\n"
        "vsri.32 q3, q5, #8\n"
        "vldrh.u32 q5, [%[sums], #80]\n"
        "vqshl.s32 q4, q4, #12\n"
        "vmul.i32 q5, q5, %[scale]\n"
        "vadd.i32 q1, q1, q2\n"
        "vqdmulh.s32 q5, q5, q7\n"
        "vqshl.s32 q0, q0, #12\n"
        "vldrh.u32 q7, [%[sums], #32]\n"
        "vqshl.s32 q1, q1, #12\n"
        "vmul.i32 q7, q7, %[scale]\n"
        "vadd.i32 q2, q5, q2\n"
        "vldrw.u32 q5, [%[numbers], #16]\n"
        "vqshl.s32 q2, q2, #12\n"
        "vqdmulh.s32 q7, q7, q5\n"
        "vsri.32 q4, q1, #8\n"
        "vldrw.u32 q1, [%[numbers], #144]\n"
        "vsri.32 q0, q2, #8\n"
        "vldrh.u32 q2, [%[sums], #40]\n"
        "vadd.i32 q7, q7, q1\n"
        "vmul.i32 q2, q2, %[scale]\n"
        "vqshl.s32 q7, q7, #12\n"
        "vqdmulh.s32 q2, q2, q5\n"
        "vsri.32 q6, q7, #16\n"
        "vldrh.u32 q7, [%[sums], #48]\n"
        "vadd.i32 q2, q2, q1\n"
        "vmul.i32 q7, q7, %[scale]\n"
        "vqshl.s32 q2, q2, #12\n"
        "vqdmulh.s32 q7, q7, q5\n"
        "vsri.32 q3, q2, #16\n"
        "vldrh.u32 q2, [%[sums], #56]\n"
        "vmul.i32 q2, q2, %[scale]\n"
        "vadd.i32 q7, q7, q1\n"
        "vqdmulh.s32 q5, q2, q5\n"
        "vqshl.s32 q2, q7, #12\n"
        "vldrh.u32 q7, [%[sums], #0]\n"
        "vsri.32 q0, q2, #16\n"
        "vldrw.u32 q2, [%[numbers], #128]\n"
        "vadd.i32 q1, q5, q1\n"
        "vldrw.u32 q5, [%[numbers], #0]\n"
        "vqshl.s32 q1, q1, #12\n"
        "vmul.i32 q7, q7, %[scale]\n"
        "vsri.32 q4, q1, #16\n"
        "vqdmulh.s32 q1, q7, q5\n"
        "vldrh.u32 q7, [%[sums], #8]\n"
        "vadd.i32 q1, q1, q2\n"
        "vmul.i32 q7, q7, %[scale]\n"
        "vqshl.s32 q1, q1, #12\n"
        "vqdmulh.s32 q7, q7, q5\n"
        "vsri.32 q6, q1, #24\n"
        "vldrh.u32 q1, [%[sums], #24]\n"
        "vadd.i32 q7, q7, q2\n"
        "vmul.i32 q1, q1, %[scale]\n"
        "vqshl.s32 q7, q7, #12\n"
        "vqdmulh.s32 q1, q1, q5\n"
        "vsri.32 q3, q7, #24\n"
        "vldrh.u32 q7, [%[sums], #16]\n"
        "vadd.i32 q1, q1, q2\n"
        "vmul.i32 q7, q7, %[scale]\n"
        "vqshl.s32 q1, q1, #12\n"
        "vqdmulh.s32 q7, q7, q5\n"
        "vsri.32 q4, q1, #24\n"
        "vldrw.u32 q5, [%[places]]\n"
        "vadd.i32 q2, q7, q2\n"
        "vstrw.32 q3, [%[out1], q5]\n"
        "vqshl.s32 q1, q2, #12\n"
        "vstrw.32 q6, [%[out0], q5]\n"
        "vsri.32 q0, q1, #24\n"
        "vstrw.32 q4, [%[out3], q5]\n"
        "vstrw.32 q0, [%[out2], q5]\n"
        :
        : [sums] "l"(sums), [numbers] "r"(numbers), [places] "r"(&job.linear.places),
          [scale] "r"(1 << 15), [out0] "r"(outputs[0]), [out1] "r"(outputs[1]),
          [out2] "r"(outputs[2]), [out3] "r"(outputs[3])
        : "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "memory");
    // clang-format on
    sums += 4 * kLanes * 4;
    numbers += 4;
    for (uint8_t*& place : outputs) place += 4;
  }
}

// Writes the outputs of lanes `is_there` from digits of their sums.
BCNET_NOINLINE void WriteSums(const Job& job, Vector* digits, int32_t pixel,
                              mve_pred16_t is_there) {
  const Bconv2dOutputStage& stage = *job.stage;
  Unslice(digits);
  int32_t sums[kLanes][kWordBits];
  const Vector places = vidupq_n_u32(0, 1) * uint32_t{kWordBits};
  for (int i = 0; i < 8; ++i) {
    uint32_t* to = reinterpret_cast<uint32_t*>(&sums[0][i]);
    vstrwq_scatter_shifted_offset_u32(to, places, digits[i] & vdupq_n_u32(0xffff));
    vstrwq_scatter_shifted_offset_u32(to + 8, places, digits[8 + i] & vdupq_n_u32(0xffff));
    vstrwq_scatter_shifted_offset_u32(to + 16, places, vshrq_n_u32(digits[i], 16));
    vstrwq_scatter_shifted_offset_u32(to + 24, places, vshrq_n_u32(digits[8 + i], 16));
  }
  for (int lane = 0; lane < kLanes; ++lane, is_there >>= 4) {
    if ((is_there & 1) == 0) continue;
    const int32_t place = pixel + static_cast<int32_t>(job.pixels[lane]);
    stage.write(stage, place, job.word, job.count, sums[lane]);
  }
}

// Ends a position.
BCNET_NOINLINE void End(const Job& job, int32_t count, const Low& low, const Vector* start,
                        Vector* kept, Vector outside, int32_t pixel, mve_pred16_t is_there) {
  Vector digits[kMaxDigits + 2];
  Vector* const result = job.is_last ? digits + 1 : kept;
  result[0] = low.left_over;
  result[1] = low.twos;
  result[2] = low.fours;
  result[3] = low.eights;
  job.finish(job.pairs, count, start, result);
  if (!job.is_last) return;
  digits[0] = vdupq_n_u32(0);  // a sum is twice the counter
  const int all = job.is_linear && job.digits < kFewDigits ? kFewDigits : kMaxDigits;
  for (int i = job.digits + 2; i < all; ++i) digits[i] = vdupq_n_u32(0);
  // Taps outside count half a mismatch a channel.
  if (job.params->zero_padding) {
    AddNumbers(outside * static_cast<uint32_t>(job.params->channels_in_group), job.digits + 2,
               digits);
  }
  if (job.is_linear) {
    WriteLinear(job, digits, pixel, is_there);
  } else {
    WriteSums(job, digits, pixel, is_there);
  }
}

// Adds the blocks of the channel block to a position's counters. Its taps lie side by side in
// `rows`.
template <int kInputs, int kSide>
BCNET_INLINE void AddTaps(const Job& job, Low* low, const uint8_t* const* rows) {
  const uint8_t* table = job.tables;
  Pair* pairs = job.pairs;
  const int32_t words = job.words, step = job.columns * helium::kIndexBytes;
  int32_t next_word = 0;
  Vector twos = low->twos;
  for (int32_t word = words; word > 0; --word) {
#pragma GCC unroll 1
    for (int r = 0; r < kSide; ++r, pairs += kSide)
      table = AddBlocks<kInputs, kSide>(low, &twos, rows[r] + next_word, table, pairs);
    next_word += step;
  }
  low->twos = twos;
}

// The same for taps anywhere; `column` is the first tap's.
template <int kInputs>
BCNET_INLINE void AddTapsAnywhere(const Job& job, Low* low, int32_t top, int32_t column) {
  const Bconv2dParams& params = *job.params;
  const uint8_t* table = job.tables;
  Pair* pair = job.pairs;
  Vector twos = low->twos;
  const int32_t rows = job.plan->index_rows;
  for (int32_t word = 0; word < job.words; ++word) {
    int32_t slot = top % rows;
    for (int32_t r = params.height.filter; r > 0; --r) {
      const uint8_t* index = job.index + (slot * job.index_words * job.columns +
                                          (job.index_word + word) * job.columns + column) *
                                             helium::kIndexBytes;
      for (int32_t c = params.width.filter; c > 0; --c) {
        table = AddBlocks<kInputs, 1>(low, &twos, index, table, pair++);
        index += params.width.dilation * helium::kIndexBytes;
      }
      slot += params.height.dilation;
      if (slot >= rows) slot -= rows;
    }
  }
  low->twos = twos;
}

// A row of positions of the tile. `pixel` is the place of lane 0's first one, `kept` their
// counters. kSide is 3 or 1 for kernels of 3x3 or 1x1 taps side by side, and 0 for any.
template <int kInputs, int kSide>
BCNET_NOINLINE void Row(const Job& job, int32_t y, int32_t pixel, Vector* kept) {
  const Bconv2dParams& params = *job.params;
  const Bconv2dOutputStage& stage = *job.stage;
  const int32_t count = job.taps * job.words;
  const int32_t top = y * params.height.stride;
  const bool to_bits = job.is_last && stage.kind == Bconv2dOutputStage::kBitpacked;
  // A lane has outputs up to, and without, column `end` of its own.
  const Vector width =
      vqsubq_u32(vdupq_n_u32(static_cast<uint32_t>(params.width.output)), job.first_column);
  const Vector rows_left = vdupq_n_u32(static_cast<uint32_t>(params.height.output - y));
  const Vector end = vpselq_u32(width, vdupq_n_u32(0), vcmphiq_u32(rows_left, job.first_row));
  const Vector places = job.pixels * static_cast<uint32_t>(stage.pixel_size);
  uint32_t* output = static_cast<uint32_t*>(stage.output) + pixel * stage.pixel_size + job.word;
  const uint8_t* rows[3];
  for (int r = 0; r < kSide; ++r) {
    const int32_t slot = (top + r) % job.plan->index_rows;
    rows[r] =
        job.index + (slot * job.index_words + job.index_word) * job.columns * helium::kIndexBytes;
  }
  Low room;
  for (int32_t x = 0; x < job.width; ++x, ++pixel, output += stage.pixel_size) {
    Vector shifted[kMaxDigits + 1];
    Vector outside = vdupq_n_u32(0);
    const Vector* start = job.is_first ? job.start : kept;
    if (params.zero_padding) {
      outside = TapsOutside(job, y, job.first_x + x);
      if (job.is_first && stage.kind == Bconv2dOutputStage::kBitpacked) {
        // Half of the channels of these taps count as mismatches.
        for (int i = 0; i <= job.digits; ++i) shifted[i] = start[i];
        AddNumbers(outside * static_cast<uint32_t>(params.channels_in_group / 2), job.digits + 1,
                   shifted);
        start = shifted;
      }
    }
    Low* const low = Hidden(&room);
    low->left_over = start[0];
    low->twos = start[1];
    low->fours = start[2];
    low->eights = start[3];
    if (kSide == 0) {
      AddTapsAnywhere<kInputs>(job, low, top, x * job.geometry.x_step);
    } else {
      AddTaps<kInputs, kSide>(job, low, rows);
      for (int r = 0; r < kSide; ++r) rows[r] += job.geometry.x_step * helium::kIndexBytes;
    }
    const mve_pred16_t is_there = vcmphiq_n_u32(end, static_cast<uint32_t>(job.first_x + x));
    if (to_bits) {
      vstrwq_scatter_shifted_offset_p_u32(output, places,
                                          job.finish(job.pairs, count, start, nullptr), is_there);
    } else {
      End(job, count, *low, start, kept, outside, pixel, is_there);
    }
    kept += job.kept_size;
  }
}

// The code for a convolution.
struct Steps {
  void (*build)(const Job&);
  void (*index_row)(const Job&, const uint32_t*, int32_t);
  void (*row)(const Job&, int32_t, int32_t, Vector*);
};
template <int kInputs, int kSide>
constexpr Steps kSteps = {Build<kInputs>, IndexRow<kInputs>, Row<kInputs, kSide>};

template <int kInputs>
const Steps& StepsOf(const Bconv2dParams& params) {
  const int32_t side = params.height.filter;
  if (side != params.width.filter) return kSteps<kInputs, 0>;
  if (side == 1) return kSteps<kInputs, 1>;
  return side == 3 && params.height.dilation == 1 && params.width.dilation == 1
             ? kSteps<kInputs, 3>
             : kSteps<kInputs, 0>;
}

// A channel block of a tile of an image; `pixel` is the place of the image's first output.
void RunChannelBlock(const Job& job, const Steps& steps, const uint32_t* image, int32_t pixel,
                     bool indexed) {
  const Bconv2dParams& params = *job.params;
  const Bconv2dSlicedGeometry& geometry = job.geometry;
  Vector* kept = job.kept;
  int32_t next_row = indexed ? job.layout.rows : 0;
  pixel += job.first_x;
  for (int32_t y = 0; y < job.pieces.height; ++y, pixel += params.width.output) {
    const int32_t top = y * params.height.stride;
    if (next_row < top) next_row = top;
    for (; next_row < top + geometry.row_span; ++next_row) steps.index_row(job, image, next_row);
    steps.row(job, y, pixel, kept);
    kept += job.width * job.kept_size;
  }
}

void Run(Job* job, const Steps& steps, const uint32_t* input) {
  const Bconv2dParams& params = *job->params;
  const Bconv2dPlan& plan = *job->plan;
  const Bconv2dSlicedGeometry& geometry = job->geometry;
  const int32_t words = params.words_in_group;
  const bool one_channel_block = plan.channel_block_words >= words;
  const bool keeps_index = job->layout.keeps_index;
  int32_t indexed_group = -1;
  for (job->word = 0; job->word < BitpackedWords(params.channels_out); ++job->word) {
    const int32_t group = job->word * kWordBits / (params.channels_out / params.groups);
    bool built = false;
    job->count = ChannelsOfWord(params, job->word);
    PrepareStart(job);
    const uint32_t* image = input + group * words;
    for (int32_t batch = 0; batch < params.batches; ++batch) {
      for (job->first_x = 0; job->first_x < job->pieces.width; job->first_x += plan.tile_width) {
        job->width = Clip(job->pieces.width - job->first_x, 1, plan.tile_width);
        job->columns = (job->width - 1) * geometry.x_step + geometry.column_span;
        for (job->first_word = 0; job->first_word < words;
             job->first_word += plan.channel_block_words) {
          job->words = Clip(words - job->first_word, 1, plan.channel_block_words);
          job->is_first = job->first_word == 0;
          job->is_last = job->first_word + job->words == words;
          job->index_words = keeps_index ? words : job->words;
          job->index_word = keeps_index ? job->first_word : 0;
          if (!built || !one_channel_block) steps.build(*job);
          built = true;
          RunChannelBlock(*job, steps, image, batch * params.height.output * params.width.output,
                          keeps_index && indexed_group == group);
          indexed_group = group;
        }
      }
      image += params.height.input * params.width.input * params.words_in;
    }
  }
}

}  // namespace
}  // namespace helium

void Bconv2dHelium(const Bconv2dParams& params, const Bconv2dPlan& plan, const uint32_t* input,
                   const uint32_t* filter, const Bconv2dOutputStage& stage, void* scratch) {
  helium::Job job = {};
  job.params = &params;
  job.plan = &plan;
  job.stage = &stage;
  job.filter = filter;
  job.pieces = Bconv2dHeliumPiecesOf(params);
  job.geometry = Bconv2dSlicedGeometryOf(params);
  job.taps = params.height.filter * params.width.filter;
  job.digits = Bconv2dSlicedDigits(params);
  job.finish = job.digits == 9    ? helium::Finish<9>
               : job.digits == 11 ? helium::Finish<11>
                                  : helium::Finish<13>;
  for (int i = 0; i < helium::kLanes; ++i) {
    const int32_t row = i / job.pieces.across * job.pieces.height;
    const int32_t column = i % job.pieces.across * job.pieces.width;
    job.first_row[i] = static_cast<uint32_t>(row);
    job.first_column[i] = static_cast<uint32_t>(column);
    job.pixels[i] = static_cast<uint32_t>(row * params.width.output + column);
  }
  job.layout = Bconv2dHeliumLayoutOf(params, plan);
  uint8_t* bytes = static_cast<uint8_t*>(scratch);
  job.tables = bytes;
  job.index = bytes + job.layout.tables;
  job.pairs = reinterpret_cast<helium::Pair*>(bytes + job.layout.tables + job.layout.index);
  job.kept = reinterpret_cast<helium::Vector*>(bytes + job.layout.tables + job.layout.index +
                                               job.layout.pairs);
  job.kept_size = job.layout.kept == 0 ? 0 : job.digits + 1;
  helium::Run(&job,
              plan.table_inputs == 5 ? helium::StepsOf<5>(params) : helium::StepsOf<3>(params),
              input);
}

}  // namespace bcnet

#endif

// The layout of the Helium kernel's scratch memory, and what the kernel costs.
#include "tflm_ops/kernels/optimize.h"

#include "tflm_ops/kernels/bconv2d/plan.h"

#if BCNET_PLANS_HELIUM

#include "tflm_ops/kernels/bconv2d/helium/helium.h"
#include "tflm_ops/kernels/bitpacking.h"

namespace bcnet {
namespace {

int32_t CeilDiv(int32_t x, int32_t y) { return (x + y - 1) / y; }

int32_t Taps(const Bconv2dParams& params) { return params.height.filter * params.width.filter; }

int64_t Cycles(const Bconv2dParams& params, Bconv2dOutput output, const Bconv2dSlicedCosts& helium,
               const Bconv2dPlan& plan) {
  const Bconv2dHeliumPieces pieces = Bconv2dHeliumPiecesOf(params);
  const Bconv2dHeliumLayout layout = Bconv2dHeliumLayoutOf(params, plan);
  const Bconv2dTableCosts& costs = helium.tables[plan.table_inputs == 5][Bconv2dCostsOf(params)];
  const int32_t words = params.words_in_group, blocks = Taps(params) * words;
  const int32_t passes = BitpackedWords(params.channels_out);
  const int32_t channel_blocks = CeilDiv(words, plan.channel_block_words);
  const int64_t tiles = int64_t{params.batches} * CeilDiv(pieces.width, plan.tile_width);
  const int64_t indexed =
      tiles * layout.rows * layout.columns * words * (layout.keeps_index ? params.groups : passes);
  const int64_t positions = int64_t{params.batches} * pieces.height * pieces.width;
  const int32_t position = blocks * costs.block + costs.pixel +
                           (channel_blocks - 1) * helium.channel_block +
                           helium.outputs[static_cast<int>(output)];
  const int64_t values = int64_t{params.batches} * params.height.output * params.width.output *
                         params.channels_out * helium.values[static_cast<int>(output)];
  return helium.call + values +
         passes * (helium.pass + (channel_blocks == 1 ? 1 : tiles) * blocks * costs.build +
                   positions * position + tiles * channel_blocks * pieces.height * helium.row) +
         indexed * costs.index;
}

}  // namespace

Bconv2dHeliumPieces Bconv2dHeliumPiecesOf(const Bconv2dParams& params) {
  // Those with the fewest outputs; narrow ones before low ones, as rows of table indices are kept.
  Bconv2dHeliumPieces best = {};
  for (int32_t across = helium::kLanes; across >= 1; across /= 2) {
    const Bconv2dHeliumPieces pieces = {across,
                                        CeilDiv(params.height.output, helium::kLanes / across),
                                        CeilDiv(params.width.output, across)};
    if (best.across == 0 || pieces.height * pieces.width < best.height * best.width) best = pieces;
  }
  return best;
}

Bconv2dHeliumLayout Bconv2dHeliumLayoutOf(const Bconv2dParams& params, const Bconv2dPlan& plan) {
  const Bconv2dSlicedGeometry g = Bconv2dSlicedGeometryOf(params);
  const Bconv2dHeliumPieces pieces = Bconv2dHeliumPiecesOf(params);
  const int64_t blocks = int64_t{Taps(params)} * plan.channel_block_words;
  Bconv2dHeliumLayout layout;
  layout.rows = (pieces.height - 1) * params.height.stride + g.row_span;
  layout.columns = (plan.tile_width - 1) * g.x_step + g.column_span;
  layout.keeps_index =
      params.batches == 1 && plan.tile_width >= pieces.width && plan.index_rows >= layout.rows;
  layout.index_words = layout.keeps_index ? params.words_in_group : plan.channel_block_words;
  layout.tables = blocks * (plan.table_inputs == 5 ? helium::kPairTableBytes : helium::kTableBytes);
  layout.index =
      int64_t{plan.index_rows} * layout.columns * layout.index_words * helium::kIndexBytes;
  layout.pairs = blocks * helium::kPairBytes;
  layout.kept = 0;
  if (plan.channel_block_words < params.words_in_group) {
    layout.kept = int64_t{plan.tile_width} * pieces.height * (Bconv2dSlicedDigits(params) + 1) *
                  helium::kVectorBytes;
  }
  return layout;
}

// It takes the convolutions that the sliced kernel takes, where the memory holds the tables of one
// input word.
bool PlanBconv2dHelium(const Bconv2dParams& params, Bconv2dOutput output, int32_t scratch_budget,
                       const Bconv2dCore& core, Bconv2dPlan* plan, int64_t* cycles) {
  if (Bconv2dSlicedDigits(params) == 0) return false;
  if (params.groups > 1 && params.channels_out / params.groups % kWordBits != 0) return false;
  const Bconv2dHeliumPieces pieces = Bconv2dHeliumPiecesOf(params);
  const int32_t words = params.words_in_group;
  const int32_t span = Bconv2dSlicedGeometryOf(params).row_span;
  const int32_t all_rows = (pieces.height - 1) * params.height.stride + span;
  bool found = false;
  const auto consider = [&](Bconv2dPlan candidate) {
    const Bconv2dHeliumLayout layout = Bconv2dHeliumLayoutOf(params, candidate);
    const int64_t total = layout.tables + layout.index + layout.pairs + layout.kept;
    if (total > scratch_budget) return false;
    const int64_t cost = Cycles(params, output, core.helium, candidate);
    if (found && cost >= *cycles) return true;
    candidate.scratch_bytes = static_cast<int32_t>(total);
    found = true;
    *plan = candidate;
    *cycles = cost;
    return true;
  };
  for (int32_t channel_blocks = 1; channel_blocks <= 2 * words; ++channel_blocks) {
    // All numbers of channel blocks with tables of two full adders, then with tables of one.
    const bool pairs = channel_blocks <= words;
    const int32_t channel_block_words =
        CeilDiv(words, pairs ? channel_blocks : channel_blocks - words);
    const int8_t inputs = pairs ? 5 : 3;
    Bconv2dPlan candidate = {Bconv2dKernel::kHelium, inputs, 0, 0, channel_block_words, 0};
    candidate.index_rows = static_cast<uint16_t>(span < all_rows ? span : all_rows);
    // The widest tiles that fit, of equal widths.
    for (int32_t tiles = 1; tiles <= pieces.width; ++tiles) {
      candidate.tile_width = static_cast<int16_t>(CeilDiv(pieces.width, tiles));
      if (consider(candidate)) break;
    }
    // The table indices of the whole input.
    candidate.tile_width = static_cast<int16_t>(pieces.width);
    candidate.index_rows = static_cast<uint16_t>(all_rows);
    if (all_rows <= UINT16_MAX) consider(candidate);
  }
  return found;
}

}  // namespace bcnet

#endif

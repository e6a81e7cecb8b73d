// The choice of a kernel, and the layout of the sliced kernel's scratch memory.
#include "tflm_ops/kernels/optimize.h"

#include "tflm_ops/kernels/bconv2d/bitsliced/adder_tables.h"
#include "tflm_ops/kernels/bconv2d/kernels.h"
#include "tflm_ops/kernels/bconv2d/plan_costs.h"

namespace bcnet {
namespace {

// The core that this is compiled for. On a host pointers, and so table indices, are longer.
constexpr Bconv2dCore kThisCore = {
    kCoreMeasured.sliced,
    kCoreMeasured.carry_save,
    {sizeof(sliced::Tables<3>::Index), sizeof(sliced::Tables<5>::Index)},
#if BCNET_PLANS_HELIUM
    kHasHelium,
    kCoreMeasured.helium,
#endif
};
static_assert(sizeof(void*) != 4 || (kThisCore.index_bytes[0] == kCoreMeasured.index_bytes[0] &&
                                     kThisCore.index_bytes[1] == kCoreMeasured.index_bytes[1]),
              "plan_costs.h has the sizes of cores");

// Words of an output's weights.
int32_t Blocks(const Bconv2dParams& params) {
  return params.height.filter * params.width.filter * params.words_in_group;
}

int64_t Pixels(const Bconv2dParams& params) {
  return int64_t{params.batches} * params.height.output * params.width.output;
}

int32_t Passes(const Bconv2dParams& params) { return BitpackedWords(params.channels_out); }

int32_t CeilDiv(int32_t x, int32_t y) { return (x + y - 1) / y; }

// Whether the convolution can use tables of two full adders: 3x3 taps side by side, or one tap.
bool CanUsePairTables(const Bconv2dParams& params) {
  const int32_t side = params.height.filter;
  if (params.width.filter != side) return false;
  return side == 1 || (side == 3 && params.height.dilation == 1 && params.width.dilation == 1);
}

int32_t Columns(const Bconv2dSlicedGeometry& g, int32_t outputs) {
  return (outputs - 1) * g.x_step + g.column_span;
}

int64_t Total(const Bconv2dSlicedMemory& memory) {
  return memory.tables + memory.index + memory.pairs + memory.kept;
}

int64_t Cycles(const Bconv2dParams& params, Bconv2dOutput output, const Bconv2dSlicedCosts& sliced,
               const Bconv2dPlan& plan) {
  const Bconv2dSlicedGeometry g = Bconv2dSlicedGeometryOf(params);
  const Bconv2dTableCosts& costs = sliced.tables[plan.table_inputs == 5][Bconv2dCostsOf(params)];
  const int32_t passes = Passes(params), blocks = Blocks(params);
  const int32_t channel_blocks = CeilDiv(params.words_in_group, plan.channel_block_words);
  const int32_t tiles = params.batches * CeilDiv(params.width.output, plan.tile_width);
  // Every pass makes the table indices of all channel blocks, or of all but the one that the pass
  // before ended with.
  int32_t indexed = passes * channel_blocks;
  if (Bconv2dSlicedKeepsIndex(params, plan)) indexed -= passes - params.groups;
  const int64_t words =
      int64_t{g.rows} * Columns(g, plan.tile_width) * plan.channel_block_words * tiles;
  const int32_t pixel = blocks * costs.block + costs.pixel +
                        (channel_blocks - 1) * sliced.channel_block +
                        sliced.outputs[static_cast<int>(output)];
  const int64_t build = int64_t{blocks * costs.build} * (channel_blocks == 1 ? 1 : tiles);
  const int32_t rows = channel_blocks * tiles * params.height.output;
  return sliced.call + passes * (sliced.pass + build + Pixels(params) * pixel + rows * sliced.row) +
         words * indexed * costs.index;
}

int64_t CarrySaveCycles(const Bconv2dParams& params, Bconv2dOutput output,
                        const Bconv2dCarrySaveCosts& costs) {
  const int32_t blocks = Blocks(params);
  const int32_t each = blocks / 8 * costs.eight_words + blocks / 4 % 2 * costs.four_words +
                       blocks % 4 * (blocks < 8 ? costs.first_word : costs.last_word) +
                       costs.outputs[static_cast<int>(output)];
  const int32_t gather = blocks / params.words_in_group * costs.tap + blocks * costs.tap_word;
  return costs.call + Pixels(params) * (int64_t{params.channels_out} * each + gather);
}

// Fills in as many rows and outputs of a row as there is room for: all of them if several passes
// use them, else those of a row of outputs, else those of a part of a row.
bool FitSlices(const Bconv2dParams& params, int32_t budget, const Bconv2dCore& core,
               Bconv2dPlan* plan) {
  const Bconv2dSlicedGeometry g = Bconv2dSlicedGeometryOf(params);
  const int32_t width = params.width.output;
  const auto left = [&](int32_t rows, int32_t tile) {
    plan->index_rows = static_cast<uint16_t>(rows);
    plan->tile_width = static_cast<int16_t>(tile);
    return budget - Total(Bconv2dSlicedMemoryOf(params, *plan, core));
  };
  if (params.batches == 1 && Passes(params) > params.groups && g.rows <= UINT16_MAX &&
      left(g.rows, width) >= 0) {
    return true;
  }
  const int32_t rows = g.row_span < g.rows ? g.row_span : g.rows;
  const int64_t more = left(rows, 1), another = more - left(rows, 2);
  if (more < 0) return false;
  const int64_t tile = 1 + more / another;
  // Tiles of equal widths.
  left(rows, tile < width ? CeilDiv(width, CeilDiv(width, static_cast<int32_t>(tile))) : width);
  return true;
}

// The sliced kernel takes any convolution whose sums fit the digits that there is code for and in
// which no word of output channels belongs to two groups.
bool PlanSliced(const Bconv2dParams& params, Bconv2dOutput output, int32_t budget,
                const Bconv2dCore& core, Bconv2dPlan* plan, int64_t* cycles) {
  if (Bconv2dSlicedDigits(params) == 0) return false;
  if (params.groups > 1 && params.channels_out / params.groups % kWordBits != 0) return false;
  bool found = false;
  constexpr int8_t kInputs[] = {5, 3};
  for (const int8_t inputs : kInputs) {
    if (inputs == 5 && !CanUsePairTables(params)) continue;
    const int32_t words = params.words_in_group;
    for (int32_t channel_blocks = 1; channel_blocks <= words; ++channel_blocks) {
      Bconv2dPlan candidate = {Bconv2dKernel::kSliced,         inputs, 0, 0,
                               CeilDiv(words, channel_blocks), 0};
      if (!FitSlices(params, budget, core, &candidate)) continue;
      const int64_t cost = Cycles(params, output, core.sliced, candidate);
      if (found && cost >= *cycles) continue;
      candidate.scratch_bytes =
          static_cast<int32_t>(Total(Bconv2dSlicedMemoryOf(params, candidate, core)));
      found = true;
      *plan = candidate;
      *cycles = cost;
    }
  }
  return found;
}

}  // namespace

int Bconv2dCostsOf(const Bconv2dParams& params) {
  return !CanUsePairTables(params) ? 0 : params.height.filter == 1 ? 1 : 2;
}

Bconv2dSlicedGeometry Bconv2dSlicedGeometryOf(const Bconv2dParams& params) {
  const auto span = [](const WindowAxis& axis) { return (axis.filter - 1) * axis.dilation + 1; };
  Bconv2dSlicedGeometry g;
  g.row_span = span(params.height);
  g.column_span = span(params.width);
  g.rows = (params.height.output - 1) * params.height.stride + g.row_span;
  const bool one_tap = params.width.filter == 1;
  g.x_step = one_tap ? 1 : params.width.stride;
  g.column_step = one_tap ? params.width.stride : 1;
  return g;
}

Bconv2dSlicedMemory Bconv2dSlicedMemoryOf(const Bconv2dParams& params, const Bconv2dPlan& plan,
                                          const Bconv2dCore& core) {
  const Bconv2dSlicedGeometry g = Bconv2dSlicedGeometryOf(params);
  const int32_t blocks = Blocks(params) / params.words_in_group * plan.channel_block_words;
  const int64_t indexes =
      int64_t{plan.index_rows} * Columns(g, plan.tile_width) * plan.channel_block_words;
  const bool pairs = plan.table_inputs == 5;
  Bconv2dSlicedMemory memory;
  memory.tables = 4 * (pairs ? sliced::Tables<5>::Size(blocks) : sliced::Tables<3>::Size(blocks));
  memory.index = indexes * core.index_bytes[pairs];
  memory.pairs = blocks * static_cast<int32_t>(sizeof(sliced::Pair));
  memory.kept = 0;
  if (plan.channel_block_words < params.words_in_group) {
    memory.kept =
        int64_t{plan.tile_width} * params.height.output * (Bconv2dSlicedDigits(params) + 1) * 4;
  }
  return memory;
}

Bconv2dSlicedMemory Bconv2dSlicedMemoryOf(const Bconv2dParams& params, const Bconv2dPlan& plan) {
  return Bconv2dSlicedMemoryOf(params, plan, kThisCore);
}

bool Bconv2dSlicedKeepsIndex(const Bconv2dParams& params, const Bconv2dPlan& plan) {
  return params.batches == 1 && plan.tile_width >= params.width.output &&
         plan.index_rows >= Bconv2dSlicedGeometryOf(params).rows;
}

int Bconv2dSlicedDigits(const Bconv2dParams& params) {
  const int32_t bits = Blocks(params) * kWordBits;
  return bits < (1 << 9) ? 9 : bits < (1 << 11) ? 11 : bits < (1 << 13) ? 13 : 0;
}

bool PlanBconv2d(const Bconv2dParams& params, Bconv2dOutput output, int32_t scratch_budget,
                 Bconv2dKernel kernel, Bconv2dPlan* plan) {
  int64_t cycles;
  *plan = {kernel, 0, 0, 0, 0, 0};
  switch (kernel) {
    case Bconv2dKernel::kHelium:
#if BCNET_HELIUM
      return PlanBconv2dHelium(params, output, scratch_budget, kThisCore, plan, &cycles);
#else
      return false;
#endif
    case Bconv2dKernel::kSliced:
      return PlanSliced(params, output, scratch_budget, kThisCore, plan, &cycles);
    case Bconv2dKernel::kCarrySave:
      plan->scratch_bytes = Bconv2dCarrySaveScratchSize(params);
      return plan->scratch_bytes <= scratch_budget;
    case Bconv2dKernel::kPortable:
      return true;
  }
  return false;
}

Bconv2dPlan PlanBconv2dFor(const Bconv2dCore& core, const Bconv2dParams& params,
                           Bconv2dOutput output, int32_t scratch_budget) {
  // The fewest cycles within the budget. The portable kernel always takes more than the
  // carry-save one.
  Bconv2dPlan plan, other;
  int64_t cost;
  if (!PlanBconv2d(params, output, scratch_budget, Bconv2dKernel::kCarrySave, &other))
    PlanBconv2d(params, output, scratch_budget, Bconv2dKernel::kPortable, &other);
  const int64_t most = CarrySaveCycles(params, output, core.carry_save);
#if BCNET_PLANS_HELIUM
  // The sliced kernel only where there is no room for this.
  if (core.has_helium && PlanBconv2dHelium(params, output, scratch_budget, core, &plan, &cost))
    return cost < most ? plan : other;
#endif
  return PlanSliced(params, output, scratch_budget, core, &plan, &cost) && cost < most ? plan
                                                                                       : other;
}

Bconv2dPlan PlanBconv2d(const Bconv2dParams& params, Bconv2dOutput output, int32_t scratch_budget) {
  return PlanBconv2dFor(kThisCore, params, output, scratch_budget);
}

}  // namespace bcnet

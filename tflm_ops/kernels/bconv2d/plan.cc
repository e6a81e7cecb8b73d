// The choice of a kernel, and the layout of the sliced kernel's scratch memory.
#include "tflm_ops/kernels/optimize.h"

#include "tflm_ops/kernels/bconv2d/bitsliced/adder_tables.h"
#include "tflm_ops/kernels/bconv2d/kernels.h"

namespace bcnet {
namespace {

// Instructions, measured. They only serve to compare.
struct TableCosts {
  int32_t build;  // the tables of a block
  int32_t index;  // an input word
  int32_t block;  // of a pixel
  int32_t pixel;  // of 32 channels
};
#if BCNET_THUMB1  // on a Cortex-M0+
constexpr TableCosts kTableCosts = {1790, 170, 227, 443};
constexpr TableCosts kPairTableCosts = {2710, 86, 114, 134};
constexpr int32_t kSlicedPass = 1780;   // of 32 channels
constexpr int32_t kSlicedPart = 220;    // of a pixel, for each part but the first
constexpr int32_t kSlicedInt8 = 980;    // of a pixel whose output is int8
constexpr int32_t kSlicedFloat = 1200;  // or float
constexpr int32_t kCarrySaveWord = 15;  // of weights, for an output
constexpr int32_t kCarrySaveOutput = 175;
constexpr int32_t kCarrySavePixel = 880;
#else  // on a Cortex-M4
constexpr TableCosts kTableCosts = {930, 85, 131, 440};
constexpr TableCosts kPairTableCosts = {1200, 50, 87, 90};
constexpr int32_t kSlicedPass = 1200;
constexpr int32_t kSlicedPart = 110;
constexpr int32_t kSlicedInt8 = 180;
constexpr int32_t kSlicedFloat = 400;
constexpr int32_t kCarrySaveWord = 9;
constexpr int32_t kCarrySaveOutput = 110;
constexpr int32_t kCarrySavePixel = 0;
#endif

// Words of an output's weights.
int32_t Blocks(const Bconv2dParams& params) {
  return params.height.filter * params.width.filter * params.words_in_group;
}

int64_t Pixels(const Bconv2dParams& params) {
  return int64_t{params.batches} * params.height.output * params.width.output;
}

int32_t Passes(const Bconv2dParams& params) { return BitpackedWords(params.channels_out); }

int32_t RoundUp(int32_t x, int32_t y) { return (x + y - 1) / y; }

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

int64_t Instructions(const Bconv2dParams& params, Bconv2dOutput output, const Bconv2dPlan& plan) {
  const Bconv2dSlicedGeometry g = Bconv2dSlicedGeometryOf(params);
  const TableCosts& costs = plan.table_inputs == 5 ? kPairTableCosts : kTableCosts;
  const int32_t passes = Passes(params), blocks = Blocks(params);
  const int32_t parts = RoundUp(params.words_in_group, plan.part_words);
  const int32_t strips = params.batches * RoundUp(params.width.output, plan.strip);
  // Every pass makes the choices of all parts, or all but the one that the pass before ended with.
  int32_t indexed = passes * parts;
  if (Bconv2dSlicedKeepsIndex(params, plan)) indexed -= passes - params.groups;
  const int64_t words = int64_t{g.rows} * Columns(g, plan.strip) * plan.part_words * strips;
  int32_t pixel = blocks * costs.block + costs.pixel + (parts - 1) * kSlicedPart;
  if (output == Bconv2dOutput::kInt8) pixel += kSlicedInt8;
  if (output == Bconv2dOutput::kFloat32) pixel += kSlicedFloat;
  const int64_t build = int64_t{blocks * costs.build} * (parts == 1 ? 1 : strips);
  return passes * (kSlicedPass + build + Pixels(params) * pixel) + words * indexed * costs.index;
}

int64_t CarrySaveInstructions(const Bconv2dParams& params) {
  const int64_t output = Blocks(params) * kCarrySaveWord + kCarrySaveOutput;
  return Pixels(params) * (params.channels_out * output + kCarrySavePixel);
}

// Fills in as many rows and outputs of a row as there is room for: all of them if several passes
// use them, else those of a row of outputs, else those of a part of a row.
bool FitSlices(const Bconv2dParams& params, int32_t budget, Bconv2dPlan* plan) {
  const Bconv2dSlicedGeometry g = Bconv2dSlicedGeometryOf(params);
  const int32_t width = params.width.output;
  const auto left = [&](int32_t rows, int32_t strip) {
    plan->index_rows = static_cast<uint16_t>(rows);
    plan->strip = static_cast<int16_t>(strip);
    return budget - Total(Bconv2dSlicedMemoryOf(params, *plan));
  };
  if (params.batches == 1 && Passes(params) > params.groups && g.rows <= UINT16_MAX &&
      left(g.rows, width) >= 0) {
    return true;
  }
  const int32_t rows = g.row_span < g.rows ? g.row_span : g.rows;
  const int64_t more = left(rows, 1), another = more - left(rows, 2);
  if (more < 0) return false;
  const int64_t strip = 1 + more / another;
  // Strips of equal widths.
  left(rows, strip < width ? RoundUp(width, RoundUp(width, static_cast<int32_t>(strip))) : width);
  return true;
}

// The sliced kernel takes any convolution whose sums fit the digits that there is code for and in
// which no word of output channels belongs to two groups.
bool PlanSliced(const Bconv2dParams& params, Bconv2dOutput output, int32_t budget,
                Bconv2dPlan* plan, int64_t* instructions) {
  if (Bconv2dSlicedDigits(params) == 0) return false;
  if (params.groups > 1 && params.channels_out / params.groups % kWordBits != 0) return false;
  bool found = false;
  constexpr int8_t kInputs[] = {5, 3};
  for (const int8_t inputs : kInputs) {
    if (inputs == 5 && !CanUsePairTables(params)) continue;
    const int32_t words = params.words_in_group;
    for (int32_t parts = 1; parts <= words; ++parts) {
      Bconv2dPlan candidate = {Bconv2dKernel::kSliced, inputs, 0, 0, RoundUp(words, parts), 0};
      if (!FitSlices(params, budget, &candidate)) continue;
      const int64_t cost = Instructions(params, output, candidate);
      if (found && cost >= *instructions) continue;
      candidate.scratch_bytes =
          static_cast<int32_t>(Total(Bconv2dSlicedMemoryOf(params, candidate)));
      found = true;
      *plan = candidate;
      *instructions = cost;
    }
  }
  return found;
}

}  // namespace

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

Bconv2dSlicedMemory Bconv2dSlicedMemoryOf(const Bconv2dParams& params, const Bconv2dPlan& plan) {
  using Pairs = sliced::Tables<5>;
  using Singles = sliced::Tables<3>;
  const Bconv2dSlicedGeometry g = Bconv2dSlicedGeometryOf(params);
  const int32_t blocks = Blocks(params) / params.words_in_group * plan.part_words;
  const int64_t indexes = int64_t{plan.index_rows} * Columns(g, plan.strip) * plan.part_words;
  int64_t kept = 0;
  if (plan.part_words < params.words_in_group)
    kept = int64_t{plan.strip} * params.height.output * (Bconv2dSlicedDigits(params) + 1) * 4;
  const int32_t pairs = blocks * static_cast<int32_t>(sizeof(sliced::Pair));
  if (plan.table_inputs == 5)
    return {Pairs::Size(blocks) * 4, indexes * static_cast<int>(sizeof(Pairs::Index)), pairs, kept};
  return {Singles::Size(blocks) * 4, indexes * static_cast<int>(sizeof(Singles::Index)), pairs,
          kept};
}

bool Bconv2dSlicedKeepsIndex(const Bconv2dParams& params, const Bconv2dPlan& plan) {
  return params.batches == 1 && plan.strip >= params.width.output &&
         plan.index_rows >= Bconv2dSlicedGeometryOf(params).rows;
}

int Bconv2dSlicedDigits(const Bconv2dParams& params) {
  const int32_t bits = Blocks(params) * kWordBits;
  return bits < (1 << 9) ? 9 : bits < (1 << 11) ? 11 : bits < (1 << 13) ? 13 : 0;
}

bool PlanBconv2d(const Bconv2dParams& params, Bconv2dOutput output, int32_t scratch_budget,
                 Bconv2dKernel kernel, Bconv2dPlan* plan) {
  int64_t instructions;
  *plan = {kernel, 0, 0, 0, 0, 0};
  switch (kernel) {
    case Bconv2dKernel::kHelium:
#if BCNET_HELIUM
      return PlanBconv2dHelium(params, output, scratch_budget, plan, &instructions);
#else
      return false;
#endif
    case Bconv2dKernel::kSliced:
      return PlanSliced(params, output, scratch_budget, plan, &instructions);
    case Bconv2dKernel::kCarrySave:
      plan->scratch_bytes = Bconv2dCarrySaveScratchSize(params);
      return plan->scratch_bytes <= scratch_budget;
    case Bconv2dKernel::kPortable:
      return true;
  }
  return false;
}

Bconv2dPlan PlanBconv2d(const Bconv2dParams& params, Bconv2dOutput output, int32_t scratch_budget) {
  // The fewest instructions within the budget. The portable kernel always takes more than the
  // carry-save one.
  Bconv2dPlan sliced, other;
  int64_t cost;
  if (!PlanBconv2d(params, output, scratch_budget, Bconv2dKernel::kCarrySave, &other))
    PlanBconv2d(params, output, scratch_budget, Bconv2dKernel::kPortable, &other);
#if BCNET_HELIUM
  Bconv2dPlan helium;
  if (PlanBconv2dHelium(params, output, scratch_budget, &helium, &cost) &&
      cost < CarrySaveInstructions(params)) {
    return helium;
  }
#endif
  if (!PlanSliced(params, output, scratch_budget, &sliced, &cost)) return other;
  return cost < CarrySaveInstructions(params) ? sliced : other;
}

}  // namespace bcnet

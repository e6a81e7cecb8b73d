// The choice of a kernel, and the layout of the sliced kernel's scratch memory.
#include "tflm_ops/kernels/adder_tables.h"
#include "tflm_ops/kernels/bconv2d_sink.h"

namespace bcnet {
namespace {

// Instructions on a Cortex-M4, measured. They only serve to compare.
constexpr int32_t kCarrySaveWord = 10;  // of weights, for an output
constexpr int32_t kCarrySaveOutput = 60;
constexpr int32_t kSlicedPixel = 60;  // of 32 channels
constexpr int32_t kSlicedSums = 800;  // of 32 channels, when the output is not bitpacked
struct TableCosts {
  int32_t inputs;
  int32_t block_bytes;
  int32_t index_bytes;
  int32_t build;  // the tables of a block
  int32_t index;  // an input word
  int32_t block;  // of a pixel
};
constexpr TableCosts kTableCosts[] = {
    {3, 4 * sliced::Tables<3>::kBlockWords, sizeof(sliced::Tables<3>::Index), 700, 70, 105},
    {5, 4 * sliced::Tables<5>::kBlockWords, sizeof(sliced::Tables<5>::Index), 1300, 45, 88},
};

int64_t Blocks(const Bconv2dParams& params) {
  return int64_t{params.height.filter} * params.width.filter * params.words_in_group;
}

// The scratch memory holds the tables of a pass, the pairs of a pixel, and as many rows and columns
// of the index as there is room for: all of them if several passes use them, else those of a row
// of outputs, else those of a part of a row.
bool PlanWithTables(const Bconv2dParams& params, Bconv2dOutput output, int32_t budget,
                    const TableCosts& costs, Bconv2dPlan* plan, int64_t* instructions) {
  const Bconv2dSlicedGeometry g = Bconv2dSlicedGeometryOf(params);
  const int64_t blocks = Blocks(params);
  const int64_t fixed = blocks * (costs.block_bytes + int64_t{sizeof(sliced::Pair)});
  const int64_t column_bytes = int64_t{costs.index_bytes} * params.words_in_group;
  const int64_t width = params.width.output;
  const auto columns = [&](int64_t outputs) { return (outputs - 1) * g.x_step + g.column_span; };
  const int64_t room = (budget - fixed) / column_bytes;  // columns of index, all rows together
  const int64_t passes = BitpackedWords(params.channels_out);
  int64_t rows = g.row_span, strip = width, times = passes;
  if (fixed > budget) return false;
  if (passes > params.groups && params.batches == 1 && g.rows * columns(width) <= room) {
    rows = g.rows;
    times = params.groups;
  } else if (rows * columns(width) > room) {
    const int64_t outside = room / rows - g.column_span;
    if (outside < 0) return false;
    strip = outside / g.x_step + 1;
  }
  plan->kernel = Bconv2dKernel::kSliced;
  plan->scratch_bytes = static_cast<int32_t>(fixed + rows * columns(strip) * column_bytes);
  plan->table_inputs = static_cast<int8_t>(costs.inputs);
  plan->index_rows = static_cast<int32_t>(rows);
  plan->strip = static_cast<int32_t>(strip);
  const int64_t pixels = int64_t{params.batches} * params.height.output * width;
  const int64_t indexed = int64_t{params.batches} * g.rows * ((width + strip - 1) / strip) *
                          columns(strip) * params.words_in_group;
  const int64_t pixel =
      blocks * costs.block + (output == Bconv2dOutput::kBitpacked ? kSlicedPixel : kSlicedSums);
  *instructions = passes * (blocks * costs.build + pixels * pixel) + times * indexed * costs.index;
  return true;
}

// The sliced kernel takes any convolution whose sums fit the digits that there is code for and in
// which no word of output channels belongs to two groups.
bool PlanSliced(const Bconv2dParams& params, Bconv2dOutput output, int32_t budget,
                Bconv2dPlan* plan, int64_t* instructions) {
  if (Bconv2dSlicedDigits(params) == 0) return false;
  if (params.groups > 1 && params.channels_out / params.groups % kWordBits != 0) return false;
  if (!PlanWithTables(params, output, budget, kTableCosts[0], plan, instructions)) return false;
  Bconv2dPlan other;
  int64_t cost;
  if (Bconv2dSlicedIs3x3(params) &&
      PlanWithTables(params, output, budget, kTableCosts[1], &other, &cost) &&
      cost < *instructions) {
    *plan = other;
    *instructions = cost;
  }
  return true;
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

bool Bconv2dSlicedIs3x3(const Bconv2dParams& params) {
  return params.height.filter == 3 && params.width.filter == 3 && params.height.dilation == 1 &&
         params.width.dilation == 1;
}

int Bconv2dSlicedDigits(const Bconv2dParams& params) {
  const int64_t bits = Blocks(params) * kWordBits;
  return bits < (1 << 9) ? 9 : bits < (1 << 11) ? 11 : bits < (1 << 13) ? 13 : 0;
}

bool PlanBconv2d(const Bconv2dParams& params, Bconv2dOutput output, int32_t scratch_budget,
                 Bconv2dKernel kernel, Bconv2dPlan* plan) {
  int64_t instructions;
  *plan = {kernel, 0, 0, 0, 0};
  switch (kernel) {
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
  if (!PlanSliced(params, output, scratch_budget, &sliced, &cost)) return other;
  const int64_t outputs =
      int64_t{params.batches} * params.height.output * params.width.output * params.channels_out;
  return cost < outputs * (Blocks(params) * kCarrySaveWord + kCarrySaveOutput) ? sliced : other;
}

}  // namespace bcnet

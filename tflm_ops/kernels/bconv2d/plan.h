// The planner: which kernel computes a convolution, and how it uses its scratch memory.
//
// It weighs the candidate plans by cycles that a `Bconv2dCore` states, so that a host can plan for
// any core: bcnet_keras/device/cost_bconv2d.py is the same in Python, for machines without
// a compiler, and tests hold both to the same plans.
#ifndef TFLM_OPS_KERNELS_BCONV2D_PLAN_H_
#define TFLM_OPS_KERNELS_BCONV2D_PLAN_H_

#include <cstdint>

#include "tflm_ops/kernels/bconv2d/bconv2d.h"

// Whether the core has vectors of integers.
#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
#define BCNET_HELIUM 1
#else
#define BCNET_HELIUM 0
#endif

// Whether plans are made for such a core: where it runs, and on hosts, which plan for other cores.
#if BCNET_HELIUM || !defined(__arm__)
#define BCNET_PLANS_HELIUM 1
#else
#define BCNET_PLANS_HELIUM 0
#endif

namespace bcnet {

constexpr bool kHasHelium = BCNET_HELIUM != 0;

// Cycles for each of what a kernel with tables does.
struct Bconv2dTableCosts {
  int16_t build;  // the tables of a block of 32 inputs and 32 output channels
  int16_t index;  // the table indices of an input word
  int16_t block;  // of a pixel
  int16_t pixel;  // of 32 output channels
};
// With Helium, "pixel" and "input word" stand for four of them.
struct Bconv2dSlicedCosts {
  // Of one full adder, of two; of other kernels, of 1x1, and of 3x3 whose taps lie side by side.
  Bconv2dTableCosts tables[2][3];
  int16_t pass;           // of 32 output channels
  int16_t channel_block;  // of a pixel, for each channel block but the first
  int16_t row;            // of pixels, of a pass and a channel block
  int16_t call;
  int16_t outputs[3];  // of 32 output channels of a pixel, by Bconv2dOutput
  int16_t values[3];   // and of each of their outputs
};
struct Bconv2dCarrySaveCosts {
  int16_t eight_words;  // of weights, for an output
  int16_t four_words;
  int16_t first_word;  // one of up to three where there are no eight
  int16_t last_word;   // and behind eight
  int16_t tap;         // of a pixel
  int16_t tap_word;
  int16_t call;
  int16_t outputs[3];  // an output, by Bconv2dOutput
};

// What the planner knows of a core. Cycles are estimated of what was measured and only serve to
// compare.
struct Bconv2dCore {
  Bconv2dSlicedCosts sliced;
  Bconv2dCarrySaveCosts carry_save;
  int16_t index_bytes[2];  // table indices of an input word, in tables of one full adder, of two
#if BCNET_PLANS_HELIUM
  bool has_helium;
  Bconv2dSlicedCosts helium;
#endif
};

// The fastest plan for a core; see PlanBconv2d. The kernel need not be one that runs here.
Bconv2dPlan PlanBconv2dFor(const Bconv2dCore& core, const Bconv2dParams& params,
                           Bconv2dOutput output, int32_t scratch_budget);

// The input positions that the outputs of a convolution meet, padding included.
struct Bconv2dSlicedGeometry {
  int32_t rows;         // of all outputs
  int32_t row_span;     // of one output
  int32_t column_span;  // of one output
  int32_t x_step;       // between two outputs, in columns that are looked at
  int32_t column_step;  // between two of these columns, on the input
};
Bconv2dSlicedGeometry Bconv2dSlicedGeometryOf(const Bconv2dParams& params);

// Which costs of a table count: those of other kernels, 0, of 1x1, 1, or of 3x3 whose taps lie side
// by side, 2.
int Bconv2dCostsOf(const Bconv2dParams& params);

// The digits of a sum: as many as there is code for, 0 when that is too few.
int Bconv2dSlicedDigits(const Bconv2dParams& params);

// Whether the table indices of all input words of a channel block stay in memory between passes.
bool Bconv2dSlicedKeepsIndex(const Bconv2dParams& params, const Bconv2dPlan& plan);

// Bytes of the parts of the scratch memory, in their order.
struct Bconv2dSlicedMemory {
  int32_t tables;
  int64_t index;
  int32_t pairs;
  int64_t kept;
};
Bconv2dSlicedMemory Bconv2dSlicedMemoryOf(const Bconv2dParams& params, const Bconv2dPlan& plan,
                                          const Bconv2dCore& core);
Bconv2dSlicedMemory Bconv2dSlicedMemoryOf(const Bconv2dParams& params, const Bconv2dPlan& plan);

// The pieces that the output is cut into, one for each lane of a vector: lane i has the piece in
// row i / across and column i % across of all pieces.
struct Bconv2dHeliumPieces {
  int32_t across;
  int32_t height, width;  // outputs of a piece
};
Bconv2dHeliumPieces Bconv2dHeliumPiecesOf(const Bconv2dParams& params);

// How it uses its scratch memory.
struct Bconv2dHeliumLayout {
  int32_t rows;  // input rows and columns of a piece that its outputs, or a tile of them, meet
  int32_t columns;
  bool keeps_index;  // the table indices of the whole input are made once, for all passes and
                     // channel blocks
  int32_t index_words;
  // Bytes of the parts, in their order.
  int64_t tables;
  int64_t index;
  int64_t pairs;
  int64_t kept;
};
Bconv2dHeliumLayout Bconv2dHeliumLayoutOf(const Bconv2dParams& params, const Bconv2dPlan& plan);

bool PlanBconv2dHelium(const Bconv2dParams& params, Bconv2dOutput output, int32_t scratch_budget,
                       const Bconv2dCore& core, Bconv2dPlan* plan, int64_t* cycles);

}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_BCONV2D_PLAN_H_

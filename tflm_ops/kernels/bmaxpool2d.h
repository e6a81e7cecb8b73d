// LceBMaxPool2d: max-pooling of a bitpacked NHWC tensor. The largest of +1 and -1 is the AND of
// their bits.
#ifndef TFLM_OPS_KERNELS_BMAXPOOL2D_H_
#define TFLM_OPS_KERNELS_BMAXPOOL2D_H_

#include <cstdint>

#include "tflm_ops/kernels/options.h"
#include "tflm_ops/kernels/window.h"

namespace bcnet {

struct BMaxPool2dParams {
  int32_t batches;
  int32_t words;  // words of a pixel
  WindowAxis height;
  WindowAxis width;
};

// Checks options and shapes (NHWC, the last dimension in words) against each other and fills
// `params`. Returns nullptr, or why the operator cannot run.
const char* PrepareBMaxPool2d(const BMaxPool2dOptions& options, const int32_t input_dims[4],
                              const int32_t output_dims[4], BMaxPool2dParams* params);

void BMaxPool2d(const BMaxPool2dParams& params, const uint32_t* input, uint32_t* output);

constexpr int32_t BMaxPool2dScratchSize(const BMaxPool2dParams&) { return 0; }

}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_BMAXPOOL2D_H_

// BcnetStem: an int8 convolution whose sums are compared with thresholds and written as bits. It is
// the first layer of a net whose other convolutions are binary, and stores no int8 map.
#ifndef TFLM_OPS_KERNELS_STEM_H_
#define TFLM_OPS_KERNELS_STEM_H_

#include <cstdint>

#include "tflm_ops/kernels/options.h"
#include "tflm_ops/kernels/window.h"

namespace bcnet {

struct StemParams {
  int32_t batches;
  int32_t channels;
  int32_t filters;
  int32_t planes;      // thresholds of a filter
  int32_t zero_point;  // what pixels outside the image count
  WindowAxis height;
  WindowAxis width;
};

// Checks options and shapes against each other and fills `params`. The input is NHWC, the filter
// OHWI, the output NHWC in words; `thresholds` is their number. Returns nullptr, or why the
// operator cannot run.
const char* PrepareStem(const StemOptions& options, const int32_t input_dims[4], int32_t zero_point,
                        const int32_t filter_dims[4], int32_t thresholds,
                        const int32_t output_dims[4], StemParams* params);

// Bit f * planes + p of a pixel is 1 where the sum of products of filter f and its window is below
// thresholds[f * planes + p]. `scratch` is memory of StemScratchSize bytes, aligned to 4.
void Stem(const StemParams& params, const int8_t* input, const int8_t* filter,
          const int32_t* thresholds, void* scratch, uint32_t* output);

int32_t StemScratchSize(const StemParams& params);

}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_STEM_H_

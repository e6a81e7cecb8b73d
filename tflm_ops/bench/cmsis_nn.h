// CMSIS-NN's int8 convolution, to compare with.
#ifndef TFLM_OPS_BENCH_CMSIS_NN_H_
#define TFLM_OPS_BENCH_CMSIS_NN_H_

#include <cstddef>
#include <cstdint>

#include "tflm_ops/bench/layers.h"

namespace bench {

// A convolution of `layer`'s shape on int8 numbers in `memory`, filled from `seed`. What is
// constant in a net lies in the second half of the memory. Prepare returns false where the memory
// is too small; Run is what is to be measured and returns false where CMSIS-NN refuses.
class CmsisNnConvolution {
 public:
  bool Prepare(const Layer& layer, uint32_t seed, uint8_t* memory, size_t size);
  bool Run();
  int32_t scratch_bytes() const { return scratch_bytes_; }

 private:
  Layer layer_;
  int32_t scratch_bytes_;
  int8_t *input_, *filter_, *output_;
  int32_t *bias_, *multipliers_, *shifts_;
  uint8_t* scratch_;
};

}  // namespace bench

#endif  // TFLM_OPS_BENCH_CMSIS_NN_H_

// Sizes of tensors.
#ifndef TFLM_OPS_KERNELS_SHAPE_H_
#define TFLM_OPS_KERNELS_SHAPE_H_

#include <cstdint>

namespace bcnet {

// The number of elements of a shape, or 0 when a dimension is not positive or the tensor would take
// 2 GiB or more.
inline int32_t ElementCount(const int32_t* dims, int32_t rank) {
  int64_t count = 1;
  for (int32_t i = 0; i < rank; ++i) {
    if (dims[i] < 1) return 0;
    count *= dims[i];
    if (count >= (int64_t{1} << 29)) return 0;
  }
  return static_cast<int32_t>(count);
}

}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_SHAPE_H_

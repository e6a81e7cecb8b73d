// Makes shapes, options and tensors from a fuzzer's bytes: mostly consistent ones, so that many
// reach the kernels.
#ifndef TFLM_OPS_TESTS_FUZZ_INPUT_H_
#define TFLM_OPS_TESTS_FUZZ_INPUT_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "tflm_ops/kernels/bitpacking.h"
#include "tflm_ops/kernels/options.h"
#include "tflm_ops/kernels/shape.h"
#include "tflm_ops/kernels/window.h"

namespace fuzz {

class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  // The next bytes as a number; 0 past the end.
  template <typename T>
  T Take() {
    T value = {};
    const size_t count = size_ < sizeof(T) ? size_ : sizeof(T);
    std::memcpy(&value, data_, count);
    data_ += count;
    size_ -= count;
    return value;
  }

  // A number in [low, high], and rarely any number at all.
  int32_t Number(int32_t low, int32_t high) {
    const uint8_t byte = Take<uint8_t>();
    if (byte == 0xFF) return Take<int32_t>();
    return low + byte % (high - low + 1);
  }

  // Exactly `size` bytes on the heap, for the sanitizer to guard: what is left, over and over.
  std::vector<uint8_t> Fill(size_t size) const {
    std::vector<uint8_t> result(size);
    for (size_t i = 0; size_ > 0 && i < size; ++i) result[i] = data_[i % size_];
    return result;
  }

  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  const uint8_t* data_;
  size_t size_;
};

// The size of the output along an axis, or 0.
inline int32_t OutputSize(bcnet::Padding padding, int32_t input, int32_t filter, int32_t stride,
                          int32_t dilation) {
  bcnet::WindowAxis axis;
  const char* reason = bcnet::PrepareWindow(padding, input, filter, stride, dilation, &axis);
  return reason == nullptr ? axis.output : 0;
}

struct Convolution {
  bcnet::Bconv2dOptions options;
  int32_t input[4];
  int32_t filter[4];
  int32_t output[4];
  int32_t output_type;  // 0 float32, 1 int8, 2 bitpacked
};

inline Convolution TakeConvolution(Bytes* bytes) {
  Convolution c;
  const int32_t groups = bytes->Number(1, 4) > 3 ? 2 : 1;
  const int32_t channels_in =
      groups == 1 ? bytes->Number(1, 70) : 64 * (1 + bytes->Take<uint8_t>() % 2);
  const int32_t channels_out = groups * (1 + bytes->Take<uint8_t>() % 40);
  c.options = {channels_in,         bytes->Number(1, 3),
               bytes->Number(1, 3), bytes->Number(1, 3),
               bytes->Number(1, 3), static_cast<bcnet::Padding>(bytes->Number(0, 1) & 1),
               bytes->Number(0, 1), static_cast<bcnet::Activation>(bytes->Number(0, 3) & 3)};
  const int32_t dims[4] = {bytes->Number(1, 2), bytes->Number(1, 7), bytes->Number(1, 7),
                           bcnet::BitpackedWords(channels_in < 1 ? 1 : channels_in)};
  std::memcpy(c.input, dims, sizeof(dims));
  const int32_t filter[4] = {channels_out, bytes->Number(1, 4), bytes->Number(1, 4),
                             c.input[3] / groups};
  std::memcpy(c.filter, filter, sizeof(filter));
  c.output_type = bytes->Number(0, 2);
  c.output[0] = c.input[0];
  c.output[1] = OutputSize(c.options.padding, c.input[1], c.filter[1], c.options.stride_height,
                           c.options.dilation_height);
  c.output[2] = OutputSize(c.options.padding, c.input[2], c.filter[2], c.options.stride_width,
                           c.options.dilation_width);
  c.output[3] =
      c.output_type == 2 ? bcnet::BitpackedWords(c.filter[0] < 1 ? 1 : c.filter[0]) : c.filter[0];
  const int32_t index = bytes->Number(0, 63);
  if (index >= 0 && index < 4) c.output[index] = bytes->Number(0, 9);
  return c;
}

struct Pool {
  bcnet::BMaxPool2dOptions options;
  int32_t input[4];
  int32_t output[4];
};

inline Pool TakePool(Bytes* bytes) {
  Pool p;
  p.options = {bytes->Number(1, 4), bytes->Number(1, 4), bytes->Number(1, 3), bytes->Number(1, 3),
               static_cast<bcnet::Padding>(bytes->Number(0, 1) & 1)};
  for (int32_t& dim : p.input) dim = bytes->Number(1, 9);
  p.output[0] = p.input[0];
  p.output[1] = OutputSize(p.options.padding, p.input[1], p.options.filter_height,
                           p.options.stride_height, 1);
  p.output[2] =
      OutputSize(p.options.padding, p.input[2], p.options.filter_width, p.options.stride_width, 1);
  p.output[3] = p.input[3];
  const int32_t index = bytes->Number(0, 63);
  if (index >= 0 && index < 4) p.output[index] = bytes->Number(0, 9);
  return p;
}

struct Stem {
  bcnet::StemOptions options;
  int32_t input[4];
  int32_t filter[4];
  int32_t output[4];
  int32_t thresholds;
};

inline Stem TakeStem(Bytes* bytes) {
  Stem s;
  s.options = {bytes->Number(1, 4), bytes->Number(1, 4),
               static_cast<bcnet::Padding>(bytes->Number(0, 1) & 1)};
  for (int32_t& dim : s.input) dim = bytes->Number(1, 9);
  const int32_t filter[4] = {bytes->Number(1, 35), bytes->Number(1, 5), bytes->Number(1, 5),
                             s.input[3]};
  std::memcpy(s.filter, filter, sizeof(filter));
  const int64_t thresholds = int64_t{filter[0]} * bytes->Number(1, 9);
  s.thresholds = thresholds > 0 && thresholds < 1 << 20 ? static_cast<int32_t>(thresholds) : 1;
  s.output[0] = s.input[0];
  s.output[1] = OutputSize(s.options.padding, s.input[1], filter[1], s.options.stride_height, 1);
  s.output[2] = OutputSize(s.options.padding, s.input[2], filter[2], s.options.stride_width, 1);
  s.output[3] = bcnet::BitpackedWords(s.thresholds);
  const int32_t index = bytes->Number(0, 63);
  if (index >= 0 && index < 4) s.output[index] = bytes->Number(0, 9);
  return s;
}

// Whether tensors of these elements are quick to make and to work on.
constexpr int32_t kMaxElements = 1 << 14;
inline bool IsSmall(const int32_t dims[4]) {
  const int32_t count = bcnet::ElementCount(dims, 4);
  return count > 0 && count <= kMaxElements;
}

}  // namespace fuzz

#endif  // TFLM_OPS_TESTS_FUZZ_INPUT_H_

#include "tflm_ops/bench/cmsis_nn.h"

#include <arm_nnfunctions.h>

namespace bench {
namespace {

int32_t PadBefore(int32_t input, int32_t kernel, int32_t stride) {
  const int32_t output = (input - 1) / stride + 1;
  const int32_t total = (output - 1) * stride + kernel - input;
  return total > 0 ? total / 2 : 0;
}

struct Shapes {
  cmsis_nn_dims input, filter, bias, output;
  cmsis_nn_conv_params params;

  explicit Shapes(const Layer& layer)
      : input{1, layer.height, layer.width, layer.channels_in},
        filter{layer.channels_out, layer.kernel, layer.kernel, layer.channels_in},
        bias{layer.channels_out, 1, 1, 1},
        output{1, (layer.height - 1) / layer.stride + 1, (layer.width - 1) / layer.stride + 1,
               layer.channels_out} {
    params.input_offset = 0;
    params.output_offset = 0;
    params.stride = {layer.stride, layer.stride};
    params.padding = {PadBefore(layer.width, layer.kernel, layer.stride),
                      PadBefore(layer.height, layer.kernel, layer.stride)};
    params.dilation = {1, 1};
    params.activation = {-128, 127};
  }
};

size_t Size(const cmsis_nn_dims& dims) {
  return static_cast<size_t>(dims.n) * static_cast<size_t>(dims.h) * static_cast<size_t>(dims.w) *
         static_cast<size_t>(dims.c);
}

}  // namespace

bool CmsisNnConvolution::Prepare(const Layer& layer, uint32_t seed, uint8_t* memory, size_t size) {
  const Shapes shapes(layer);
  layer_ = layer;
  scratch_bytes_ = arm_convolve_wrapper_s8_get_buffer_size(&shapes.params, &shapes.input,
                                                           &shapes.filter, &shapes.output);
  const size_t channels = static_cast<size_t>(layer.channels_out);
  size_t used = 0, constants = size / 2;
  const auto allocate = [&](size_t bytes, size_t& used) {
    uint8_t* block = memory + used;
    used += (bytes + 15) & ~size_t{15};
    return block;
  };
  const size_t words = channels * sizeof(int32_t);
  input_ = reinterpret_cast<int8_t*>(allocate(Size(shapes.input), used));
  output_ = reinterpret_cast<int8_t*>(allocate(Size(shapes.output), used));
  scratch_ = allocate(static_cast<size_t>(scratch_bytes_), used);
  filter_ = reinterpret_cast<int8_t*>(allocate(Size(shapes.filter), constants));
  bias_ = reinterpret_cast<int32_t*>(allocate(words, constants));
  multipliers_ = reinterpret_cast<int32_t*>(allocate(words, constants));
  shifts_ = reinterpret_cast<int32_t*>(allocate(words, constants));
  if (used > size / 2 || constants > size) return false;
  const auto fill = [&](int8_t* begin, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i) {
      seed = seed * 1664525u + 1013904223u;
      begin[i] = static_cast<int8_t>(seed >> 24);
    }
  };
  fill(input_, Size(shapes.input));
  fill(filter_, Size(shapes.filter));
  for (size_t i = 0; i < channels; ++i) {
    bias_[i] = static_cast<int32_t>(i) - 16;
    multipliers_[i] = 0x40000000 + static_cast<int32_t>(i) * 1000;
    shifts_[i] = -10;
  }
  return true;
}

bool CmsisNnConvolution::Run() {
  const Shapes shapes(layer_);
  const cmsis_nn_context context = {scratch_, scratch_bytes_};
  const cmsis_nn_per_channel_quant_params quantization = {multipliers_, shifts_};
  return arm_convolve_wrapper_s8(&context, &shapes.params, &quantization, &shapes.input, input_,
                                 &shapes.filter, filter_, &shapes.bias, bias_, &shapes.output,
                                 output_) == ARM_CMSIS_NN_SUCCESS;
}

}  // namespace bench

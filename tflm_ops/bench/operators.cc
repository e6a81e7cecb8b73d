// Measures operators other than the binary convolution on shapes of real nets: CMSIS-NN's int8
// functions, as TensorFlow Lite Micro calls them, its reference kernels, copies, and this project's
// own kernels. For each it writes a line: operator and shape, with a tabulator between them.
#include <arm_nnfunctions.h>
#include <arm_nnsupportfunctions.h>

#include <algorithm>
#include <cstring>

#include "tflm_ops/bench/board.h"
#include "tflm_ops/bench/builtin.h"
#include "tflm_ops/bench/cmsis_nn.h"
#include "tflm_ops/kernels/bitpacking.h"
#include "tflm_ops/kernels/bmaxpool2d.h"
#include "tflm_ops/kernels/gate.h"
#include "tflm_ops/kernels/quantize.h"
#include "tflm_ops/kernels/stem.h"
#include "tflm_ops/kernels/thermometer.h"

namespace bench {
namespace {

// Bytes given out of the memory's first half, and of its second, which has what is constant in a
// net: the caches of a board's flash hold that.
size_t used, constants;

template <typename T>
T* Random(int32_t count, uint8_t* memory = board::memory, size_t& offset = used) {
  static uint32_t state = 1;
  uint8_t* block = memory + offset;
  offset += (static_cast<size_t>(count) * sizeof(T) + 15) & ~size_t{15};
  for (uint8_t* byte = block; byte < memory + offset; ++byte) {
    state = state * 1664525u + 1013904223u;
    *byte = static_cast<uint8_t>(state >> 24);
  }
  return reinterpret_cast<T*>(block);
}

template <typename T>
T* Weights(int32_t count) {
  return Random<T>(count, board::memory + board::memory_size / 2, constants);
}

template <typename T>
T* Filled(int32_t count, T value, T step) {
  T* block = Weights<T>(count);
  for (int32_t i = 0; i < count; ++i) block[i] = value + static_cast<T>(i) * step;
  return block;
}

template <typename Call>
void Measure(const char* name, const char* shape, Call call) {
  board::Start();
  call();
  board::Stop();
  board::Write(name);
  board::Write("\t");
  board::Write(shape);
  board::Write("\n");
  used = constants = 0;
}

// A number in a static buffer, for shapes.
class Shape {
 public:
  Shape& operator<<(const char* text) {
    while (*text != 0) text_[end_++] = *text++;
    text_[end_] = 0;
    return *this;
  }
  Shape& operator<<(int32_t number) {
    char digits[12] = {};
    char* first = digits + 11;
    do {
      *--first = static_cast<char>('0' + number % 10);
      number /= 10;
    } while (number != 0);
    return *this << first;
  }
  const char* text() const { return text_; }

 private:
  char text_[100] = {};
  int end_ = 0;
};

// Of a square window on a map of any size; `out` is the number of output channels.
struct Window {
  int32_t height, width, channels, out, kernel, stride;

  Shape Name() const {
    Shape name;
    return name << height << "x" << width << "x" << channels << "-" << out << "-k" << kernel << "-s"
                << stride;
  }
  cmsis_nn_dims Input() const { return {1, height, width, channels}; }
  cmsis_nn_dims Output(bool padded) const {
    const auto size = [&](int32_t input) {
      return padded ? (input - 1) / stride + 1 : (input - kernel) / stride + 1;
    };
    return {1, size(height), size(width), out};
  }
  // Padding before the map, where it keeps its size.
  int32_t Before(int32_t input) const {
    return std::max<int32_t>(((input - 1) / stride) * stride + kernel - input, 0) / 2;
  }
};

int32_t Size(const cmsis_nn_dims& dims) { return dims.n * dims.h * dims.w * dims.c; }

void Convolutions() {
  constexpr Window kShapes[] = {
      {8, 8, 1, 16, 3, 1},    {8, 8, 16, 16, 3, 1},   {8, 8, 16, 32, 3, 2},
      {4, 4, 32, 64, 3, 2},   {2, 2, 64, 64, 3, 1},   {32, 32, 3, 16, 3, 1},
      {32, 32, 16, 16, 3, 1}, {32, 32, 16, 32, 3, 2}, {16, 16, 32, 32, 3, 1},
      {16, 16, 32, 64, 3, 2}, {8, 8, 64, 64, 3, 1},   {28, 28, 1, 16, 3, 1},
      {49, 10, 1, 64, 5, 2},  {25, 5, 64, 64, 1, 1},  {8, 8, 128, 128, 1, 1},
      {12, 12, 64, 64, 1, 1}, {24, 24, 16, 32, 1, 1}, {32, 32, 16, 32, 1, 2},
      {16, 16, 32, 64, 1, 2}, {8, 8, 16, 32, 1, 2},
  };
  for (const Window& s : kShapes) {
    CmsisNnConvolution convolution;
    const Shape name = s.Name();
    const Layer layer = {"", "", s.height, s.width, s.channels, s.out, s.kernel, s.stride};
    if (!convolution.Prepare(layer, 1, board::memory, board::memory_size)) continue;
    // CMSIS-NN has functions of their own for 1x1.
    Measure(s.kernel == 1 ? "CONV_2D (1x1)" : "CONV_2D", name.text(), [&] { convolution.Run(); });
  }
}

void Depthwise() {
  constexpr Window kShapes[] = {
      {25, 5, 64, 64, 3, 1},  {12, 12, 64, 64, 3, 1}, {24, 24, 32, 32, 3, 1},
      {24, 24, 16, 16, 3, 2}, {6, 6, 128, 128, 3, 1}, {16, 16, 24, 24, 5, 1},
      {8, 8, 32, 32, 3, 1},
  };
  for (const Window& s : kShapes) {
    const cmsis_nn_dims input = s.Input(), output = s.Output(true),
                        filter = {1, s.kernel, s.kernel, s.out}, bias = {1, 1, 1, s.out};
    const cmsis_nn_dw_conv_params params = {
        128,    -128,       1, {s.stride, s.stride}, {s.Before(s.width), s.Before(s.height)},
        {1, 1}, {-128, 127}};
    const int8_t *data = Random<int8_t>(Size(input)), *weights = Weights<int8_t>(Size(filter));
    const int32_t* biases = Filled<int32_t>(s.out, -16, 1);
    const cmsis_nn_per_channel_quant_params quantization = {
        Filled<int32_t>(s.out, 0x40000000, 1000), Filled<int32_t>(s.out, -10, 0)};
    int8_t* result = Random<int8_t>(Size(output));
    const int32_t bytes =
        arm_depthwise_conv_wrapper_s8_get_buffer_size(&params, &input, &filter, &output);
    const cmsis_nn_context context = {Random<uint8_t>(bytes), bytes};
    Measure("DEPTHWISE_CONV_2D", s.Name().text(), [&] {
      arm_depthwise_conv_wrapper_s8(&context, &params, &quantization, &input, data, &filter,
                                    weights, &bias, biases, &output, result);
    });
  }
}

void FullyConnected() {
  constexpr int32_t kShapes[][2] = {{64, 10}, {96, 10},   {128, 12},  {256, 10},
                                    {256, 2}, {640, 128}, {128, 128}, {8, 128}};
  for (const auto& [inputs, units] : kShapes) {
    const cmsis_nn_dims input = {1, 1, 1, inputs}, filter = {inputs, 1, 1, units},
                        bias = {1, 1, 1, units}, output = {1, 1, 1, units};
    const cmsis_nn_fc_params params = {128, 0, -128, {-128, 127}};
    const int8_t *data = Random<int8_t>(inputs), *weights = Weights<int8_t>(inputs * units);
    const int32_t* biases = Filled<int32_t>(units, -16, 1);
    int32_t multiplier = 0x40001234, shift = -10;
    const cmsis_nn_quant_params quantization = {&multiplier, &shift, 0};
    int8_t* result = Random<int8_t>(units);
    const int32_t bytes = arm_fully_connected_s8_get_buffer_size(&filter);
    const cmsis_nn_context context = {Random<uint8_t>(bytes), bytes};
    if (bytes > 0) {  // sums of the weights, made once
      arm_vector_sum_s8(static_cast<int32_t*>(context.buf), inputs, units, weights,
                        params.input_offset, 0, biases);
    }
    Shape name;
    name << inputs << "-" << units;
    Measure("FULLY_CONNECTED", name.text(), [&] {
      arm_fully_connected_wrapper_s8(&context, &params, &quantization, &input, data, &filter,
                                     weights, &bias, biases, &output, result);
    });
  }
}

void Pooling() {
  constexpr Window kShapes[] = {{8, 8, 64, 64, 8, 8}, {2, 2, 64, 64, 2, 2},
                                {4, 4, 96, 96, 4, 4}, {16, 16, 32, 32, 2, 2},
                                {7, 7, 64, 64, 7, 7}, {32, 32, 16, 16, 2, 2}};
  for (const Window& s : kShapes) {
    const cmsis_nn_dims input = s.Input(), output = s.Output(false),
                        filter = {1, s.kernel, s.kernel, 1};
    const cmsis_nn_pool_params params = {{s.stride, s.stride}, {0, 0}, {-128, 127}};
    const Shape name = s.Name();
    for (const bool average : {true, false}) {
      const int8_t* data = Random<int8_t>(Size(input));
      int8_t* result = Random<int8_t>(Size(output));
      const int32_t bytes = average ? arm_avgpool_s8_get_buffer_size(output.w, s.channels) : 0;
      const cmsis_nn_context context = {Random<uint8_t>(bytes), bytes};
      Measure(average ? "AVERAGE_POOL_2D" : "MAX_POOL_2D", name.text(), [&] {
        if (average) {
          arm_avgpool_s8(&context, &params, &input, data, &filter, &output, result);
        } else {
          arm_max_pool_s8(&context, &params, &input, data, &filter, &output, result);
        }
      });
    }
  }
}

void ElementWise() {
  for (const int32_t size : {1024, 4096, 16384}) {
    const int8_t *a = Random<int8_t>(size), *b = Random<int8_t>(size);
    int8_t* sum = Random<int8_t>(size);
    Shape name;
    name << size;
    Measure("ADD", name.text(), [&] {
      arm_elementwise_add_s8(a, b, 3, 0x40000000, -1, -5, 0x50000000, -1, 20, sum, -7, 0x60000000,
                             -18, -128, 127, size);
    });
    Measure("MUL", name.text(),
            [&] { arm_elementwise_mul_s8(a, b, 3, -5, sum, -7, 0x60000000, -6, -128, 127, size); });
  }
  for (const int32_t classes : {10, 12, 100}) {
    const int8_t* logits = Random<int8_t>(classes);
    int8_t* result = Random<int8_t>(classes);
    Shape name;
    name << classes;
    Measure("SOFTMAX", name.text(),
            [&] { arm_softmax_s8(logits, 1, classes, 1 << 30, 24, -124, result); });
  }
}

void Builtin() {
  for (const int32_t size : {10, 256, 4096}) {
    const int8_t *data = Random<int8_t>(size), *other = Random<int8_t>(size);
    float* numbers = Random<float>(size);
    int8_t* result = Random<int8_t>(size);
    Shape name;
    name << size;
    const size_t kept = used;
    const auto measure = [&](const char* what, const auto& call) {
      Measure(what, name.text(), call);
      used = kept;
    };
    measure("DEQUANTIZE", [&] { Dequantize(data, size, numbers); });
    measure("QUANTIZE", [&] { Requantize(data, size, result); });
    measure("SUB", [&] { Subtract(data, other, size, result); });
    measure("copy", [&] { std::memcpy(result, data, static_cast<size_t>(size)); });
    used = 0;
  }
  for (const int32_t side : {4, 8}) {
    const int32_t channels = 64;
    const int8_t* data = Random<int8_t>(side * side * channels);
    int32_t* sums = Random<int32_t>(channels);
    int8_t* result = Random<int8_t>(channels);
    Shape name;
    name << side << "x" << side << "x" << channels;
    Measure("MEAN", name.text(), [&] { Mean(data, side, side, channels, sums, result); });
  }
}

// First layers of nets on images and on spectrograms, and others around them.
void Stems() {
  struct Layer {
    int32_t height, width, channels, filters, planes, rows, columns, stride;
    bool padded;
  };
  constexpr Layer kLayers[] = {
      {32, 32, 3, 16, 4, 3, 3, 1, true},  {32, 32, 3, 16, 4, 3, 3, 1, false},
      {28, 28, 1, 16, 4, 3, 3, 1, true},  {8, 8, 1, 16, 4, 3, 3, 1, true},
      {49, 10, 1, 64, 1, 10, 4, 2, true}, {49, 10, 1, 64, 4, 10, 4, 2, true},
      {32, 32, 3, 32, 1, 3, 3, 1, true},  {96, 96, 3, 32, 1, 3, 3, 2, true},
      {48, 48, 1, 32, 4, 3, 3, 2, true},  {32, 32, 3, 16, 4, 5, 5, 1, true},
      {32, 32, 3, 16, 4, 7, 7, 2, true},  {28, 28, 1, 32, 1, 5, 5, 1, false},
      {32, 32, 3, 32, 4, 3, 3, 1, true},  {32, 32, 3, 16, 2, 3, 3, 1, true},
      {32, 32, 3, 16, 8, 3, 3, 1, true},  {28, 28, 1, 16, 2, 3, 3, 1, true},
      {25, 20, 2, 24, 3, 5, 3, 1, true},  {16, 16, 4, 32, 4, 3, 3, 1, true},
      {24, 24, 4, 8, 4, 3, 3, 1, true},   {40, 40, 1, 8, 1, 3, 3, 1, false},
      {64, 64, 3, 32, 2, 3, 3, 2, true},  {98, 20, 1, 32, 4, 8, 4, 3, false},
      {32, 32, 3, 32, 3, 3, 3, 1, true},  {32, 32, 3, 64, 6, 3, 3, 1, true},
      {32, 32, 3, 64, 8, 3, 3, 1, true},  {49, 10, 1, 64, 2, 10, 4, 2, true},
  };
  for (const Layer& l : kLayers) {
    const int32_t bits = l.filters * l.planes;
    const auto size = [&](int32_t input, int32_t taps) {
      return (input - (l.padded ? 1 : taps)) / l.stride + 1;
    };
    const int32_t input[] = {1, l.height, l.width, l.channels};
    const int32_t filter[] = {l.filters, l.rows, l.columns, l.channels};
    const int32_t output[] = {1, size(l.height, l.rows), size(l.width, l.columns),
                              bcnet::BitpackedWords(bits)};
    bcnet::StemParams params;
    const bcnet::StemOptions options = {l.stride, l.stride,
                                        l.padded ? bcnet::Padding::kSame : bcnet::Padding::kValid};
    if (bcnet::PrepareStem(options, input, -3, filter, bits, output, &params)) continue;
    const int8_t* data = Random<int8_t>(l.height * l.width * l.channels);
    const int8_t* weights = Weights<int8_t>(l.filters * l.rows * l.columns * l.channels);
    const int32_t* thresholds = Filled<int32_t>(bits, -30000, 60000 / bits);
    uint32_t* result = Random<uint32_t>(output[1] * output[2] * output[3]);
    uint8_t* scratch = Random<uint8_t>(bcnet::StemScratchSize(params));
    Shape name;
    name << l.height << "x" << l.width << "x" << l.channels << "-" << l.filters << "x" << l.planes
         << "-k" << l.rows << "x" << l.columns << "-s" << l.stride << (l.padded ? "" : "-valid");
    const bool other = l.planes != 1 && l.planes != 2 && l.planes != 4;
    Measure(other ? "BcnetStem (other planes)" : "BcnetStem", name.text(),
            [&] { bcnet::Stem(params, data, weights, thresholds, scratch, result); });
  }
}

void Own() {
  struct Encoding {
    int32_t pixels, channels, bits;
  };
  for (const Encoding& e :
       {Encoding{64, 1, 10}, {784, 1, 10}, {1024, 3, 30}, {1024, 16, 32}, {1024, 16, 64}}) {
    const int8_t* data = Random<int8_t>(e.pixels * e.channels);
    const int32_t* thresholds = Filled<int32_t>(e.bits, -100, 200 / e.bits);
    uint32_t* result = Random<uint32_t>(e.pixels * ((e.bits + 31) / 32));
    Shape name;
    name << e.pixels << "x" << e.channels << "-" << e.bits;
    Measure("BcnetThermometer", name.text(),
            [&] { bcnet::Thermometer(e.pixels, e.channels, data, thresholds, e.bits, result); });
  }
  for (const int32_t channels : {32, 64, 128}) {
    const int32_t pixels = 256;
    const int8_t* data = Random<int8_t>(pixels * channels);
    uint32_t* bits = Random<uint32_t>(pixels * channels / 32);
    int8_t* back = Random<int8_t>(pixels * channels);
    Shape name;
    name << pixels << "x" << channels;
    const size_t kept = used;
    Measure("LceQuantize", name.text(),
            [&] { bcnet::QuantizeInt8(pixels, channels, 3, data, bits); });
    used = kept;
    Measure("LceDequantize", name.text(), [&] {
      bcnet::DequantizeInt8(pixels, channels, {1, -1}, bits, back);
    });
  }
  for (const int32_t size : {8, 16, 32}) {
    bcnet::BMaxPool2dParams params;
    const int32_t input[] = {1, size, size, 2}, output[] = {1, size / 2, size / 2, 2};
    if (bcnet::PrepareBMaxPool2d({2, 2, 2, 2, bcnet::Padding::kValid}, input, output, &params))
      continue;
    const uint32_t* data = Random<uint32_t>(size * size * 2);
    uint32_t* result = Random<uint32_t>(size * size / 2);
    Shape name;
    name << size << "x" << size << "x64-k2-s2";
    Measure("LceBMaxPool2d", name.text(), [&] { bcnet::BMaxPool2d(params, data, result); });
  }
  for (const int32_t classes : {2, 10, 12, 100}) {
    const bcnet::GateParams params = {bcnet::GateMeasure::kScoreMargin, classes, nullptr};
    const int8_t* logits = Random<int8_t>(classes);
    const float threshold = 0.5f;
    Shape name;
    name << classes;
    volatile bool escalates;
    Measure("BcnetGate", name.text(),
            [&] { escalates = bcnet::GateInt8(params, logits, 0.1f, &threshold, 1).escalate; });
    static_cast<void>(escalates);
  }
}

}  // namespace
}  // namespace bench

int main() {
  bench::Convolutions();
  bench::Depthwise();
  bench::FullyConnected();
  bench::Pooling();
  bench::ElementWise();
  bench::Builtin();
  bench::Own();
  bench::Stems();
  board::Write("# end\n");
  return 0;
}

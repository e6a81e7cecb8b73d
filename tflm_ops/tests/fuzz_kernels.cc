// A libFuzzer target over the parsers of options and the kernels: whatever the parsers and Prepare
// functions accept, the kernels must stay within tensors of just the sizes that were declared.
#include <cmath>
#include <cstdlib>

#include "tflm_ops/kernels/bconv2d/bconv2d.h"
#include "tflm_ops/kernels/bmaxpool2d.h"
#include "tflm_ops/kernels/gate.h"
#include "tflm_ops/kernels/quantize.h"
#include "tflm_ops/kernels/stem.h"
#include "tflm_ops/kernels/thermometer.h"
#include "tflm_ops/tests/fuzz_input.h"

namespace {

using fuzz::Bytes;

template <typename T>
T* As(std::vector<uint8_t>& bytes) {
  return reinterpret_cast<T*>(bytes.data());
}

void Require(bool holds) {
  if (!holds) std::abort();
}

void FuzzConvolution(Bytes bytes) {
  fuzz::Convolution c = fuzz::TakeConvolution(&bytes);
  const uint8_t choice = bytes.Take<uint8_t>();
  const bool from_bytes = choice % 4 == 0;
  const int32_t kernel = choice / 4 % 4;  // 3: the one that is chosen
  const int32_t budget = choice / 16 * choice / 16 * 400;
  const float scale = bytes.Take<float>();
  const int32_t zero_point = bytes.Number(-128, 127);
  if (from_bytes && bcnet::ParseBconv2dOptions(bytes.data(), bytes.size(), &c.options) != nullptr)
    return;
  const auto type = static_cast<bcnet::Bconv2dOutput>(c.output_type);
  if (c.output_type < 0 || c.output_type > 2) return;
  bcnet::Bconv2dParams params;
  if (bcnet::PrepareBconv2d(c.options, c.input, c.filter, c.output, type, &params) != nullptr)
    return;
  if (!fuzz::IsSmall(c.input) || !fuzz::IsSmall(c.filter) || !fuzz::IsSmall(c.output)) return;
  if (int64_t{c.output[1]} * c.output[2] * bcnet::ElementCount(c.filter, 4) > 200000) return;

  const size_t channels = static_cast<size_t>(params.channels_out);
  auto input = bytes.Fill(static_cast<size_t>(bcnet::ElementCount(c.input, 4)) * 4);
  auto filter = bytes.Fill(static_cast<size_t>(bcnet::ElementCount(c.filter, 4)) * 4);
  auto vector = bytes.Fill(channels * 4);
  bcnet::Bconv2dPlan plan = bcnet::PlanBconv2d(params, type, budget);
  if (kernel < 3 &&
      !bcnet::PlanBconv2d(params, type, budget, static_cast<bcnet::Bconv2dKernel>(kernel), &plan)) {
    return;
  }
  Require(plan.scratch_bytes <= budget);
  std::vector<uint8_t> scratch(static_cast<size_t>(plan.scratch_bytes));
  const size_t outputs = static_cast<size_t>(bcnet::ElementCount(c.output, 4));
  if (type == bcnet::Bconv2dOutput::kBitpacked) {
    std::vector<uint8_t> output(outputs * 4);
    bcnet::Bconv2dBitpacked(params, plan, As<uint32_t>(input), As<uint32_t>(filter),
                            As<int32_t>(vector), scratch.data(), As<uint32_t>(output));
    const uint32_t unused =
        static_cast<uint32_t>(channels % 32 == 0 ? 0 : ~uint32_t{0} << (channels % 32));
    for (size_t i = static_cast<size_t>(c.output[3]) - 1; i < outputs;
         i += static_cast<size_t>(c.output[3])) {
      Require((As<uint32_t>(output)[i] & unused) == 0);
    }
    return;
  }
  std::vector<float> multiplier(channels), bias(channels);
  bcnet::Bconv2dTransform transform;
  const bool int8 = type == bcnet::Bconv2dOutput::kInt8;
  if (bcnet::PrepareBconv2dTransform(params, As<float>(vector), As<float>(vector),
                                     int8 ? scale : 1.0f, int8 ? zero_point : 0, multiplier.data(),
                                     bias.data(), &transform) != nullptr) {
    return;
  }
  if (!int8) {
    std::vector<float> output(outputs);
    bcnet::Bconv2dFloat(params, plan, As<uint32_t>(input), As<uint32_t>(filter), transform,
                        scratch.data(), output.data());
    return;
  }
  std::vector<int8_t> output(outputs), other(outputs);
  bcnet::Bconv2dInt8(params, plan, As<uint32_t>(input), As<uint32_t>(filter), transform,
                     scratch.data(), output.data());
  std::vector<bcnet::LinearChannel> linear_channels(channels);
  bcnet::Bconv2dLinearTransform linear;
  if (bcnet::PrepareBconv2dLinearTransform(params, transform, linear_channels.data(), &linear)) {
    bcnet::Bconv2dInt8(params, plan, As<uint32_t>(input), As<uint32_t>(filter), linear,
                       scratch.data(), other.data());
  }
  std::vector<bcnet::FixedPointChannel> fixed_channels(channels);
  bcnet::Bconv2dFixedTransform fixed;
  if (!bcnet::PrepareBconv2dFixedTransform(params, transform, fixed_channels.data(), &fixed))
    return;
  bcnet::Bconv2dInt8(params, plan, As<uint32_t>(input), As<uint32_t>(filter), fixed, scratch.data(),
                     other.data());
  for (size_t i = 0; i < outputs; ++i) Require(std::abs(output[i] - other[i]) <= 1);
}

void FuzzPool(Bytes bytes) {
  fuzz::Pool p = fuzz::TakePool(&bytes);
  const bool from_bytes = bytes.Take<uint8_t>() % 4 == 0;
  if (from_bytes &&
      bcnet::ParseBMaxPool2dOptions(bytes.data(), bytes.size(), &p.options) != nullptr)
    return;
  bcnet::BMaxPool2dParams params;
  if (bcnet::PrepareBMaxPool2d(p.options, p.input, p.output, &params) != nullptr) return;
  if (!fuzz::IsSmall(p.input) || !fuzz::IsSmall(p.output)) return;
  auto input = bytes.Fill(static_cast<size_t>(bcnet::ElementCount(p.input, 4)) * 4);
  std::vector<uint32_t> output(static_cast<size_t>(bcnet::ElementCount(p.output, 4)));
  bcnet::BMaxPool2d(params, As<uint32_t>(input), output.data());
}

void FuzzQuantize(Bytes bytes) {
  const int32_t rows = 1 + bytes.Take<uint8_t>() % 9;
  const int32_t channels = 1 + bytes.Take<uint8_t>() % 100;
  const int32_t zero_point = bytes.Take<int32_t>();
  const float scale = bytes.Take<float>();
  const size_t elements = static_cast<size_t>(rows * channels);
  const size_t words = static_cast<size_t>(rows * bcnet::BitpackedWords(channels));
  auto numbers = bytes.Fill(elements * 4);
  std::vector<uint8_t> narrow(numbers.begin(),
                              numbers.begin() + static_cast<std::ptrdiff_t>(elements));
  std::vector<uint32_t> packed(words), again(words);
  std::vector<float> floats(elements);
  std::vector<int8_t> codes(elements);
  std::vector<uint8_t> bools(elements);
  bcnet::QuantizeBool(rows, channels, narrow.data(), packed.data());
  bcnet::DequantizeBool(rows, channels, packed.data(), bools.data());
  bcnet::QuantizeBool(rows, channels, bools.data(), again.data());
  Require(packed == again);
  bcnet::QuantizeInt8(rows, channels, zero_point, As<int8_t>(narrow), packed.data());
  bcnet::QuantizeFloat(rows, channels, As<float>(numbers), packed.data());
  bcnet::DequantizeFloat(rows, channels, packed.data(), floats.data());
  bcnet::QuantizeFloat(rows, channels, floats.data(), again.data());
  Require(packed == again);
  if (!(scale > 0.0f) || std::isinf(scale) || zero_point < -128 || zero_point > 127) return;
  bcnet::DequantizeInt8(rows, channels, bcnet::PrepareSignCodes(scale, zero_point), packed.data(),
                        codes.data());
}

void FuzzGate(Bytes bytes) {
  const int32_t classes = bytes.Number(2, 12);
  const float scale = bytes.Take<float>();
  auto logits = bytes.Fill(classes < 0 || classes > 1000 ? 0 : static_cast<size_t>(classes) * 4);
  bcnet::GateOptions options;
  bcnet::GateParams params;
  if (bcnet::ParseGateOptions(bytes.data(), bytes.size(), &options) != nullptr) return;
  std::vector<float> numbers(bcnet::GateNumbers(options));
  if (bcnet::PrepareGate(options, classes, numbers.data(), &params) != nullptr) return;
  if (logits.empty()) return;
  const size_t thresholds = options.thresholds.size;
  const auto check = [&](const bcnet::GateDecision& decision) {
    Require(decision.predicted_class >= 0 && decision.predicted_class < classes);
    Require(std::isnan(decision.confidence) ||
            (decision.confidence >= 0.0f && decision.confidence <= 1.0001f));
    Require(!std::isnan(decision.confidence) || decision.escalate);
  };
  check(bcnet::GateFloat(params, As<float>(logits), numbers.data(), thresholds));
  if (!(scale > 0.0f) || std::isinf(scale)) return;
  check(bcnet::GateInt8(params, As<int8_t>(logits), scale, numbers.data(), thresholds));
}

void FuzzThermometer(Bytes bytes) {
  const int32_t planes = bytes.Number(1, 70);
  int32_t input_dims[4], output_dims[4];
  for (int32_t& dim : input_dims) dim = bytes.Number(1, 5);
  const int64_t count = int64_t{input_dims[3]} * planes;
  if (count < 0 || count > fuzz::kMaxElements) return;
  for (int i = 0; i < 3; ++i) output_dims[i] = input_dims[i];
  output_dims[3] = bcnet::BitpackedWords(static_cast<int32_t>(count));
  const int32_t index = bytes.Number(0, 63);
  if (index >= 0 && index < 4) output_dims[index] = bytes.Number(0, 9);
  const bool in_range = bytes.Take<uint8_t>() % 8 != 0;
  auto vector = bytes.Fill(static_cast<size_t>(count) * 4);
  int32_t* thresholds = As<int32_t>(vector);
  for (int64_t i = 0; in_range && i < count; ++i) thresholds[i] = thresholds[i] % 129;
  const int32_t bits = static_cast<int32_t>(count);
  if (bcnet::CheckThermometer(input_dims, output_dims, thresholds, bits) != nullptr) return;
  if (!fuzz::IsSmall(input_dims) || !fuzz::IsSmall(output_dims)) return;
  auto input = bytes.Fill(static_cast<size_t>(bcnet::ElementCount(input_dims, 4)));
  const int32_t words = output_dims[3];
  std::vector<uint32_t> output(static_cast<size_t>(bcnet::ElementCount(output_dims, 4)));
  bcnet::Thermometer(input_dims[0] * input_dims[1] * input_dims[2], input_dims[3],
                     As<int8_t>(input), thresholds, bits, output.data());
  for (size_t i = 0; i < output.size() * 32; ++i) {
    const int64_t pixel = static_cast<int64_t>(i) / (words * 32);
    const int64_t bit = static_cast<int64_t>(i) % (words * 32);
    const bool is_set = (output[i / 32] >> (i % 32)) & 1;
    const auto at = static_cast<size_t>(pixel * input_dims[3] + bit / planes);
    Require(is_set == (bit < count && As<int8_t>(input)[at] < thresholds[bit]));
  }
}

// Reads a pixel of the padded image.
int32_t PixelAt(const bcnet::StemParams& params, const int8_t* image, int32_t y, int32_t x,
                int32_t channel) {
  if (y < 0 || y >= params.height.input || x < 0 || x >= params.width.input)
    return params.zero_point;
  return image[(y * params.width.input + x) * params.channels + channel];
}

void FuzzStem(Bytes bytes) {
  fuzz::Stem s = fuzz::TakeStem(&bytes);
  const int32_t zero_point = bytes.Number(-128, 127);
  const uint8_t choice = bytes.Take<uint8_t>();
  if (choice % 4 == 0 && bcnet::ParseStemOptions(bytes.data(), bytes.size(), &s.options) != nullptr)
    return;
  bcnet::StemParams params;
  if (bcnet::PrepareStem(s.options, s.input, zero_point, s.filter, s.thresholds, s.output,
                         &params) != nullptr)
    return;
  if (!fuzz::IsSmall(s.input) || !fuzz::IsSmall(s.filter) || !fuzz::IsSmall(s.output)) return;
  if (int64_t{s.output[1]} * s.output[2] * bcnet::ElementCount(s.filter, 4) > 200000) return;
  auto input = bytes.Fill(static_cast<size_t>(bcnet::ElementCount(s.input, 4)));
  auto filter = bytes.Fill(static_cast<size_t>(bcnet::ElementCount(s.filter, 4)));
  auto vector = bytes.Fill(static_cast<size_t>(s.thresholds) * 4);
  int32_t* thresholds = As<int32_t>(vector);
  // Near the sums, or any numbers.
  for (int32_t i = 0; choice % 8 != 1 && i < s.thresholds; ++i) thresholds[i] %= 30000;
  std::vector<uint32_t> output(static_cast<size_t>(bcnet::ElementCount(s.output, 4)));
  std::vector<int32_t> scratch(static_cast<size_t>(bcnet::StemScratchSize(params) + 3) / 4);
  bcnet::Stem(params, As<int8_t>(input), As<int8_t>(filter), thresholds, scratch.data(),
              output.data());
  const int8_t* image = As<int8_t>(input);
  const uint32_t* words = output.data();
  for (int32_t batch = 0; batch < s.input[0]; ++batch) {
    for (int32_t y = 0; y < s.output[1]; ++y) {
      for (int32_t x = 0; x < s.output[2]; ++x, words += s.output[3]) {
        for (int32_t bit = 0; bit < s.output[3] * 32; ++bit) {
          int32_t sum = 0;
          const int8_t* weight =
              As<int8_t>(filter) + bit / params.planes * (s.filter[1] * s.filter[2] * s.filter[3]);
          for (int32_t i = 0; bit < s.thresholds && i < s.filter[1]; ++i) {
            for (int32_t j = 0; j < s.filter[2]; ++j) {
              for (int32_t channel = 0; channel < s.filter[3]; ++channel) {
                sum += *weight++ * PixelAt(params, image,
                                           y * params.height.stride - params.height.pad + i,
                                           x * params.width.stride - params.width.pad + j, channel);
              }
            }
          }
          const bool is_set = words[bit / 32] >> bit % 32 & 1;
          Require(is_set == (bit < s.thresholds && sum < thresholds[bit]));
        }
      }
    }
    image += s.input[1] * s.input[2] * s.input[3];
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bytes bytes(data, size);
  const uint8_t which = bytes.Take<uint8_t>();
  switch (which < 240 ? which % 4 : which % 2 + 4) {
    case 0:
      FuzzConvolution(bytes);
      break;
    case 1:
      FuzzPool(bytes);
      break;
    case 2:
      FuzzQuantize(bytes);
      break;
    case 3:
      FuzzGate(bytes);
      break;
    case 4:
      FuzzThermometer(bytes);
      break;
    default:
      FuzzStem(bytes);
  }
  return 0;
}

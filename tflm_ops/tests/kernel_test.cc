// Runs the kernels on cases from a file and compares with the outputs in it, which another
// implementation made.
//
// A case is a header of three words (kMagic, operator, number of blocks), then the blocks: a word
// with the size, and the bytes, filled up to a multiple of 4. All numbers are little-endian. The
// tests of the Python side write the file.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "tflm_ops/kernels/bconv2d/bconv2d.h"
#include "tflm_ops/kernels/bmaxpool2d.h"
#include "tflm_ops/kernels/gate.h"
#include "tflm_ops/kernels/quantize.h"
#include "tflm_ops/kernels/stem.h"
#include "tflm_ops/kernels/stem/layout.h"
#include "tflm_ops/kernels/thermometer.h"
#include "tflm_ops/tests/platform.h"

namespace {

constexpr uint32_t kMagic = 0x45534143;  // "CASE"
constexpr uint8_t kGuard = 0xA5;
constexpr size_t kGuardSize = 16;
constexpr int32_t kScratchBudget = 64 * 1024;

enum Operator : uint32_t {
  kQuantize = 1,
  kDequantize,
  kBMaxPool2d,
  kBconv2d,
  kGate,
  kThermometer,
  kStem
};
enum Type : int32_t { kFloat32 = 0, kInt8 = 1, kBool = 2 };

struct Block {
  void* data;
  uint32_t size;

  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

float BitsToFloat(int32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}

// An output of the size that is expected, with guards behind it.
void* Output(const Block& expected) {
  uint8_t* output = static_cast<uint8_t*>(platform::Allocate(expected.size + kGuardSize));
  if (output != nullptr) std::memset(output, kGuard, expected.size + kGuardSize);
  return output;
}

bool GuardsHold(const void* output, const Block& expected) {
  const uint8_t* guard = static_cast<const uint8_t*>(output) + expected.size;
  for (size_t i = 0; i < kGuardSize; ++i) {
    if (guard[i] != kGuard) return false;
  }
  return true;
}

bool Same(const void* output, const Block& expected) {
  return std::memcmp(output, expected.data, expected.size) == 0 && GuardsHold(output, expected);
}

bool WithinOne(const int8_t* output, const Block& expected) {
  for (uint32_t i = 0; i < expected.size; ++i) {
    const int difference = output[i] - expected.as<int8_t>()[i];
    if (difference < -1 || difference > 1) return false;
  }
  return GuardsHold(output, expected);
}

// numbers: type, rows, channels, zero point. Blocks: numbers, input, expected output.
const char* TestQuantize(const Block* blocks) {
  const int32_t* numbers = blocks[0].as<int32_t>();
  uint32_t* output = static_cast<uint32_t*>(Output(blocks[2]));
  if (output == nullptr) return "no memory";
  if (numbers[0] == kFloat32) {
    bcnet::QuantizeFloat(numbers[1], numbers[2], blocks[1].as<float>(), output);
  } else if (numbers[0] == kInt8) {
    bcnet::QuantizeInt8(numbers[1], numbers[2], numbers[3], blocks[1].as<int8_t>(), output);
  } else {
    bcnet::QuantizeBool(numbers[1], numbers[2], blocks[1].as<uint8_t>(), output);
  }
  return Same(output, blocks[2]) ? nullptr : "wrong output";
}

// numbers: type, rows, channels, zero point, scale. Blocks: numbers, input, expected output.
const char* TestDequantize(const Block* blocks) {
  const int32_t* numbers = blocks[0].as<int32_t>();
  void* output = Output(blocks[2]);
  if (output == nullptr) return "no memory";
  const uint32_t* input = blocks[1].as<uint32_t>();
  if (numbers[0] == kFloat32) {
    bcnet::DequantizeFloat(numbers[1], numbers[2], input, static_cast<float*>(output));
  } else if (numbers[0] == kInt8) {
    const bcnet::SignCodes codes = bcnet::PrepareSignCodes(BitsToFloat(numbers[4]), numbers[3]);
    bcnet::DequantizeInt8(numbers[1], numbers[2], codes, input, static_cast<int8_t*>(output));
  } else {
    bcnet::DequantizeBool(numbers[1], numbers[2], input, static_cast<uint8_t*>(output));
  }
  return Same(output, blocks[2]) ? nullptr : "wrong output";
}

// numbers: input dimensions, output dimensions. Blocks: numbers, options, input, expected output.
const char* TestBMaxPool2d(const Block* blocks) {
  const int32_t* dims = blocks[0].as<int32_t>();
  bcnet::BMaxPool2dOptions options;
  bcnet::BMaxPool2dParams params;
  if (const char* reason =
          bcnet::ParseBMaxPool2dOptions(blocks[1].as<uint8_t>(), blocks[1].size, &options)) {
    return reason;
  }
  if (const char* reason = bcnet::PrepareBMaxPool2d(options, dims, dims + 4, &params))
    return reason;
  uint32_t* output = static_cast<uint32_t*>(Output(blocks[3]));
  if (output == nullptr) return "no memory";
  bcnet::BMaxPool2d(params, blocks[2].as<uint32_t>(), output);
  return Same(output, blocks[3]) ? nullptr : "wrong output";
}

// A convolution and what it needs to run, whatever the kernel.
struct Convolution {
  bcnet::Bconv2dParams params;
  bcnet::Bconv2dOutput type;
  const uint32_t* input;
  const uint32_t* filter;
  const int32_t* thresholds;
  bcnet::Bconv2dTransform transform;
  bcnet::Bconv2dFixedTransform fixed_transform;
  bool is_linear;
  bcnet::Bconv2dLinearTransform linear_transform;
};

const char* TestPlan(const Convolution& c, const bcnet::Bconv2dPlan& plan, void* scratch,
                     void* output, const Block& expected) {
  std::memset(output, kGuard, expected.size);
  const size_t scratch_bytes = static_cast<size_t>(plan.scratch_bytes);
  uint8_t* scratch_end = static_cast<uint8_t*>(scratch) + scratch_bytes;
  std::memset(scratch, kGuard, scratch_bytes + kGuardSize);
  const auto scratch_guards_hold = [&] {
    for (size_t i = 0; i < kGuardSize; ++i) {
      if (scratch_end[i] != kGuard) return false;
    }
    return true;
  };
  if (c.type == bcnet::Bconv2dOutput::kBitpacked) {
    bcnet::Bconv2dBitpacked(c.params, plan, c.input, c.filter, c.thresholds, scratch,
                            static_cast<uint32_t*>(output));
  } else if (c.type == bcnet::Bconv2dOutput::kFloat32) {
    bcnet::Bconv2dFloat(c.params, plan, c.input, c.filter, c.transform, scratch,
                        static_cast<float*>(output));
  } else {
    bcnet::Bconv2dInt8(c.params, plan, c.input, c.filter, c.transform, scratch,
                       static_cast<int8_t*>(output));
  }
  if (!Same(output, expected)) return "wrong output";
  if (c.type == bcnet::Bconv2dOutput::kInt8) {
    bcnet::Bconv2dInt8(c.params, plan, c.input, c.filter, c.fixed_transform, scratch,
                       static_cast<int8_t*>(output));
    if (!WithinOne(static_cast<int8_t*>(output), expected)) return "wrong output in fixed point";
    if (c.is_linear) {
      std::memset(output, kGuard, expected.size);
      bcnet::Bconv2dInt8(c.params, plan, c.input, c.filter, c.linear_transform, scratch,
                         static_cast<int8_t*>(output));
      if (!Same(output, expected)) return "wrong output of the linear transform";
    }
  }
  return scratch_guards_hold() ? nullptr : "wrote past the scratch memory";
}

// numbers: input, filter and output dimensions, output type, zero point, scale. Blocks: numbers,
// options, input, filter, multiplier, bias, thresholds, expected output.
const char* TestBconv2d(const Block* blocks) {
  const int32_t* dims = blocks[0].as<int32_t>();
  bcnet::Bconv2dOptions options;
  Convolution c;
  c.type = static_cast<bcnet::Bconv2dOutput>(dims[12]);
  if (const char* reason =
          bcnet::ParseBconv2dOptions(blocks[1].as<uint8_t>(), blocks[1].size, &options))
    return reason;
  if (const char* reason =
          bcnet::PrepareBconv2d(options, dims, dims + 4, dims + 8, c.type, &c.params))
    return reason;
  c.input = blocks[2].as<uint32_t>();
  c.filter = blocks[3].as<uint32_t>();
  c.thresholds = blocks[6].as<int32_t>();
  const Block& expected = blocks[7];
  const size_t channels = static_cast<size_t>(c.params.channels_out);
  void* output = Output(expected);
  float* numbers = static_cast<float*>(platform::Allocate(2 * channels * sizeof(float)));
  auto* fixed_channels = static_cast<bcnet::FixedPointChannel*>(
      platform::Allocate(channels * sizeof(bcnet::FixedPointChannel)));
  auto* linear_channels = static_cast<bcnet::LinearChannel*>(
      platform::Allocate(channels * sizeof(bcnet::LinearChannel)));
  void* scratch = platform::Allocate(kScratchBudget + kGuardSize);
  if (output == nullptr || scratch == nullptr || fixed_channels == nullptr) return "no memory";
  if (linear_channels == nullptr) return "no memory";
  if (c.type != bcnet::Bconv2dOutput::kBitpacked) {
    if (const char* reason = bcnet::PrepareBconv2dTransform(
            c.params, blocks[4].as<float>(), blocks[5].as<float>(), BitsToFloat(dims[14]), dims[13],
            numbers, numbers + channels, &c.transform)) {
      return reason;
    }
  }
  if (c.type == bcnet::Bconv2dOutput::kInt8 &&
      !bcnet::PrepareBconv2dFixedTransform(c.params, c.transform, fixed_channels,
                                           &c.fixed_transform)) {
    return "no fixed point";
  }
  c.is_linear = c.type == bcnet::Bconv2dOutput::kInt8 &&
                bcnet::PrepareBconv2dLinearTransform(c.params, c.transform, linear_channels,
                                                     &c.linear_transform);
  // The kernel that is chosen without memory and with much, and all that can be forced.
  constexpr int32_t kBudgets[] = {0, 8 * 1024, kScratchBudget};
  constexpr bcnet::Bconv2dKernel kKernels[] = {
      bcnet::Bconv2dKernel::kPortable, bcnet::Bconv2dKernel::kCarrySave,
      bcnet::Bconv2dKernel::kSliced, bcnet::Bconv2dKernel::kHelium};
  for (const int32_t budget : kBudgets) {
    bcnet::Bconv2dPlan plan = bcnet::PlanBconv2d(c.params, c.type, budget);
    if (plan.scratch_bytes > budget) return "more scratch memory than the budget";
    if (const char* problem = TestPlan(c, plan, scratch, output, expected)) return problem;
    for (const bcnet::Bconv2dKernel kernel : kKernels) {
      if (kernel == bcnet::Bconv2dKernel::kPortable && budget > 0) continue;
      if (!bcnet::PlanBconv2d(c.params, c.type, budget, kernel, &plan)) continue;
      if (plan.kernel != kernel || plan.scratch_bytes > budget) return "not the plan asked for";
      if (const char* problem = TestPlan(c, plan, scratch, output, expected)) return problem;
    }
  }
  return nullptr;
}

// numbers: type, classes, scale, expected class and confidence. Blocks: numbers, options, logits.
const char* TestGate(const Block* blocks) {
  const int32_t* numbers = blocks[0].as<int32_t>();
  const int32_t classes = numbers[1];
  bcnet::GateOptions options;
  bcnet::GateParams params;
  if (const char* reason =
          bcnet::ParseGateOptions(blocks[1].as<uint8_t>(), blocks[1].size, &options))
    return reason;
  float* numbers_read =
      static_cast<float*>(platform::Allocate(bcnet::GateNumbers(options) * sizeof(float)));
  if (numbers_read == nullptr) return "no memory";
  if (const char* reason = bcnet::PrepareGate(options, classes, numbers_read, &params))
    return reason;
  const float* thresholds = numbers_read;
  const size_t count = options.thresholds.size;
  const bcnet::GateDecision decision =
      numbers[0] == kInt8 ? bcnet::GateInt8(params, blocks[2].as<int8_t>(), BitsToFloat(numbers[2]),
                                            thresholds, count)
                          : bcnet::GateFloat(params, blocks[2].as<float>(), thresholds, count);
  if (decision.predicted_class != numbers[3]) return "wrong class";
  if (std::fabs(decision.confidence - BitsToFloat(numbers[4])) > 1e-5f) return "wrong confidence";
  const float threshold = thresholds[count == 1 ? 0 : decision.predicted_class];
  return decision.escalate == (decision.confidence < threshold) ? nullptr : "wrong decision";
}

// numbers: input dimensions, output dimensions. Blocks: numbers, input, thresholds, expected
// output.
const char* TestThermometer(const Block* blocks) {
  const int32_t* dims = blocks[0].as<int32_t>();
  const int32_t* thresholds = blocks[2].as<int32_t>();
  const int32_t count = static_cast<int32_t>(blocks[2].size / sizeof(int32_t));
  if (const char* reason = bcnet::CheckThermometer(dims, dims + 4, thresholds, count))
    return reason;
  uint32_t* output = static_cast<uint32_t*>(Output(blocks[3]));
  if (output == nullptr) return "no memory";
  bcnet::Thermometer(dims[0] * dims[1] * dims[2], dims[3], blocks[1].as<int8_t>(), thresholds,
                     count, output);
  return Same(output, blocks[3]) ? nullptr : "wrong output";
}

// numbers: input, filter and output dimensions, zero point, bytes of scratch memory of the portable
// form, in Thumb, with SMLAD and with Helium. Blocks: numbers, options, input, filter, thresholds,
// expected output.
const char* TestStem(const Block* blocks) {
  const int32_t* dims = blocks[0].as<int32_t>();
  const int32_t count = static_cast<int32_t>(blocks[4].size / sizeof(int32_t));
  bcnet::StemOptions options;
  bcnet::StemParams params;
  if (const char* reason =
          bcnet::ParseStemOptions(blocks[1].as<uint8_t>(), blocks[1].size, &options)) {
    return reason;
  }
  if (const char* reason =
          bcnet::PrepareStem(options, dims, dims[12], dims + 4, count, dims + 8, &params))
    return reason;
  constexpr int32_t kForm = BCNET_STEM_HELIUM  ? 16
                            : BCNET_STEM_DSP   ? 15
                            : BCNET_STEM_THUMB ? 14
                                               : 13;
  if (bcnet::StemScratchSize(params) != dims[kForm]) return "wrong size of the scratch memory";
  const Block memory = {nullptr, static_cast<uint32_t>(dims[kForm])};
  uint32_t* output = static_cast<uint32_t*>(Output(blocks[5]));
  void* scratch = Output(memory);
  if (output == nullptr || scratch == nullptr) return "no memory";
  bcnet::Stem(params, blocks[2].as<int8_t>(), blocks[3].as<int8_t>(), blocks[4].as<int32_t>(),
              scratch, output);
  if (!GuardsHold(scratch, memory)) return "scratch memory exceeded";
  return Same(output, blocks[5]) ? nullptr : "wrong output";
}

const char* Test(uint32_t operation, const Block* blocks, uint32_t count) {
  if (operation == kQuantize && count == 3) return TestQuantize(blocks);
  if (operation == kDequantize && count == 3) return TestDequantize(blocks);
  if (operation == kBMaxPool2d && count == 4) return TestBMaxPool2d(blocks);
  if (operation == kBconv2d && count == 8) return TestBconv2d(blocks);
  if (operation == kGate && count == 3) return TestGate(blocks);
  if (operation == kThermometer && count == 4) return TestThermometer(blocks);
  if (operation == kStem && count == 6) return TestStem(blocks);
  return "no such case";
}

void WriteNumber(uint32_t number) {
  char digits[12] = {};
  char* first = digits + sizeof(digits) - 1;
  do {
    *--first = static_cast<char>('0' + number % 10);
    number /= 10;
  } while (number != 0);
  platform::Write(first);
}

}  // namespace

int main() {
  constexpr uint32_t kMaxBlocks = 8;
  uint32_t cases = 0;
  uint32_t failed = 0;
  uint32_t header[3];
  while (platform::Read(header, sizeof(header))) {
    Block blocks[kMaxBlocks];
    const char* problem =
        header[0] == kMagic && header[2] <= kMaxBlocks ? nullptr : "the file is damaged";
    for (uint32_t i = 0; problem == nullptr && i < header[2]; ++i) {
      if (!platform::Read(&blocks[i].size, sizeof(blocks[i].size)))
        problem = "the file is cut short";
      blocks[i].data = platform::Allocate(blocks[i].size);
      if (problem == nullptr && blocks[i].data == nullptr) problem = "no memory";
      uint8_t filler[4];
      if (problem == nullptr && (!platform::Read(blocks[i].data, blocks[i].size) ||
                                 !platform::Read(filler, (4 - blocks[i].size % 4) % 4))) {
        problem = "the file is cut short";
      }
    }
    const bool damaged = problem != nullptr;
    if (!damaged) problem = Test(header[1], blocks, header[2]);
    if (problem != nullptr) {
      platform::Write("case ");
      WriteNumber(cases);
      platform::Write(": ");
      platform::Write(problem);
      platform::Write("\n");
      ++failed;
      if (damaged) return 2;
    }
    ++cases;
    platform::FreeAll();
  }
  WriteNumber(cases);
  platform::Write(" cases, ");
  WriteNumber(failed);
  platform::Write(" failed\n");
  return cases == 0 || failed != 0;
}

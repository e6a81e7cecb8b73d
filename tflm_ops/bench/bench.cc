// Measures the binary convolutions layer by layer. For each measurement it writes a line of fields
// with tabulators between them:
//
//   layer, shape, output, kernel, scratch bytes, budgets of scratch memory for which the kernel is
//   chosen, or "forced", multiply-accumulates, checksum of the output, the board's count
//
// The checksum tells whether all kernels gave the same output. What is counted is the call of the
// kernel: packed input and weights as they lie in the flatbuffer go in, the layer's output comes
// out.
#include <cstdint>
#include <cstring>
#include <initializer_list>

#include "tflm_ops/bench/board.h"
#include "tflm_ops/bench/layers.h"
#include "tflm_ops/kernels/bconv2d/bconv2d.h"
#include "tflm_ops/kernels/bconv2d/plan_costs.h"
#include "tflm_ops/kernels/bitpacking.h"
#ifdef BCNET_CMSIS_NN
#include "tflm_ops/bench/cmsis_nn.h"
#endif

namespace bench {
namespace {

using bcnet::Bconv2dOutput;

constexpr struct {
  Bconv2dOutput type;
  const char* name;
} kOutputs[] = {{Bconv2dOutput::kBitpacked, "bitpacked"},
                {Bconv2dOutput::kInt8, "int8"},
                {Bconv2dOutput::kFloat32, "float32"}};

constexpr bcnet::Bconv2dKernel kKernels[] = {
    bcnet::Bconv2dKernel::kPortable, bcnet::Bconv2dKernel::kCarrySave,
    bcnet::Bconv2dKernel::kSliced, bcnet::Bconv2dKernel::kHelium};

// Bytes of scratch memory for which a kernel is chosen.
constexpr int32_t kBudgets[] = {48 * 1024, 24 * 1024};

uint32_t random_state;

uint32_t Random() {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 17;
  random_state ^= random_state << 5;
  return random_state;
}

// A line to write, field by field.
class Line {
 public:
  Line& operator<<(const char* text) {
    while (*text != 0 && end_ < sizeof(text_) - 2) text_[end_++] = *text++;
    return *this;
  }
  Line& operator<<(uint32_t number) {
    char digits[11] = {};
    char* first = digits + 10;
    do {
      *--first = static_cast<char>('0' + number % 10);
      number /= 10;
    } while (number != 0);
    return *this << first;
  }
  const char* text() {
    text_[end_] = 0;
    return text_;
  }

 private:
  char text_[240];
  size_t end_ = 0;
};

// A sliced kernel is named after the inputs of its tables, and after the number of blocks of the
// input channels where it has tables for some of them at a time.
Line KernelName(const bcnet::Bconv2dParams& params, const bcnet::Bconv2dPlan& plan) {
  Line name;
  switch (plan.kernel) {
    case bcnet::Bconv2dKernel::kPortable:
      return name << "portable";
    case bcnet::Bconv2dKernel::kCarrySave:
      return name << "carry-save";
    case bcnet::Bconv2dKernel::kSliced:
      name << (plan.table_inputs == 5 ? "sliced-5" : "sliced-3");
      break;
    case bcnet::Bconv2dKernel::kHelium:
      name << (plan.table_inputs == 5 ? "helium-5" : "helium-3");
      break;
  }
  const int32_t channel_blocks =
      (params.words_in_group + plan.channel_block_words - 1) / plan.channel_block_words;
  if (channel_blocks > 1)
    name << " in " << static_cast<uint32_t>(channel_blocks) << " channel blocks";
  return name;
}

// Blocks of the board's memory, one behind the other.
class Memory {
 public:
  template <typename T>
  T* Allocate(int32_t count) {
    uint8_t* block = board::memory + used_;
    used_ += (static_cast<size_t>(count) * sizeof(T) + 15) & ~size_t{15};
    return reinterpret_cast<T*>(block);
  }
  bool exceeded() const { return used_ > board::memory_size; }

 private:
  size_t used_ = 0;
};

// A layer with random tensors, as LceBconv2d has them after it was prepared.
struct Convolution {
  bcnet::Bconv2dParams params;
  bcnet::Bconv2dPlan plan;
  Bconv2dOutput output;
  const uint32_t* input;
  const uint32_t* filter;
  const int32_t* thresholds;
  bcnet::Bconv2dTransform transform;
  bcnet::Bconv2dLinearTransform linear_transform;
  void* scratch;
  void* result;
  size_t result_size;
};

void Run(const Convolution& layer) {
  if (layer.output == Bconv2dOutput::kBitpacked) {
    bcnet::Bconv2dBitpacked(layer.params, layer.plan, layer.input, layer.filter, layer.thresholds,
                            layer.scratch, static_cast<uint32_t*>(layer.result));
  } else if (layer.output == Bconv2dOutput::kFloat32) {
    bcnet::Bconv2dFloat(layer.params, layer.plan, layer.input, layer.filter, layer.transform,
                        layer.scratch, static_cast<float*>(layer.result));
  } else {
    bcnet::Bconv2dInt8(layer.params, layer.plan, layer.input, layer.filter, layer.linear_transform,
                       layer.scratch, static_cast<int8_t*>(layer.result));
  }
}

uint32_t Checksum(const void* data, size_t size) {
  uint32_t sum = 2166136261u;  // FNV-1a
  for (const uint8_t* byte = static_cast<const uint8_t*>(data); size > 0; --size)
    sum = (sum ^ *byte++) * 16777619u;
  return sum;
}

// HEIGHTxWIDTHxCHANNELS-CHANNELS-kKERNEL-sSTRIDE, of the input and, second, the output's channels.
Line ShapeName(const Layer& shape) {
  Line name;
  for (const int32_t size : {shape.height, shape.width}) name << static_cast<uint32_t>(size) << "x";
  name << static_cast<uint32_t>(shape.channels_in) << "-"
       << static_cast<uint32_t>(shape.channels_out) << "-k" << static_cast<uint32_t>(shape.kernel)
       << "-s" << static_cast<uint32_t>(shape.stride);
  return name;
}

// Fills `layer` with random numbers. Returns nullptr, or why it cannot be measured.
const char* Prepare(const Layer& shape, Memory* memory, Convolution* layer) {
  const int32_t words = bcnet::BitpackedWords(shape.channels_in);
  const int32_t channels = shape.channels_out;
  const int32_t taps = shape.kernel * shape.kernel;
  const int32_t height = (shape.height - 1) / shape.stride + 1;
  const int32_t width = (shape.width - 1) / shape.stride + 1;
  const bool bitpacked = layer->output == Bconv2dOutput::kBitpacked;
  const int32_t result_channels = bitpacked ? bcnet::BitpackedWords(channels) : channels;
  const bcnet::Bconv2dOptions options = {shape.channels_in,
                                         shape.stride,
                                         shape.stride,
                                         1,
                                         1,
                                         bcnet::Padding::kSame,
                                         1,  // pads with +1
                                         bcnet::Activation::kNone};
  const int32_t input_dims[4] = {1, shape.height, shape.width, words};
  const int32_t filter_dims[4] = {channels, shape.kernel, shape.kernel, words};
  const int32_t output_dims[4] = {1, height, width, result_channels};
  const char* reason = bcnet::PrepareBconv2d(options, input_dims, filter_dims, output_dims,
                                             layer->output, &layer->params);
  if (reason != nullptr) return reason;

  const int32_t input_size = shape.height * shape.width * words;
  const int32_t filter_size = channels * taps * words;
  uint32_t* input = memory->Allocate<uint32_t>(input_size);
  uint32_t* filter = memory->Allocate<uint32_t>(filter_size);
  int32_t* thresholds = memory->Allocate<int32_t>(channels);
  float* numbers = memory->Allocate<float>(4 * channels);
  auto* linear = memory->Allocate<bcnet::LinearChannel>(channels);
  const int32_t result_size =
      height * width * result_channels * (layer->output == Bconv2dOutput::kInt8 ? 1 : 4);
  layer->result = memory->Allocate<uint8_t>(result_size);
  layer->result_size = static_cast<size_t>(result_size);
  if (memory->exceeded()) return "the board's memory is too small";

  random_state = 1;
  const uint32_t used_bits = ~uint32_t{0} >> (words * bcnet::kWordBits - shape.channels_in);
  const auto fill = [&](uint32_t* to, int32_t size) {
    for (int32_t i = 0; i < size; ++i)
      to[i] = Random() & (i % words == words - 1 ? used_bits : ~0u);
  };
  fill(input, input_size);
  fill(filter, filter_size);
  const int32_t products = taps * shape.channels_in;
  for (int32_t i = 0; i < channels; ++i) {
    thresholds[i] = products / 2 - 8 + static_cast<int32_t>(Random() % 16);
    // As trained layers have them: sums next to each other give the same int8 output or the next
    // one, and no exact halves are rounded.
    numbers[i] = 0.0625f + static_cast<float>(Random() % 0x10000) / 262139.0f;
    numbers[channels + i] = static_cast<float>(Random() % 0x10000) / 1021.0f - 32.0f;
  }
  layer->input = input;
  layer->filter = filter;
  layer->thresholds = thresholds;
  if (bitpacked) return nullptr;
  const float scale = layer->output == Bconv2dOutput::kInt8 ? 0.731f : 1.0f;
  reason = bcnet::PrepareBconv2dTransform(layer->params, numbers, numbers + channels, scale, 0,
                                          numbers + 2 * channels, numbers + 3 * channels,
                                          &layer->transform);
  if (reason == nullptr && layer->output == Bconv2dOutput::kInt8 &&
      !bcnet::PrepareBconv2dLinearTransform(layer->params, layer->transform, linear,
                                            &layer->linear_transform))
    return "the output transform does not fit in integers";
  return reason;
}

void Report(const Layer& shape, const char* output, const char* kernel, int32_t scratch_bytes,
            const char* budgets, uint32_t checksum, uint32_t count) {
  const int32_t macs = ((shape.height - 1) / shape.stride + 1) *
                       ((shape.width - 1) / shape.stride + 1) * shape.kernel * shape.kernel *
                       shape.channels_in * shape.channels_out;
  Line line;
  line << shape.name << "\t" << ShapeName(shape).text() << "\t" << output << "\t" << kernel << "\t"
       << static_cast<uint32_t>(scratch_bytes) << "\t" << budgets << "\t"
       << static_cast<uint32_t>(macs) << "\t" << checksum << "\t" << count << "\n";
  board::Write(line.text());
}

void Skip(const Layer& shape, const char* output, const char* reason) {
  Line line;
  line << "# " << shape.name << " " << output << ": " << reason << "\n";
  board::Write(line.text());
}

void Measure(const Layer& shape, const char* output, Convolution layer, Memory memory,
             const char* budgets) {
  layer.scratch = memory.Allocate<uint8_t>(layer.plan.scratch_bytes);
  if (memory.exceeded()) return Skip(shape, output, "the board's memory is too small");
  std::memset(layer.result, 0xAA, layer.result_size);
  board::Start();
  Run(layer);
  const uint32_t count = board::Stop();
  Report(shape, output, KernelName(layer.params, layer.plan).text(), layer.plan.scratch_bytes,
         budgets, Checksum(layer.result, layer.result_size), count);
}

// The best plan with the largest budget by tables of so many inputs, by a core for which all else
// costs more. False where there is none.
bool PlanTables(const Convolution& layer, int8_t inputs, bcnet::Bconv2dPlan* plan) {
  bcnet::Bconv2dCore core = bcnet::kCoreMeasured;
  for (auto& table : core.sliced.tables[inputs == 3]) table.build = INT16_MAX;
#if BCNET_PLANS_HELIUM
  for (auto& table : core.helium.tables[inputs == 3]) table.build = INT16_MAX;
#endif
  for (int16_t& cycles : core.carry_save.outputs) cycles = INT16_MAX;
  *plan = bcnet::PlanBconv2dFor(core, layer.params, layer.output, kBudgets[0]);
  return plan->table_inputs == inputs;
}

// Measures the kernels that are chosen for the budgets, and the others, and other tables, with the
// largest budget. `portable` is there for comparison and left out of the sweep.
void MeasureOutput(const Layer& shape, Bconv2dOutput type, const char* output, bool portable) {
  Memory memory;
  Convolution layer;
  layer.output = type;
  if (const char* reason = Prepare(shape, &memory, &layer)) return Skip(shape, output, reason);
  // Those that are chosen, and then all that are measured.
  constexpr int32_t kChosen = sizeof(kBudgets) / sizeof(kBudgets[0]);
  bcnet::Bconv2dPlan chosen[kChosen + sizeof(kKernels) / sizeof(kKernels[0])];
  int32_t plans = 0;
  for (const int32_t budget : kBudgets)
    chosen[plans++] = bcnet::PlanBconv2d(layer.params, type, budget);
  const auto same = [](const bcnet::Bconv2dPlan& a, const bcnet::Bconv2dPlan& b) {
    return a.kernel == b.kernel && a.scratch_bytes == b.scratch_bytes &&
           a.table_inputs == b.table_inputs;
  };
  for (const bcnet::Bconv2dKernel kernel : kKernels) {
    bool is_chosen = false;
    for (int32_t i = 0; i < kChosen; ++i) {
      if (chosen[i].kernel != kernel) continue;
      is_chosen = true;
      bool measured = false;
      for (int32_t j = 0; j < i; ++j) measured = measured || same(chosen[j], chosen[i]);
      if (measured) continue;
      Line budgets;
      for (int32_t j = i; j < kChosen; ++j) {
        if (!same(chosen[j], chosen[i])) continue;
        if (j > i) budgets << " ";
        budgets << static_cast<uint32_t>(kBudgets[j]);
      }
      layer.plan = chosen[i];
      Measure(shape, output, layer, memory, budgets.text());
    }
    if (is_chosen || (kernel == bcnet::Bconv2dKernel::kPortable && !portable)) continue;
    if (!bcnet::PlanBconv2d(layer.params, type, kBudgets[0], kernel, &layer.plan)) continue;
    chosen[plans++] = layer.plan;
    Measure(shape, output, layer, memory, "forced");
  }
  for (const int8_t inputs : {int8_t{3}, int8_t{5}}) {
    if (!PlanTables(layer, inputs, &layer.plan)) continue;
    bool measured = false;
    for (int32_t i = 0; i < plans; ++i) measured = measured || same(chosen[i], layer.plan);
    if (!measured) Measure(shape, output, layer, memory, "forced");
  }
}

void MeasureCmsisNn(const Layer& shape) {
#ifdef BCNET_CMSIS_NN
  CmsisNnConvolution convolution;
  if (!convolution.Prepare(shape, 1, board::memory, board::memory_size))
    return Skip(shape, "int8", "the board's memory is too small for CMSIS-NN");
  board::Start();
  const bool done = convolution.Run();
  const uint32_t count = board::Stop();
  if (!done) return Skip(shape, "int8", "CMSIS-NN refuses it");
  Report(shape, "int8", "CMSIS-NN int8", convolution.scratch_bytes(), "forced", 0, count);
#else
  (void)shape;
#endif
}

// Whether `name` is one of the words of board::Layers().
bool Wanted(const char* name) {
  const size_t length = std::strlen(name);
  for (const char* word = board::Layers(); *word != 0;) {
    const char* end = word;
    while (*end != 0 && *end != ' ') ++end;
    if (static_cast<size_t>(end - word) == length && std::strncmp(word, name, length) == 0)
      return true;
    word = *end == 0 ? end : end + 1;
  }
  return false;
}

void MeasureSweep() {
  const bool all = Wanted("sweep");
  const bool sample = Wanted("sample");
  int32_t number = 0;
  for (const auto& channels : kSweepChannels) {
    for (const int32_t kernel : kSweepKernels) {
      for (const int32_t size : kSweepSizes) {
        for (const int32_t stride : kSweepStrides) {
          if (stride > size) continue;
          Layer shape = {"sweep", "", size, size, channels[0], channels[1], kernel, stride};
          Line name = ShapeName(shape);
          shape.name = name.text();
          if (!all && !(sample && number++ % kSampleStep == 0) && !Wanted(shape.name)) continue;
          for (const auto& output : kOutputs) MeasureOutput(shape, output.type, output.name, false);
        }
      }
    }
  }
}

void MeasureAll() {
  for (const Layer& shape : kLayers) {
    if (!Wanted(shape.group) && !Wanted(shape.name)) continue;
    for (const auto& output : kOutputs) MeasureOutput(shape, output.type, output.name, true);
    MeasureCmsisNn(shape);
  }
  MeasureSweep();
  board::Write("# end\n");
}

}  // namespace
}  // namespace bench

int main() {
  bench::MeasureAll();
  return 0;
}

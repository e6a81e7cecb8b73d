// A libFuzzer target over Init, Prepare and Eval of the operators: nodes of any shapes, types and
// options, in a context that gives each tensor and buffer exactly its bytes. What Prepare accepts,
// Eval must run within them.
#include <cstdarg>
#include <cstdlib>
#include <memory>

#include "flatbuffers/flexbuffers.h"
#include "tensorflow/lite/micro/micro_context.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tflm_ops/micro/bcnet_ops.h"
#include "tflm_ops/tests/fuzz_input.h"

// The parts of TensorFlow Lite Micro that the operators call, silent, in place of its library.
void MicroPrintf(const char*, ...) {}

namespace tflite {

TfLiteTensor* MicroContext::AllocateTempInputTensor(const TfLiteNode* node, int index) {
  if (index >= node->inputs->size || node->inputs->data[index] < 0) return nullptr;
  return AllocateTempTfLiteTensor(node->inputs->data[index]);
}
TfLiteTensor* MicroContext::AllocateTempOutputTensor(const TfLiteNode* node, int index) {
  return index < node->outputs->size ? AllocateTempTfLiteTensor(node->outputs->data[index])
                                     : nullptr;
}
TfLiteStatus MicroContext::SetDecompressionMemory(const AlternateMemoryRegion*, size_t) {
  return kTfLiteError;
}
void* MicroContext::AllocateDecompressionMemory(size_t, size_t) { return nullptr; }
void MicroContext::ResetDecompressionMemoryAllocations() {}

}  // namespace tflite

namespace {

using fuzz::Bytes;

struct FuzzTensor {
  TfLiteType type;
  std::vector<int> dims;  // the rank, then the dimensions, laid out as a TfLiteIntArray
  std::unique_ptr<uint8_t[]> data;
  size_t bytes = 0;
  bool constant = false;
  float scale = 0.0f;
  int32_t zero_point = 0;
};

class Context : public tflite::MicroContext {
 public:
  std::vector<FuzzTensor> tensors;
  bcnet::Context* application = nullptr;
  int temporaries = 0;
  bool out_of_memory = false;  // as with an arena that is full

  void* AllocatePersistentBuffer(size_t bytes) override {
    return out_of_memory ? nullptr : Allocate(bytes);
  }
  TfLiteStatus RequestScratchBufferInArena(size_t bytes, int* index) override {
    scratch_.push_back(Allocate(bytes));
    *index = static_cast<int>(scratch_.size()) - 1;
    return kTfLiteOk;
  }
  void* GetScratchBuffer(int index) override { return scratch_.at(static_cast<size_t>(index)); }
  TfLiteTensor* AllocateTempTfLiteTensor(int index) override {
    FuzzTensor& from = tensors.at(static_cast<size_t>(index));
    ++temporaries;
    auto* tensor = new TfLiteTensor();
    tensor->type = from.type;
    tensor->dims = reinterpret_cast<TfLiteIntArray*>(from.dims.data());
    tensor->data.data = from.data.get();
    tensor->bytes = from.bytes;
    tensor->allocation_type = from.constant ? kTfLiteMmapRo : kTfLiteArenaRw;
    tensor->params = {from.scale, from.zero_point};
    return tensor;
  }
  void DeallocateTempTfLiteTensor(TfLiteTensor* tensor) override {
    --temporaries;
    delete tensor;
  }
  uint8_t* AllocateTempBuffer(size_t bytes, size_t) override {
    ++temporaries;
    return new uint8_t[bytes];
  }
  void DeallocateTempBuffer(uint8_t* buffer) override {
    --temporaries;
    delete[] buffer;
  }
  TfLiteEvalTensor* GetEvalTensor(int index) override {
    FuzzTensor& from = tensors.at(static_cast<size_t>(index));
    eval_[index].data.data = from.data.get();
    eval_[index].dims = reinterpret_cast<TfLiteIntArray*>(from.dims.data());
    eval_[index].type = from.type;
    return &eval_[index];
  }
  TfLiteStatus set_external_context(void*) override { return kTfLiteError; }
  void* external_context() override { return application; }
  tflite::MicroGraph& graph() override { std::abort(); }

 private:
  void* Allocate(size_t bytes) {
    memory_.push_back(std::make_unique<uint8_t[]>(bytes));
    return memory_.back().get();
  }

  std::vector<std::unique_ptr<uint8_t[]>> memory_;
  std::vector<void*> scratch_;
  TfLiteEvalTensor eval_[8];

  TF_LITE_REMOVE_VIRTUAL_DELETE
};

TfLiteType AnyType(Bytes* bytes, TfLiteType usual) {
  constexpr TfLiteType kTypes[] = {kTfLiteFloat32, kTfLiteInt8, kTfLiteInt32, kTfLiteBool};
  const uint8_t byte = bytes->Take<uint8_t>();
  return byte % 32 == 31 ? kTypes[byte / 32 % 4] : usual;
}

// A tensor with data of just the size that its shape and type ask for; false when that is too much
// to try.
bool AddTensor(Context* context, Bytes* bytes, TfLiteType type, std::vector<int> shape,
               bool constant) {
  FuzzTensor tensor;
  tensor.type = AnyType(bytes, type);
  const uint8_t change = bytes->Take<uint8_t>();
  if (change == 1 && !shape.empty()) shape.pop_back();
  if (change == 2) shape.push_back(bytes->Number(1, 4));
  if (change == 3 && !shape.empty())
    shape[bytes->Take<uint8_t>() % shape.size()] = bytes->Number(0, 9);
  size_t size = tensor.type == kTfLiteFloat32 || tensor.type == kTfLiteInt32 ? 4 : 1;
  for (const int dim : shape) {
    if (dim < 0 || dim > 1 << 16) return false;
    size *= static_cast<size_t>(dim);
    if (size > (1 << 17)) return false;
  }
  tensor.dims.push_back(static_cast<int>(shape.size()));
  tensor.dims.insert(tensor.dims.end(), shape.begin(), shape.end());
  tensor.constant = constant != (change == 4);
  tensor.bytes = size;
  tensor.scale = change % 8 == 7 ? bytes->Take<float>() : 0.05f;
  tensor.zero_point = change % 16 == 15 ? bytes->Take<int32_t>() : 3;
  const std::vector<uint8_t> fill = bytes->Fill(size);
  tensor.data.reset(new uint8_t[size]);
  if (size > 0) std::memcpy(tensor.data.get(), fill.data(), size);
  context->tensors.push_back(std::move(tensor));
  return true;
}

std::vector<int> Shape(const int32_t dims[4]) { return std::vector<int>(dims, dims + 4); }

std::vector<uint8_t> Encode(const fuzz::Convolution& c) {
  flexbuffers::Builder builder;
  builder.Map([&]() {
    builder.Int("channels_in", c.options.channels_in);
    builder.Int("stride_height", c.options.stride_height);
    builder.Int("stride_width", c.options.stride_width);
    builder.Int("dilation_height_factor", c.options.dilation_height);
    builder.Int("dilation_width_factor", c.options.dilation_width);
    builder.Int("padding", static_cast<int>(c.options.padding));
    builder.Int("pad_values", c.options.pad_value);
    builder.Int("fused_activation_function", static_cast<int>(c.options.activation));
  });
  builder.Finish();
  return builder.GetBuffer();
}

std::vector<uint8_t> Encode(const fuzz::Pool& p) {
  flexbuffers::Builder builder;
  builder.Map([&]() {
    builder.Int("filter_height", p.options.filter_height);
    builder.Int("filter_width", p.options.filter_width);
    builder.Int("stride_height", p.options.stride_height);
    builder.Int("stride_width", p.options.stride_width);
    builder.Int("padding", static_cast<int>(p.options.padding));
  });
  builder.Finish();
  return builder.GetBuffer();
}

std::vector<uint8_t> Encode(const fuzz::Stem& s) {
  flexbuffers::Builder builder;
  builder.Map([&]() {
    builder.Int("stride_height", s.options.stride_height);
    builder.Int("stride_width", s.options.stride_width);
    builder.Int("padding", static_cast<int>(s.options.padding));
  });
  builder.Finish();
  return builder.GetBuffer();
}

std::vector<uint8_t> EncodeGate(Bytes* bytes, int32_t classes) {
  const char* measures[] = {"score_margin", "max_probability", "entropy", "learned"};
  flexbuffers::Builder builder;
  builder.Map([&]() {
    builder.String("measure", measures[bytes->Take<uint8_t>() % 4]);
    builder.Vector("threshold", [&]() {
      const int32_t count =
          bytes->Take<uint8_t>() % 2 == 0 ? 1 : bytes->Number(classes, classes + 1) & 63;
      for (int32_t i = 0; i < count; ++i)
        builder.Float(static_cast<float>(bytes->Take<uint8_t>()) / 250.0f);
    });
    builder.Vector("weights", [&]() {
      for (int32_t i = 0; i < classes + 3; ++i)
        builder.Float(static_cast<float>(bytes->Take<int8_t>()));
    });
    builder.Float("bias", bytes->Take<float>());
  });
  builder.Finish();
  return builder.GetBuffer();
}

void Run(Context* context, const TFLMRegistration& registration,
         const std::vector<uint8_t>& options, std::vector<int> inputs, Bytes* bytes) {
  TfLiteContext tflite_context = {};
  tflite_context.impl_ = context;
  tflite_context.GetEvalTensor = [](const TfLiteContext* c, int index) {
    return static_cast<Context*>(c->impl_)->GetEvalTensor(index);
  };
  const uint8_t change = bytes->Take<uint8_t>();
  if (change == 1) inputs.pop_back();
  if (change == 2) inputs[bytes->Take<uint8_t>() % inputs.size()] = -1;
  context->out_of_memory = change == 3;
  std::vector<int> outputs = {static_cast<int>(context->tensors.size()) - 1};
  outputs.insert(outputs.begin(), static_cast<int>(outputs.size()));
  inputs.insert(inputs.begin(), static_cast<int>(inputs.size()));
  const std::vector<uint8_t> raw(bytes->data(), bytes->data() + bytes->size());
  const std::vector<uint8_t>& used = change == 4 ? raw : options;
  TfLiteNode node = {};
  node.inputs = reinterpret_cast<TfLiteIntArray*>(inputs.data());
  node.outputs = reinterpret_cast<TfLiteIntArray*>(outputs.data());
  node.custom_initial_data = used.data();
  node.custom_initial_data_size = static_cast<int>(used.size());
  if (registration.init != nullptr) {
    node.user_data =
        registration.init(&tflite_context, reinterpret_cast<const char*>(used.data()), used.size());
  }
  const TfLiteStatus prepared = registration.prepare(&tflite_context, &node);
  if (context->temporaries != 0) std::abort();
  if (prepared == kTfLiteOk) registration.invoke(&tflite_context, &node);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bytes bytes(data, size);
  Context context;
  const uint8_t which = bytes.Take<uint8_t>();
  switch (which < 240 ? which % 5 : which % 2 + 5) {
    case 0: {
      const fuzz::Convolution c = fuzz::TakeConvolution(&bytes);
      if (!fuzz::IsSmall(c.input) || !fuzz::IsSmall(c.filter) || !fuzz::IsSmall(c.output)) return 0;
      if (int64_t{c.output[1]} * c.output[2] * bcnet::ElementCount(c.filter, 4) > 200000) return 0;
      const TfLiteType type = c.output_type == 0   ? kTfLiteFloat32
                              : c.output_type == 1 ? kTfLiteInt8
                                                   : kTfLiteInt32;
      if (!AddTensor(&context, &bytes, kTfLiteInt32, Shape(c.input), false)) return 0;
      if (!AddTensor(&context, &bytes, kTfLiteInt32, Shape(c.filter), true)) return 0;
      if (!AddTensor(&context, &bytes, kTfLiteFloat32, {c.filter[0]}, true)) return 0;
      if (!AddTensor(&context, &bytes, kTfLiteFloat32, {c.filter[0]}, true)) return 0;
      if (!AddTensor(&context, &bytes, kTfLiteInt32, {c.filter[0]}, true)) return 0;
      if (!AddTensor(&context, &bytes, type, Shape(c.output), false)) return 0;
      Run(&context, bcnet::Register_LCE_BCONV_2D(), Encode(c), {0, 1, 2, 3, 4}, &bytes);
      break;
    }
    case 1: {
      const fuzz::Pool p = fuzz::TakePool(&bytes);
      if (!fuzz::IsSmall(p.input) || !fuzz::IsSmall(p.output)) return 0;
      if (!AddTensor(&context, &bytes, kTfLiteInt32, Shape(p.input), false)) return 0;
      if (!AddTensor(&context, &bytes, kTfLiteInt32, Shape(p.output), false)) return 0;
      Run(&context, bcnet::Register_LCE_BMAXPOOL_2D(), Encode(p), {0}, &bytes);
      break;
    }
    case 2:
    case 3: {
      const bool quantize = size % 2 == 0;
      constexpr TfLiteType kTypes[] = {kTfLiteFloat32, kTfLiteInt8, kTfLiteBool};
      const TfLiteType type = kTypes[bytes.Take<uint8_t>() % 3];
      std::vector<int> shape;
      for (int rank = bytes.Take<uint8_t>() % 10; rank > 0; --rank)
        shape.push_back(bytes.Number(1, 3));
      shape.push_back(bytes.Number(1, 70));
      std::vector<int> packed = shape;
      packed.back() = bcnet::BitpackedWords(shape.back() < 1 ? 1 : shape.back());
      if (!AddTensor(&context, &bytes, quantize ? type : kTfLiteInt32, quantize ? shape : packed,
                     false))
        return 0;
      if (!AddTensor(&context, &bytes, quantize ? kTfLiteInt32 : type, quantize ? packed : shape,
                     false))
        return 0;
      Run(&context, quantize ? bcnet::Register_LCE_QUANTIZE() : bcnet::Register_LCE_DEQUANTIZE(),
          {}, {0}, &bytes);
      break;
    }
    case 4: {
      const int32_t classes = 1 + bytes.Take<uint8_t>() % 12;
      bcnet::Context application;
      std::vector<float> thresholds(
          bytes.Take<uint8_t>() % 3 == 0 ? static_cast<size_t>(classes) : 1, 0.3f);
      if (bytes.Take<uint8_t>() % 4 == 0) {
        context.application = &application;
        application.gate.thresholds = thresholds.data();
        application.gate.threshold_count = static_cast<int32_t>(thresholds.size());
      }
      const TfLiteType type = bytes.Take<uint8_t>() % 2 == 0 ? kTfLiteInt8 : kTfLiteFloat32;
      const std::vector<uint8_t> options = EncodeGate(&bytes, classes);
      if (!AddTensor(&context, &bytes, type, {1, classes}, false)) return 0;
      if (!AddTensor(&context, &bytes, kTfLiteBool, {1}, false)) return 0;
      Run(&context, bcnet::Register_BCNET_GATE(), options, {0}, &bytes);
      break;
    }
    case 6: {
      const fuzz::Stem s = fuzz::TakeStem(&bytes);
      if (!fuzz::IsSmall(s.input) || !fuzz::IsSmall(s.filter) || !fuzz::IsSmall(s.output)) return 0;
      if (int64_t{s.output[1]} * s.output[2] * bcnet::ElementCount(s.filter, 4) > 200000) return 0;
      if (!AddTensor(&context, &bytes, kTfLiteInt8, Shape(s.input), false)) return 0;
      if (!AddTensor(&context, &bytes, kTfLiteInt8, Shape(s.filter), true)) return 0;
      if (!AddTensor(&context, &bytes, kTfLiteInt32, {s.thresholds}, true)) return 0;
      if (!AddTensor(&context, &bytes, kTfLiteInt32, Shape(s.output), false)) return 0;
      Run(&context, bcnet::Register_BCNET_STEM(), Encode(s), {0, 1, 2}, &bytes);
      break;
    }
    default: {
      const int32_t channels = 1 + bytes.Take<uint8_t>() % 4;
      const int32_t count = channels * (bytes.Number(1, 40) % 1000);
      std::vector<int> shape = {1, bytes.Number(1, 5), bytes.Number(1, 5), channels};
      std::vector<int> packed = shape;
      packed[3] = bcnet::BitpackedWords(count < 1 ? 1 : count);
      if (!AddTensor(&context, &bytes, kTfLiteInt8, shape, false)) return 0;
      if (!AddTensor(&context, &bytes, kTfLiteInt32, {count}, true)) return 0;
      FuzzTensor& thresholds = context.tensors.back();
      const bool in_range = bytes.Take<uint8_t>() % 8 != 0;
      for (size_t i = 0; in_range && i + 4 <= thresholds.bytes; i += 4) {
        int32_t value;
        std::memcpy(&value, &thresholds.data[i], 4);
        value %= 129;
        std::memcpy(&thresholds.data[i], &value, 4);
      }
      if (!AddTensor(&context, &bytes, kTfLiteInt32, packed, false)) return 0;
      Run(&context, bcnet::Register_BCNET_THERMOMETER(), {}, {0, 1}, &bytes);
    }
  }
  return 0;
}

#include "tflm_ops/kernels/optimize.h"

#include "tflm_ops/kernels/bitpacking.h"
#include "tflm_ops/kernels/quantize.h"
#include "tflm_ops/kernels/shape.h"
#include "tflm_ops/micro/bcnet_ops.h"
#include "tflm_ops/micro/tensors.h"

namespace bcnet {
namespace {

constexpr char kName[] = "LceQuantize";

struct OpData {
  TfLiteType type;
  int32_t rows;
  int32_t channels;
  int32_t zero_point;
};

void* Init(TfLiteContext* context, const char*, size_t) {
  return AllocatePersistent(context, sizeof(OpData));
}

TfLiteStatus Prepare(TfLiteContext* context, TfLiteNode* node) {
  if (node->user_data == nullptr) return Refuse(kName, node, "the arena is too small");
  if (!HasTensors(node, 1, 1)) return Refuse(kName, node, "there must be one input and one output");
  const TempTensor input = TempTensor::Input(context, node, 0);
  const TempTensor output = TempTensor::Output(context, node, 0);
  if (!input || !output) return Refuse(kName, node, "input or output is missing");
  if (input.IsCompressed()) return Refuse(kName, node, "compressed inputs are not supported");
  if (input->type != kTfLiteFloat32 && input->type != kTfLiteInt8 && input->type != kTfLiteBool) {
    return Refuse(kName, node, "the input must be float32, int8 or bool");
  }
  if (output->type != kTfLiteInt32) return Refuse(kName, node, "the output must be int32");
  const int last = input.rank() - 1;
  if (last < 0 || ElementCount(input.dims(), last + 1) == 0) {
    return Refuse(kName, node,
                  "the input's dimensions must be 1 to 8, positive, and its size below 2 GiB");
  }
  const int32_t channels = input.dims()[last];
  bool fits = output.rank() == input.rank() && output.dims()[last] == BitpackedWords(channels);
  for (int i = 0; fits && i < last; ++i) fits = output.dims()[i] == input.dims()[i];
  if (!fits)
    return Refuse(kName, node,
                  "the output's shape must be the input's, its last dimension in words");
  *static_cast<OpData*>(node->user_data) = {input->type, ElementCount(input.dims(), last), channels,
                                            input->params.zero_point};
  return kTfLiteOk;
}

TfLiteStatus Eval(TfLiteContext* context, TfLiteNode* node) {
  const OpData& data = *static_cast<const OpData*>(node->user_data);
  uint32_t* output = OutputData<uint32_t>(context, node, 0);
  if (data.type == kTfLiteFloat32) {
    QuantizeFloat(data.rows, data.channels, InputData<float>(context, node, 0), output);
  } else if (data.type == kTfLiteInt8) {
    QuantizeInt8(data.rows, data.channels, data.zero_point, InputData<int8_t>(context, node, 0),
                 output);
  } else {
    QuantizeBool(data.rows, data.channels, InputData<uint8_t>(context, node, 0), output);
  }
  return kTfLiteOk;
}

}  // namespace

TFLMRegistration Register_LCE_QUANTIZE() { return Registration(Init, Prepare, Eval); }

}  // namespace bcnet

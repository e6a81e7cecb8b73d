#include "tflm_ops/kernels/optimize.h"

#include "tflm_ops/kernels/bitpacking.h"
#include "tflm_ops/kernels/number.h"
#include "tflm_ops/kernels/quantize.h"
#include "tflm_ops/kernels/shape.h"
#include "tflm_ops/micro/bcnet_ops.h"
#include "tflm_ops/micro/tensors.h"

namespace bcnet {
namespace {

constexpr char kName[] = "LceDequantize";

struct OpData {
  TfLiteType type;
  int32_t rows;
  int32_t channels;
  SignCodes codes;  // int8 only
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
  if (input->type != kTfLiteInt32) return Refuse(kName, node, "the input must be int32");
  if (output->type != kTfLiteFloat32 && output->type != kTfLiteInt8 &&
      output->type != kTfLiteBool) {
    return Refuse(kName, node, "the output must be float32, int8 or bool");
  }
  const int last = output.rank() - 1;
  if (last < 0 || ElementCount(output.dims(), last + 1) == 0) {
    return Refuse(kName, node,
                  "the output's dimensions must be 1 to 8, positive, and its size below 2 GiB");
  }
  const int32_t channels = output.dims()[last];
  bool fits = input.rank() == output.rank() && input.dims()[last] == BitpackedWords(channels);
  for (int i = 0; fits && i < last; ++i) fits = input.dims()[i] == output.dims()[i];
  if (!fits)
    return Refuse(kName, node,
                  "the input's shape must be the output's, its last dimension in words");
  OpData* data = static_cast<OpData*>(node->user_data);
  *data = {output->type, ElementCount(output.dims(), last), channels, {}};
  if (output->type != kTfLiteInt8) return kTfLiteOk;
  const float scale = output->params.scale;
  const int32_t zero_point = output->params.zero_point;
  if (!IsFinite(scale) || scale <= 0.0f || zero_point < -128 || zero_point > 127) {
    return Refuse(kName, node,
                  "an int8 output needs a positive scale and a zero point in [-128, 127]");
  }
  data->codes = PrepareSignCodes(scale, zero_point);
  return kTfLiteOk;
}

TfLiteStatus Eval(TfLiteContext* context, TfLiteNode* node) {
  const OpData& data = *static_cast<const OpData*>(node->user_data);
  const auto* input = InputData<uint32_t>(context, node, 0);
  if (data.type == kTfLiteFloat32) {
    DequantizeFloat(data.rows, data.channels, input, OutputData<float>(context, node, 0));
  } else if (data.type == kTfLiteInt8) {
    DequantizeInt8(data.rows, data.channels, data.codes, input,
                   OutputData<int8_t>(context, node, 0));
  } else {
    DequantizeBool(data.rows, data.channels, input, OutputData<uint8_t>(context, node, 0));
  }
  return kTfLiteOk;
}

}  // namespace

TFLMRegistration Register_LCE_DEQUANTIZE() { return Registration(Init, Prepare, Eval); }

}  // namespace bcnet

#include "tflm_ops/kernels/optimize.h"

#include "tflm_ops/kernels/bmaxpool2d.h"
#include "tflm_ops/micro/bcnet_ops.h"
#include "tflm_ops/micro/tensors.h"

namespace bcnet {
namespace {

constexpr char kName[] = "LceBMaxPool2d";

void* Init(TfLiteContext* context, const char*, size_t) {
  return AllocatePersistent(context, sizeof(BMaxPool2dParams));
}

TfLiteStatus Prepare(TfLiteContext* context, TfLiteNode* node) {
  if (node->user_data == nullptr) return Refuse(kName, node, "the arena is too small");
  if (!HasTensors(node, 1, 1)) return Refuse(kName, node, "there must be one input and one output");
  const TempTensor input = TempTensor::Input(context, node, 0);
  const TempTensor output = TempTensor::Output(context, node, 0);
  if (!input || !output) return Refuse(kName, node, "input or output is missing");
  if (input.IsCompressed()) return Refuse(kName, node, "compressed inputs are not supported");
  if (input->type != kTfLiteInt32 || output->type != kTfLiteInt32) {
    return Refuse(kName, node, "input and output must be int32");
  }
  if (input.rank() != 4 || output.rank() != 4)
    return Refuse(kName, node, "input and output must have 4 dimensions");
  BMaxPool2dOptions options;
  const auto* bytes = static_cast<const uint8_t*>(node->custom_initial_data);
  const char* reason =
      ParseBMaxPool2dOptions(bytes, static_cast<size_t>(node->custom_initial_data_size), &options);
  if (reason != nullptr) return Refuse(kName, node, reason);
  auto* params = static_cast<BMaxPool2dParams*>(node->user_data);
  reason = PrepareBMaxPool2d(options, input.dims(), output.dims(), params);
  return reason == nullptr ? kTfLiteOk : Refuse(kName, node, reason);
}

TfLiteStatus Eval(TfLiteContext* context, TfLiteNode* node) {
  BMaxPool2d(*static_cast<const BMaxPool2dParams*>(node->user_data),
             InputData<uint32_t>(context, node, 0), OutputData<uint32_t>(context, node, 0));
  return kTfLiteOk;
}

}  // namespace

TFLMRegistration Register_LCE_BMAXPOOL_2D() { return Registration(Init, Prepare, Eval); }

}  // namespace bcnet

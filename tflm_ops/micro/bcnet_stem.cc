#include "tflm_ops/kernels/optimize.h"

#include "tflm_ops/kernels/stem.h"
#include "tflm_ops/micro/bcnet_ops.h"
#include "tflm_ops/micro/tensors.h"

namespace bcnet {
namespace {

constexpr char kName[] = "BcnetStem";

enum Inputs { kInput, kFilter, kThresholds, kInputs };

struct OpData {
  StemParams params;
  int scratch;  // index of the scratch buffer
};

void* Init(TfLiteContext* context, const char*, size_t) {
  return AllocatePersistent(context, sizeof(OpData));
}

TfLiteStatus Prepare(TfLiteContext* context, TfLiteNode* node) {
  if (node->user_data == nullptr) return Refuse(kName, node, "the arena is too small");
  if (!HasTensors(node, kInputs, 1))
    return Refuse(kName, node, "there must be three inputs and one output");
  const TempTensor input = TempTensor::Input(context, node, kInput);
  const TempTensor filter = TempTensor::Input(context, node, kFilter);
  const TempTensor thresholds = TempTensor::Input(context, node, kThresholds);
  const TempTensor output = TempTensor::Output(context, node, 0);
  if (!input || !filter || !thresholds || !output)
    return Refuse(kName, node, "an input or the output is missing");
  if (input.IsCompressed()) return Refuse(kName, node, "compressed inputs are not supported");
  if (input->type != kTfLiteInt8 || filter->type != kTfLiteInt8)
    return Refuse(kName, node, "input and filter must be int8");
  if (output->type != kTfLiteInt32) return Refuse(kName, node, "the output must be int32");
  if (!filter.IsConstant())
    return Refuse(kName, node, "the filter must be a constant, and not compressed");
  if (input.rank() != 4 || filter.rank() != 4 || output.rank() != 4)
    return Refuse(kName, node, "input, filter and output must have 4 dimensions");
  const int32_t count = thresholds.rank() == 1 ? thresholds.dims()[0] : 0;
  if (!thresholds.IsConstantVector(kTfLiteInt32, count))
    return Refuse(kName, node, "the thresholds must be a constant vector of int32");
  StemOptions options;
  const auto* bytes = static_cast<const uint8_t*>(node->custom_initial_data);
  const char* reason =
      ParseStemOptions(bytes, static_cast<size_t>(node->custom_initial_data_size), &options);
  if (reason != nullptr) return Refuse(kName, node, reason);
  OpData* data = static_cast<OpData*>(node->user_data);
  reason = PrepareStem(options, input.dims(), input->params.zero_point, filter.dims(), count,
                       output.dims(), &data->params);
  if (reason != nullptr) return Refuse(kName, node, reason);
  return RequestScratch(context, StemScratchSize(data->params), &data->scratch);
}

TfLiteStatus Eval(TfLiteContext* context, TfLiteNode* node) {
  const OpData& data = *static_cast<const OpData*>(node->user_data);
  Stem(data.params, InputData<int8_t>(context, node, kInput),
       InputData<int8_t>(context, node, kFilter), InputData<int32_t>(context, node, kThresholds),
       Scratch(context, data.scratch), OutputData<uint32_t>(context, node, 0));
  return kTfLiteOk;
}

}  // namespace

TFLMRegistration Register_BCNET_STEM() { return Registration(Init, Prepare, Eval); }

}  // namespace bcnet

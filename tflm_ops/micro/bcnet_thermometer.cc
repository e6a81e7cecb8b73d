#include "tflm_ops/kernels/optimize.h"

#include "tflm_ops/kernels/thermometer.h"
#include "tflm_ops/micro/bcnet_ops.h"
#include "tflm_ops/micro/tensors.h"

namespace bcnet {
namespace {

constexpr char kName[] = "BcnetThermometer";

TfLiteStatus Prepare(TfLiteContext* context, TfLiteNode* node) {
  if (!HasTensors(node, 2, 1))
    return Refuse(kName, node, "there must be two inputs and one output");
  const TempTensor input = TempTensor::Input(context, node, 0);
  const TempTensor thresholds = TempTensor::Input(context, node, 1);
  const TempTensor output = TempTensor::Output(context, node, 0);
  if (!input || !thresholds || !output)
    return Refuse(kName, node, "an input or the output is missing");
  if (input.IsCompressed()) return Refuse(kName, node, "compressed inputs are not supported");
  if (input->type != kTfLiteInt8) return Refuse(kName, node, "the input must be int8");
  if (output->type != kTfLiteInt32) return Refuse(kName, node, "the output must be int32");
  if (input.rank() != 4 || output.rank() != 4)
    return Refuse(kName, node, "input and output must have 4 dimensions");
  const int32_t count = thresholds.rank() == 1 ? thresholds.dims()[0] : 0;
  if (!thresholds.IsConstantVector(kTfLiteInt32, count))
    return Refuse(kName, node, "the thresholds must be a constant vector of int32");
  const char* reason =
      CheckThermometer(input.dims(), output.dims(), thresholds.data<int32_t>(), count);
  return reason == nullptr ? kTfLiteOk : Refuse(kName, node, reason);
}

TfLiteStatus Eval(TfLiteContext* context, TfLiteNode* node) {
  const int* dims = InputDims(context, node, 0);
  Thermometer(dims[0] * dims[1] * dims[2], dims[3], InputData<int8_t>(context, node, 0),
              InputData<int32_t>(context, node, 1), InputDims(context, node, 1)[0],
              OutputData<uint32_t>(context, node, 0));
  return kTfLiteOk;
}

}  // namespace

TFLMRegistration Register_BCNET_THERMOMETER() { return Registration(nullptr, Prepare, Eval); }

}  // namespace bcnet

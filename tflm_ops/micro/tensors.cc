#include "tflm_ops/kernels/optimize.h"

#include "tflm_ops/micro/tensors.h"

#include "tensorflow/lite/micro/micro_context.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tflm_ops/micro/bcnet_ops.h"

namespace bcnet {

TempTensor::TempTensor(TfLiteContext* context, TfLiteTensor* tensor, bool compressed)
    : context_(context), tensor_(tensor), compressed_(compressed) {
  if (tensor == nullptr || tensor->dims == nullptr || tensor->dims->size > kMaxRank) return;
  rank_ = tensor->dims->size;
  for (int i = 0; i < rank_; ++i) dims_[i] = tensor->dims->data[i];
}

TempTensor TempTensor::Input(TfLiteContext* context, const TfLiteNode* node, int index) {
  tflite::MicroContext* micro_context = tflite::GetMicroContext(context);
  bool compressed = false;
#ifdef USE_TFLM_COMPRESSION
  compressed = node->inputs->data[index] >= 0 && micro_context->IsTensorCompressed(node, index);
#endif
  return TempTensor(context, micro_context->AllocateTempInputTensor(node, index), compressed);
}

TempTensor TempTensor::Output(TfLiteContext* context, const TfLiteNode* node, int index) {
  return TempTensor(context,
                    tflite::GetMicroContext(context)->AllocateTempOutputTensor(node, index), false);
}

TempTensor::~TempTensor() {
  if (tensor_ != nullptr) tflite::GetMicroContext(context_)->DeallocateTempTfLiteTensor(tensor_);
}

bool TempTensor::IsConstant() const {
  return tensor_->allocation_type == kTfLiteMmapRo && tensor_->data.data != nullptr && !compressed_;
}

bool TempTensor::IsConstantVector(TfLiteType type, int32_t size) const {
  return tensor_->type == type && rank() == 1 && dims()[0] == size && IsConstant();
}

TfLiteStatus Refuse(const char* name, const TfLiteNode* node, const char* reason) {
  const bool named = node->outputs != nullptr && node->outputs->size > 0;
  MicroPrintf("%s with output tensor %d: %s", name, named ? node->outputs->data[0] : -1, reason);
  return kTfLiteError;
}

bool HasTensors(const TfLiteNode* node, int inputs, int outputs) {
  return node->inputs != nullptr && node->outputs != nullptr && node->inputs->size == inputs &&
         node->outputs->size == outputs;
}

void* AllocatePersistent(TfLiteContext* context, size_t bytes) {
  return tflite::GetMicroContext(context)->AllocatePersistentBuffer(bytes);
}

uint8_t* AllocateTemporary(TfLiteContext* context, size_t bytes) {
  return tflite::GetMicroContext(context)->AllocateTempBuffer(bytes, alignof(double));
}

void DeallocateTemporary(TfLiteContext* context, uint8_t* memory) {
  tflite::GetMicroContext(context)->DeallocateTempBuffer(memory);
}

TfLiteStatus RequestScratch(TfLiteContext* context, int32_t bytes, int* index) {
  return tflite::GetMicroContext(context)->RequestScratchBufferInArena(static_cast<size_t>(bytes),
                                                                       index);
}

void* Scratch(TfLiteContext* context, int index) {
  return tflite::GetMicroContext(context)->GetScratchBuffer(index);
}

Context* ApplicationContext(TfLiteContext* context) {
  auto* application = static_cast<Context*>(tflite::GetMicroContext(context)->external_context());
  return application != nullptr && application->tag == Context::kTag ? application : nullptr;
}

}  // namespace bcnet

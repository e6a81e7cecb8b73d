// What the operators need of TensorFlow Lite Micro: a node's tensors, memory, and a way to say what
// is wrong. Its large headers are included by tensors.cc alone, which keeps the operators quick to
// compile.
#ifndef TFLM_OPS_MICRO_TENSORS_H_
#define TFLM_OPS_MICRO_TENSORS_H_

#include <cstddef>
#include <cstdint>

#include "tensorflow/lite/c/common.h"
#include "tensorflow/lite/micro/micro_common.h"

namespace bcnet {

// A tensor with its shape and quantization, which TensorFlow Lite Micro shows only while operators
// are prepared.
class TempTensor {
 public:
  static TempTensor Input(TfLiteContext* context, const TfLiteNode* node, int index);
  static TempTensor Output(TfLiteContext* context, const TfLiteNode* node, int index);
  ~TempTensor();
  TempTensor(TempTensor&& other) noexcept : TempTensor(other) { other.tensor_ = nullptr; }
  TempTensor& operator=(const TempTensor&) = delete;

  // False for an optional input that is absent.
  explicit operator bool() const { return tensor_ != nullptr; }
  const TfLiteTensor* operator->() const { return tensor_; }

  // The shape; a rank of more than kMaxRank is given as 0, as that of a scalar is.
  static constexpr int kMaxRank = 8;
  int rank() const { return rank_; }
  const int32_t* dims() const { return dims_; }

  // Part of the flatbuffer, so that its values are known now, and stored as they are.
  bool IsConstant() const;
  bool IsCompressed() const { return compressed_; }

  // Whether this is a constant vector of `size` elements of `type`.
  bool IsConstantVector(TfLiteType type, int32_t size) const;

  template <typename T>
  const T* data() const {
    return static_cast<const T*>(tensor_->data.data);
  }

 private:
  TempTensor(TfLiteContext* context, TfLiteTensor* tensor, bool compressed);
  TempTensor(const TempTensor&) = default;

  TfLiteContext* context_;
  TfLiteTensor* tensor_;
  bool compressed_;
  int rank_ = 0;
  int32_t dims_[kMaxRank];
};

// Reports that the operator `name` cannot run and why; returns kTfLiteError. The node is named by
// its output tensor.
TfLiteStatus Refuse(const char* name, const TfLiteNode* node, const char* reason);

// Whether a node has these numbers of inputs (absent ones count) and outputs.
bool HasTensors(const TfLiteNode* node, int inputs, int outputs);

// Memory in the arena. Persistent memory lives as long as the interpreter, temporary memory until
// it is given back, both are null when the arena is too small. A scratch buffer is asked for in
// Prepare and there in Eval.
void* AllocatePersistent(TfLiteContext* context, size_t bytes);
uint8_t* AllocateTemporary(TfLiteContext* context, size_t bytes);
void DeallocateTemporary(TfLiteContext* context, uint8_t* memory);
TfLiteStatus RequestScratch(TfLiteContext* context, int32_t bytes, int* index);
void* Scratch(TfLiteContext* context, int index);

// What the application gave the interpreter as its external context, or null where that is none.
struct Context;
Context* ApplicationContext(TfLiteContext* context);

// The dimensions and the data of a tensor in Eval.
inline const int* InputDims(TfLiteContext* context, const TfLiteNode* node, int index) {
  return context->GetEvalTensor(context, node->inputs->data[index])->dims->data;
}
template <typename T>
const T* InputData(TfLiteContext* context, const TfLiteNode* node, int index) {
  return static_cast<const T*>(
      context->GetEvalTensor(context, node->inputs->data[index])->data.data);
}
template <typename T>
T* OutputData(TfLiteContext* context, const TfLiteNode* node, int index) {
  return static_cast<T*>(context->GetEvalTensor(context, node->outputs->data[index])->data.data);
}

// An operator of three functions, of which `init` may be null; its name is set where it is added to
// a resolver.
inline TFLMRegistration Registration(void* (*init)(TfLiteContext*, const char*, size_t),
                                     TfLiteStatus (*prepare)(TfLiteContext*, TfLiteNode*),
                                     TfLiteStatus (*eval)(TfLiteContext*, TfLiteNode*)) {
  return {init, nullptr, prepare, eval, nullptr, 0, nullptr};
}

}  // namespace bcnet

#endif  // TFLM_OPS_MICRO_TENSORS_H_

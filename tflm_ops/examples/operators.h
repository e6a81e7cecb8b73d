// The operators that the example registers: enough for pairs, for what Larq Compute Engine converts
// and for MLPerf Tiny's int8 models. Take out what your model has not, and its code goes away.
#ifndef TFLM_OPS_EXAMPLES_OPERATORS_H_
#define TFLM_OPS_EXAMPLES_OPERATORS_H_

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tflm_ops/micro/bcnet_ops.h"

using Resolver = tflite::MicroMutableOpResolver<24>;

inline TfLiteStatus RegisterOperators(Resolver& resolver) {
  using Add = TfLiteStatus (*)(Resolver&);
  static constexpr Add kBuiltin[] = {
      [](Resolver& r) { return r.AddAdd(); },
      [](Resolver& r) { return r.AddAveragePool2D(); },
      [](Resolver& r) { return r.AddConv2D(); },
      [](Resolver& r) { return r.AddDepthwiseConv2D(); },
      [](Resolver& r) { return r.AddDequantize(); },
      [](Resolver& r) { return r.AddFullyConnected(); },
      [](Resolver& r) { return r.AddIf(); },
      [](Resolver& r) { return r.AddMaxPool2D(); },
      [](Resolver& r) { return r.AddMean(); },
      [](Resolver& r) { return r.AddMul(); },
      [](Resolver& r) { return r.AddPad(); },
      [](Resolver& r) { return r.AddQuantize(); },
      [](Resolver& r) { return r.AddReshape(); },
      [](Resolver& r) { return r.AddSoftmax(); },
      [](Resolver& r) { return r.AddSub(); },
  };
  for (const Add add : kBuiltin) {
    if (add(resolver) != kTfLiteOk) return kTfLiteError;
  }
  return bcnet::RegisterBcnetOps(resolver);
}

#endif  // TFLM_OPS_EXAMPLES_OPERATORS_H_

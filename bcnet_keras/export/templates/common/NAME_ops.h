// The operators that the model has, and no others: @operator_list@.
// Written by bcnet export (bcnet-keras @version@) from @origin@.
#ifndef @NAME@_OPS_H_
#define @NAME@_OPS_H_

@ops_header@#include "@name@_model.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
@ops_check@
namespace @name@ {

using OpResolver = tflite::MicroMutableOpResolver<@operators@>;

inline TfLiteStatus RegisterOps(OpResolver& resolver) {
@add_operators@
}

}  // namespace @name@

#endif  // @NAME@_OPS_H_

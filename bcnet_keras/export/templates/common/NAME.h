// The net in an interpreter of TensorFlow Lite Micro, with an arena of its own.
//
//   if (!@name@::Begin()) ...                       // once
//   int8_t* codes = @name@::Input()->data.int8;     // then for every image: write the input,
//   if (!@name@::Run()) ...
//   int answer = @name@::BestClass();
//
// Written by bcnet export (bcnet-keras @version@) from @origin@.
#ifndef @NAME@_H_
#define @NAME@_H_

#include <cstddef>

@ops_header@#include "@name@_model.h"
#include "tensorflow/lite/c/common.h"

namespace @name@ {

// Prepares the net. False when TensorFlow Lite Micro refuses, after saying why through MicroPrintf.
bool Begin();

// The tensors, from a successful Begin on. Inputs are to be written anew before every Run.
TfLiteTensor* Input(int index = 0);
const TfLiteTensor* Output(int index = 0);

bool Run();

// Index of the largest element of the first output.
int BestClass();
@escalated_declared@
// Bytes of the arena that are in use.
size_t ArenaUsed();
@gate_declared@
}  // namespace @name@

#endif  // @NAME@_H_

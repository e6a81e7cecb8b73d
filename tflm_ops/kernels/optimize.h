// How the sources are optimized, whatever the build says. The first include of every source file,
// and of no header: what stands here holds up to the end of the file.
//
// GCC does not vectorize for Helium. GCC 12.2 makes a predicate of all ones of a loop that selects
// by a pattern that is known at compile time, so that every lane takes the first value; it does so
// at -O2 and at -O3. What gains by vectors is written with intrinsics.
#ifndef TFLM_OPS_KERNELS_OPTIMIZE_H_
#define TFLM_OPS_KERNELS_OPTIMIZE_H_

#include "tflm_ops/kernels/requirements.h"

// Code of -O0 stays as it is written, for debuggers.
#if defined(__GNUC__) && !defined(__clang__) && defined(__OPTIMIZE__) && defined(__ARM_FEATURE_MVE)
#pragma GCC optimize("no-tree-loop-vectorize", "no-tree-slp-vectorize")
#endif

#endif  // TFLM_OPS_KERNELS_OPTIMIZE_H_

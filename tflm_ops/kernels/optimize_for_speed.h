// The first include of source files with loops over tensors: they are optimized for speed in builds
// for size too, as those of Arduino, PlatformIO and Zephyr are. Without it such builds take up to
// 1.6 times the instructions. clang has no such pragma and needs none: its -Os is as fast as -O3.
#ifndef TFLM_OPS_KERNELS_OPTIMIZE_FOR_SPEED_H_
#define TFLM_OPS_KERNELS_OPTIMIZE_FOR_SPEED_H_

#if defined(__GNUC__) && !defined(__clang__) && defined(__OPTIMIZE__)
#pragma GCC optimize("O3")
// What -Os sets for the whole file: registers are allocated without regard to loops.
#pragma GCC optimize("ira-region=mixed")
// GCC would double some of the code for cases that need none.
#pragma GCC optimize("no-unswitch-loops")
#if __GNUC__ >= 9
#pragma GCC optimize("no-version-loops-for-strides")
#endif
#endif

#include "tflm_ops/kernels/optimize.h"

#endif  // TFLM_OPS_KERNELS_OPTIMIZE_FOR_SPEED_H_

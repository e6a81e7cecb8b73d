// What the sources need of a compiler and a core: one sentence each, before anything else can fail.
#ifndef TFLM_OPS_KERNELS_REQUIREMENTS_H_
#define TFLM_OPS_KERNELS_REQUIREMENTS_H_

#if !defined(__cplusplus)
#error "tflm_ops is C++: compile this file as C++14 or later, for example with g++ -std=gnu++17."
#define BCNET_REQUIREMENT_MISSING
#elif __cplusplus < 201402L && !(defined(_MSVC_LANG) && _MSVC_LANG >= 201402L)
#error "tflm_ops needs C++14 or later (TensorFlow Lite Micro: C++17): compile with -std=gnu++17."
#define BCNET_REQUIREMENT_MISSING
#elif defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 7
#error "tflm_ops needs GCC 7 or later, or clang: use a newer toolchain."
#define BCNET_REQUIREMENT_MISSING
#elif defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tflm_ops needs a little-endian core: compile without -mbig-endian."
#define BCNET_REQUIREMENT_MISSING
#elif defined(__CHAR_BIT__) && __CHAR_BIT__ != 8
#error "tflm_ops needs bytes of 8 bits: this core has others."
#define BCNET_REQUIREMENT_MISSING
#elif defined(__SIZEOF_INT__) && __SIZEOF_INT__ < 4
#error "tflm_ops needs an int of 32 bits: 8-bit and 16-bit cores are not supported."
#define BCNET_REQUIREMENT_MISSING
#elif defined(__SIZEOF_FLOAT__) && __SIZEOF_FLOAT__ != 4
#error "tflm_ops needs a float of 32 bits: compile without options that change its size."
#define BCNET_REQUIREMENT_MISSING
#elif defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1) && defined(__has_include)
#if !__has_include(<arm_mve.h>)
#error "tflm_ops needs <arm_mve.h> (GCC 10, clang 12 or later) for Helium, or +nomve in -mcpu."
#define BCNET_REQUIREMENT_MISSING
#endif
#endif

// A header that is not there ends the compilation here: nothing that follows can be right, and
// would bury the sentence.
#ifdef BCNET_REQUIREMENT_MISSING
#include "stopped, see the error above"
#endif

#endif  // TFLM_OPS_KERNELS_REQUIREMENTS_H_

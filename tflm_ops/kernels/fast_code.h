// Where the functions lie in which a binary convolution spends most of its time: by default with
// all other code. -DBCNET_FAST_CODE=.ramfunc puts them into that section, for a linker script to
// put it into memory that answers at once, and for start-up code to copy it there.
//
// The unrolled loops are longer than the smallest caches, so that each round would wait for the
// flash. What stays where it was fits a cache of 1 KB. README.md has the names of sections that
// boards' own linker scripts and start-up code already treat so.
#ifndef TFLM_OPS_KERNELS_FAST_CODE_H_
#define TFLM_OPS_KERNELS_FAST_CODE_H_

#if defined(BCNET_FAST_CODE) && defined(__GNUC__) && defined(__arm__)
#define BCNET_TEXT_OF(name) #name
#define BCNET_IN_SECTION(name) __attribute__((section(BCNET_TEXT_OF(name))))
#define BCNET_FAST BCNET_IN_SECTION(BCNET_FAST_CODE)
#else
#define BCNET_FAST
#endif

#endif  // TFLM_OPS_KERNELS_FAST_CODE_H_

/* @origin@ as an array, and what is known of it. Written by bcnet export (bcnet-keras @version@). */
#ifndef @NAME@_MODEL_H_
#define @NAME@_MODEL_H_

/* Bytes of RAM for the tensor arena of this model, on a core with pointers of 32 bits and with the
   kernels of CMSIS-NN or the reference ones. */
#define @NAME@_ARENA_SIZE @arena_size@

/* Bytes of them that a binary convolution may use to be faster; @name@_ops.h registers it with them. */
#define @NAME@_SCRATCH_BUDGET @scratch_budget@

@tensors@
@raw@@thresholds@
#ifdef __cplusplus
extern "C" {
#endif

/* The flatbuffer, aligned to 16 bytes. */
#define @NAME@_MODEL_SIZE @model_size@
extern const unsigned char @name@_model[@NAME@_MODEL_SIZE];
@labels_declared@
#ifdef __cplusplus
}
#endif

#endif /* @NAME@_MODEL_H_ */

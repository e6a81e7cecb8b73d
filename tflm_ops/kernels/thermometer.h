// BcnetThermometer: compares int8 channels with thresholds, straight to a bitpacked tensor. It is
// the first layer of a net whose convolutions are all binary.
#ifndef TFLM_OPS_KERNELS_THERMOMETER_H_
#define TFLM_OPS_KERNELS_THERMOMETER_H_

#include <cstdint>

namespace bcnet {

// Checks an NHWC input and output, the latter in words, and `count` thresholds, one for each bit.
// Returns nullptr, or why the operator cannot run.
const char* CheckThermometer(const int32_t input_dims[4], const int32_t output_dims[4],
                             const int32_t* thresholds, int32_t count);

// Bit c * planes + p of a pixel is 1 where channel c is below thresholds[c * planes + p]; `planes`
// is count / channels. No scratch memory is needed.
void Thermometer(int32_t pixels, int32_t channels, const int8_t* input, const int32_t* thresholds,
                 int32_t count, uint32_t* output);

constexpr int32_t ThermometerScratchSize() { return 0; }

}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_THERMOMETER_H_

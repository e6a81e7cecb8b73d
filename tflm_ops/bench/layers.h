// The layers that the bench measures: binary convolutions with SAME padding of +1 on one image.
#ifndef TFLM_OPS_BENCH_LAYERS_H_
#define TFLM_OPS_BENCH_LAYERS_H_

#include <cstdint>

namespace bench {

struct Layer {
  const char* group;
  const char* name;
  int32_t height, width;  // of the input
  int32_t channels_in, channels_out;
  int32_t kernel;  // height and width
  int32_t stride;
};

constexpr Layer kLayers[] = {
    // Shapes of a residual net on 32x32 images, and a 1x1 convolution.
    {"design", "L1", 32, 32, 32, 32, 3, 1},
    {"design", "L2", 16, 16, 64, 64, 3, 1},
    {"design", "L3", 8, 8, 128, 128, 3, 1},
    {"design", "P1", 8, 8, 128, 128, 1, 1},
    // The binary layers of bcnet_keras.models.networks, at the sizes of their data sets.
    {"networks", "digits-1", 8, 8, 10, 32, 3, 1},
    {"networks", "digits-2", 8, 8, 32, 64, 3, 2},
    {"networks", "digits-3", 4, 4, 64, 96, 3, 2},
    {"networks", "digits-4", 2, 2, 96, 96, 3, 2},
    {"networks", "fashion_mnist-1", 14, 14, 64, 128, 3, 2},
    {"networks", "fashion_mnist-2", 7, 7, 128, 256, 3, 2},
    {"networks", "speech_commands-1", 25, 5, 64, 64, 3, 1},
    {"networks", "speech_commands-2", 25, 5, 64, 128, 3, 2},
    {"networks", "speech_commands-3", 13, 3, 128, 128, 3, 1},
    {"networks", "mnist_5k-1", 10, 10, 10, 64, 3, 2},
    {"networks", "mnist_5k-2", 5, 5, 64, 64, 3, 1},
    {"networks", "mnist_5k-3", 5, 5, 64, 128, 3, 2},
    {"networks", "images-1", 32, 32, 30, 64, 3, 2},
    {"networks", "images-2", 16, 16, 64, 64, 3, 1},
    {"networks", "images-3", 16, 16, 64, 128, 3, 2},
    {"networks", "images-4", 8, 8, 128, 128, 3, 1},
    {"networks", "images-5", 8, 8, 128, 256, 3, 2},
};

// The group "sweep" has all combinations of these, "sample" every kSampleStep-th of them.
constexpr int32_t kSweepSizes[] = {1, 2, 4, 8, 16, 32};
constexpr int32_t kSweepChannels[][2] = {{32, 32},   {64, 64},  {128, 128},
                                         {256, 256}, {32, 256}, {256, 32}};
constexpr int32_t kSweepKernels[] = {1, 3, 5};
constexpr int32_t kSweepStrides[] = {1, 2};
constexpr int32_t kSampleStep = 7;

}  // namespace bench

#endif  // TFLM_OPS_BENCH_LAYERS_H_

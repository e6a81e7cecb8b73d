// A binary convolution under way, and what the files of the bitsliced kernel call of each other.
#ifndef TFLM_OPS_KERNELS_BCONV2D_BITSLICED_JOB_H_
#define TFLM_OPS_KERNELS_BCONV2D_BITSLICED_JOB_H_

#include <cstdint>

#include "tflm_ops/kernels/bconv2d/bconv2d.h"
#include "tflm_ops/kernels/bconv2d/bitsliced/digits.h"
#include "tflm_ops/kernels/bconv2d/kernels.h"

namespace bcnet {
namespace sliced {

constexpr int kMaxDigits = 13;

// Digits below kBlockDigits are summed by the blocks, which leave a pair of the next weight each,
// and those below kGroupDigits by groups of these pairs, which leave a carry each.
constexpr int kBlockDigits = 4;
constexpr int kGroupDigits = 8;

// A convolution under way.
struct Job {
  // Writes the outputs of the next pixel: WriteSums or one of those for the linear transform.
  // The latter need the numbers of the pass's first channel, which are nullptr otherwise, where the
  // outputs go, bytes from pixel to pixel, and WriteLargeSums, all at these places. WriteSums needs
  // the pixel and whether half a mismatch comes on top.
  const LinearChannel* linear;
  mutable int8_t* outputs;
  int32_t pixel_size;
  void (*write_large_sums)(const Job&, uint32_t*);
  mutable int32_t pixel;
  mutable int32_t half;
  void (*end)(const Job&, uint32_t*);
  const Bconv2dParams* params;
  const Bconv2dPlan* plan;
  const Bconv2dOutputStage* stage;
  const uint32_t* filter;
  Bconv2dSlicedGeometry geometry;
  int32_t taps;
  int digits;
  int32_t index_bytes;  // of an input word
  // Computes outputs whose taps all count and lie side by side, or nullptr.
  void (*row)(const Job&, int32_t, int32_t, int32_t, uint32_t*);
  // Parts of the scratch memory.
  uint32_t* tables;
  Pair* pairs;        // that the blocks of a pixel leave
  int32_t kept_size;  // words of a pixel's, 0 when there is one channel block
  uint32_t* kept;     // counters of the tile's pixels: the first sum's parity or value, the digits
  void* index;        // [row % index_rows][word of the channel block][column of the tile]
  // The pass.
  int32_t word;   // of the output channels
  int32_t count;  // channels in it
  // Bit 8 * l + i stands for its channel i * step + l * byte_step.
  int32_t step;
  int32_t byte_step;
  uint32_t start[16];  // of the counters, as they are kept: the first sum's parity, the digits
  uint32_t first_sum;  // before the first block
  uint32_t left_over;  // the last block's sum, before the input's parity
  // The tile.
  int32_t first_x;
  int32_t width;
  int32_t columns;
  // The channel block: words of the input channels.
  int32_t first_word;
  int32_t words;
  bool is_first;
  bool is_last;
};

// Writes the outputs of a pixel from the digits of its mismatches, less half the offset in a pass
// of the linear transform. There is room for one digit before them.
void WriteSums(const Job& job, uint32_t* digits);

// Sets the counters' start of a pass and the function that writes its outputs.
void PrepareStart(Job* job);

}  // namespace sliced
}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_BCONV2D_BITSLICED_JOB_H_

// What the assembly of pixels needs to know: wide_thumb.h for cores with Thumb-2, thumb_pixels.h
// for a Cortex-M0+.
#ifndef TFLM_OPS_KERNELS_BCONV2D_BITSLICED_PIXELS_H_
#define TFLM_OPS_KERNELS_BCONV2D_BITSLICED_PIXELS_H_

#include <cstddef>
#include <cstdint>

#include "tflm_ops/kernels/bconv2d/bitsliced/adder_tables.h"
#include "tflm_ops/kernels/bconv2d/bitsliced/job.h"

// Cores that issue two instructions at once, or load two words in a cycle, are left to the
// compiler: those with double precision, Cortex-M7 and M55 among them.
#if BCNET_ASSEMBLY && (BCNET_THUMB1 || (defined(__thumb2__) && !BCNET_DOUBLE_PRECISION))
#define BCNET_PIXELS_ASSEMBLY 1
#else
#define BCNET_PIXELS_ASSEMBLY 0
#endif

namespace bcnet {
namespace sliced {

// What bcnet_finish needs to know.
struct PixelEnd {
  Pair* pairs;  // what the blocks left, up to pairs_end; the carries take their place
  const Pair* pairs_end;
  const uint32_t* start;  // of the counters: the first sum's parity, the digits
  uint32_t* result;       // what becomes of them, or nullptr where the highest digit says it all
  int32_t digits;
};

// What AddPixels needs to know.
struct Pixels {
  const uint8_t* rows[3];  // table indices for the first tap of each row of taps
  ptrdiff_t step;          // bytes from the table indices of a channel word to those of the next
  ptrdiff_t next;          // and from where a pixel ends to where the next one begins
  PixelEnd end;
  ptrdiff_t start_step;     // bytes from a pixel's start to that of the next
  uint32_t* output;         // where the highest digits go, or nullptr
  ptrdiff_t output_step;    // bytes from one to the next
  const uint8_t* rows_end;  // rows[0] behind the last pixel
};
#if BCNET_PIXELS_ASSEMBLY
static_assert(sizeof(Tables<5>::Index) == 36 && Tables<5>::Place(1) == 2 &&
                  offsetof(Pixels, end) == 20 && sizeof(PixelEnd) == 20 && kBlockDigits == 4 &&
                  kGroupDigits == 8,
              "places that the assembly knows");
#endif

}  // namespace sliced
}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_BCONV2D_BITSLICED_PIXELS_H_

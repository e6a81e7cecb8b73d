// Sizes of what the Helium kernel keeps in its scratch memory.
#ifndef TFLM_OPS_KERNELS_BCONV2D_HELIUM_HELIUM_H_
#define TFLM_OPS_KERNELS_BCONV2D_HELIUM_HELIUM_H_

namespace bcnet {
namespace helium {

constexpr int kLanes = 4;
constexpr int kVectorBytes = 16;
// Tables of a block of 32 inputs and 32 output channels, with nodes of two full adders or of one.
constexpr int kPairTableBytes = 2112;
constexpr int kTableBytes = 640;
constexpr int kIndexBytes = 64;               // of an input word of each lane
constexpr int kPairBytes = 2 * kVectorBytes;  // that a block leaves

}  // namespace helium
}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_BCONV2D_HELIUM_HELIUM_H_

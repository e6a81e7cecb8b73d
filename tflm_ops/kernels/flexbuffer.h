// A reader of FlexBuffers (https://flatbuffers.dev/flexbuffers) for the options of custom
// operators. It never reads outside the buffer, allocates nothing, and takes a hundred lines where
// the general library takes kilobytes of code.
#ifndef TFLM_OPS_KERNELS_FLEXBUFFER_H_
#define TFLM_OPS_KERNELS_FLEXBUFFER_H_

#include <cstddef>
#include <cstdint>

namespace bcnet {

struct FlexBytes {
  const uint8_t* data;
  size_t size;
};

// A value that lies in the buffer itself, or the offset to one.
struct FlexValue {
  FlexBytes bytes;
  size_t position;
  uint8_t width;         // bytes of the value or offset at `position`
  uint8_t type;          // FlexBuffers' number of the type
  uint8_t target_width;  // element width of what an offset leads to
};

struct FlexMap {
  FlexBytes bytes;
  size_t keys;
  size_t values;
  size_t size;
  uint8_t keys_width;
  uint8_t values_width;
};

struct FlexVector {
  FlexBytes bytes;
  size_t position;
  size_t size;
  uint8_t width;
  uint8_t element_type;  // 0 when each element has a type of its own
};

// Each returns false when the bytes do not hold what is asked for.
bool FlexRootMap(const uint8_t* data, size_t size, FlexMap* map);
bool FlexFind(const FlexMap& map, const char* key, FlexValue* value);
bool FlexToInt(const FlexValue& value, int32_t* result);      // an integer that fits in 32 bits
bool FlexToFloat(const FlexValue& value, float* result);      // a float, double or integer
bool FlexEquals(const FlexValue& value, const char* string);  // a string with this text
bool FlexToVector(const FlexValue& value, FlexVector* vector);
bool FlexElement(const FlexVector& vector, size_t index, FlexValue* value);

}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_FLEXBUFFER_H_

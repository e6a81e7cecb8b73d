#include "tflm_ops/kernels/optimize.h"

#include "tflm_ops/kernels/flexbuffer.h"

#include <cstring>

namespace bcnet {
namespace {

// FlexBuffers' numbers of the types that options use.
enum Type : uint8_t {
  kNull = 0,
  kInt = 1,
  kUInt = 2,
  kFloat = 3,
  kString = 5,
  kIndirectInt = 6,
  kIndirectUInt = 7,
  kIndirectFloat = 8,
  kMap = 9,
  kVector = 10,
  kVectorInt = 11,
  kVectorUInt = 12,
  kVectorFloat = 13,
  kVectorInt2 = 16,
  kVectorFloat4 = 24,
};

bool ValidWidth(uint64_t width) { return width == 1 || width == 2 || width == 4 || width == 8; }

bool InRange(FlexBytes bytes, size_t position, size_t count) {
  return position <= bytes.size && count <= bytes.size - position;
}

bool ReadUnsigned(FlexBytes bytes, size_t position, uint8_t width, uint64_t* result) {
  if (!InRange(bytes, position, width)) return false;
  *result = 0;
  for (uint8_t i = 0; i < width; ++i)
    *result |= static_cast<uint64_t>(bytes.data[position + i]) << (8 * i);
  return true;
}

// Follows the offset, which counts backwards, at `position`.
bool ReadOffset(FlexBytes bytes, size_t position, uint8_t width, size_t* target) {
  uint64_t offset;
  if (!ReadUnsigned(bytes, position, width, &offset) || offset > position) return false;
  *target = position - static_cast<size_t>(offset);
  return true;
}

// Reads the element count in front of a vector, map or string and checks that the elements, with
// `extra` bytes for each, lie in the buffer.
bool ReadCount(FlexBytes bytes, size_t position, uint8_t width, size_t extra, size_t* count) {
  uint64_t value;
  if (position < width || !ReadUnsigned(bytes, position - width, width, &value)) return false;
  if (position > bytes.size || value > (bytes.size - position) / (width + extra)) return false;
  *count = static_cast<size_t>(value);
  return true;
}

bool SetType(uint8_t packed_type, FlexValue* value) {
  value->type = packed_type >> 2;
  value->target_width = static_cast<uint8_t>(1 << (packed_type & 3));
  return true;
}

bool KeyEquals(const FlexMap& map, size_t index, const char* key) {
  size_t position;
  if (!ReadOffset(map.bytes, map.keys + index * map.keys_width, map.keys_width, &position))
    return false;
  const size_t size = std::strlen(key) + 1;
  return InRange(map.bytes, position, size) &&
         std::memcmp(map.bytes.data + position, key, size) == 0;
}

// The place of a number: the value itself, or what an indirect one leads to.
bool Locate(const FlexValue& value, uint8_t direct, uint8_t indirect, size_t* position,
            uint8_t* width) {
  *position = value.position;
  *width = value.width;
  if (value.type == direct) return true;
  *width = value.target_width;
  return value.type == indirect && ReadOffset(value.bytes, value.position, value.width, position);
}

}  // namespace

bool FlexRootMap(const uint8_t* data, size_t size, FlexMap* map) {
  // The last two bytes are the root's type and width; the root itself stands in front of them.
  if (data == nullptr || size < 3) return false;
  const FlexBytes bytes = {data, size};
  const uint8_t root_width = data[size - 1];
  const uint8_t packed_type = data[size - 2];
  if (!ValidWidth(root_width) || size - 2 < root_width || packed_type >> 2 != kMap) return false;
  map->bytes = bytes;
  map->values_width = static_cast<uint8_t>(1 << (packed_type & 3));
  if (!ReadOffset(bytes, size - 2 - root_width, root_width, &map->values)) return false;
  // In front of the values: the offset of the keys, their width, and the count of values. A type
  // byte follows for each.
  const uint8_t width = map->values_width;
  if (!ReadCount(bytes, map->values, width, 1, &map->size) || map->values < 3u * width)
    return false;
  uint64_t keys_width;
  if (!ReadUnsigned(bytes, map->values - 2 * width, width, &keys_width) || !ValidWidth(keys_width))
    return false;
  map->keys_width = static_cast<uint8_t>(keys_width);
  if (!ReadOffset(bytes, map->values - 3 * width, width, &map->keys)) return false;
  size_t keys_count;
  return ReadCount(bytes, map->keys, map->keys_width, 0, &keys_count) && keys_count == map->size;
}

bool FlexFind(const FlexMap& map, const char* key, FlexValue* value) {
  for (size_t i = 0; i < map.size; ++i) {
    if (!KeyEquals(map, i, key)) continue;
    value->bytes = map.bytes;
    value->position = map.values + i * map.values_width;
    value->width = map.values_width;
    return SetType(map.bytes.data[map.values + map.size * map.values_width + i], value);
  }
  return false;
}

bool FlexToInt(const FlexValue& value, int32_t* result) {
  size_t position;
  uint8_t width;
  uint64_t bits;
  const bool is_signed = value.type == kInt || value.type == kIndirectInt;
  if (!Locate(value, is_signed ? kInt : kUInt, is_signed ? kIndirectInt : kIndirectUInt, &position,
              &width) ||
      !ReadUnsigned(value.bytes, position, width, &bits)) {
    return false;
  }
  if (is_signed && width < 8 && (bits >> (8 * width - 1)) != 0) bits |= ~uint64_t{0} << (8 * width);
  const int64_t number = static_cast<int64_t>(bits);
  if ((!is_signed && number < 0) || number < INT32_MIN || number > INT32_MAX) return false;
  *result = static_cast<int32_t>(number);
  return true;
}

bool FlexToFloat(const FlexValue& value, float* result) {
  int32_t integer;
  if (FlexToInt(value, &integer)) {
    *result = static_cast<float>(integer);
    return true;
  }
  size_t position;
  uint8_t width;
  uint64_t bits;
  if (!Locate(value, kFloat, kIndirectFloat, &position, &width) || width < 4 ||
      !ReadUnsigned(value.bytes, position, width, &bits)) {
    return false;
  }
  if (width == 4) {
    const uint32_t low = static_cast<uint32_t>(bits);
    std::memcpy(result, &low, sizeof(low));
    return true;
  }
  double number;
  std::memcpy(&number, &bits, sizeof(bits));
  // A double beyond the range of float has no defined conversion.
  if (!(number >= -3.4028234663852886e38 && number <= 3.4028234663852886e38)) return false;
  *result = static_cast<float>(number);
  return true;
}

bool FlexEquals(const FlexValue& value, const char* string) {
  size_t position, count;
  if (value.type != kString || !ReadOffset(value.bytes, value.position, value.width, &position) ||
      !ReadCount(value.bytes, position, value.target_width, 0, &count)) {
    return false;
  }
  return count == std::strlen(string) && InRange(value.bytes, position, count) &&
         std::memcmp(value.bytes.data + position, string, count) == 0;
}

bool FlexToVector(const FlexValue& value, FlexVector* vector) {
  vector->bytes = value.bytes;
  vector->width = value.target_width;
  if (value.type < kVector || value.type > kVectorFloat4 ||
      !ReadOffset(value.bytes, value.position, value.width, &vector->position)) {
    return false;
  }
  if (value.type == kVector) {
    vector->element_type = kNull;
    return ReadCount(value.bytes, vector->position, vector->width, 1, &vector->size);
  }
  if (value.type <= kVectorFloat) {
    vector->element_type = static_cast<uint8_t>(value.type - kVectorInt + kInt);
    return ReadCount(value.bytes, vector->position, vector->width, 0, &vector->size);
  }
  if (value.type < kVectorInt2) return false;
  // Vectors of two, three or four numbers carry no count.
  vector->element_type = static_cast<uint8_t>((value.type - kVectorInt2) % 3 + kInt);
  vector->size = static_cast<size_t>((value.type - kVectorInt2) / 3 + 2);
  return InRange(value.bytes, vector->position, vector->size * vector->width);
}

bool FlexElement(const FlexVector& vector, size_t index, FlexValue* value) {
  if (index >= vector.size) return false;
  value->bytes = vector.bytes;
  value->position = vector.position + index * vector.width;
  value->width = vector.width;
  if (vector.element_type == kNull) {
    return SetType(vector.bytes.data[vector.position + vector.size * vector.width + index], value);
  }
  value->type = vector.element_type;
  value->target_width = vector.width;
  return true;
}

}  // namespace bcnet

// The tests' platform on the host: cases from standard input, each block of memory on its own, so
// that the address sanitizer sees an access past its end.
#include <cstdio>
#include <cstdlib>

#include "tflm_ops/tests/platform.h"

namespace platform {
namespace {

void* blocks[32];
size_t count = 0;

}  // namespace

bool Read(void* data, size_t size) { return std::fread(data, 1, size, stdin) == size; }

void Write(const char* text) { std::fputs(text, stdout); }

void* Allocate(size_t size) {
  if (count == sizeof(blocks) / sizeof(blocks[0])) return nullptr;
  return blocks[count++] = std::malloc(size);
}

void FreeAll() {
  while (count > 0) std::free(blocks[--count]);
}

}  // namespace platform

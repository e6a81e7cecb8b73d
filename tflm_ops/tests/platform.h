// What the tests of the kernels need of the machine they run on.
#ifndef TFLM_OPS_TESTS_PLATFORM_H_
#define TFLM_OPS_TESTS_PLATFORM_H_

#include <cstddef>
#include <cstdint>

namespace platform {

// Reads the next bytes of the file of test cases; false at its end.
bool Read(void* data, size_t size);

void Write(const char* text);

// Memory aligned to 16 bytes, or null when there is none left; FreeAll gives back all of it.
void* Allocate(size_t size);
void FreeAll();

}  // namespace platform

#endif  // TFLM_OPS_TESTS_PLATFORM_H_

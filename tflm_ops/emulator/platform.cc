// The tests' platform on an emulated board: the file named on the command line, read through
// semihosting.
#include "tflm_ops/tests/platform.h"

#include "tflm_ops/emulator/semihosting.h"

extern "C" char heap_start[], heap_end[];

namespace platform {
namespace {

char* next_free = heap_start;
int32_t file = -1;

// Opens the last word of the command line.
void OpenFile() {
  static char line[1024];
  struct {
    char* text;
    uint32_t size;
  } command = {line, sizeof(line)};
  if (emulator::Call(0x15, &command) != 0) return;
  const char* name = line;
  for (const char* c = line; *c != 0; ++c) {
    if (*c == ' ') name = c + 1;
  }
  uint32_t size = 0;
  while (name[size] != 0) ++size;
  const struct {
    const char* name;
    uint32_t mode;
    uint32_t size;
  } open = {name, 1, size};  // "rb"
  file = emulator::Call(0x01, &open);
}

}  // namespace

bool Read(void* data, size_t size) {
  if (file == -1) OpenFile();
  const struct {
    int32_t file;
    void* data;
    uint32_t size;
  } read = {file, data, static_cast<uint32_t>(size)};
  return file != -1 && emulator::Call(0x06, &read) == 0;  // the number of bytes that were not read
}

void Write(const char* text) { emulator::Write(text); }

void* Allocate(size_t size) {
  char* memory = next_free;
  size = (size + 15) & ~static_cast<size_t>(15);
  if (size > static_cast<size_t>(heap_end - next_free)) return nullptr;
  next_free += size;
  return memory;
}

void FreeAll() { next_free = heap_start; }

}  // namespace platform

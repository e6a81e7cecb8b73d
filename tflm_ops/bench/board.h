// What the bench needs of the machine it runs on. board_emulator.cc is QEMU's; board_cyccnt.cc is
// one to fill in for a real board.
#ifndef TFLM_OPS_BENCH_BOARD_H_
#define TFLM_OPS_BENCH_BOARD_H_

#include <cstddef>
#include <cstdint>

namespace board {

// Memory for tensors and scratch, aligned to 16 bytes. Layers that do not fit are left out.
extern uint8_t* const memory;
extern const size_t memory_size;

// Names of the layers and groups of layers to measure, separated by spaces; see layers.h.
const char* Layers();

// What lies between a Start and the next Stop is measured. Stop returns the board's count, or 0
// where something outside, as QEMU's plug-in, counts.
void Start();
uint32_t Stop();

void Write(const char* text);

}  // namespace board

#endif  // TFLM_OPS_BENCH_BOARD_H_

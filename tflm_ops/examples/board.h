// What the example needs of the machine it runs on.
#ifndef TFLM_OPS_EXAMPLES_BOARD_H_
#define TFLM_OPS_EXAMPLES_BOARD_H_

#include <cstdint>

namespace board {

// What lies between a Start and the next Stop is measured. Stop returns how many `unit` it took, 0
// for more than it can tell.
void Start();
uint32_t Stop();
extern const char* const unit;

void Write(const char* text);

}  // namespace board

#endif  // TFLM_OPS_EXAMPLES_BOARD_H_

"""What a flatbuffer takes of a microcontroller: cycles, instructions, arena, flash, and the boards it fits."""

"""What a flatbuffer takes of a microcontroller: instructions, arena, flash, and the boards it fits."""

"""The foundation: TensorFlow Lite flatbuffers, read, verified, changed and written. Needs no TensorFlow."""

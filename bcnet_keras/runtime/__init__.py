"""Runs converted flatbuffers on the host: in TensorFlow Lite (`tflite`) and in TensorFlow Lite Micro (`tflm`)."""

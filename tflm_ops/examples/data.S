// The model, aligned as TensorFlow Lite Micro wants it, and the images: int8 codes, one image after the other.
  .section .rodata.model, "a"
  .global model_begin, images_begin, images_end
  .balign 16
model_begin:
  .incbin BCNET_MODEL
  .balign 4
images_begin:
  .incbin BCNET_IMAGES
images_end:

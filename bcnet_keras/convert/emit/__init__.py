"""From Keras nets straight to operators: the flatbuffer of a net of `bcnet_keras.layers`, written without a converter.

A net is walked once (`layers`). A layer whose result becomes 8-bit codes or signs only further on (a convolution in
front of its batch normalisation, ReLU and `FakeQuant`) waits as a value (`values`, `convolutions`), and is written when
it is known what it ends in:

* 8-bit codes, by the range of the `FakeQuant`;
* signs, where a binary layer reads it: LceBconv2d then compares its sums with thresholds and writes bits.

`arithmetic` has the formulas of the numbers, with their sources.
"""

from bcnet_keras.convert.emit.layers import emit
from bcnet_keras.convert.emit.values import NotEmitted

__all__ = ["NotEmitted", "emit"]

"""What both conversions from Keras to a flatbuffer share: a batch of one, a quiet converter, a check for floats."""

import tensorflow as tf

from bcnet_keras.errors import ArgumentTypeError, ModelError
from bcnet_keras.layers import front_of, with_precision
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.utils.silence import quiet

_BEHIND_BINARY = {
    "LceQuantize": "pad with +1 (pad_values=1) or not at all (padding='valid'), and put BatchNormalization straight "
    "behind the binary convolution",
    "MAX_POOL_2D": "put the pooling behind the BatchNormalization",
    "RELU": "put the activation before the BatchNormalization, or leave it out",
}
_FAKE_QUANT = "put FakeQuant before and behind the layer, and use Int8Conv2D, Int8DepthwiseConv2D or Int8Dense"


def convert_quietly(convert, model, what):
    """Returns `convert(model with a batch of one)`, the bytes of a flatbuffer, and silences the converter.

    Arguments:
      convert: function of a Keras model.
      model: Keras model of one image input [n, h, w, c] and one output [n, classes].
      what: the name of the net for error messages, such as "binary net".

    Raises:
      TypeError: `model` is not a Keras model.
      ValueError: other inputs or outputs, or the converter gives up.
    """
    if not isinstance(model, tf.keras.Model):
        raise ArgumentTypeError(f"the {what} must be a tf.keras.Model (legacy Keras), got {type(model).__name__}")
    if not model.built or len(model.inputs or []) != 1 or len(model.outputs or []) != 1:
        raise ModelError(f"the {what} must be a built model with one input and one output; build it on Input(...)")
    model = with_precision(model, "float32")  # which the converters need
    if front_of(model):
        model = tf.keras.Model(front_of(model)[-1].output, model.output, name="model")
    shape, classes = tuple(model.inputs[0].shape[1:]), tuple(model.outputs[0].shape[1:])
    if len(shape) != 3 or None in shape or len(classes) != 1 or None in classes:
        raise ModelError(
            f"the {what} must map images [n, h, w, c] of known size to logits [n, classes], "
            f"got {[None, *shape]} -> {[None, *classes]}"
        )
    image = tf.keras.Input(batch_shape=(1, *shape), name="image")
    with quiet() as captured:
        try:
            # The converters name tensors after the models; fixed names give the same bytes every time.
            return convert(tf.keras.Model(image, model(image), name="net"))
        except Exception as error:  # converters raise bare Exception
            lines = [line.strip() for line in [*str(error).splitlines(), *captured().splitlines()] if "error:" in line]
            reason = (lines or str(error).splitlines() or [type(error).__name__])[0]
    raise ModelError(f"the {what} does not convert to a flatbuffer: {reason}")


def check_fully_quantized(converted, model, what):
    """Raises ValueError if a converted net computes with floats anywhere between input and output.

    The message names the first operator that gives floats, the layer that it comes from and what to change there.

    Arguments:
      converted: `schema.ModelT` of the net.
      model: the Keras net that it was converted from.
      what: the name of the net for error messages, such as "binary net".
    """
    graph = converted.subgraphs[0]
    float32 = flatbuffer.schema.TensorType.FLOAT32
    for position, operator in enumerate(graph.operators):
        outputs = [graph.tensors[index] for index in operator.outputs]
        if not any(tensor.type == float32 for tensor in outputs):
            continue
        readers = [other for other in graph.operators[position:] if set(operator.outputs) & set(other.inputs)]
        if flatbuffer.op_name(converted, operator) == "DEQUANTIZE" and readers:
            operator = readers[0]  # the operator that the converter could not quantise
        name, hint = flatbuffer.op_name(converted, operator), _FAKE_QUANT
        if name == "SIGN":
            hint = "binary layers belong into the binary net"
        elif name == "LceBconv2d":
            reader = flatbuffer.op_name(converted, readers[0]) if readers else None
            hint = _BEHIND_BINARY.get(reader, "put FakeQuant straight behind the BatchNormalization that follows it")
        layer = _layer_of(model, [flatbuffer.text(graph.tensors[index].name) for index in operator.outputs])
        raise ModelError(f"the {what} is not all integer: {name} of layer {layer!r} works on float32; {hint}")
    for kind, indices in (("input", graph.inputs), ("output", graph.outputs)):
        for index in indices:
            if graph.tensors[index].type != flatbuffer.schema.TensorType.INT8:
                place = "behind its Input (fixed, with the input range)" if kind == "input" else "behind its last layer"
                found = flatbuffer.type_name(graph.tensors[index])
                raise ModelError(f"the {what}'s {kind} is {found}, expected int8; put FakeQuant {place}")


def _layer_of(model, names):
    """Returns the name of the layer whose name is part of a tensor's path; that of the last layer if there is none."""
    models, layers = tf.keras.Model, tf.keras.layers.Layer
    known = {item.name for item in model.submodules if isinstance(item, layers) and not isinstance(item, models)}
    for name in names:
        # A fused tensor lists all its origins, the last layer first. Converters cut long names.
        path = [part for part in name.split(";")[0].split("/") if part in known]
        if path:
            return path[0]
    return model.layers[-1].name

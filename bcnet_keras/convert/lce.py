"""Keras nets to flatbuffers by the converters of Larq Compute Engine (LCE) and TensorFlow Lite.

`convert.emit` writes nets of this package's layers. Nets with other layers (a user's own of Larq or of the TensorFlow
Model Optimization Toolkit) go through these converters, which say nothing about much that they do not do. Each net is
checked three times: its binary layers before the conversion, the types of the flatbuffer, and its answers on samples
beside those of Keras.

LCE turns the binary layers into its custom operators `LceQuantize`, `LceBconv2d` and `LceBMaxPool2d` on bitpacked
words. It turns every other layer that stands between two fake quantisations into an int8 builtin.
"""

from __future__ import annotations

import contextlib
import tempfile

import numpy as np
import tensorflow as tf

from bcnet_keras.convert.passes.mean_to_average_pool import mean_to_average_pool
from bcnet_keras.errors import ArgumentTypeError, ModelError
from bcnet_keras.layers import FakeQuant, front_of, with_precision
from bcnet_keras.layers.binary import binary_problem
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.flatbuffer import schema
from bcnet_keras.tflite.lce import interpreter_class
from bcnet_keras.utils.silence import captured_output
from bcnet_keras.utils.types import Range

_BEHIND_BINARY = {
    "LceQuantize": "pad with +1 (pad_values=1) or not at all (padding='valid'), and put BatchNormalization straight "
    "behind the binary convolution",
    "MAX_POOL_2D": "put the pooling behind the BatchNormalization",
    "RELU": "put the activation before the BatchNormalization, or leave it out",
}
_TFMOT = "tfmot leaves it in float; make the int8 net of the float model with bcnet_keras.int8_twin"
_FAKE_QUANT = "put FakeQuant before and behind the layer, and use Int8Conv2D, Int8DepthwiseConv2D or Int8Dense"
# How much the answers of a flatbuffer may differ from Keras', as a part of what they vary by from image to image: more
# than rounding alone gave in nets with random weights (0.74 for binary nets, where it moves signs; 0.4 for int8 nets).
_TOLERANCE = {"binary net": 1.0, "int8 net": 0.5}
_STEPS = 4  # of the output, which differences may always have
_SAMPLES = 8


def convert_binary(model: tf.keras.Model) -> bytes:
    """Converts a binary Keras net (images in its input range -> logits) to the bytes of a flatbuffer.

    See `lower_binary`.
    """
    return flatbuffer.rewrite(lower_binary(model))


def convert_int8(model: tf.keras.Model, input_range: Range) -> bytes:
    """Converts a quantisation-aware trained Keras net to the bytes of an int8 flatbuffer with a batch of one.

    See `lower_int8`.
    """
    return flatbuffer.rewrite(lower_int8(model, input_range))


def lower_binary(model: tf.keras.Model) -> schema.ModelT:
    """Converts a binary Keras net (images in its input range -> logits) to a parsed flatbuffer, a `schema.ModelT`.

    All tensors that operators pass on are int8 or bitpacked, input and output too. (The multipliers and biases of an
    `LceBconv2d` that gives int8 are float constants.) The batch is one.

    Raises:
      TypeError: not a Keras model.
      ValueError: the net does not convert, or not to integers only, or does not answer as Keras does; the message
        names operator, layer and remedy.
    """
    interpreter_class()  # or says why there is none
    import larq_compute_engine as lce

    def convert(batch_of_one):
        image = tf.TensorSpec(batch_of_one.input_shape, tf.float32, name="image")
        function = tf.function(lambda image: batch_of_one(image, training=False))
        module = tf.Module()
        module.kept = batch_of_one.variables
        # The forward pass alone: `convert_keras_model` has Keras save every layer's functions as well, which takes
        # three times as long.
        with tempfile.TemporaryDirectory() as folder:
            tf.saved_model.save(module, folder, signatures=function.get_concrete_function(image))
            return lce.convert_saved_model(folder, inference_input_type=tf.int8, inference_output_type=tf.int8)

    def run(data, codes):
        return interpreter_class()(data, use_reference_bconv=True).predict(codes)  # the others know no groups

    found = [(layer, binary_problem(layer)) for layer in getattr(model, "submodules", ())]
    problems = [f"{layer.name} ({problem})" for layer, problem in found if problem is not None]
    if problems:
        raise ModelError(f"the binary net has layers that do not become binary operators: {', '.join(problems)}")
    return _lower(model, "binary net", convert, run)


def lower_int8(model: tf.keras.Model, input_range: Range) -> schema.ModelT:
    """Converts a quantisation-aware trained Keras net to a parsed int8 flatbuffer, a `schema.ModelT`, of batch one.

    The net is one of `bcnet_keras.layers` (`FakeQuant`, `Int8Conv2D`, ...) or one that
    `tfmot.quantization.keras.quantize_model` made. The input's scale and zero point follow from `input_range` =
    (lowest, highest): a tfmot net gets that range for the time of the conversion, a net of `FakeQuant` layers must have
    it already.

    Raises:
      TypeError: not a Keras model.
      ValueError: the net was not quantised (a float tensor is left), does not convert, or not to the same answers; the
        message says why.
    """

    def convert(batch_of_one):
        image = tf.TensorSpec(batch_of_one.input_shape, tf.float32)
        function = tf.function(lambda image: batch_of_one(image, training=False)).get_concrete_function(image)
        # Converting through a SavedModel, which is written to disk, takes ten times as long.
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], batch_of_one)
        converter.experimental_lower_to_saved_model = False
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        return converter.convert()

    def run(data, codes):
        interpreter = tf.lite.Interpreter(model_content=data)
        interpreter.allocate_tensors()
        (image,), (logits,) = interpreter.get_input_details(), interpreter.get_output_details()
        answers = []
        for each in codes:
            interpreter.set_tensor(image["index"], each[np.newaxis])
            interpreter.invoke()
            answers.append(interpreter.get_tensor(logits["index"])[0])
        return np.stack(answers)

    if isinstance(model, tf.keras.Model) and not any(_quantises(layer) for layer in model.submodules):
        raise ModelError(
            "the int8 net has no fake quantisation: make it with bcnet_keras.int8_twin or "
            "tfmot.quantization.keras.quantize_model, and train it"
        )
    with _input_range(model, input_range):
        return _lower(model, "int8 net", convert, run)


def _lower(model, what, convert, run):
    """The `schema.ModelT` of a net, by a converter that it silences, checked.

    Arguments:
      model: Keras model of one image input [n, h, w, c] and one output [n, classes].
      what: the name of the net for error messages, such as "binary net".
      convert: function of a Keras model with a batch of one; gives the bytes of a flatbuffer.
      run: function of such bytes and int8 codes [n, h, w, c]; gives int8 codes [n, classes].
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
    with captured_output() as captured:
        try:
            # The converters name tensors after the models; fixed names give the same bytes every time.
            data = convert(tf.keras.Model(image, model(image), name="net"))
        except Exception as error:  # converters raise bare Exception
            lines = [line.strip() for line in [*str(error).splitlines(), *captured().splitlines()] if "error:" in line]
            reason = (lines or str(error).splitlines() or [type(error).__name__])[0]
            raise ModelError(f"the {what} does not convert to a flatbuffer: {reason}") from None
    converted = flatbuffer.read(data)
    mean_to_average_pool(converted)
    _check_fully_quantized(converted, model, what)
    with captured_output():
        _check_answers(converted.subgraphs[0], model, what, lambda codes: run(data, codes))
    return converted


def _check_answers(graph, model, what, run):
    """Raises ValueError if a flatbuffer answers random images otherwise than Keras, in the mean over all logits."""
    (scale, zero_point), (step, zero) = (
        flatbuffer.quantization(graph.tensors[end[0]]) for end in (graph.inputs, graph.outputs)
    )
    codes = np.random.default_rng(0).integers(-128, 128, (_SAMPLES, *model.input_shape[1:]))
    expected = model((codes.astype(np.float32) - zero_point) * np.float32(scale), training=False).numpy()
    answers = (run(codes.astype(np.int8)).astype(np.float32) - zero) * step
    difference = np.abs(answers - expected).mean()
    spread = np.abs(expected - expected.mean(axis=0)).mean()
    if difference > max(_STEPS * step, _TOLERANCE[what] * spread):
        raise ModelError(
            f"the converted {what} does not answer as Keras does: logits of random images differ by {difference:.3g} "
            f"on average, while they vary by {spread:.3g} from image to image. The converter misreads a layer; build "
            "the net from bcnet_keras.layers, which need no converter"
        )


def _quantises(layer):
    return isinstance(layer, FakeQuant) or type(layer).__name__ == "QuantizeLayer"


@contextlib.contextmanager
def _input_range(model, input_range):
    """Sets the input quantiser of a tfmot net to `input_range` and restores its range at the end."""
    variables = []
    for layer in getattr(model, "layers", []):
        if type(layer).__name__ == "QuantizeLayer" and layer.quantizer is not None:
            variables = [layer.quantizer_vars["min_var"], layer.quantizer_vars["max_var"]]
    before = [variable.numpy() for variable in variables]
    for variable, value in zip(variables, input_range if variables else (), strict=True):
        variable.assign(value)
    try:
        yield
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)


def _check_fully_quantized(converted, model, what):
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
        from_tfmot = any(type(layer).__name__ == "QuantizeLayer" for layer in model.submodules)
        name, hint = flatbuffer.op_name(converted, operator), _TFMOT if from_tfmot else _FAKE_QUANT
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

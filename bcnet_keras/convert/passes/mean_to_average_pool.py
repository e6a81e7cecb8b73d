"""Replaces means over a whole map by average pooling, for which TensorFlow Lite Micro has a cheaper kernel.

Converters turn Keras' `GlobalAveragePooling2D` into the operator MEAN. If output and input have the same scale (see
`layers.global_average`), AVERAGE_POOL_2D with a window as large as the map computes the same. On Cortex-M4 it takes 6
instructions per input; MEAN takes 138.
"""

from __future__ import annotations

import numpy as np

from bcnet_keras.convert.passes import run_passes
from bcnet_keras.moved import renamed
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.flatbuffer import op_name, schema, shape, text


def mean_to_average_pool(model: schema.ModelT) -> bool:
    """Replaces each int8 MEAN over height and width of a `schema.ModelT` by AVERAGE_POOL_2D, in place.

    A MEAN whose output has another scale or zero point than its input stays. Fully connected operators read the pooled
    map [n, 1, 1, c] directly; others read it through a RESHAPE.

    Returns:
      Whether the model changed.
    """
    found = [
        (graph, operator)
        for graph in model.subgraphs
        for operator in graph.operators
        if _is_average_pool(model, graph, operator)
    ]
    for graph, operator in found:
        _replace(model, graph, operator)
    return bool(found)


__getattr__ = renamed(
    __name__,
    pool_means=("run_passes(data, mean_to_average_pool)", lambda data: run_passes(data, mean_to_average_pool)),
)


def _is_average_pool(model, graph, operator):
    if op_name(model, operator) != "MEAN":
        return False
    image, axes, result = (graph.tensors[index] for index in (*operator.inputs, *operator.outputs))
    over = flatbuffer.constant(model, axes)
    quantization = flatbuffer.quantization(image)
    return (
        image.type == result.type == schema.TensorType.INT8
        and len(shape(image)) == 4
        and over is not None
        and sorted(int(axis) % 4 for axis in over.reshape(-1)) == [1, 2]
        and quantization is not None
        and quantization == flatbuffer.quantization(result)
    )


def _replace(model, graph, operator):
    (image, _), (result,) = operator.inputs, operator.outputs
    batch, height, width, channels = shape(graph.tensors[image])
    builder, position = flatbuffer.Builder.extending(model), graph.operators.index(operator)
    options = schema.Pool2DOptionsT()
    options.padding, options.strideH, options.strideW = schema.Padding.VALID, height, width
    options.filterHeight, options.filterWidth = height, width
    pooled, form = result, [batch, 1, 1, channels]
    readers = {op_name(model, other) for other in graph.operators if result in other.inputs}
    any_shape = readers == {"FULLY_CONNECTED"} and result not in graph.outputs
    if any_shape or shape(graph.tensors[result]) == tuple(form):
        graph.tensors[result].shape, graph.tensors[result].shapeSignature = np.array(form, np.int32), None
    else:
        name = f"{text(graph.tensors[result].name)}/pooled"
        pooled = builder.tensor(
            graph, name, schema.TensorType.INT8, form, flatbuffer.quantization(graph.tensors[image])
        )
    builder.operator(graph, "AVERAGE_POOL_2D", [image], [pooled], options, version=2)
    new = [graph.operators.pop()]
    if pooled != result:
        reshape = schema.ReshapeOptionsT()
        reshape.newShape = np.array(shape(graph.tensors[result]), np.int32)
        target = builder.constant(graph, f"{text(graph.tensors[result].name)}/shape", reshape.newShape)
        builder.operator(graph, "RESHAPE", [pooled, target], [result], reshape)
        new.append(graph.operators.pop())
    graph.operators[position : position + 1] = new

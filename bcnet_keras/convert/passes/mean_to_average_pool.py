"""Means over a whole map as average pooling, for which TensorFlow Lite Micro has a faster kernel.

Keras' `GlobalAveragePooling2D` becomes the operator MEAN. Where its output has its input's scale (see
`layers.global_average`), AVERAGE_POOL_2D with a window as large as the map does the same: on Cortex-M4 it takes 6
instructions an input where MEAN takes 138.
"""

import numpy as np

from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.flatbuffer import op_name, schema, shape, text


def pool_means(data):
    """Returns the flatbuffer with AVERAGE_POOL_2D in place of each int8 MEAN over height and width.

    A MEAN whose output has another scale or zero point than its input stays. The pooled map [n, 1, 1, c] goes straight
    to fully connected operators; others read it through a RESHAPE.

    Raises:
      ValueError: not a flatbuffer, or a truncated one.
    """
    model = flatbuffer.read(data)
    found = [
        (graph, operator) for graph in model.subgraphs for operator in graph.operators if _pools(model, graph, operator)
    ]
    for graph, operator in found:
        _pool(model, graph, operator)
    return flatbuffer.rewrite(model) if found else bytes(data)


def _pools(model, graph, operator):
    if op_name(model, operator) != "MEAN":
        return False
    image, axes, result = (graph.tensors[index] for index in (*operator.inputs, *operator.outputs))
    over = flatbuffer.constant(model, axes)
    same = flatbuffer.quantization(image)
    return (
        image.type == result.type == schema.TensorType.INT8
        and len(shape(image)) == 4
        and over is not None
        and sorted(int(axis) % 4 for axis in over.reshape(-1)) == [1, 2]
        and same is not None
        and same == flatbuffer.quantization(result)
    )


def _pool(model, graph, operator):
    (image, _), (result,) = operator.inputs, operator.outputs
    batch, height, width, channels = shape(graph.tensors[image])
    builder, position = flatbuffer.Builder.extending(model), graph.operators.index(operator)
    options = schema.Pool2DOptionsT()
    options.padding, options.strideH, options.strideW = schema.Padding.VALID, height, width
    options.filterHeight, options.filterWidth = height, width
    pooled, form = result, [batch, 1, 1, channels]
    readers = {op_name(model, other) for other in graph.operators if result in other.inputs}
    straight = readers == {"FULLY_CONNECTED"} and result not in graph.outputs
    if straight or shape(graph.tensors[result]) == tuple(form):
        graph.tensors[result].shape, graph.tensors[result].shapeSignature = np.array(form, np.int32), None
    else:
        name = f"{text(graph.tensors[result].name)}/pooled"
        pooled = builder.tensor(
            graph, name, schema.TensorType.INT8, form, flatbuffer.quantization(graph.tensors[image])
        )
    builder.operator(graph, "AVERAGE_POOL_2D", [image], [pooled], options, version=2)
    new = [graph.operators.pop()]
    if pooled != result:
        again = schema.ReshapeOptionsT()
        again.newShape = np.array(shape(graph.tensors[result]), np.int32)
        target = builder.constant(graph, f"{text(graph.tensors[result].name)}/shape", again.newShape)
        builder.operator(graph, "RESHAPE", [pooled, target], [result], again)
        new.append(graph.operators.pop())
    graph.operators[position : position + 1] = new

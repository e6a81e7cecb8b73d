"""Flatbuffers of a single operator or of a few, made without a converter."""

import re

import numpy as np

from bcnet_keras.runtime import kernels
from bcnet_keras.tflite import flatbuffer

schema = flatbuffer.schema


def convolution(op, size, channels, filters, kernel, type=schema.TensorType.INT8):
    """A flatbuffer of one convolution with stride 1 and padding."""
    builder = flatbuffer.Builder("test")
    graph = builder.subgraph("main")
    image = builder.tensor(graph, "image", type, [1, size, size, channels], (1.0, 0))
    weights = builder.tensor(graph, "weights", type, [filters, kernel, kernel, channels], (1.0, 0))
    result = builder.tensor(graph, "result", type, [1, size, size, filters], (1.0, 0))
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = 1
    builder.operator(graph, op, [image, weights, -1], [result], options)
    graph.inputs, graph.outputs = np.array([image], np.int32), np.array([result], np.int32)
    return builder.finish()


def binary_convolution(record):
    """A flatbuffer of the layer of one of the bench's records."""
    height, width, channels, filters, kernel, stride = map(int, re.findall(r"\d+", record["shape"]))
    types = {"bitpacked": schema.TensorType.INT32, "int8": schema.TensorType.INT8, "float32": schema.TensorType.FLOAT32}
    words, size = -(-channels // 32), (-(-height // stride), -(-width // stride))
    written = -(-filters // 32) if record["output"] == "bitpacked" else filters
    builder = flatbuffer.Builder("test")
    graph = builder.subgraph("main")
    image = builder.tensor(graph, "image", types["bitpacked"], [1, height, width, words])
    weights = builder.tensor(graph, "weights", types["bitpacked"], [filters, kernel, kernel, words])
    result = builder.tensor(graph, "result", types[record["output"]], [1, *size, written], (1.0, 0))
    options = kernels.encode_options({"stride_height": stride, "stride_width": stride})
    builder.operator(graph, b"LceBconv2d", [image, weights, -1, -1, -1], [result], custom_options=options)
    graph.inputs, graph.outputs = np.array([image], np.int32), np.array([result], np.int32)
    return builder.finish()


def branching_net(structure):
    """A flatbuffer of operators on one int8 vector of 8.

    In `structure` a number is a FULLY_CONNECTED; ("IF", then, else), ("WHILE", condition, body) and ("ONCE", init) are
    operators with subgraphs, which are lists of the same.
    """
    int8, boolean = schema.TensorType.INT8, schema.TensorType.BOOL
    builder = flatbuffer.Builder("test")

    def fill(graph, parts, current):
        for part in parts:
            if isinstance(part, int):
                weights = builder.tensor(graph, "w", int8, [8, 8], (1.0, 0), np.zeros((8, 8), np.int8))
                result = builder.tensor(graph, "x", int8, [1, 8], (1.0, 0))
                builder.operator(
                    graph, "FULLY_CONNECTED", [current, weights, -1], [result], schema.FullyConnectedOptionsT()
                )
                current = result
                continue
            kind, *bodies = part
            numbers = []
            for body in bodies:
                inner = builder.subgraph("inner")
                numbers.append(len(builder.model.subgraphs) - 1)
                start = builder.tensor(inner, "in", int8, [1, 8], (1.0, 0))
                inner.inputs = np.array([] if kind == "ONCE" else [start], np.int32)
                inner.outputs = np.array([] if kind == "ONCE" else [fill(inner, body, start)], np.int32)
                if kind == "ONCE":
                    fill(inner, body, start)
            result = builder.tensor(graph, "x", int8, [1, 8], (1.0, 0))
            if kind == "IF":
                condition = builder.tensor(graph, "c", boolean, [1])
                options = schema.IfOptionsT()
                options.thenSubgraphIndex, options.elseSubgraphIndex = numbers
                builder.operator(graph, "IF", [condition, current], [result], options)
                current = result
            elif kind == "WHILE":
                options = schema.WhileOptionsT()
                options.condSubgraphIndex, options.bodySubgraphIndex = numbers
                builder.operator(graph, "WHILE", [current], [result], options)
                current = result
            else:
                options = schema.CallOnceOptionsT()
                (options.initSubgraphIndex,) = numbers
                builder.operator(graph, "CALL_ONCE", [], [], options)
        return current

    main = builder.subgraph("main")
    image = builder.tensor(main, "image", int8, [1, 8], (1.0, 0))
    main.inputs, main.outputs = np.array([image], np.int32), np.array([fill(main, structure, image)], np.int32)
    return builder.finish()

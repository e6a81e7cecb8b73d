"""A flatbuffer of each builtin operator of TensorFlow Lite Micro alone, on a type of one's choice.

net("TRANSPOSE", "int8")        # bytes
"""

import numpy as np

from bcnet_keras.tflite import flatbuffer

schema = flatbuffer.schema
TYPES = ("float32", "int8", "int16", "int32", "uint8", "bool")
_DTYPES = {"float32": np.float32, "int64": np.int64, "int32": np.int32, "int16": np.int16, "int8": np.int8}
_DTYPES |= {"uint8": np.uint8, "bool": np.bool_}
IMAGE = (1, 8, 6, 12)
X = ("data", IMAGE)


def _options(name, **values):
    options = getattr(schema, f"{name}OptionsT")()
    for field, value in values.items():
        setattr(options, field, value)
    return options


def numbers(*values):
    """A constant int32 vector."""
    return ("constant", np.array(values, np.int32))


_CONVOLUTION = {"strideH": 2, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
_POOL = {"strideH": 2, "strideW": 2, "filterHeight": 2, "filterWidth": 2}
# name: (inputs, shapes of outputs, options). An input is (kind, shape): data has the type that is asked for, weights
# are int8 where data are quantised, bias is int32 (int64 with int16); a constant has its own; the rest name their type.
_SAME = (
    *("ABS", "CEIL", "COS", "ELU", "EXP", "FLOOR", "HARD_SWISH", "LOG", "LOGICAL_NOT", "LOGISTIC", "NEG", "RELU"),
    *("RELU6", "ROUND", "RSQRT", "SIN", "SQRT", "SQUARE", "TANH", "ZEROS_LIKE", "LOG_SOFTMAX"),
)
_TWO = {"ADD": "Add", "SUB": "Sub", "MUL": "Mul", "DIV": "Div", "MAXIMUM": None, "MINIMUM": None, "FLOOR_DIV": None}
_TWO |= {"FLOOR_MOD": None, "SQUARED_DIFFERENCE": None, "LOGICAL_AND": None, "LOGICAL_OR": None}
_COMPARED = ("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL")
_LSTM = [
    ("data", (1, 5, 6)),
    *[("weights", (8, 6))] * 4,
    *[("weights", (8, 8))] * 4,
    *[None] * 3,
    *[("bias", (8,))] * 4,
    *[None] * 2,
    ("variable", (1, 8)),
    ("state", (1, 8)),
    *[None] * 4,
]
NETS = {
    **{name: ([X], [X[1]], None) for name in _SAME},
    **{name: ([X, X], [X[1]], options and _options(options)) for name, options in _TWO.items()},
    **{name: ([X, X], [("bool", X[1])], None) for name in _COMPARED},
    "CONV_2D": ([X, ("weights", (10, 3, 3, 12)), ("bias", (10,))], [(1, 4, 6, 10)], _options("Conv2D", **_CONVOLUTION)),
    "DEPTHWISE_CONV_2D": (
        [X, ("weights", (1, 5, 3, 12)), ("bias", (12,))],
        [(1, 4, 6, 12)],
        _options("DepthwiseConv2D", depthMultiplier=1, **_CONVOLUTION),
    ),
    "TRANSPOSE_CONV": (
        [numbers(1, 16, 12, 4), ("weights", (4, 3, 3, 12)), X],
        [(1, 16, 12, 4)],
        _options("TransposeConv", strideH=2, strideW=2),
    ),
    "FULLY_CONNECTED": (
        [("data", (1, 72)), ("weights", (10, 72)), ("bias", (10,))],
        [(1, 10)],
        _options("FullyConnected"),
    ),
    "AVERAGE_POOL_2D": ([X], [(1, 4, 3, 12)], _options("Pool2D", **_POOL)),
    "MAX_POOL_2D": ([X], [(1, 4, 3, 12)], _options("Pool2D", **_POOL)),
    "L2_POOL_2D": ([X], [(1, 4, 3, 12)], _options("Pool2D", **_POOL)),
    "PRELU": ([X, ("weights", (1, 1, 12))], [X[1]], None),
    "ADD_N": ([X, X, X], [X[1]], _options("AddN")),
    "LEAKY_RELU": ([X], [X[1]], _options("LeakyRelu", alpha=0.1)),
    "SELECT_V2": ([("bool", X[1]), X, X], [X[1]], None),
    "SOFTMAX": ([("data", (3, 10))], [(3, 10)], _options("Softmax", beta=1.0)),
    "L2_NORMALIZATION": ([X], [X[1]], _options("L2Norm")),
    **{
        name: ([X, numbers(1, 2)], [(1, 1, 1, 12)], _options("Reducer", keepDims=True))
        for name in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_ALL")
    },
    "ARG_MAX": ([("data", (3, 10)), numbers(1)], [("int32", (3,))], _options("ArgMax", outputType=2)),
    "ARG_MIN": ([("data", (3, 10)), numbers(1)], [("int32", (3,))], _options("ArgMin", outputType=2)),
    "QUANTIZE": ([X], [("codes", X[1])], None),
    "DEQUANTIZE": ([X], [("float32", X[1])], None),
    "CAST": ([X], [("float32", X[1])], _options("Cast")),
    "CONCATENATION": ([X, X], [(1, 8, 6, 24)], _options("Concatenation", axis=3)),
    "EXPAND_DIMS": ([X, numbers(0)], [(1, *IMAGE)], _options("ExpandDims")),
    "PACK": ([("data", (3, 10)), ("data", (3, 10))], [(2, 3, 10)], _options("Pack", valuesCount=2, axis=0)),
    "UNPACK": ([("data", (2, 3, 10))], [(3, 10), (3, 10)], _options("Unpack", num=2, axis=0)),
    "PAD": ([X, ("constant", np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))], [(1, 10, 8, 12)], None),
    "PADV2": (
        [X, ("constant", np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32)), ("data constant", (1,))],
        [(1, 10, 8, 12)],
        None,
    ),
    "MIRROR_PAD": (
        [X, ("constant", np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))],
        [(1, 10, 8, 12)],
        _options("MirrorPad"),
    ),
    "RESHAPE": ([X, numbers(1, 576)], [(1, 576)], _options("Reshape", newShape=np.array([1, 576], np.int32))),
    "SQUEEZE": ([X], [IMAGE[1:]], _options("Squeeze", squeezeDims=np.array([0], np.int32))),
    "SLICE": ([X, numbers(0, 2, 2, 0), numbers(1, 4, 4, 12)], [(1, 4, 4, 12)], None),
    "SPLIT": ([numbers(3), X], [(1, 8, 6, 6)] * 2, _options("Split", numSplits=2)),
    "SPLIT_V": ([X, numbers(4, 8), numbers(3)], [(1, 8, 6, 4), (1, 8, 6, 8)], _options("SplitV", numSplits=2)),
    "STRIDED_SLICE": (
        [X, numbers(0, 0, 0, 0), numbers(1, 8, 6, 12), numbers(1, 2, 2, 1)],
        [(1, 4, 3, 12)],
        _options("StridedSlice"),
    ),
    "GATHER": ([("data", (20, 6)), numbers(1, 5, 7)], [(3, 6)], _options("Gather")),
    "GATHER_ND": ([("data", (20, 6)), ("constant", np.array([[1], [5]], np.int32))], [(2, 6)], None),
    "EMBEDDING_LOOKUP": ([("int32", (3,)), ("weights", (20, 6))], [("codes", (3, 6))], None),
    "TRANSPOSE": ([X, numbers(0, 2, 1, 3)], [(1, 6, 8, 12)], None),
    "BATCH_TO_SPACE_ND": (
        [("data", (4, 4, 3, 12)), numbers(2, 2), ("constant", np.zeros((2, 2), np.int32))],
        [IMAGE],
        None,
    ),
    "SPACE_TO_BATCH_ND": ([X, numbers(2, 2), ("constant", np.zeros((2, 2), np.int32))], [(4, 4, 3, 12)], None),
    "DEPTH_TO_SPACE": ([X], [(1, 16, 12, 3)], _options("DepthToSpace", blockSize=2)),
    "SPACE_TO_DEPTH": ([X], [(1, 4, 3, 48)], _options("SpaceToDepth", blockSize=2)),
    "BROADCAST_ARGS": ([numbers(1, 6), numbers(8, 6)], [("int32", (2,))], None),
    "BROADCAST_TO": ([("data", (1, 12)), numbers(8, 12)], [(8, 12)], None),
    "REVERSE_V2": ([X, numbers(2)], [IMAGE], None),
    "DYNAMIC_UPDATE_SLICE": ([X, ("data", (1, 2, 2, 12)), numbers(0, 1, 1, 0)], [IMAGE], None),
    "FILL": ([numbers(4, 4), ("data constant", ())], [(4, 4)], None),
    "SHAPE": ([X], [("int32", (4,))], _options("Shape", outType=2)),
    "RESIZE_BILINEAR": ([X, numbers(16, 12)], [(1, 16, 12, 12)], _options("ResizeBilinear")),
    "RESIZE_NEAREST_NEIGHBOR": ([X, numbers(16, 12)], [(1, 16, 12, 12)], _options("ResizeNearestNeighbor")),
    "BATCH_MATMUL": (
        [("data", (2, 5, 16)), ("data", (2, 16, 7))],
        [(2, 5, 7)],
        _options("BatchMatMul", adjX=False, adjY=False),
    ),
    "CUMSUM": ([X, numbers(3)], [IMAGE], _options("Cumsum")),
    "SVDF": (
        [("data", (1, 24)), ("weights", (16, 24)), ("time weights", (16, 10)), ("bias", (8,)), ("state", (1, 160))],
        [(1, 8)],
        _options("SVDF", rank=2),
    ),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (
        _LSTM,
        [(1, 5, 8)],
        _options("UnidirectionalSequenceLSTM", fusedActivationFunction=4),
    ),
}
_OUTPUT = {"LOGISTIC": (1 / 256, -128), "SOFTMAX": (1 / 256, -128), "LOG_SOFTMAX": (16 / 256, 127)}
_OUTPUT |= {"TANH": (1 / 128, 0), "L2_NORMALIZATION": (1 / 128, 0)}


def net(name, type):
    """The bytes of a flatbuffer of one operator, its data of `type`, a name such as "int8"."""
    inputs, outputs, options = NETS[name]
    quantised = type in ("int8", "int16", "uint8")
    scale = (2**-11 if type == "int16" else 1 / 16, 0) if quantised else None
    builder = flatbuffer.Builder("test")
    graph = builder.subgraph("main")

    def tensor(type, shape, quantization=None, data=None):
        return builder.tensor(graph, f"t{len(graph.tensors)}", number(type), shape, quantization, data)

    indices, graph_inputs = [], []
    for part in inputs:
        kind, shape = part or (None, None)
        if kind is None:
            indices.append(-1)
            continue
        if kind == "constant":
            index = tensor("int32", shape.shape, data=shape)
        elif kind in ("weights", "time weights"):
            element = "int16" if kind == "time weights" and quantised else "int8" if quantised else type
            index = tensor(element, shape, (1 / 16, 0) if quantised else None, np.ones(shape, _DTYPES[element]))
        elif kind == "bias":
            element = {"int8": "int32", "uint8": "int32", "int16": "int64"}.get(type, type)
            product = (2**-9 if name == "SVDF" else scale[0] / 16, 0) if quantised else None
            index = tensor(element, shape, product, np.zeros(shape, _DTYPES[element]))
        elif kind == "data constant":
            index = tensor(type, shape, scale, np.zeros(shape, _DTYPES[type]))
        elif kind in ("variable", "state"):
            index = tensor(
                "int16" if kind == "state" and quantised else type, shape, (2**-5 if name == "SVDF" else 2**-11, 0)
            )
            graph.tensors[index].isVariable = True
        else:
            index = tensor(type if kind == "data" else kind, shape, scale if kind == "data" else None)
            graph_inputs.append(index)
        indices.append(index)
    results = []
    for output in outputs:
        element, shape = output if output and isinstance(output[0], str) else (type, output)
        if element == "codes":
            coded = quantised or name == "QUANTIZE"
            results.append(tensor("int8" if coded else type, shape, (1 / 16, 0) if coded else None))
            continue
        fixed = _OUTPUT.get(name, scale) if type == "int8" else (2**-15, 0) if name in _OUTPUT else scale
        results.append(tensor(element, shape, fixed if quantised and element == type else None))
    builder.operator(graph, name, indices, results, options)
    graph.inputs, graph.outputs = np.array(graph_inputs, np.int32), np.array(results, np.int32)
    return builder.finish()


def number(type):
    """The schema's number of a type."""
    return getattr(schema.TensorType, type.upper())

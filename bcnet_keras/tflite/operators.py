"""The registry of operators: one record for each kind that TensorFlow Lite Micro can run, builtin or custom.

    operator("CONV_2D").resolver_method             # "AddConv2D"
    operator("SOFTMAX").cost                        # "exponential": the rule in bcnet_keras.device.cost

A record says all that this package knows of an operator: what TensorFlow Lite Micro takes of it, how its resolver adds
it, what it costs, the memory and the code that it takes, and the C++ files of its kernel. Whoever needs one of these
reads it here: `tflite.support`, `device.cost`, `device.arena`, `device.profile`, `export`, `runtime.plugin`, and CMake
through `tflm_ops/sources.txt` (`make sources` writes it). Rules that need code are functions in `support`, `cost` and
`arena`, which a record names; a rule serves many operators.

Sizes are those of TensorFlow Lite Micro's revision 90b983c.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Figures = Mapping[str, tuple[float, ...]]

_ALL_THREE = frozenset({"float32", "int8", "int16"})
_WITH_INT32 = _ALL_THREE | {"int32"}
_WITH_INT64 = _WITH_INT32 | {"int64"}
_FLOAT = frozenset({"float32"})
_FLOAT_OR_INT8 = frozenset({"float32", "int8"})
_COMPARED = frozenset({"float32", "int8", "int32", "int64"})
_PLAIN_WEIGHTS = {"float32": _FLOAT, "int8": frozenset({"int8"}), "int16": frozenset({"int8"})}
_SAME_WEIGHTS = {type: frozenset({type}) for type in ("float32", "int8", "int16")}
_INT4_WEIGHTS = {**_PLAIN_WEIGHTS, "int8": frozenset({"int8", "int4"})}
_BIASES = {"float32": _FLOAT, "int8": frozenset({"int32"}), "int16": frozenset({"int64"})}
_TWO_BIASES = {**_BIASES, "int16": frozenset({"int32", "int64"})}
_STATES = {"float32": _FLOAT, "int8": frozenset({"int8", "int16"})}
_CELLS = {"float32": _FLOAT, "int8": frozenset({"int16"}), "int16": frozenset({"int16"})}
_WORDS = frozenset({"int32"})  # of 32 bits each
_INDICES = frozenset({"int32", "int64"})
_BOOL, _INT32 = ({"": frozenset({type})} for type in ("bool", "int32"))
_ANY: Mapping[str, frozenset[str]] = {}
_QUANTIZED = {
    "float32": frozenset({"int8", "int16"}),
    "int8": frozenset({"int8", "int16", "int32", "uint8"}),
    "int16": frozenset({"int8", "int16", "int32"}),
    "int32": frozenset({"int8", "int16"}),
    "uint8": frozenset({"int8"}),
}


def _integer(m4: float) -> tuple[float, ...]:
    """Instructions on the five cores of integer code that was counted on a Cortex-M4; the ratios are those of ADD."""
    return round(2.9 * m4, 1), round(1.1 * m4, 1), m4, m4, m4


def _soft(m4: float) -> tuple[float, ...]:
    """The same of floating-point code, which the first two cores compute with integers."""
    return 8 * m4, 5 * m4, m4, m4, m4


@dataclass(frozen=True)
class Operator:
    """What is known of a kind of operator.

    Attributes:
      name: that of the builtin (`CONV_2D`) or of the custom operator (`LceBconv2d`).
      custom: whether TensorFlow Lite Micro brings it although the schema does not number it.
      types: types of its data that TensorFlow Lite Micro takes; None for any, or where `weights` has them.
      data_input: which of its inputs is the data.
      inputs: a letter for each of its inputs, the last one for those behind it too: d the type of the data, w
        `weights`, b `biases`, s a state of SVDF or what it is multiplied by, c the cells of an LSTM, i int32, I int32
        or int64, = the type of the input before, l bool, f float32, . any type.
      weights: types of its weights by the type of the data; None for an operator without.
      biases: types of its biases by the type of the data.
      outputs: types of its outputs by the type of the data, "" standing for any type; None where they have the data's;
        empty where any will do.
      scaled: whether it computes with the scales of its quantised tensors, so that each must have one.
      checks: names of rules in `bcnet_keras.tflite.support` that it has to keep.
      remark: name of the rule there on what TensorFlow Lite Micro does otherwise than TensorFlow Lite; or None.
      shapes: name of the rule in `bcnet_keras.tflite.verify` that its shapes have to keep; None where there is none.
      method: that of TensorFlow Lite Micro's resolver; None where it follows from the name.
      sources: C++ files of its kernel in `tflm_ops`; empty for what TensorFlow Lite Micro brings.
      cost: name of its rule in `bcnet_keras.device.cost`; None where its instructions are not known.
      figures: for that rule, instructions for each of what it counts, on Cortex-M0+, M3, M4, M7 and M55; by the name of
        a variant, "" for the one without a name.
      macs: multiply-accumulates of a weight at one pixel of the output.
      estimate: whether its figures are read off the kernel's loops instead of measured.
      record: bytes of its parsed options, their alignment, and bytes of its data; None for an allowance.
      memory: name of its rule in `bcnet_keras.device.arena`; None where it takes none, "unknown" where nobody knows.
      code_bytes: of its code on a Cortex-M4; None for an allowance.
      kernel: name of its function in `bcnet_keras.runtime.numpy_operators`; None where the NumPy runtime lacks it.
    """

    name: str
    custom: bool = False
    types: frozenset[str] | None = None
    data_input: int = 0
    inputs: str = "d"
    weights: Mapping[str, frozenset[str]] | None = None
    biases: Mapping[str, frozenset[str]] = field(default_factory=lambda: _BIASES)
    outputs: Mapping[str, frozenset[str]] | None = None
    scaled: bool = False
    checks: tuple[str, ...] = ()
    remark: str | None = None
    shapes: str | None = None
    method: str | None = None
    sources: tuple[str, ...] = ()
    cost: str | None = None
    figures: Mapping[str, Figures] = field(default_factory=dict)
    macs: int = 0
    estimate: bool = False
    record: tuple[int, int, int] | None = None
    memory: str | None = None
    code_bytes: int | None = None
    kernel: str | None = None

    def types_of(self, letter: str, data: str) -> frozenset[str] | None:
        """The types that an input with this letter (see `inputs`) may have beside data of a type; None for any."""
        fixed = {
            "i": frozenset({"int32"}),
            "I": _INDICES,
            "l": frozenset({"bool"}),
            "f": _FLOAT,
            "d": frozenset({data}),
        }
        by_data = {"w": self.weights, "b": self.biases, "s": _STATES, "c": _CELLS}
        if letter in by_data:
            return (by_data[letter] or {}).get(data, frozenset())
        return fixed.get(letter)

    @property
    def ours(self) -> bool:
        """Whether `tflm_ops` brings it, and not TensorFlow Lite Micro."""
        return bool(self.sources)

    @property
    def resolver_method(self) -> str:
        """The method of MicroMutableOpResolver that adds it: `CONV_2D` -> `AddConv2D`."""
        words = (word if word[0].isdigit() else word.capitalize() for word in self.name.split("_"))
        return self.method or "Add" + "".join(words)


# What stems do but where they say otherwise, by the names of `bcnet_keras.device.stem.counts`.
_STEM: Figures = {
    "two taps": (15.0, 15.0, 0, 0, 0),
    "eight of two taps": (2.0, 2.0, 0, 0, 0),
    "pixel": (23.0, 23.0, 0, 0, 0),
    "pixel and filter": (5.0, 5.0, 0, 0, 0),
    "word of a pixel": (7.0, 7.0, 0, 0, 0),
    "output word": (0, 0, 8.0, 8.0, 10.0),
    "pair": (0, 0, 20.0, 20.0, 24.1),
    "number of one": (3.737, 2.745, 0, 0, 0),
    "number of three": (3.101, 2.237, 0, 0, 0),
    "number of any": (6.782, 4.66, 0, 0, 0),
    "row of numbers": (77.51, 50.43, 0, 0, 0),
    "line of numbers": (589.7, 445.3, 0, 0, 0),
    "weight": (33.77, 24.01, 17.51, 17.96, 11.2),
    "word": (0, 0, 14.0, 14.0, 0),
    "round": (0, 0, 3.0, 3.0, 0),
    "halfword": (0, 0, 19.75, 19.55, 0),
    "two rows of one": (0, 0, 5.466, 5.334, 0),
    "two rows of three": (0, 0, 19.99, 19.14, 0),
    "last row of three": (0, 0, 9.578, 9.662, 0),
    "row of halfwords": (0, 0, 136.3, 145.5, 0),
    "line of halfwords": (0, 0, 488.2, 491.7, 0),
    "fast row": (0, 0, 146.2, 182.2, 0),
    "vector": (0, 0, 0, 0, 9.0),
    "byte of one": (0, 0, 0, 0, 2.736),
    "byte of three": (0, 0, 0, 0, 2.697),
    "byte of any": (0, 0, 0, 0, 4.253),
    "row of bytes": (0, 0, 0, 0, 58.01),
    "line of bytes": (0, 0, 0, 0, 353.8),
}

# What the figures count. Convolutions and matrices: mac = multiply-accumulates; rest = inputs of a filter modulo 4, per
# output; vector = 16 inputs begun, per output; output = output elements (requantisation); position = filter positions
# gathered, per output pixel; element = elements gathered; pixel = output pixels; row output = output channels, per row
# of output; row weight = weights, per row of output; four vectors = 16 inputs begun for four pixels of a row begun, per
# output channel; row = rows of output; call = the operator. Pooling: window = elements of all windows. Else input and
# output are elements read and written, pixel pixels read or written.
# In a custom operator's record and in those of MEAN and QUANTIZE the first two columns are estimates, scaled from the
# third by the ratio of like operators.
_RECORDS = (
    Operator(
        "CONV_2D",
        kernel="convolution",
        remark="weights",
        scaled=True,
        checks=("centred int16", "scale for each output"),
        inputs="dwb",
        biases=_TWO_BIASES,
        shapes="convolution",
        weights=_INT4_WEIGHTS,
        cost="convolution",
        figures={
            "": {
                "mac": (3.462, 2.206, 1.216, 1.205, 0.0),
                "rest": (2.663, 0.370, 1.814, 1.802, 0.0),
                "vector": (40.02, 4.634, 6.509, 6.679, 2.773),
                "output": (81.89, 39.04, 43.77, 43.64, 13.91),
                "position": (41.79, 37.85, 36.12, 37.98, 19.79),
                "element": (13.38, 6.092, 3.163, 3.170, 0.050),
                "pixel": (103.6, 106.1, 154.6, 157.2, 96.23),
            },
            "1x1": {  # stride 1: nothing is gathered
                "mac": (6.010, 2.504, 1.482, 1.447, 0.005),
                "rest": (0.0, 0.0, 1.351, 1.411, 0.0),
                "vector": (0.818, 0.797, 0.0, 0.0, 2.602),
                "output": (98.19, 36.36, 39.97, 39.91, 14.68),
            },
            "1x1 strided": {
                "mac": (6.01, 2.504, 1.461, 1.392, 0.0),
                "output": (98.19, 36.36, 35.90, 34.87, 13.77),
                "row": (785, 785, 785, 1257, 0.0),
                "call": (0.0, 0.0, 0.0, 0.0, 1701),
                "row output": (80.0, 50.0, 30.40, 15.05, 0.0),
                "row weight": (9.3, 3.9, 2.259, 2.304, 0.0),
                "four vectors": (14.28, 14.28, 14.28, 19.59, 12.87),
            },
        },
        macs=1,
        record=(28, 4, 60),
        memory="convolution",
        code_bytes=27956,
    ),
    Operator(
        "DEPTHWISE_CONV_2D",
        kernel="depthwise_convolution",
        remark="weights",
        scaled=True,
        checks=("centred int16", "scale for each output"),
        inputs="dwb",
        shapes="depthwise convolution",
        weights=_INT4_WEIGHTS,
        cost="depthwise convolution",
        figures={
            "3x3": {"mac": (35.72, 9.267, 7.698, 7.698, 1.995), "position": (35.85, 12.90, 10.58, 10.58, 25.01)},
            "": {"mac": (39.01, 17.83, 10.40, 10.12, 2.224)},  # one shape: 16x16x24, kernel 5x5
        },
        macs=1,
        record=(28, 4, 60),
        memory="convolution",
        code_bytes=17860,
    ),
    Operator(
        "FULLY_CONNECTED",
        kernel="fully_connected",
        remark="weights",
        scaled=True,
        inputs="dwb",
        shapes="fully connected",
        weights=_INT4_WEIGHTS,
        checks=("channel scales on int8 only", "centred int16", "scale for each output", "scale of the bias"),
        cost="fully connected",
        figures={
            "": {
                "mac": (5.276, 2.291, 1.876, 1.876, 0.008),
                "vector": (10.94, 15.70, 0.0, 0.0, 7.505),
                "output": (91.21, 29.50, 48.77, 49.03, 12.55),
                "rest mac": (1.766, 2.373, 0.0, 0.0, 0.230),
                "rest output": (0.0, 0.0, 0.0, 0.0, 55.18),
                "call": (329, 214, 170, 171, 172),
            },
        },
        macs=1,
        record=(5, 1, 72),
        memory="fully connected",
        code_bytes=16620,
    ),
    Operator(
        "TRANSPOSE_CONV",
        remark="weights",
        scaled=True,
        checks=("centred int16", "scale for each output"),
        inputs="iwdb",
        biases={**_BIASES, "int16": frozenset({"int16", "int64"})},
        weights=_PLAIN_WEIGHTS,
        data_input=2,
        shapes="transposed convolution",
        cost="transposed convolution",
        figures={"": {"mac": (9, 5, 4, 4, 2), "output": (82, 39, 44, 44, 14)}},
        macs=1,
        estimate=True,
        record=(16, 4, 76),
        memory="transposed convolution",
    ),
    # Pooling.
    Operator(
        "AVERAGE_POOL_2D",
        kernel="average_pool",
        scaled=True,
        checks=("equal scales",),
        shapes="pooling",
        types=_ALL_THREE,
        cost="pooling",
        figures={
            "": {
                "window": (19.19, 11.59, 5.963, 5.962, 1.033),
                "output": (147.9, 62.25, 14.16, 14.15, 12.21),
                "position": (0.0, 0.0, 19.40, 19.34, 0.732),
            }
        },
        record=(40, 4, 36),
        memory="average pooling",
        code_bytes=2828,
    ),
    Operator(
        "MAX_POOL_2D",
        kernel="max_pool",
        scaled=True,
        checks=("equal scales",),
        shapes="pooling",
        types=_ALL_THREE,
        cost="pooling",
        figures={
            "": {
                "window": (38.97, 7.239, 7.251, 7.256, 0.906),
                "output": (0.0, 4.888, 5.082, 5.063, 0.892),
                "position": (44.99, 36.79, 36.98, 35.48, 25.67),
            }
        },
        record=(40, 4, 36),
        code_bytes=3020,
    ),
    Operator("L2_POOL_2D", shapes="pooling", types=_FLOAT, cost="pooling", record=(40, 4, 0), memory="own shape"),
    # Element by element.
    Operator(
        "ADD",
        kernel="add",
        scaled=True,
        checks=("one scale",),
        shapes="broadcast",
        types=_WITH_INT32,
        cost="element-wise",
        figures={"": {"output": (239.0, 84.0, 81.40, 80.66, 13.74), "call": (455, 424, 462, 465, 484)}},
        record=(2, 1, 60),
        code_bytes=11100,
    ),
    Operator(
        "SUB",
        kernel="subtract",
        scaled=True,
        checks=("one scale",),
        shapes="broadcast",
        types=_WITH_INT32,
        cost="element-wise",
        figures={"": {"output": (258, 90.6, 88.02, 112.0, 95.03), "call": (540, 540, 540, 531, 578)}},
        record=(2, 1, 52),
        code_bytes=9188,
    ),
    Operator(
        "MUL",
        kernel="multiply",
        scaled=True,
        checks=(
            "one scale",
            "centred int16",
        ),
        shapes="broadcast",
        types=_WITH_INT32,
        cost="element-wise",
        figures={"": {"output": (91.4, 30.0, 35.81, 35.81, 6.75), "call": (544, 544, 544, 552, 559)}},
        record=(1, 1, 36),
        code_bytes=9124,
    ),
    Operator(
        "ADD_N",
        scaled=True,
        checks=("equal inputs",),
        shapes="broadcast",
        types=_FLOAT_OR_INT8,
        cost="sum of several",
        figures={"": {"input": (239.0, 84.0, 81.40, 80.66, 81)}},
        estimate=True,
        record=(0, 1, 0),
        memory="sum of several",
    ),
    Operator(
        "ABS",
        scaled=True,
        checks=("centred int16",),
        types=_ALL_THREE,
        shapes="broadcast",
        cost="element-wise",
        record=(0, 1, 28),
    ),
    Operator(
        "DIV",
        scaled=True,
        checks=("one scale",),
        types=frozenset({"float32", "int8", "int32"}),
        shapes="broadcast",
        cost="element-wise",
        record=(1, 1, 28),
        figures={"": {"output": _integer(180)}},
        estimate=True,
    ),
    *(
        Operator(
            name,
            kernel=name.lower(),
            remark="copies",
            types=_WITH_INT64,
            shapes="broadcast",
            cost="element-wise",
            record=(0, 1, 0),
        )
        for name in ("MAXIMUM", "MINIMUM")
    ),
    Operator(
        "PRELU",
        kernel="prelu",
        scaled=True,
        checks=("one scale",),
        inputs="dw",
        weights=_PLAIN_WEIGHTS,
        shapes="broadcast",
        cost="counted",
        record=(0, 1, 28),
        figures={"": {"output": _integer(75)}},
        estimate=True,
    ),
    Operator(
        "LEAKY_RELU",
        kernel="leaky_relu",
        scaled=True,
        types=_ALL_THREE,
        shapes="same",
        cost="element-wise",
        record=(4, 4, 24),
        figures={"": {"output": _integer(50)}},
        estimate=True,
    ),
    Operator(
        "RELU",
        kernel="relu",
        scaled=True,
        checks=("centred int16",),
        types=_ALL_THREE,
        shapes="same",
        cost="element-wise",
        record=(0, 1, 28),
        figures={"": {"output": _integer(55)}},
        estimate=True,
    ),
    Operator(
        "RELU6", kernel="relu6", remark="copies", types=_ALL_THREE, shapes="same", cost="element-wise", record=(0, 1, 8)
    ),
    Operator(
        "HARD_SWISH",
        kernel="hard_swish",
        scaled=True,
        shapes="same",
        types=_FLOAT_OR_INT8,
        cost="element-wise",
        record=(0, 1, 20),
        figures={"": {"output": _integer(80)}},
        estimate=True,
    ),
    *(
        Operator(
            name,
            scaled=True,
            types=_COMPARED | {"bool"},
            outputs=_BOOL,
            shapes="broadcast",
            cost="element-wise",
            figures={"": {"output": _integer(80)}},
            estimate=True,
            record=(0, 1, 32),
        )
        for name in ("EQUAL", "NOT_EQUAL")
    ),
    *(
        Operator(
            name,
            scaled=True,
            types=_COMPARED,
            outputs=_BOOL,
            shapes="broadcast",
            cost="element-wise",
            figures={"": {"output": _integer(80)}},
            estimate=True,
            record=(0, 1, 32),
        )
        for name in ("GREATER_EQUAL", "LESS", "LESS_EQUAL")
    ),
    Operator(
        "GREATER",
        remark="compares",
        scaled=True,
        types=_COMPARED | {"int16"},
        outputs=_BOOL,
        shapes="broadcast",
        cost="element-wise",
        record=(0, 1, 32),
        figures={"": {"output": _integer(80)}},
        estimate=True,
    ),
    Operator(
        "SELECT_V2",
        remark="copies",
        data_input=1,
        inputs="ld",
        types=_ALL_THREE,
        shapes="broadcast",
        cost="element-wise",
        record=(0, 1, 1),
    ),
    *(
        Operator(name, types=frozenset({"bool"}), shapes="broadcast", cost="element-wise", record=(0, 1, 0))
        for name in ("LOGICAL_AND", "LOGICAL_NOT", "LOGICAL_OR")
    ),
    *(
        Operator(
            name,
            types=_FLOAT,
            shapes="broadcast",
            cost="counted",
            figures={"": {"output": _soft(200)}},
            estimate=True,
            record=(0, 1, 0),
        )
        for name in ("FLOOR_DIV", "FLOOR_MOD")
    ),
    Operator("NEG", types=_FLOAT, shapes="broadcast", cost="element-wise", record=(0, 1, 0)),
    Operator(
        "RSQRT",
        scaled=True,
        checks=("centred int16",),
        types=_ALL_THREE,
        shapes="broadcast",
        cost="exponential",
        record=(0, 1, 28),
    ),
    Operator(
        "SQUARED_DIFFERENCE",
        scaled=True,
        checks=("centred int16",),
        types=_WITH_INT32,
        shapes="broadcast",
        cost="element-wise",
        record=(0, 1, 108),
        figures={"": {"output": _integer(100)}},
        estimate=True,
    ),
    *(
        Operator(name, types=_FLOAT, shapes="same", cost="element-wise", record=(0, 1, 0))
        for name in ("CEIL", "FLOOR", "ROUND", "SQRT", "SQUARE")
    ),
    # Functions.
    Operator(
        "SOFTMAX",
        kernel="softmax",
        scaled=True,
        checks=(
            "fixed scales",
            "centred int16",
        ),
        outputs={"float32": _FLOAT, "int8": frozenset({"int8", "int16"}), "int16": frozenset({"int16"})},
        shapes="same",
        types=_ALL_THREE,
        cost="exponential",
        figures={"": {"output": (1913, 506, 520.6, 529.6, 558.2), "call": (473, 53, 54.7, 72.6, 68.3)}},
        record=(4, 4, 64),
        memory="softmax",
        code_bytes=7740,
    ),
    Operator(
        "LOGISTIC",
        kernel="logistic",
        scaled=True,
        checks=(
            "fixed scales",
            "centred int16",
        ),
        remark="fixed scale",
        shapes="same",
        types=_ALL_THREE,
        cost="exponential",
        record=(0, 1, 16),
        code_bytes=4708,
        figures={"": {"output": _integer(360)}},
        estimate=True,
    ),
    Operator(
        "TANH",
        kernel="tanh",
        scaled=True,
        checks=(
            "fixed scales",
            "centred int16",
        ),
        remark="fixed scale",
        shapes="same",
        types=_ALL_THREE,
        cost="exponential",
        record=(0, 1, 16),
        figures={"": {"output": _integer(370)}},
        estimate=True,
    ),
    *(
        Operator(name, types=_FLOAT, shapes="same", cost="exponential", record=(0, 1, 0))
        for name in ("COS", "EXP", "LOG", "SIN")
    ),
    Operator(
        "LOG_SOFTMAX",
        scaled=True,
        checks=("fixed scales",),
        shapes="same",
        types=_FLOAT_OR_INT8,
        cost="exponential",
        record=(0, 1, 28),
        figures={"": {"output": _integer(400)}},
        estimate=True,
    ),
    Operator("ELU", scaled=True, shapes="same", types=_FLOAT_OR_INT8, cost="exponential", record=(0, 1, 256)),
    Operator(
        "L2_NORMALIZATION",
        remark="fixed scale",
        scaled=True,
        shapes="same",
        types=_FLOAT_OR_INT8,
        cost="counted",
        figures={"": {"input": (400, 200, 110, 110, 110)}},
        estimate=True,
        record=(1, 1, 4),
    ),
    # Reductions.
    Operator(
        "MEAN",
        kernel="mean",
        scaled=True,
        inputs="di",
        shapes="reduction",
        types=_ALL_THREE,
        cost="reduction",
        figures={
            "": {
                "input": (194, 138, 138.3, 129.3, 132.2),
                "output": (140, 42, 42.03, 42.04, 42.03),
                "call": (1420, 1014, 1014, 1032, 985),
            }
        },
        record=(1, 1, 44),
        memory="mean",
        code_bytes=4804,
    ),
    Operator(
        "SUM",
        scaled=True,
        inputs="di",
        shapes="reduction",
        types=_ALL_THREE,
        cost="reduction",
        record=(1, 1, 44),
        memory="mean",
        figures={"": {"input": _integer(175)}},
        estimate=True,
    ),
    *(
        Operator(
            name,
            kernel=name.lower(),
            scaled=True,
            checks=("equal codes",),
            types=_FLOAT_OR_INT8,
            inputs="di",
            shapes="reduction",
            cost="reduction",
            record=(1, 1, 44),
            memory="reduction",
        )
        for name in ("REDUCE_MAX", "REDUCE_MIN")
    ),
    Operator(
        "REDUCE_ALL",
        inputs="di",
        types=frozenset({"bool"}),
        shapes="reduction",
        cost="reduction",
        record=(1, 1, 44),
        memory="reduction",
    ),
    *(
        Operator(
            name,
            inputs="di",
            outputs=_INT32,
            types=_FLOAT_OR_INT8,
            shapes="reduction",
            cost="counted",
            figures={"": {"input": _integer(17)}},
            estimate=True,
            record=(1, 1, 0),
        )
        for name in ("ARG_MAX", "ARG_MIN")
    ),
    # Types.
    Operator(
        "QUANTIZE",
        kernel="quantize",
        scaled=True,
        checks=("one scale",),
        outputs=_QUANTIZED,
        shapes="same",
        types=frozenset({"float32", "int32", "int16", "int8", "uint8"}),
        cost="counted",
        figures={"": {"output": (113, 37.2, 44.7, 44.9, 44.2)}},
        record=(0, 1, 32),
        code_bytes=2044,
    ),
    Operator(
        "DEQUANTIZE",
        kernel="dequantize",
        scaled=True,
        outputs={"": _FLOAT},
        shapes="same",
        types=frozenset({"int8", "int16", "uint8"}),
        checks=("one scale",),
        cost="counted",
        estimate=True,
        record=(0, 1, 32),
        code_bytes=2784,
        figures={"": {"output": (250, 140, 86, 86, 86)}},
    ),
    Operator(
        "CAST",
        outputs={"": _WITH_INT32 | {"uint32"}},
        shapes="same",
        types=_WITH_INT32 | {"uint32", "bool"},
        cost="counted",
        figures={"": {"output": (120, 80, 8, 8, 8)}},
        estimate=True,
        record=(2, 1, 0),
    ),
    # What is copied.
    Operator(
        "CONCATENATION",
        kernel="concatenate",
        scaled=True,
        checks=("equal codes", "centred int16"),
        remark="copies",
        types=_WITH_INT64 | {"bool"},
        shapes="all of it",
        cost="moved",
        record=(8, 4, 24),
        code_bytes=3680,
        figures={"": {"output": _integer(6)}},
        estimate=True,
    ),
    Operator(
        "EXPAND_DIMS",
        kernel="reshape",
        inputs="di",
        remark="copies",
        types=_ALL_THREE,
        shapes="same size",
        cost="moved",
        record=(0, 1, 0),
        figures={"": {"output": _integer(4)}},
        estimate=True,
    ),
    Operator(
        "PACK",
        remark="copies",
        types=_WITH_INT64,
        shapes="all of it",
        cost="moved",
        figures={"": {"output": _integer(6)}},
        estimate=True,
        record=(8, 4, 0),
    ),
    Operator(
        "PAD",
        kernel="pad",
        inputs="di",
        remark="copies",
        types=_WITH_INT32,
        shapes="padding",
        cost="moved",
        record=(0, 1, 56),
        code_bytes=1084,
        figures={"": {"output": _integer(33)}},
        estimate=True,
    ),
    Operator(
        "PADV2",
        scaled=True,
        checks=("scale of the padding",),
        inputs="did",
        remark="copies",
        types=_WITH_INT32,
        shapes="padding",
        method="AddPadV2",
        cost="moved",
        record=(0, 1, 56),
        figures={"": {"output": _integer(33)}},
        estimate=True,
    ),
    Operator(
        "MIRROR_PAD",
        remark="copies",
        inputs="dI",
        types=_FLOAT_OR_INT8,
        shapes="padding",
        cost="moved",
        record=(1, 1, 20),
        memory="mirrored padding",
        figures={"": {"output": _integer(132)}},
        estimate=True,
    ),
    Operator(
        "RESHAPE",
        kernel="reshape",
        remark="copies",
        inputs="d.",
        shapes="same size",
        cost="copy",
        record=(36, 4, 0),
        code_bytes=1120,
    ),
    Operator(
        "SLICE",
        inputs="dI=",
        remark="copies",
        types=_WITH_INT32 | {"bool"},
        shapes="part",
        cost="moved",
        record=(0, 1, 0),
        figures={"": {"output": _integer(40)}},
        estimate=True,
    ),
    Operator(
        "SPLIT",
        inputs="id",
        remark="copies",
        data_input=1,
        types=_WITH_INT32,
        shapes="split",
        cost="moved",
        record=(4, 4, 0),
        figures={"": {"output": _integer(13)}},
        estimate=True,
    ),
    Operator(
        "SPLIT_V",
        inputs="dii",
        remark="copies",
        types=_WITH_INT32,
        shapes="split",
        cost="moved",
        record=(4, 4, 0),
        figures={"": {"output": _integer(13)}},
        estimate=True,
    ),
    Operator("SQUEEZE", kernel="reshape", remark="copies", shapes="same size", cost="copy", record=(36, 4, 0)),
    Operator(
        "STRIDED_SLICE",
        kernel="strided_slice",
        inputs="di",
        remark="copies",
        types=_WITH_INT32 | {"bool"},
        shapes="part",
        cost="moved",
        record=(24, 4, 84),
        figures={"": {"output": _integer(11)}},
        estimate=True,
    ),
    Operator(
        "UNPACK",
        remark="copies",
        types=_WITH_INT32,
        shapes="all of it",
        cost="moved",
        figures={"": {"output": _integer(6)}},
        estimate=True,
        record=(8, 4, 0),
    ),
    Operator(
        "GATHER",
        inputs="di",
        remark="copies",
        types=_FLOAT_OR_INT8,
        cost="counted",
        figures={"": {"output": (60, 40, 40, 40, 40)}},
        estimate=True,
        record=(8, 4, 0),
        memory="own shape",
    ),
    Operator(
        "GATHER_ND",
        remark="copies",
        types=_FLOAT_OR_INT8,
        inputs="di",
        cost="moved",
        record=(0, 1, 0),
        memory="own shape",
    ),
    Operator(
        "EMBEDDING_LOOKUP",
        checks=("one scale",),
        data_input=1,
        types=_FLOAT_OR_INT8,
        inputs="id",
        outputs={"float32": _FLOAT, "int8": _FLOAT_OR_INT8},
        cost="moved",
        record=(0, 1, 24),
        memory="own shape",
    ),
    Operator(
        "TRANSPOSE",
        remark="copies",
        types=_ALL_THREE,
        inputs="di",
        shapes="permutation",
        cost="moved",
        record=(0, 1, 0),
    ),
    Operator("BATCH_TO_SPACE_ND", remark="copies", types=_FLOAT_OR_INT8, inputs="di", cost="moved", record=(0, 1, 0)),
    Operator("SPACE_TO_BATCH_ND", remark="copies", types=_FLOAT_OR_INT8, inputs="di", cost="moved", record=(0, 1, 4)),
    *(
        Operator(
            name,
            types=_FLOAT_OR_INT8,
            remark="copies",
            cost="moved",
            figures={"": {"output": _integer(42)}},
            estimate=True,
            record=(4, 4, 0),
            memory="own shape",
        )
        for name in ("DEPTH_TO_SPACE", "SPACE_TO_DEPTH")
    ),
    Operator("BROADCAST_ARGS", types=_INDICES, inputs="d", cost="moved", record=(0, 1, 0)),
    Operator("BROADCAST_TO", remark="copies", inputs="dI", cost="moved", record=(0, 1, 0)),
    Operator(
        "REVERSE_V2",
        remark="copies",
        types=_WITH_INT64 | {"uint8", "bool"},
        inputs="di",
        cost="moved",
        record=(0, 1, 0),
    ),
    Operator("DYNAMIC_UPDATE_SLICE", remark="copies", types=_WITH_INT32, inputs="ddI", cost="moved", record=(0, 1, 0)),
    Operator(
        "FILL",
        remark="copies",
        data_input=1,
        types=_FLOAT_OR_INT8 | {"int32"},
        inputs="Id",
        cost="copy",
        record=(0, 1, 0),
    ),
    Operator("ZEROS_LIKE", types=_COMPARED, cost="copy", record=(0, 1, 0)),
    Operator("SHAPE", outputs=_INT32, cost="copy", record=(1, 1, 0)),
    Operator(
        "RESIZE_BILINEAR",
        inputs="di",
        remark="copies",
        types=_FLOAT_OR_INT8,
        cost="counted",
        estimate=True,
        record=(2, 1, 0),
        figures={"": {"output": _integer(150)}},
    ),
    Operator("RESIZE_NEAREST_NEIGHBOR", remark="copies", types=_ALL_THREE, inputs="di", cost="moved", record=(2, 1, 0)),
    # Matrices and sequences.
    Operator(
        "BATCH_MATMUL",
        scaled=True,
        checks=(
            "one scale",
            "centred int16",
        ),
        inputs="dw",
        weights=_SAME_WEIGHTS,
        method="AddBatchMatMul",
        shapes="matrices",
        cost="matrices",
        figures={"": {"mac": (6.5, 3.2, 2.4, 2.4, 1.2), "output": (86, 40, 50, 50, 20)}},
        estimate=True,
        record=(3, 1, 36),
        memory="matrices",
    ),
    Operator(
        "CUMSUM",
        scaled=True,
        inputs="di",
        types=_FLOAT_OR_INT8,
        shapes="same",
        method="AddCumSum",
        cost="counted",
        estimate=True,
        record=(2, 1, 36),
        figures={"": {"output": _integer(100)}},
    ),
    Operator(
        "SVDF",
        scaled=True,
        inputs="dwsbs",
        checks=("one state type", "one scale", "scale of the state"),
        weights={"float32": _FLOAT, "int8": frozenset({"int8"})},
        cost="rank decomposition",
        estimate=True,
        record=(8, 4, 40),
        memory="rank decomposition",
        figures={"": {"mac": _integer(7), "output": _integer(50)}},
    ),
    Operator(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        scaled=True,
        checks=("one scale",),
        inputs="dwwwwwwww...bbbb..dc.",
        weights=_PLAIN_WEIGHTS,
        method="AddUnidirectionalSequenceLSTM",
        cost="recurrent",
        figures={"": {"mac": (6.5, 3.2, 2.4, 2.4, 1.2), "output": (900, 400, 400, 400, 300)}},
        estimate=True,
        record=(16, 4, 912),
        memory="recurrent",
    ),
    # Control, and variables.
    Operator("IF", inputs="l.", outputs=_ANY, shapes="branches", cost="branch", record=(8, 4, 8), code_bytes=1024),
    Operator("WHILE", inputs=".", outputs=_ANY, shapes="loop", cost="loop", record=(8, 4, 8)),
    Operator("CALL_ONCE", cost="call", record=(4, 4, 8)),
    Operator("VAR_HANDLE", outputs=_ANY, cost="call", record=(8, 4, 4)),
    Operator(
        "ASSIGN_VARIABLE", shapes="variable", inputs=".", cost="assignment", record=(0, 1, 0)
    ),  # the variable's memory: `arena._variables`
    Operator("READ_VARIABLE", shapes="variable", outputs=_ANY, cost="copy", record=(0, 1, 0)),
    # Custom operators of TensorFlow Lite Micro.
    Operator(
        "TFLite_Detection_PostProcess",
        custom=True,
        types=_FLOAT,
        method="AddDetectionPostprocess",
        record=(0, 1, 112),
        memory="detections",
    ),
    *(
        Operator(name, custom=True, inputs=".", outputs=_ANY, method=method, memory="unknown")
        for name, method in {
            "CIRCULAR_BUFFER": "AddCircularBuffer",
            "TFLM_DECODE": "AddDecode",
            "ethos-u": "AddEthosU",  # the whole net in the commands of an NPU
            "SignalDelay": "AddDelay",
            "SignalEnergy": "AddEnergy",
            "SignalFftAutoScale": "AddFftAutoScale",
            "SignalFilterBank": "AddFilterBank",
            "SignalFilterBankLog": "AddFilterBankLog",
            "SignalFilterBankSpectralSubtraction": "AddFilterBankSpectralSubtraction",
            "SignalFilterBankSquareRoot": "AddFilterBankSquareRoot",
            "SignalFramer": "AddFramer",
            "SignalIrfft": "AddIrfft",
            "SignalOverlapAdd": "AddOverlapAdd",
            "SignalPCAN": "AddPCAN",
            "SignalRfft": "AddRfft",
            "SignalStacker": "AddStacker",
            "SignalWindow": "AddWindow",
        }.items()
    ),
    # Custom operators, of Larq Compute Engine on bitpacked words and of this project. What counts differently in their
    # figures: window word and output word = words of 32 channels; pass = pixels of all passes over the image, of which
    # each makes up to 16 bits; pair = of these, pairs of bits; threshold = thresholds, which are packed before.
    Operator(
        "LceQuantize",
        kernel="quantize_signs",
        types=_FLOAT_OR_INT8 | {"bool"},
        outputs=_INT32,
        shapes="packing",
        sources=("micro/lce_quantize.cc", "micro/tensors.cc", "kernels/quantize.cc"),
        cost="counted",
        figures={
            "": {
                "input": (17.3, 10.4, 10.39, 10.39, 9.39),
                "pixel": (28.5, 17.1, 17.12, 17.12, 17.11),
                "call": (347, 208, 208, 208, 212),
            }
        },
        record=(0, 1, 16),
        code_bytes=1984,
    ),
    Operator(
        "LceDequantize",
        kernel="dequantize_signs",
        types=_WORDS,
        outputs={"int32": _FLOAT_OR_INT8 | {"bool"}},
        shapes="unpacking",
        sources=("micro/lce_dequantize.cc", "micro/tensors.cc", "kernels/quantize.cc"),
        cost="counted",
        figures={
            "": {
                "output": (10.9, 7.26, 7.26, 7.26, 7.26),
                "pixel": (15.8, 10.6, 10.56, 10.56, 9.57),
                "call": (179, 119, 119, 119, 122),
            }
        },
        record=(0, 1, 16),
        code_bytes=2096,
    ),
    Operator(
        "LceBMaxPool2d",
        kernel="binary_max_pool",
        types=_WORDS,
        shapes="binary pooling",
        sources=(
            *("micro/lce_bmaxpool2d.cc", "micro/tensors.cc"),
            *("kernels/bmaxpool2d.cc", "kernels/window.cc", "kernels/options.cc", "kernels/flexbuffer.cc"),
        ),
        cost="binary pooling",
        figures={
            "": {
                "window word": (8.6, 5.74, 5.736, 5.736, 4.707),
                "output word": (50.2, 33.4, 33.44, 33.44, 37.54),
                "pixel": (106, 70.6, 70.55, 70.57, 70.55),
                "position": (0.8, 0.54, 0.537, 0.534, 0.437),
                "call": (96, 64, 64, 57, 68),
            }
        },
        record=(0, 1, 32),
        code_bytes=1100,
    ),
    Operator(
        "LceBconv2d",
        kernel="binary_convolution",
        types=_WORDS,
        inputs="ddffd",
        outputs={"int32": _FLOAT_OR_INT8 | _WORDS},
        shapes="binary convolution",
        sources=(
            *("micro/lce_bconv2d.cc", "micro/tensors.cc"),
            *(
                f"kernels/bconv2d/{name}.cc"
                for name in ("bconv2d", "carry_save", "fixed_point", "plan", "portable", "prepare")
            ),
            *(f"kernels/bconv2d/bitsliced/{name}.cc" for name in ("bitsliced", "outputs", "transpose")),
            *(f"kernels/bconv2d/helium/{name}.cc" for name in ("helium", "plan_helium")),
            *("kernels/window.cc", "kernels/options.cc", "kernels/flexbuffer.cc"),
        ),
        cost="binary convolution",
        macs=32,
        record=(0, 1, 88),
        memory="binary convolution",
        code_bytes=32356,
    ),
    Operator(
        "BcnetGate",
        kernel="gate",
        types=_FLOAT_OR_INT8,
        outputs=_BOOL,
        shapes="gate",
        sources=(
            *("micro/bcnet_gate.cc", "micro/tensors.cc", "kernels/gate.cc", "kernels/budget.cc"),
            *("kernels/options.cc", "kernels/flexbuffer.cc"),
        ),
        cost="counted",
        figures={"": {"input": (3250, 1710, 203.5, 118.0, 118.0), "call": (356, 188, 22.4, 49.3, 66.3)}},
        record=(0, 1, 0),  # its data is among what it prepares
        memory="gate",
        code_bytes=4068,
    ),
    Operator(
        "BcnetThermometer",
        kernel="thermometer",
        types=frozenset({"int8"}),
        inputs="di",
        outputs=_INT32,
        shapes="thermometer",
        sources=("micro/bcnet_thermometer.cc", "micro/tensors.cc", "kernels/thermometer.cc"),
        cost="thermometer",
        figures={
            "": {
                "pair": (5.24, 3.44, 3.45, 3.38, 3.43),
                "pass": (19.32, 11.62, 11.54, 11.67, 10.58),
                "threshold": (41.1, 15.2, 20.5, 17.2, 21.4),
            }
        },
        record=(0, 1, 0),
        code_bytes=924,
    ),
    Operator(
        "BcnetStem",
        kernel="stem",
        types=frozenset({"int8"}),
        inputs="ddi",
        outputs=_INT32,
        shapes="stem",
        sources=(
            *("micro/bcnet_stem.cc", "micro/tensors.cc", "kernels/stem.cc"),
            *("kernels/window.cc", "kernels/options.cc", "kernels/flexbuffer.cc"),
        ),
        cost="stem",
        figures={
            "one plane": {
                **_STEM,
                "pixel and four filters": (40.0, 40.0, 0, 0, 0),
                "pixel and filter": (0, 0, 0, 0, 0),
                "four filters": (0, 0, 38.0, 38.0, 0),
                "two filters": (0, 0, 0, 0, 30.9),
            },
            "two planes": {
                **_STEM,
                "pixel and four filters": (41.0, 41.0, 0, 0, 0),
                "bit of a pixel": (4.0, 4.0, 0, 0, 0),
                "four filters": (0, 0, 59.47, 59.47, 0),
                "two filters": (0, 0, 0, 0, 31.05),
            },
            "four planes": {
                **_STEM,
                "pixel and four filters": (41.0, 41.0, 0, 0, 0),
                "bit of a pixel": (3.0, 3.0, 0, 0, 0),
                "four filters": (0, 0, 93.0, 93.0, 0),
                "two filters": (0, 0, 0, 0, 30.0),
            },
            "fours of planes": {
                **_STEM,
                "pixel and four filters": (41.0, 41.0, 0, 0, 0),
                "bit of a pixel": (3.0, 3.0, 0, 0, 0),
                "four filters": (0, 0, 36.36, 36.36, 0),
                "filter": (0, 0, 4.0, 4.0, 0),
                "bit": (0, 0, 5.75, 5.75, 2.586),
                "two filters": (0, 0, 0, 0, 38.84),
            },
            "even planes": {
                **_STEM,
                "pixel and four filters": (41.0, 41.0, 0, 0, 0),
                "bit of a pixel": (4.0, 4.0, 0, 0, 0),
                "four filters": (0, 0, 31.03, 31.03, 0),
                "filter": (0, 0, 4.0, 4.0, 0),
                "bit": (0, 0, 6.5, 6.5, 2.586),
                "two filters": (0, 0, 0, 0, 45.5),
            },
            "odd planes": {
                **_STEM,
                "pixel and four filters": (42.0, 42.0, 0, 0, 0),
                "bit of a pixel": (6.0, 6.0, 0, 0, 0),
                "four filters": (0, 0, 30.73, 30.73, 0),
                "filter": (0, 0, 4.0, 4.0, 0),
                "bit": (0, 0, 8.0, 8.0, 4.516),
                "two filters": (0, 0, 0, 0, 22.55),
                "output word": (0, 0, 8.0, 8.0, 41.33),
                "pair": (0, 0, 20.0, 20.0, 102.0),
            },
        },
        macs=1,
        record=(0, 1, 48),
        memory="stem",
        code_bytes=6956,
    ),
)
OPERATORS: Mapping[str, Operator] = {record.name: record for record in _RECORDS}

CUSTOM_OPS = frozenset(name for name, record in OPERATORS.items() if record.ours)  # what tflm_ops brings
MICRO_OPS = frozenset(OPERATORS) - CUSTOM_OPS  # what TensorFlow Lite Micro brings
LCE_OPS = frozenset(name for name in CUSTOM_OPS if name.startswith("Lce"))  # on bitpacked words


def operator(name: str) -> Operator:
    """The record of an operator; one without figures where there is none."""
    return OPERATORS.get(name) or Operator(name)


def kernel_sources() -> tuple[str, ...]:
    """The C++ files of all kernels, sorted, relative to `tflm_ops`."""
    return tuple(sorted({source for record in _RECORDS for source in record.sources}))


if __name__ == "__main__":
    print("\n".join(kernel_sources()))

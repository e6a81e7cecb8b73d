"""The values that the templates of an export are filled with, as C++ and prose."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import bcnet_keras
from bcnet_keras.device.profile import STACK_BYTES
from bcnet_keras.runtime import native
from bcnet_keras.tflite import operators
from bcnet_keras.tflite.metadata import NO_VERDICT

if TYPE_CHECKING:
    from bcnet_keras.export.description import NetDescription, TensorDescription
    from bcnet_keras.export.formats import Layout

_BYTES_PER_LINE = 16
_GATE_CONTEXT = "  if (made->SetMicroExternalContext(&context) != kTfLiteOk) return false;\n"
_GATE_DECLARED = """
// The gate: set `thresholds` to use others than the model's, read `confidence` after Run.
extern bcnet::GateControl& gate;
"""
_TFLM_TREE = """git clone --depth 1 https://github.com/tensorflow/tflite-micro
python3 -m venv tflm_python && tflm_python/bin/pip install numpy pillow
(cd tflite-micro && PATH=$PWD/../tflm_python/bin:$PATH \\
  python3 tensorflow/lite/micro/tools/project_generation/create_tflm_tree.py \\
  --makefile_options="TARGET=cortex_m_generic OPTIMIZED_KERNEL_DIR=cmsis_nn TARGET_ARCH=project_generation" ../tflm)"""
_ANOTHER = """Another net in the same firmware shares `bcnet_ops`, if the same version of bcnet-keras exported it (the
compiler says so if not)"""
_SPEED = """GCC optimizes the loops of the operators for speed by pragmas in their sources, whatever the build says;
Arduino, PlatformIO and Zephyr build with `-Os`. clang has no such pragma: build `bcnet_ops` with `-Os` or `-O3` there,
not with `-Oz`."""
_FAST_CODE = """

## Code in RAM

The innermost loop of a binary convolution is longer than the smallest caches. Where the cache before a slow flash has
1 KB, as on an STM32 L4, these layers take more than twice the cycles: `bcnet profile --board=...` says how many, and
what `BCNET_FAST_CODE` gains. It names the section of these functions, 4 KB at most: one that the linker script of your
board has in RAM, and that its start-up code copies there.

| script | section |
|---|---|
| STM32CubeIDE, STM32CubeMX, Arduino's core of STM32 | `.RamFunc` |
| Zephyr | `.ramfunc` |
| Pico SDK, Arduino's cores of RP2040 | `.time_critical.bcnet` |
| Teensy | `.fastrun` |
| this project's, for QEMU's boards | `.ramfunc` |
| any with `*(.data*)` or `*(.data.*)`, as Mbed's | `.data.bcnet`: GNU's assembler warns of it |

Best is RAM that the core reads by the bus of code: SRAM2 of an STM32 L4 at 0x10000000, the ITCM of a Cortex-M7. On
Cortex-M3 and M4 code at 0x20000000 and above waits for data, which `bcnet profile` does not count. To use it, {how}"""
_CONTEXT_DEFINED = "bcnet::Context context;\n"
_INTERPRETER = """  auto* made = new (memory)
      tflite::MicroInterpreter(tflite::GetModel({name}_model), resolver, arena, sizeof(arena));
"""
_INTERPRETER_WITH_VARIABLES = """  auto* allocator = tflite::MicroAllocator::Create(arena, sizeof(arena));
  if (allocator == nullptr) return false;
  // What the net keeps from one Run to the next.
  auto* variables = tflite::MicroResourceVariables::Create(allocator, {variables});
  auto* made = new (memory) tflite::MicroInterpreter(tflite::GetModel({name}_model), resolver, allocator, variables);
"""
_GATE_DEFINED = """
bcnet::GateControl& gate = context.gate;
"""
_ESCALATED_DECLARED = """
// Whether the binary net was not sure, so that the int8 net answered too.
bool Escalated();
"""
_ESCALATED_DEFINED = """
bool Escalated() { return Output(1)->data.b[0]; }
"""


def substitutions(net: NetDescription, layout: Layout) -> dict[str, str]:
    """Returns the values, all str, by the key that stands for them in a template: `@key@`.

    Arguments:
      net: a `NetDescription`.
      layout: a `bcnet_keras.export.formats.Layout`.
    """
    guard = net.name.upper()
    count = len(net.builtin_ops) + len(net.custom_ops)
    pair, gated = net.thresholds is not None, "BcnetGate" in net.custom_ops
    return {
        "name": net.name,
        "NAME": guard,
        "origin": net.origin,
        "version": bcnet_keras.__version__,
        "ops_id": _operators_id(),
        "model_size": str(len(net.data)),
        "flash_kib": f"{(len(net.data) + net.code_size) / 1024:.0f}",
        "model_bytes": _bytes(net.data),
        "arena_size": str(net.arena_size),
        "ram_kib": f"{(net.arena_size + STACK_BYTES) / 1024:.0f}",
        "scratch_budget": str(net.scratch_budget),
        "tensors": "\n".join(
            [
                *(
                    _tensor(guard, what, index, tensor)
                    for what, side in (("INPUT", net.inputs), ("OUTPUT", net.outputs))
                    for index, tensor in enumerate(side)
                ),
                *_indices(guard, "INPUT", net.inputs),
                *_indices(guard, "OUTPUT", net.outputs),
            ]
        ),
        "thresholds": _thresholds(guard, net.thresholds),
        "raw": _raw(guard, net),
        "labels_declared": _labels(net, declared=True),
        "labels_defined": _labels(net, declared=False),
        "operators": str(count),
        "operator_list": ", ".join((*net.builtin_ops, *net.custom_ops)),
        "add_operators": _add_operators(net),
        "ops_header": '#include "bcnet_ops.h"\n' if net.custom_ops else "",
        "ops_check": _operators_check(net) if net.custom_ops else "",
        "gate_declared": _GATE_DECLARED if gated else "",
        "gate_defined": _GATE_DEFINED if gated else "",
        "context_defined": _CONTEXT_DEFINED if gated else "",
        "gate_context": _GATE_CONTEXT if gated else "",
        "variables_header": '#include "tensorflow/lite/micro/micro_resource_variable.h"\n' if net.variables else "",
        "interpreter_made": (_INTERPRETER_WITH_VARIABLES if net.variables else _INTERPRETER).format(
            name=net.name, variables=net.variables
        ),
        "escalated_declared": _ESCALATED_DECLARED if pair else "",
        "escalated_defined": _ESCALATED_DEFINED if pair else "",
        "print_from": f'{net.name}::Escalated() ? "both nets" : "the binary net"' if pair else '"the net"',
        "what": "A cooperating pair of nets: a binary one answers, and where it is not sure an int8 one too."
        if pair
        else "A quantised net.",
        "sentence": _sentence(net),
        "summary": _summary(net),
        "interface": _interface(net, layout),
        "tflm_tree": _tflm_tree(indent=" " * 3 if "library" in layout.templates else ""),
        "another": _ANOTHER,
        "speed": _SPEED,
        "fast_code": _FAST_CODE.format(how=layout.fast_code) if "LceBconv2d" in net.custom_ops else "",
        "operator_sources": _operator_sources(),
        "json_name": json.dumps(net.name),
        "json_sentence": json.dumps(_sentence(net)),
    }


def _bytes(data: bytes) -> str:
    lines = (data[start : start + _BYTES_PER_LINE] for start in range(0, len(data), _BYTES_PER_LINE))
    return "\n".join("    " + " ".join(f"0x{byte:02x}," for byte in line) for line in lines)


def _tensor(guard: str, what: str, index: int, tensor: TensorDescription) -> str:
    prefix = f"{guard}_{what}{index or ''}"
    name = tensor.name.replace("*/", "* /")  # as it stands in a comment
    lines = [f"/* {what.capitalize()} {index}, {name}: {tensor.type} {list(tensor.shape)}. */"]
    if tensor.quantization:
        lines[0] = lines[0][:-4] + f"; a code stands for {prefix}_SCALE * (code - {prefix}_ZERO_POINT). */"
    lines.append(f"#define {prefix}_SHAPE {{{', '.join(map(str, tensor.shape))}}}")
    lines.append(f"#define {prefix}_SIZE {tensor.size}")
    if tensor.quantization:
        scale, zero_point = tensor.quantization
        lines += [f"#define {prefix}_SCALE {_float(scale)}", f"#define {prefix}_ZERO_POINT ({zero_point})"]
    return "\n".join(lines)


def _indices(guard: str, what: str, side: Sequence[TensorDescription]) -> list[str]:
    """Constants that give the number of an input or output by its name in the signature, where names differ."""
    names = [re.sub(r"[^A-Z0-9]+", "_", tensor.name.upper()).strip("_") for tensor in side]
    return [
        f"#define {guard}_{what}_{name}_INDEX {index}"
        for index, name in enumerate(names)
        if name and names.count(name) == 1
    ]


def _float(value: float) -> str:
    text = f"{value:.9g}"  # enough to read the same float32 again
    return f"{text}f" if any(mark in text for mark in ".e") else f"{text}.0f"


def _thresholds(guard: str, thresholds: Sequence[float] | None) -> str:
    if thresholds is None:
        return ""
    listed = ", ".join(map(_float, thresholds))
    return (
        "\n/* The int8 net runs where the binary net's confidence is below the threshold: one, or one per class. */\n"
        f"#define {guard}_THRESHOLDS {len(thresholds)}\n#define {guard}_THRESHOLD {{{listed}}}\n"
    )


def _raw(guard: str, net: NetDescription) -> str:
    """The line from the data set's values to the codes of the input."""
    if (line := _codes_of_values(net)) is None:
        return ""
    low, high, slope, offset = line
    return (
        f"\n/* A value v of the data set, {low:g} to {high:g}, has the code\n"
        f"   round({guard}_CODE_SLOPE * v + {guard}_CODE_OFFSET), within -128 and 127. */\n"
        f"#define {guard}_CODE_SLOPE {_float(slope)}\n#define {guard}_CODE_OFFSET {_float(offset)}\n"
    )


def _codes_of_values(net: NetDescription) -> tuple[float, float, float, float] | None:
    """Lowest and highest value of the data set, and (slope, offset) of their codes; None where that is not known."""
    quantization = net.inputs[0].quantization
    if not net.raw_range or not net.input_range or net.inputs[0].type != "int8" or not quantization:
        return None
    (raw_low, raw_high), (low, high), (scale, zero_point) = net.raw_range, net.input_range, quantization
    slope = (high - low) / (raw_high - raw_low) / scale
    return raw_low, raw_high, slope, low / scale + zero_point - slope * raw_low


def _labels(net: NetDescription, declared: bool) -> str:
    if net.labels is None:
        return ""
    array = f"const char* const {net.name}_labels[{len(net.labels)}]"
    if declared:
        return f"\n/* Names of the classes. */\nextern {array};\n"
    listed = "".join(f"    {_string(label)},\n" for label in net.labels)
    return f"\n{array} = {{\n{listed}}};\n"


def _string(text: str) -> str:
    """A C string literal; bytes beyond ASCII as octal escapes, which end after three digits."""
    return '"' + "".join(chr(b) if 32 <= b < 127 and b not in b'"\\?' else f"\\{b:03o}" for b in text.encode()) + '"'


def _add_operators(net: NetDescription) -> str:
    methods = (operators.operator(name).resolver_method for name in net.builtin_ops)
    lines = [f"  if (resolver.{method}() != kTfLiteOk) return kTfLiteError;" for method in methods]
    if net.custom_ops:
        listed = " | ".join(f"bcnet::k{name}" for name in net.custom_ops)
        budget = f", {net.name.upper()}_SCRATCH_BUDGET" if "LceBconv2d" in net.custom_ops else ""
        return "\n".join([*lines, f"  return bcnet::RegisterBcnetOps<{listed}{budget}>(resolver);"])
    return "\n".join([*lines, "  return kTfLiteOk;"])


def _tflm_tree(indent: str) -> str:
    return "\n".join(indent + line for line in _TFLM_TREE.split("\n"))


def _operators_id() -> str:
    """A C number that tells the operators of this version from those of any other."""
    digest = hashlib.sha256(bcnet_keras.__version__.encode())
    root = native.source_root() / "tflm_ops"
    for path in sorted(path for part in ("kernels", "micro") for path in (root / part).rglob("*.[ch]*")):
        digest.update(b"\0".join((path.relative_to(root).as_posix().encode(), path.read_bytes())))
    return f"0x{digest.hexdigest()[:8]}"


def _operators_check(net: NetDescription) -> str:
    return f"""
#if BCNET_OPS_ID != {_operators_id()}
#error "{net.name} needs the bcnet_ops of bcnet-keras {bcnet_keras.__version__} that it was exported with: export \
all nets of a firmware with one version, and keep the bcnet_ops of one of them"
#endif
"""


def _sentence(net: NetDescription) -> str:
    return f"{net.origin} with the operators of binary nets, for TensorFlow Lite Micro."


def _summary(net: NetDescription) -> str:
    model, code = len(net.data), net.code_size
    lines = [
        f"| flash | {(model + code) / 1024:.0f} KiB: the model's {model:,} bytes, and about {code / 1024:.0f} KiB of "
        "code of TensorFlow Lite Micro and the operators |",
        f"| arena | {net.arena_size:,} bytes of RAM |",
    ]
    for what, side in (("input", net.inputs), ("output", net.outputs)):
        for tensor in side:
            quantised = "" if not tensor.quantization else ", scale {:.6g}, zero point {}".format(*tensor.quantization)
            lines.append(f"| {what} `{_cell(tensor.name)}` | {tensor.type} {list(tensor.shape)}{quantised} |")
    if (line := _codes_of_values(net)) is not None:
        low, high, slope, offset = line
        factor = "v" if f"{slope:.6g}" == "1" else f"{slope:.6g} * v"
        summand = "" if f"{offset:.6g}" == "0" else f" {'-' if offset < 0 else '+'} {abs(offset):.6g}"
        lines.append(f"| codes of the input | round({factor}{summand}) for a value v from {low:g} to {high:g} |")
    if net.labels:
        lines.append(f"| classes | {_cell(', '.join(net.labels))} |")
    if net.thresholds:
        lines.append(f"| threshold | {', '.join(f'{value:.6g}' for value in net.thresholds)} |")
    lines.append(f"| operators | {', '.join((*net.builtin_ops, *net.custom_ops))} |")
    if net.variables:
        lines.append(f"| resource variables | {net.variables}, which an interpreter of your own has to be given |")
    lines += [f"| remark | {sentence} |" for sentence in net.remarks]
    if net.thresholds:
        lines.append(f"| verdict | {_cell(net.verdict or NO_VERDICT)} |")
    return "\n".join(["| | |", "|---|---|", *lines])


def _cell(text: str) -> str:
    """The text in a cell of a table of Markdown: on one line, no bar the end of it."""
    return " ".join(text.split()).replace("|", "\\|")


def _interface(net: NetDescription, layout: Layout) -> str:
    name, source = net.name, layout.source.replace("NAME", net.name)
    escalated = "" if net.thresholds is None else ", `Escalated()`"
    functions = f"`Begin()`, `Input()`, `Run()`, `Output()`, `BestClass()`{escalated}"
    return (
        f"- `{source}/{name}.h`: {functions}: the net in an interpreter with an arena of its own\n"
        f"- `{source}/{name}_model.h`: sizes, shapes, scales, labels; `{name}_model.*`: the flatbuffer\n"
        f"- `{source}/{name}_ops.h`: the operators to register, for an interpreter of your own\n"
        f"- `{layout.operators}`: the operators of binary and cooperating nets (Apache License 2.0), one for all\n"
        "  nets of a firmware"
    )


def _operator_sources() -> str:
    """The C++ sources of the operators, one per line, as CMake lists them."""
    return "\n".join(f"      bcnet_ops/tflm_ops/{source}" for source in operators.kernel_sources())

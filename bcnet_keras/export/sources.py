"""The values that the templates of an export are filled with, as C++ and prose."""

import json

import bcnet_keras
from bcnet_keras.convert.cooperative import NO_VERDICT
from bcnet_keras.runtime import native

# The methods of MicroMutableOpResolver that are not named after their operator.
_METHODS = {
    "BATCH_MATMUL": "AddBatchMatMul",
    "CUMSUM": "AddCumSum",
    "PADV2": "AddPadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "AddUnidirectionalSequenceLSTM",
}
_BYTES_A_LINE = 16
_GATE_CONTEXT = "  if (made->SetMicroExternalContext(&gate) != kTfLiteOk) return false;\n"
_ESCALATED_DECLARED = """
// Whether the binary net was not sure, so that the int8 net answered too.
bool Escalated();
"""
_ESCALATED_DEFINED = """
bool Escalated() { return Output(1)->data.b[0]; }
"""


def substitutions(facts):
    """Returns the values, all str, by the key that stands for them in a template: `@key@`."""
    guard = facts.name.upper()
    operators = len(facts.builtin_ops) + len(facts.custom_ops)
    pair = facts.thresholds is not None
    return {
        "name": facts.name,
        "NAME": guard,
        "origin": facts.origin,
        "version": bcnet_keras.__version__,
        "model_size": str(len(facts.data)),
        "model_kib": f"{len(facts.data) / 1024:.0f}",
        "model_bytes": _bytes(facts.data),
        "arena_size": str(facts.arena_size),
        "arena_kib": f"{facts.arena_size / 1024:.0f}",
        "scratch_budget": str(facts.scratch_budget),
        "tensors": "\n".join(
            _tensor(guard, what, index, tensor)
            for what, side in (("INPUT", facts.inputs), ("OUTPUT", facts.outputs))
            for index, tensor in enumerate(side)
        ),
        "thresholds": _thresholds(guard, facts.thresholds),
        "raw": _raw(guard, facts),
        "labels_declared": _labels(facts, declared=True),
        "labels_defined": _labels(facts, declared=False),
        "operators": str(operators),
        "operator_list": ", ".join((*facts.builtin_ops, *facts.custom_ops)),
        "add_operators": _add_operators(facts),
        "ops_header": '#include "tflm_ops/micro/bcnet_ops.h"\n' if facts.custom_ops else "",
        "set_scratch_budget": _set_scratch_budget(guard, facts),
        "gate_declared": _gate(facts, declared=True),
        "gate_defined": _gate(facts, declared=False),
        "gate_context": _GATE_CONTEXT if "BcnetGate" in facts.custom_ops else "",
        "escalated_declared": _ESCALATED_DECLARED if pair else "",
        "escalated_defined": _ESCALATED_DEFINED if pair else "",
        "print_from": f'{facts.name}::Escalated() ? "both nets" : "the binary net"' if pair else '"the net"',
        "what": "A cooperating pair of nets: a binary one answers, and where it is not sure an int8 one too."
        if pair
        else "A quantised net.",
        "sentence": _sentence(facts),
        "summary": _summary(facts),
        "interface": _interface(facts),
        "operator_sources": _operator_sources(),
        "json_name": json.dumps(facts.name),
        "json_sentence": json.dumps(_sentence(facts)),
    }


def resolver_method(operator):
    """The method of MicroMutableOpResolver that adds a builtin operator: `CONV_2D` -> `AddConv2D`."""
    words = (word if word[0].isdigit() else word.capitalize() for word in operator.split("_"))
    return _METHODS.get(operator) or "Add" + "".join(words)


def _bytes(data):
    lines = (data[start : start + _BYTES_A_LINE] for start in range(0, len(data), _BYTES_A_LINE))
    return "\n".join("    " + " ".join(f"0x{byte:02x}," for byte in line) for line in lines)


def _tensor(guard, what, index, tensor):
    prefix = f"{guard}_{what}{index or ''}"
    lines = [f"/* {what.capitalize()} {index}: {tensor.type} {list(tensor.shape)}. */"]
    if tensor.quantization:
        lines[0] = lines[0][:-4] + f"; a code stands for {prefix}_SCALE * (code - {prefix}_ZERO_POINT). */"
    lines.append(f"#define {prefix}_SHAPE {{{', '.join(map(str, tensor.shape))}}}")
    lines.append(f"#define {prefix}_SIZE {tensor.size}")
    if tensor.quantization:
        scale, zero_point = tensor.quantization
        lines += [f"#define {prefix}_SCALE {_float(scale)}", f"#define {prefix}_ZERO_POINT ({zero_point})"]
    return "\n".join(lines)


def _float(value):
    text = f"{value:.9g}"  # enough to read the same float32 again
    return f"{text}f" if any(mark in text for mark in ".e") else f"{text}.0f"


def _thresholds(guard, thresholds):
    if thresholds is None:
        return ""
    listed = ", ".join(map(_float, thresholds))
    return (
        "\n/* The int8 net is asked where the binary net's confidence is below the threshold: one, or one a class. */\n"
        f"#define {guard}_THRESHOLDS {len(thresholds)}\n#define {guard}_THRESHOLD {{{listed}}}\n"
    )


def _raw(guard, facts):
    """The line from the data set's values to the codes of the input."""
    quantization = facts.inputs[0].quantization
    if not facts.raw_range or facts.inputs[0].type != "int8" or not quantization:
        return ""
    (raw_low, raw_high), (low, high), (scale, zero_point) = facts.raw_range, facts.input_range, quantization
    slope = (high - low) / (raw_high - raw_low) / scale
    offset = low / scale + zero_point - slope * raw_low
    return (
        f"\n/* A value v of the data set, {raw_low:g} to {raw_high:g}, has the code\n"
        f"   round({guard}_CODE_SLOPE * v + {guard}_CODE_OFFSET), within -128 and 127. */\n"
        f"#define {guard}_CODE_SLOPE {_float(slope)}\n#define {guard}_CODE_OFFSET {_float(offset)}\n"
    )


def _labels(facts, declared):
    if facts.labels is None:
        return ""
    array = f"const char* const {facts.name}_labels[{len(facts.labels)}]"
    if declared:
        return f"\n/* Names of the classes. */\nextern {array};\n"
    listed = "".join(f"    {_string(label)},\n" for label in facts.labels)
    return f"\n{array} = {{\n{listed}}};\n"


def _string(text):
    """A C string literal; bytes beyond ASCII as octal escapes, which end after three digits."""
    return '"' + "".join(chr(b) if 32 <= b < 127 and b not in b'"\\?' else f"\\{b:03o}" for b in text.encode()) + '"'


def _add_operators(facts):
    methods = map(resolver_method, facts.builtin_ops)
    lines = [f"  if (resolver.{method}() != kTfLiteOk) return kTfLiteError;" for method in methods]
    if facts.custom_ops:
        listed = " | ".join(f"bcnet::k{name}" for name in facts.custom_ops)
        return "\n".join([*lines, f"  return bcnet::RegisterBcnetOps<{listed}>(resolver);"])
    return "\n".join([*lines, "  return kTfLiteOk;"])


def _set_scratch_budget(guard, facts):
    return f"  bcnet::SetBconv2dScratchBudget({guard}_SCRATCH_BUDGET);\n" if "LceBconv2d" in facts.custom_ops else ""


def _gate(facts, declared):
    if "BcnetGate" not in facts.custom_ops:
        return ""
    if declared:
        return (
            "\n// The gate: set `thresholds` to use others than the model's, read `confidence` after Run.\n"
            "extern bcnet::GateControl gate;\n"
        )
    return "\nbcnet::GateControl gate;\n"


def _sentence(facts):
    return f"{facts.origin} with the operators of binary nets, for TensorFlow Lite Micro."


def _summary(facts):
    lines = [f"| model | {len(facts.data):,} bytes of flash |", f"| arena | {facts.arena_size:,} bytes of RAM |"]
    for what, side in (("input", facts.inputs), ("output", facts.outputs)):
        for tensor in side:
            quantised = "" if not tensor.quantization else ", scale {:.6g}, zero point {}".format(*tensor.quantization)
            lines.append(f"| {what} | {tensor.type} {list(tensor.shape)}{quantised} |")
    if facts.labels:
        lines.append(f"| classes | {', '.join(facts.labels)} |")
    if facts.thresholds:
        lines.append(f"| threshold | {', '.join(f'{value:.6g}' for value in facts.thresholds)} |")
    lines.append(f"| operators | {', '.join((*facts.builtin_ops, *facts.custom_ops))} |")
    if facts.thresholds:
        lines.append(f"| verdict | {(facts.verdict or NO_VERDICT).replace('|', chr(92) + '|')} |")
    return "\n".join(["| | |", "|---|---|", *lines])


def _interface(facts):
    name, escalated = facts.name, "" if facts.thresholds is None else ", `Escalated()`"
    functions = f"`Begin()`, `Input()`, `Run()`, `Output()`, `BestClass()`{escalated}"
    return (
        f"- `src/{name}.h`: {functions}: the net in an interpreter with an arena of its own\n"
        f"- `src/{name}_model.h`: sizes, shapes, scales, labels; `{name}_model.*`: the flatbuffer\n"
        f"- `src/{name}_ops.h`: the operators to register, for an interpreter of your own\n"
        "- `src/tflm_ops/`: the operators of binary and cooperating nets (Apache License 2.0)"
    )


def _operator_sources():
    """The C++ sources of the operators, one a line, as CMake lists them."""
    root = native.source_root()
    sources = sorted(path for part in ("kernels", "micro") for path in (root / "tflm_ops" / part).glob("*.cc"))
    return "\n".join(f"    src/{path.relative_to(root).as_posix()}" for path in sources)

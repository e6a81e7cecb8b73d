"""The record that this package keeps in a flatbuffer: class names, ranges, the gate's measure, the verdict."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bcnet_keras.errors import FlatbufferError
from bcnet_keras.tflite import flatbuffer

if TYPE_CHECKING:
    import os

    from bcnet_keras.tflite.flatbuffer import schema

METADATA = "bcnet"
FORMAT_VERSION = 1
_LARGE = 1e30  # of a value of an image
NO_VERDICT = "none: at this threshold the pair has not been judged on test images."


def metadata(model: schema.ModelT) -> dict[str, Any] | None:
    """The record that `convert` and `convert_parts` keep in a flatbuffer, as a dict; None for a file of others.

    Keys: `version`, `class_names`, `raw_range`, `input_range`, where there is one `front_end`; in a merged file also
    `measure`, `threshold`, `combine` and `boost`, where its threshold was picked on data `escalation_rate`, and where
    the pair has been judged `verdict`, what it is worth beside its int8 net in a sentence. `model` is a
    `schema.ModelT`.
    """
    data = flatbuffer.metadata(model, METADATA)
    if data is None:
        return None
    try:
        record: dict[str, Any] = json.loads(data.rstrip(b"\0"))
        version = record["version"]
    except (ValueError, KeyError, TypeError):
        raise FlatbufferError(f"the flatbuffer's {METADATA!r} metadata are damaged; convert the pair again") from None
    if isinstance(version, int) and version != FORMAT_VERSION:
        raise FlatbufferError(
            f"the flatbuffer's {METADATA!r} metadata have version {version}, expected {FORMAT_VERSION}; use the "
            "bcnet_keras that wrote it"
        )
    damaged = [name for name, sound in _SOUND.items() if name in record and not sound(record[name])]
    outputs = model.subgraphs[0].outputs
    names = None if damaged else record.get("class_names")
    if names is not None and len(outputs):
        classes = flatbuffer.shape(model.subgraphs[0].tensors[outputs[0]])[-1:]
        damaged = [] if classes == (len(names),) else ["class_names"]
    if damaged:
        raise FlatbufferError(
            f"the flatbuffer's {METADATA!r} metadata are damaged: they have {damaged[0]} = "
            f"{json.dumps(record[damaged[0]])[:40]}; convert the pair again"
        )
    return record


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, int | float) and abs(each) < _LARGE for each in value)


def _range(value: Any) -> bool:
    return _numbers(value) and len(value) == 2 and value[0] != value[1]


def _names(value: Any) -> bool:
    return value is None or isinstance(value, list) and all(isinstance(each, str) for each in value)


# Key -> whether a value can be what it stands for. A measure and thresholds that are not known are told by the gate.
_SOUND: dict[str, Callable[[Any], bool]] = {
    "version": lambda value: isinstance(value, int),
    "class_names": _names,
    "raw_range": _range,
    "input_range": _range,
    "boost": lambda value: isinstance(value, int | float) and 0 <= value < _LARGE,
    "escalation_rate": lambda value: isinstance(value, int | float) and 0 <= value <= 1,
    "front_end": lambda value: isinstance(value, dict),
    "verdict": lambda value: isinstance(value, str),
}


def verdict_of(source: str | os.PathLike[str] | bytes) -> str | None:
    """The verdict on the pair in a flatbuffer (bytes or path), in one line; None for no pair."""
    record = metadata(flatbuffer.read(flatbuffer.load(source))) or {}
    if "measure" not in record:
        return None
    return f"Verdict: {record.get('verdict') or NO_VERDICT}"


def write_record(builder: flatbuffer.Builder, record: dict[str, Any]) -> None:
    text = json.dumps({**record, "version": FORMAT_VERSION}, sort_keys=True, ensure_ascii=False)
    builder.metadata(METADATA, text.encode())

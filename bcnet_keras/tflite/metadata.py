"""The record that this package keeps in a flatbuffer: class names, ranges, the gate's measure, the verdict."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bcnet_keras.errors import FlatbufferError
from bcnet_keras.tflite import flatbuffer

if TYPE_CHECKING:
    import os

    from bcnet_keras.tflite.flatbuffer import schema

METADATA = "bcnet"
FORMAT_VERSION = 1
NO_VERDICT = "none: at this threshold the pair has not been judged on test images."


def metadata(model: schema.ModelT) -> dict[str, Any] | None:
    """The record that `convert` and `convert_parts` keep in a flatbuffer, as a dict; None for a file of others.

    Keys: `version`, `class_names`, `raw_range`, `input_range`, where there is one `front_end`; in a merged file also
    `measure`, `threshold`, `combine` and `boost`, and where the pair has been judged `verdict`, what it is worth beside
    its int8 net in a sentence. `model` is a `schema.ModelT`.
    """
    data = flatbuffer.metadata(model, METADATA)
    if data is None:
        return None
    try:
        record: dict[str, Any] = json.loads(data.rstrip(b"\0"))
        known = record["version"] == FORMAT_VERSION
    except (ValueError, KeyError, TypeError):
        raise FlatbufferError(f"the flatbuffer's {METADATA!r} metadata are damaged; convert the pair again") from None
    if not known:
        raise FlatbufferError(
            f"the flatbuffer's {METADATA!r} metadata have version {record['version']}, expected {FORMAT_VERSION}; "
            "use the bcnet_keras that wrote it"
        )
    return record


def verdict_of(source: str | os.PathLike[str] | bytes) -> str | None:
    """The verdict on the pair in a flatbuffer (bytes or path), in one line; None for no pair."""
    record = metadata(flatbuffer.read(flatbuffer.load(source))) or {}
    if "measure" not in record:
        return None
    return f"Verdict: {record.get('verdict') or NO_VERDICT}"


def write_record(builder: flatbuffer.Builder, record: dict[str, Any]) -> None:
    text = json.dumps({**record, "version": FORMAT_VERSION}, sort_keys=True, ensure_ascii=False)
    builder.metadata(METADATA, text.encode())

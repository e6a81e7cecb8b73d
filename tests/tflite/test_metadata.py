"""The record in a flatbuffer: what cannot be what it stands for is refused, whoever reads it."""

import json

import numpy as np
import pytest

from bcnet_keras.convert import Gate, get_threshold, merge, set_threshold
from bcnet_keras.device.profile import Profile
from bcnet_keras.errors import FlatbufferError
from bcnet_keras.export import export
from bcnet_keras.runtime import tflite, tflm
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.metadata import METADATA, metadata, verdict_of

SHAPE = (3, 3, 2)
RECORD = {"class_names": list("abcd"), "raw_range": [0, 255], "input_range": [-1.0, 127 / 128]}


@pytest.fixture(scope="module")
def pair(make_part):
    parts = make_part(1, shape=SHAPE), make_part(2, shape=SHAPE)
    return merge(*parts, Gate.create(4, "score_margin", 0.5), "builtin", record=RECORD)


def changed(data, content=None, **fields):
    """The flatbuffer with other fields in its record, or with other bytes in the record's place."""
    model = flatbuffer.read(data)
    (entry,) = [each for each in model.metadata if flatbuffer.text(each.name) == METADATA]
    if content is None:
        content = json.dumps({**metadata(model), **fields}).encode()
    model.buffers[entry.buffer].data = np.frombuffer(content, np.uint8)
    return flatbuffer.write(model)


@pytest.mark.parametrize(
    "field, values",
    {
        "class_names": [5, "abcd", {}, [1, 2, 3, 4], [["a"]] * 4, list("abc"), list("abcde")],
        "raw_range": [None, 5, "ab", [1], [5, 5], [0, "x"], [0, 1, 2], [0, float("inf")], [0, 10**400], {}],
        "input_range": [None, [0, 0], ["a", "b"], [float("nan"), 1]],
        "front_end": [5, []],
        "verdict": [5, None, ["good"]],
        "escalation_rate": [-0.1, 1.1, None, "0.3", [0.3], float("nan")],
        "version": ["1", None, [1], 1.5],
    }.items(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_values_that_cannot_be_are_refused_by_all(pair, tmp_path, field, values):
    images = np.random.default_rng(0).integers(0, 256, (2, *SHAPE)).astype(np.uint8)
    uses = (
        get_threshold,
        lambda data: set_threshold(data, 0.25),
        verdict_of,
        lambda data: export(data, "c", tmp_path / "net", name="net"),
        lambda data: tflm.Interpreter(data).predict(images),
        lambda data: tflite.Interpreter(data).predict(images),
    )
    for value in values:
        data = changed(pair, **{field: value})
        for use in uses:
            with pytest.raises(FlatbufferError) as refused:
                use(data)
            said = str(refused.value)
            assert f"metadata are damaged: they have {field} = " in said and said.endswith("; convert the pair again")
            assert "\n" not in said and len(said) < 200
        assert not (tmp_path / "net").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"5", b"null", b"\xff\xfe", b'{"class_names": ["a"]}'])
def test_what_is_no_record_is_refused(pair, content):
    with pytest.raises(FlatbufferError, match="metadata are damaged; convert the pair again"):
        metadata(flatbuffer.read(changed(pair, content=content)))


def test_a_later_version_and_a_sound_record(pair):
    with pytest.raises(FlatbufferError, match="version 2, expected 1; use the bcnet_keras that wrote it"):
        get_threshold(changed(pair, version=2))
    without_names = changed(pair, class_names=None, raw_range=[16, 0], verdict="fine")
    assert get_threshold(without_names) == 0.5 and verdict_of(without_names) == "Verdict: fine"
    Profile.of(without_names)

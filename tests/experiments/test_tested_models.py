"""The table of public flatbuffers: whole, without a figure that is too small, and made by its program."""

import json
import re
import zipfile

import numpy as np
import pytest
from flatbuffers_of import random_net
from single_operators import net

from bcnet_keras.tflite import flatbuffer
from experiments import tested_models


@pytest.fixture(scope="module")
def rows():
    """Cells of the table's rows, without headings."""
    lines = [line for line in tested_models.TABLE.read_text().splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_table_has_the_files_of_the_list(rows):
    sources = json.loads(tested_models.LIST.read_text())
    listed = {(name, path): digest for name, source in sources.items() for path, digest in source["files"].items()}
    assert len(rows) >= 50 and len(set(listed.values())) == len(listed)
    for name, path, digest, *_ in rows:
        assert listed[name, path].startswith(digest)


def test_no_arena_is_too_small_and_nothing_is_refused_without_reason(rows):
    for *_, cycles, instructions, arena, optimized, held, exported, ran in rows:
        planned, _, found = held.partition(" for ")
        assert not found or int(planned.replace(",", "")) >= int(found.replace(",", "")), held
        if cycles.startswith("refused"):
            assert ran == "refused", "TensorFlow Lite Micro runs what is refused here"
        else:
            assert re.fullmatch(r"(at least )?[\d,]+", arena)
            assert optimized == "no gain" or re.fullmatch(r"[\d,]+, (same answers|not run)", optimized)
            assert optimized == "no gain" or tested_models.number(optimized) < tested_models.number(arena)
            low, _, high = cycles.removeprefix("at least ").partition(" to ")
            executed, low, high = (int(each.split()[-1].replace(",", "")) for each in (instructions, low, high or low))
            assert 0.8 * executed <= low <= high <= 4 * executed, cycles
            assert exported.startswith("arena of ") != arena.startswith("at least ")


def test_rows_are_what_the_tools_say(tmp_path):
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.writestr("net.tflite", net("SOFTMAX", "int8"))
    data = tested_models.content(tmp_path, "some.zip!net.tflite")
    assert data == net("SOFTMAX", "int8")
    assert tested_models.content(tmp_path, "other.tflite") is tested_models.content(tmp_path, "some.zip!other") is None
    *_, cycles, instructions, _, _, held, exported, ran = tested_models.row("mine", "some.zip!net.tflite", data)
    low, high = (int(each.replace(",", "")) for each in cycles.split(" to "))
    assert int(instructions.replace(",", "")) < low < high
    assert int(instructions.replace(",", "")) > 10000 and held == "64, same"
    assert exported.startswith("arena of ") and ran == "ran"
    *_, cycles, _, _, _, _, exported, ran = tested_models.row("mine", "x", net("CAST", "uint8"))
    assert cycles.startswith("refused: TensorFlow Lite Micro has no CAST on uint8")
    assert exported == ran == "refused"


def test_a_gain_in_memory_is_told_with_what_the_interpreter_says_of_it():
    model = flatbuffer.read(random_net(np.random.default_rng(1)))
    builder = flatbuffer.Builder.extending(model)
    for _ in range(2):  # which nothing uses: a plan lays one below the other
        builder.tensor(model.subgraphs[0], "spare", flatbuffer.schema.TensorType.INT8, [1, 20000], (0.05, 0))
    data = flatbuffer.write(model)
    before, outcome, answers = tested_models.in_micro(data)
    assert outcome == "ran" and tested_models.optimized(data, before, answers).endswith(", same answers")
    assert "OTHER" in tested_models.optimized(data, before, [bytes(8)])
    assert tested_models.optimized(net("SOFTMAX", "int8"), 64, None) == "no gain"

"""The registry of operators: complete, sound, and the only one."""

import ast
from pathlib import Path

import pytest

from bcnet_keras.device import arena, cost
from bcnet_keras.runtime import numpy_operators
from bcnet_keras.tflite import operators, support, verify
from bcnet_keras.tflite.operators import OPERATORS, kernel_sources, operator
from bcnet_keras.tflite.schema import schema

ROOT = Path(__file__).parents[2]
MOST = 3  # operators that a list may name elsewhere: a case of a rule, not knowledge of many operators


def lists_of_operators(text):
    """(line, names) of every list, dict, set or string in Python's `text` that names more than `MOST` operators."""
    tree = ast.parse(text)
    strings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    for node in ast.walk(tree):
        if isinstance(node, ast.List | ast.Set | ast.Tuple):
            parts = node.elts
        elif isinstance(node, ast.Dict):
            parts = node.keys
        elif isinstance(node, ast.Constant) and id(node) not in strings:
            parts = [node]
        else:
            continue
        parts = [part.value if isinstance(part, ast.Starred) else part for part in parts]
        words = [part.value for part in parts if isinstance(part, ast.Constant)]
        text = " ".join(word.decode("latin-1") if isinstance(word, bytes) else str(word) for word in words)
        named = set(text.split()) & set(OPERATORS)
        if len(named) > MOST:
            yield node.lineno, sorted(named)


def test_there_is_no_second_list():
    sources = {
        *ROOT.glob("bcnet_keras/**/*.py"),
        *ROOT.glob("tflm_ops/bench/*.py"),
        *ROOT.glob("tflm_ops/examples/*.py"),
    }
    registry = Path(operators.__file__)
    assert registry in sources and list(lists_of_operators(registry.read_text()))
    found = {
        f"{path.relative_to(ROOT)}:{line}": names
        for path in sources - {registry}
        for line, names in lists_of_operators(path.read_text())
    }
    assert not found, "what is known of an operator belongs to its record in bcnet_keras/tflite/operators.py"


@pytest.mark.parametrize(
    "text",
    [
        'OPS = {"ADD": 1, "SUB": 2, "MUL": 3, "DIV": 4}',
        'OPS = "ADD SUB MUL DIV".split()',
        'x = ["ADD", "SUB", "MUL", b"IF"]',
    ],
)
def test_a_second_list_is_seen(text):
    ((_, names),) = lists_of_operators(text)
    assert len(names) == 4
    assert not list(lists_of_operators('"""ADD SUB MUL DIV"""\nOPS = ("ADD", "SUB", "MUL")'))


@pytest.mark.parametrize("record", OPERATORS.values(), ids=OPERATORS)
def test_record_is_sound(record):
    assert record.ours or record.custom != hasattr(schema.BuiltinOperator, record.name)
    assert record.cost is None or record.cost in cost._RULES
    assert record.memory is None or record.memory == "unknown" or record.memory in arena._NEEDS
    assert set(record.checks) <= set(support._CHECKS)
    assert record.shapes is None or record.shapes in verify.RULES
    assert record.remark is None or record.remark in support._REMARKS
    assert record.record is not None or record.memory == "unknown"
    for figures in record.figures.values():
        assert figures and all(len(columns) == 5 and min(columns) >= 0 for columns in figures.values())


def test_every_rule_has_an_operator():
    records = OPERATORS.values()
    assert {record.cost for record in records} - {None} == set(cost._RULES)
    assert {record.memory for record in records} - {None, "unknown"} == set(arena._NEEDS)
    assert {check for record in records for check in record.checks} == set(support._CHECKS)
    assert {record.remark for record in records} - {None} == set(support._REMARKS)
    assert {record.shapes for record in records} - {None} == verify.RULES
    assert {record.kernel for record in records} - {None} == set(numpy_operators.RULES)


def test_sources_are_those_of_the_folders():
    folder = ROOT / "tflm_ops"
    files = sorted(
        path.relative_to(folder).as_posix() for part in ("kernels", "micro") for path in folder.glob(f"{part}/**/*.cc")
    )
    assert list(kernel_sources()) == files


def test_cmake_has_the_registrys_list():
    assert (ROOT / "tflm_ops/sources.txt").read_text().split() == list(kernel_sources()), "make sources"
    text = (ROOT / "tflm_ops/CMakeLists.txt").read_text()
    assert "sources.txt" in text and not any(source in text for source in kernel_sources())


def test_one_without_a_record_is_not_known():
    assert operator("NoSuch").cost is None and operator("NoSuch").record is None
    assert operator("CONV_2D") is OPERATORS["CONV_2D"]

"""The structure of the package: which folder may import from which."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "bcnet_keras"

# A module may import from its own folder and from those before it. What a net costs is asked for as early as when a
# pair is built, so that flatbuffers and what they take of a device come before the models.
ORDER = (
    "errors",
    "utils",
    "tflite",
    "device",
    "datasets",
    "legacy_keras",
    "layers",
    "convert",
    "models",
    "calibration",
    "training",
    "planning",
    "runtime",
    "export",
    "experiment",
    "cli",
)


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if "templates" not in parts and len(parts) > 1:
            yield path, parts[0]


def imported(path):
    """(name after `bcnet_keras.`, whether inside a function) of all imports from the package."""
    tree = ast.parse(path.read_text())
    inner = {id(node) for each in ast.walk(tree) if isinstance(each, ast.FunctionDef) for node in ast.walk(each)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names = [node.module] if node.module != "bcnet_keras" else [f"bcnet_keras.{a.name}" for a in node.names]
        else:
            continue
        for name in names:
            if name.startswith("bcnet_keras."):
                yield name.split(".")[1], id(node) in inner


@pytest.mark.parametrize(
    "path,folder", [pytest.param(*each, id=str(each[0].relative_to(PACKAGE))) for each in modules()]
)
def test_imports_point_to_what_comes_before(path, folder):
    for name, inside in imported(path):
        if name not in ORDER:
            continue  # a public name of the package itself
        assert ORDER.index(name) <= ORDER.index(folder), f"{folder} imports from {name}"
        assert not inside or folder == "cli" or name != folder, f"an import from {name} is hidden in a function"


def test_every_folder_has_its_place():
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert folders | {"errors", "legacy_keras"} == set(ORDER)

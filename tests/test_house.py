"""The structure of the package: which folder may import from which, and that all that is public has types."""

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


def public_functions(tree):
    """(name, function) of the functions, methods and special methods that a module offers."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            found = [("", node)]
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            found = [(f"{node.name}.", each) for each in node.body if isinstance(each, ast.FunctionDef)]
        else:
            continue
        for prefix, each in found:
            special = each.name.startswith("__") and each.name.endswith("__")
            if special or not each.name.startswith("_"):
                yield prefix + each.name, each


def untyped(function, method):
    """Names of the parameters without a type, and "return" where the result has none."""
    listed = function.args
    parameters = [*listed.posonlyargs, *listed.args, *listed.kwonlyargs, listed.vararg, listed.kwarg]
    bound = method and not any(getattr(each, "id", "") == "staticmethod" for each in function.decorator_list)
    for each in [each for each in parameters if each is not None][bound:]:
        if each.annotation is None:
            yield each.arg
    if function.returns is None:
        yield "return"


def test_all_that_is_public_has_types():
    found, missing = 0, []
    for path in sorted(PACKAGE.rglob("*.py")):
        for name, function in public_functions(ast.parse(path.read_text())):
            found += 1
            wrong = list(untyped(function, "." in name))
            if wrong:
                missing.append(f"{path.relative_to(PACKAGE)}:{function.lineno} {name}: {', '.join(wrong)}")
    assert found > 500
    assert missing == []


@pytest.mark.parametrize(
    "code,expected",
    [
        ("def f(a, b: int, *c, d=1, **e) -> int: ...", ["a", "d", "c", "e"]),
        ("class A:\n def f(self, a: int): ...", ["return"]),
        ("class A:\n @staticmethod\n def f(a) -> int: ...", ["a"]),
        ("class A:\n def __init__(self, a) -> None: ...", ["a"]),
        ("def _f(a): ...\nclass _A:\n def f(self, a): ...\nclass A:\n def _f(self): ...", []),
    ],
)
def test_missing_types_are_found(code, expected):
    functions = public_functions(ast.parse(code))
    assert [each for name, function in functions for each in untyped(function, "." in name)] == expected

"""The shape of the tree: imports go one way, ideas stay small, and nothing of another framework is inside."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A room imports from itself and from the rooms before it.
ROOMS = (
    "core",
    "kernels",
    "ops",
    "parts",
    "graph",
    "batch",
    "layers",
    "training",
    "saving",
    "models",
    "distribution",
    "tools",
)
# What a function may import when it runs, because it comes with an extra that not everybody installs.
OPTIONAL = {"matplotlib", "safetensors", "sklearn", "statsmodels"}
FOREIGN = {"equinox", "flax", "keras", "tensorflow", "torch"}
FILE_LINES = 500
FUNCTION_LINES = 40
# Keras's layers are about four times as many.
LAYER_LINES = 6000

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _files(root: Path, *folders: str) -> Iterator[tuple[str, Path]]:
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            yield path.relative_to(root).as_posix(), path


def _trees(root: Path) -> Iterator[tuple[str, Path, ast.Module]]:
    for place, path in _files(root, "src"):
        yield place, path, ast.parse(path.read_text(encoding="utf-8"), filename=place)


def _package(root: Path, path: Path) -> tuple[str, ...]:
    """The package that a file belongs to: src/lamella/core/axes.py -> (lamella, core)."""
    return path.relative_to(root / "src").parent.parts


def _imported(node: ast.AST, package: tuple[str, ...]) -> list[str]:
    """The full names of what one statement imports, relative imports resolved; [] for other nodes."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        start = package[: len(package) - node.level + 1] if node.level else ()
        base = ".".join((*start, *((node.module,) if node.module else ())))
        return [f"{base}.{alias.name}" for alias in node.names]
    return []


def one_way(root: Path) -> list[str]:
    """Imports against the order of the rooms; the files beside the rooms hold public names and see all."""
    found = []
    for place, path, tree in _trees(root):
        package = _package(root, path)
        if len(package) < 2:
            continue
        room = package[1]
        if room not in ROOMS:
            found.append(f"{place}:1: the room {room!r} is not in the order of the house")
            continue
        for node in ast.walk(tree):
            for name in _imported(node, package):
                found.extend(f"{place}:{node.lineno}: {fault}" for fault in _against(root, room, name))
    return found


def _against(root: Path, room: str, name: str) -> Iterator[str]:
    top, _, rest = name.partition(".")
    if top != "lamella":
        return
    target = rest.partition(".")[0]
    if target in ROOMS and (root / "src" / "lamella" / target).is_dir():
        if ROOMS.index(target) > ROOMS.index(room):
            yield f"{room} imports {name}, but {target} is a later room"
    elif room != "tools":  # the tools stand where a user stands: on the public names
        yield f"{room} imports {name}, which belongs to the public names, above every room"


def hidden_imports(root: Path) -> list[str]:
    """Imports inside functions, other than of an optional extra."""
    found = []
    for place, path, tree in _trees(root):
        for function in (node for node in ast.walk(tree) if isinstance(node, Function)):
            for node in ast.walk(function):
                for name in _imported(node, _package(root, path)):
                    if name.partition(".")[0] not in OPTIONAL:
                        found.append(f"{place}:{node.lineno}: {function.name} imports {name} inside itself")
    return found


def long_files(root: Path) -> list[str]:
    """Files that no longer fit one idea."""
    sizes = (
        (place, len(path.read_text(encoding="utf-8").splitlines()))
        for place, path in _files(root, "src", "tests", "benchmarks", "examples")
    )
    return [f"{place}: {lines} lines, at most {FILE_LINES}" for place, lines in sizes if lines > FILE_LINES]


def long_functions(root: Path) -> list[str]:
    """Functions that no longer fit one screen; the docstring, comments and empty lines are not counted."""
    found = []
    for place, path, tree in _trees(root):
        lines = path.read_text(encoding="utf-8").splitlines()
        for function in (node for node in ast.walk(tree) if isinstance(node, Function)):
            size = _code_lines(function, lines)
            if size > FUNCTION_LINES:
                found.append(f"{place}:{function.lineno}: {function.name} has {size} lines, at most {FUNCTION_LINES}")
    return found


def _code_lines(function: Function, lines: list[str]) -> int:
    numbers = set(range(function.lineno, (function.end_lineno or 0) + 1)) - _docstring(function)
    return sum(bool(text := lines[number - 1].strip()) and not text.startswith("#") for number in numbers)


def _docstring(node: Function | ast.ClassDef | ast.Module) -> set[int]:
    """The lines of a node's docstring."""
    if ast.get_docstring(node, clean=False) is None:
        return set()
    return set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))


def layer_library(root: Path) -> list[str]:
    """All families of layers together, in lines of code: what repeats belongs in one place."""
    total = 0
    for place, path, tree in _trees(root):
        if place.startswith("src/lamella/layers/"):
            documented = (node for node in ast.walk(tree) if isinstance(node, Function | ast.ClassDef | ast.Module))
            said = set[int]().union(*map(_docstring, documented))
            lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
            total += sum(n not in said and bool(line.strip()) and line.strip()[0] != "#" for n, line in lines)
    return [f"src/lamella/layers: {total} lines of code, at most {LAYER_LINES}"] if total > LAYER_LINES else []


def written_by_hand(root: Path) -> list[str]:
    """Layers that write what the base class finds out: their configuration or their output shape."""
    return [
        f"{place}:{node.lineno}: {node.name} is written by hand; Layer derives it"
        for place, _, tree in _trees(root)
        if place.startswith("src/lamella/layers/") and place != "src/lamella/layers/layer.py"
        for node in ast.walk(tree)
        if isinstance(node, Function) and node.name in ("get_config", "compute_output_shape")
    ]


def foreign(root: Path) -> list[str]:
    """Imports of another framework, wherever they stand."""
    return [
        f"{place}:{node.lineno}: imports {name}, another framework"
        for place, path, tree in _trees(root)
        for node in ast.walk(tree)
        for name in _imported(node, _package(root, path))
        if name.partition(".")[0] in FOREIGN
    ]


RULES = [one_way, hidden_imports, long_files, long_functions, layer_library, written_by_hand, foreign]


@pytest.mark.parametrize("rule", RULES)
def test_the_tree_keeps(rule: Callable[[Path], list[str]]) -> None:
    assert (ROOT / "src" / "lamella" / "__init__.py").is_file(), "the tree to check is not there"
    found = rule(ROOT)
    assert not found, f"{rule.__doc__}\n" + "\n".join(found)


LONG = "def long():\n" + "    x = 1\n" * FUNCTION_LINES
SCREEN = 'def fits():\n    """Say\n    much."""\n    # why\n\n' + "    x = 1\n" * (FUNCTION_LINES - 1)

PLANTED = [
    (one_way, "core/a.py", "from lamella.layers import Dense\n", "core/a.py:1: core imports"),
    (one_way, "core/a.py", "import lamella.layers.dense\n", "core/a.py:1: core imports"),
    (one_way, "core/a.py", "\nfrom lamella import layers\n", "core/a.py:2: core imports"),
    (one_way, "core/a.py", "from ..layers import Dense\n", "core/a.py:1: core imports lamella.layers.Dense"),
    (one_way, "core/__init__.py", "from .. import layers\n", "core/__init__.py:1: core imports"),
    (one_way, "layers/a.py", "import lamella\n", "layers/a.py:1: layers imports lamella, which"),
    (one_way, "layers/a.py", "from lamella import random\n", "layers/a.py:1: layers imports lamella.random"),
    (one_way, "attic/a.py", "", "attic/a.py:1: the room 'attic'"),
    (hidden_imports, "core/a.py", "def f():\n    import json\n", "core/a.py:2: f imports json"),
    (hidden_imports, "core/a.py", "class C:\n    def f(self):\n        from . import b\n", "core/a.py:3: f"),
    (long_files, "core/a.py", "x = 1\n" * (FILE_LINES + 1), "core/a.py: 501 lines, at most 500"),
    (long_functions, "core/a.py", LONG, "core/a.py:1: long has 41 lines, at most 40"),
    (layer_library, "layers/a.py", "x = 1\n" * (LAYER_LINES + 1), "layers: 6001 lines of code, at most 6000"),
    (written_by_hand, "layers/a.py", "class C:\n    def get_config(self): ...\n", "layers/a.py:2: get_con"),
    (written_by_hand, "layers/a.py", "def compute_output_shape(): ...\n", "layers/a.py:1: compute_out"),
    (foreign, "ops/a.py", "import numpy\nfrom keras.src import ops\n", "ops/a.py:2: imports keras.src.ops"),
    (foreign, "ops/a.py", "def f():\n    import torch\n", "ops/a.py:2: imports torch"),
]

ALLOWED = [
    (one_way, "layers/a.py", "from lamella.core import axes\nfrom . import b\nfrom lamella import kernels\n"),
    (one_way, "tools/a.py", "import lamella\nfrom lamella import random\n"),
    (one_way, "random.py", "from lamella.tools import cli\nfrom . import layers\n"),
    (hidden_imports, "tools/a.py", "import json\ndef f():\n    from matplotlib import pyplot\n"),
    (long_files, "core/a.py", "x = 1\n" * FILE_LINES),
    (long_functions, "core/a.py", SCREEN),
    (layer_library, "layers/a.py", '"""What\n\nit is."""\n# why\n\n' + "x = 1\n" * LAYER_LINES),
    (written_by_hand, "layers/layer.py", "def get_config(): ...\ndef compute_output_shape(): ...\n"),
    (foreign, "ops/a.py", "import jax\nfrom lamella.flax import x\n"),
]


def _plant(root: Path, place: str, text: str) -> None:
    for room in ROOMS:
        (root / "src" / "lamella" / room).mkdir(parents=True)
    path = root / "src" / "lamella" / place
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(("rule", "place", "text", "message"), PLANTED)
def test_a_planted_violation_is_named(
    rule: Callable[[Path], list[str]], place: str, text: str, message: str, tmp_path: Path
) -> None:
    _plant(tmp_path, place, text)
    (found,) = rule(tmp_path)
    assert found.startswith(f"src/lamella/{message}")


@pytest.mark.parametrize(("rule", "place", "text"), ALLOWED)
def test_what_is_allowed_is_not_named(rule: Callable[[Path], list[str]], place: str, text: str, tmp_path: Path) -> None:
    _plant(tmp_path, place, text)
    assert rule(tmp_path) == []


@pytest.mark.parametrize("folder", ["tests", "benchmarks", "examples"])
def test_long_files_are_found_outside_src_too(folder: str, tmp_path: Path) -> None:
    (tmp_path / folder / "deep").mkdir(parents=True)
    (tmp_path / folder / "deep" / "a.py").write_text("x = 1\n" * (FILE_LINES + 1), encoding="utf-8")
    assert long_files(tmp_path) == [f"{folder}/deep/a.py: 501 lines, at most 500"]

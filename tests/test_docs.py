"""Every Python block of the documents runs, and what stands below it is what it prints, warns or raises.

The blocks of a document share one namespace and run in order. A ```text block right after a ```python block holds
the block's output: what it printed, then each warning and the error that ended it, as `Class: message`. Differences
in white space do not count. `FILE:LINE` stands for any place in a file, `...` for any text. A block without a ```text
block below may print what it likes; it must not warn or raise.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
import types
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import lamella
from lamella.core.settings import settings

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass
class Block:
    """A Python block, where it begins, and the output that the document shows for it."""

    line: int
    code: str
    shown: str | None = None


def blocks(text: str) -> list[Block]:
    """Find the Python blocks of a document."""
    found: list[Block] = []
    end = -1
    for fence in _FENCE.finditer(text):
        language, body = fence.groups()
        if language == "python":
            found.append(Block(text.count("\n", 0, fence.start(2)) + 1, body))
        elif language == "text" and end >= 0 and not text[end : fence.start()].strip():
            found[-1].shown = body
        end = fence.end() if language == "python" else -1
    return found


def run(block: Block, path: str, namespace: dict[str, object]) -> str:
    """Run a block as if it stood at its place in a file; return what it printed, warned and raised."""
    # Lines before the block make the numbers in tracebacks those of the document.
    code = compile("\n" * (block.line - 1) + block.code, path, "exec", dont_inherit=True)
    printed, ended = io.StringIO(), ""
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(printed):
        warnings.simplefilter("always")
        try:
            exec(code, namespace)
        except Exception as error:
            if block.shown is None:
                raise
            ended = f"{type(error).__name__}: {error}"
    said = list(dict.fromkeys(f"{type(w.message).__name__}: {w.message}" for w in caught))
    if said and block.shown is None:
        raise AssertionError(f"{path}:{block.line}: the block warns: {said}")
    return "\n".join([printed.getvalue(), *said, ended])


def agrees(shown: str, output: str) -> bool:
    """Compare what a document shows with what came, placeholders and white space apart."""
    pattern = re.escape(" ".join(shown.split()))
    pattern = pattern.replace(re.escape("FILE:LINE"), r"\S+:\d+").replace(re.escape("..."), ".*?")
    return re.fullmatch(pattern, " ".join(output.split())) is not None


def check(path: Path, namespace: dict[str, object]) -> int:
    """Run a document; return how many blocks it has."""
    found = blocks(path.read_text(encoding="utf-8"))
    for block in found:
        output = run(block, str(path), namespace)
        if block.shown is not None:
            assert agrees(block.shown, output), (
                f"{path.name}:{block.line}: the document shows\n{block.shown}\nthe block gives\n{output}"
            )
    return len(found)


@pytest.fixture
def namespace(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """A module of its own for a document, in a process as good as new, with the settings put back afterwards."""
    module = types.ModuleType("document")
    monkeypatch.setitem(sys.modules, "document", module)
    monkeypatch.setenv("COLUMNS", "110")
    before = replace(settings)
    lamella.clear_session()
    lamella.utils.set_random_seed(0)
    yield vars(module)
    vars(settings).update(vars(before))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_the_document_is_true(path: Path, namespace: dict[str, object]) -> None:
    assert check(path, namespace) > 0, "the document has no Python block"


@pytest.mark.parametrize("path", [*DOCUMENTS, ROOT / "src/lamella/core/README.md"], ids=lambda path: path.name)
def test_links_lead_to_files(path: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_readme_lists_what_there_is() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(lamella[.\w]*)` \|(.*)\|$", text, re.MULTILINE)
    assert len(rows) > 5, "the table of the README was not found"
    for place, cell in rows:
        room: object = lamella
        for part in place.split(".")[1:]:
            room = getattr(room, part)
        names = re.findall(r"`([.\w]+)`", cell)
        assert [name for name in names if not hasattr(room, name)] == [], f"{place} has no such name"


def test_every_layer_is_on_the_map_and_no_other() -> None:
    text = (ROOT / "docs" / "families.md").read_text(encoding="utf-8")
    table = text.split("## Every layer", 1)[1].split("\n## ", 1)[0].rsplit("|", 1)[0]
    here = {name for name in lamella.layers.__all__ if not name.endswith("Warning")}
    classes = {name for name in here if isinstance(getattr(lamella.layers, name), type)}
    aliases = {name for name in classes if getattr(lamella.layers, name).__name__ != name} - {"GroupQueryAttention"}
    assert set(re.findall(r"`(\w+)`", table)) == here - aliases


FALSE = {
    "an output that differs": "```python\nprint(1)\n```\n```text\n2\n```\n",
    "an error that differs": "```python\nint('a')\n```\n\n```text\nValueError: no\n```\n",
    "an error that is not shown": "```python\nint('a')\n```\n",
    "an error that did not come": "```python\nint('1')\n```\n```text\nValueError: ...\n```\n",
    "a warning that is not shown": "```python\nimport warnings; warnings.warn('x')\n```\n",
    "a later block that fails": "```python\nx = 1\n```\n\n```python\nassert x == 2\n```\n",
}


@pytest.mark.parametrize("text", FALSE.values(), ids=FALSE)
def test_a_false_document_is_found(text: str, tmp_path: Path) -> None:
    path = tmp_path / "false.md"
    path.write_text(text, encoding="utf-8")
    with pytest.raises((AssertionError, ValueError)):
        check(path, {"__name__": "document"})


def test_a_true_document_passes(tmp_path: Path) -> None:
    path = tmp_path / "true.md"
    path.write_text(
        "# Text\n\n```python\nprint('one   line')\n```\n\n```text\none line\n```\n\n"
        "Prose.\n\n```text\nno output\n```\n\n"
        "```python\nimport traceback\ntry:\n    1 / 0\nexcept ZeroDivisionError as error:\n"
        "    place = traceback.extract_tb(error.__traceback__)[0]\n    print(f'{place.filename}:{place.lineno}')\n"
        "    print(place.lineno, place.line)\n```\n```text\nFILE:LINE\n20 1 / 0\n```\n",
        encoding="utf-8",
    )
    assert check(path, {"__name__": "document"}) == 2

"""`lamella inspect FILE`: what was found, on the terminal or as JSON."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from lamella.core.config import Configurable, fields_of, knows, lookup
from lamella.core.memory import in_words
from lamella.core.naming import spelled_out
from lamella.tools.inspecting import Report, inspect

# What is said of a layer in the tree otherwise, or not at all.
_ELSEWHERE = {
    *("name", "trainable", "dtype", "layers", "input_layers", "output_layers", "build_input_shape"),
    *("optional", "sparse", "ragged"),
}
_INSIDE = ("layer", "forward_layer", "backward_layer", "cell")
_COMPILED = ("optimizer", "loss", "loss_weights", "metrics", "weighted_metrics")
_LONGEST = 60


def run(chosen: argparse.Namespace) -> int:
    """Print what a file holds; return 0 where nothing was found, 1 for findings."""
    report = inspect(chosen.file, chosen.make)
    if chosen.json:
        json.dump(report.as_data(), sys.stdout, indent=1)
        print()
    else:
        _print(report, Console(highlight=False))
    return 1 if report.findings else 0


def _print(report: Report, console: Console) -> None:
    console.print(f"[bold]{_clean(report.path)}[/]  {report.form}, {in_words(report.bytes)}")
    console.print(f"sha256 {report.sha256}", soft_wrap=True)
    if report.keras_version:
        saved = f", saved {_clean(report.date_saved)}" if report.date_saved else ""
        console.print(f"Keras {_clean(report.keras_version)}{saved}")
    for member in report.members:
        line = f"  {_clean(member['name'])}  {member['bytes']:,} bytes  {member['sha256'] or 'not read'}"
        console.print(line, soft_wrap=True)
    if report.config is not None:
        console.print(_tree(report.config))
    if report.compile:
        given = {name: report.compile.get(name) for name in _COMPILED}
        console.print(f"compiled: {_clean(_in_a_line(given))}", soft_wrap=True)
    if report.weights:
        console.print(_weights(report))
    for finding in report.findings:
        more = f" and {finding['more']} more" if finding["more"] else ""
        console.print(f"[bold red]finding[/] {_clean(finding['where'])}{more}", soft_wrap=True)
        console.print(f"  {_clean(finding['what'])}", soft_wrap=True)
    count = len(report.findings)
    console.print(f"[bold red]{count} finding{'s' if count > 1 else ''}[/]" if count else "[green]no findings[/]")


def _clean(text: Any) -> str:
    return escape(spelled_out(text))


def _weights(report: Report) -> Table:
    parameters = sum(math.prod(weight["shape"]) for weight in report.weights)
    size = in_words(sum(weight["bytes"] for weight in report.weights))
    table = Table(title=f"{len(report.weights)} arrays, {parameters:,} numbers, {size}", title_justify="left", box=None)
    table.add_column("array", overflow="fold")
    for heading in ("shape", "dtype"):
        table.add_column(heading)
    table.add_column("bytes", justify="right")
    for weight in report.weights:
        shape = f"({', '.join(map(str, weight['shape']))})"
        table.add_row(_clean(weight["path"]), shape, weight["dtype"], f"{weight['bytes']:,}")
    return table


def _tree(entry: dict[str, Any], parent: Tree | None = None) -> Tree:
    """Return the layers of a config, each with its class, name and arguments, and what is inside it."""
    inner = entry.get("config")
    given = inner if isinstance(inner, dict) else {}
    name = given.get("name") or entry.get("name") or ""
    label = f"[bold]{_clean(entry['class_name'])}[/]" + (f" {_clean(name)}" if name else "")
    sources = ", ".join(dict.fromkeys(_sources(entry.get("inbound_nodes"))))
    defaults = _defaults(entry)
    told = {key: value for key, value in given.items() if _is_plain(key, value) and value != defaults.get(key)}
    said = ", ".join(f"{key}={_in_a_line(value)}" for key, value in told.items())
    label += f" [dim]{_clean(said)}[/]" if said else ""
    label += f" [dim]<- {_clean(sources)}[/]" if sources else ""
    tree = Tree(label) if parent is None else parent.add(label)
    for key in ("layers", "cells", *_INSIDE):
        held = given.get(key)
        for item in held if isinstance(held, list) else [held]:
            if isinstance(item, dict) and "class_name" in item:
                _tree(item, tree)
    return tree


def _is_plain(key: str, value: Any) -> bool:
    """Tell whether an argument is a number, a word or a short list, and worth a place."""
    nested = isinstance(value, dict) or (isinstance(value, list) and any(isinstance(v, dict | list) for v in value))
    return not nested and key not in _ELSEWHERE and value not in (None, "linear") and len(str(value)) <= _LONGEST


def _defaults(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the defaults of a class of lamella's; of others nothing is known."""
    name, module = entry["class_name"], entry.get("module")
    if not isinstance(name, str) or not isinstance(module, str) or not knows(name, module):
        return {}
    cls = lookup(name, None, module)
    return {field.name: field.default for field in fields_of(cls)} if issubclass(cls, Configurable) else {}


def _sources(nodes: Any) -> Iterator[str]:
    """Yield the names of the layers whose outputs a layer is called on."""
    if isinstance(nodes, dict) and isinstance(nodes.get("keras_history"), list):
        yield str(nodes["keras_history"][0]) if nodes["keras_history"] else ""
    for item in nodes.values() if isinstance(nodes, dict) else nodes if isinstance(nodes, list) else ():
        yield from _sources(item)


def _in_a_line(value: Any) -> str:
    """Return a value in short: an object by its class and its rate, where it has one."""
    if isinstance(value, list):
        return f"[{', '.join(map(_in_a_line, value))}]"
    if not isinstance(value, dict):
        return f"{value:.6g}" if isinstance(value, float) else str(value)
    if "class_name" not in value:
        return ", ".join(f"{key}={_in_a_line(item)}" for key, item in value.items() if item is not None)
    inner = value.get("config")
    if value["class_name"] == "function":
        return str(inner)
    rate = inner.get("learning_rate") if isinstance(inner, dict) else None
    return str(value["class_name"]) + (f"({_in_a_line(rate)})" if rate is not None else "")

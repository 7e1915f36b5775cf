"""The command line: `lamella demo`, `lamella check` and `lamella inspect`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lamella.core.errors import LamellaError
from lamella.core.extras import MissingExtraError
from lamella.tools import checking, demo, inspected


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0, 1 for an error, findings or a proof that fails, 2 for one that cannot be had."""
    parser = argparse.ArgumentParser(prog="lamella", description="Neural-network layers on JAX.")
    commands = parser.add_subparsers(dest="command", required=True)
    _demo(commands.add_parser("demo", help="train a small network on handwritten digits and draw what it learned"))
    _check(commands.add_parser("check", help="prove that a layer, a model or a function does not mix samples"))
    _inspect(commands.add_parser("inspect", help="look into a file of a model or of weights, without loading it"))
    chosen = parser.parse_args(arguments)
    try:
        return int(chosen.run(chosen))
    except (LamellaError, MissingExtraError) as error:
        print(error, file=sys.stderr)
        return 1


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="folder for the figures")
    parser.add_argument("--epochs", type=int, default=25, help="passes over the data")

    def run(chosen: argparse.Namespace) -> int:
        demo.run(chosen.out, chosen.epochs)
        return 0

    parser.set_defaults(run=run)


def _check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target", help="package.module:Name of a layer, a class of layers, a model, a loss or a function"
    )
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="10,5",
        help="shape of one sample, without the batch; None for a size that may vary; once for each argument",
    )
    parser.add_argument("--arguments", default="{}", metavar="JSON", help="arguments to make a class with")
    parser.add_argument("--training", action="store_true", help="prove the training mode")
    parser.add_argument("--mask", action="store_true", help="with a mask over the steps of the first input")
    parser.set_defaults(run=checking.run)


def _inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="a file that ends in .keras, .weights.h5, .h5 or .safetensors")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--make", action="store_true", help="make the model too, without its weights")
    parser.set_defaults(run=inspected.run)

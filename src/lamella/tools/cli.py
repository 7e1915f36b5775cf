"""The command line: `lamella demo`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lamella.core.errors import LamellaError
from lamella.tools import demo
from lamella.tools.extras import MissingExtraError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0, or 1 with one message for an error that a person can mend."""
    parser = argparse.ArgumentParser(prog="lamella", description="Neural-network layers on JAX.")
    commands = parser.add_subparsers(dest="command", required=True)
    digits = commands.add_parser("demo", help="train a small network on handwritten digits and draw what it learned")
    digits.add_argument("--out", type=Path, default=Path("demo-output"), help="folder for the figures")
    digits.add_argument("--epochs", type=int, default=25, help="passes over the data")
    chosen = parser.parse_args(arguments)
    try:
        demo.run(chosen.out, chosen.epochs)
    except (LamellaError, MissingExtraError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0

"""Ops of neural networks, under keras.ops.nn's names."""

# ruff: noqa: F403 -- each module's `__all__` says what is public.

from lamella.ops import ctc, neural, spatial
from lamella.ops.ctc import *
from lamella.ops.elementwise import polar
from lamella.ops.matrices import normalize
from lamella.ops.neural import *
from lamella.ops.reduce import psnr
from lamella.ops.spatial import *

__all__ = [*ctc.__all__, *neural.__all__, *spatial.__all__, "normalize", "polar", "psnr"]

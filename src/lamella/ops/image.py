"""Ops on images, under keras.ops.image's names."""

# ruff: noqa: F403 -- each module's `__all__` says what is public.

from lamella.ops import images, warp
from lamella.ops.images import *
from lamella.ops.warp import *

__all__ = [*images.__all__, *warp.__all__]

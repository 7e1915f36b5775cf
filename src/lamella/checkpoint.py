"""Checkpoints: the state of a model and its training in a folder, by steps."""

from lamella.saving.checkpoints import Checkpoints

__all__ = ["Checkpoints"]

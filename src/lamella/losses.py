"""Losses, under Keras's names."""

from lamella.parts.losses import *  # noqa: F403

"""Constraints on weights, under Keras's names."""

from lamella.parts.constraints import *  # noqa: F403

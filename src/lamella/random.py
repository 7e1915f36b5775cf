"""Random draws, under Keras's names."""

from lamella.ops.random import *  # noqa: F403

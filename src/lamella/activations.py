"""Activation functions, under Keras's names."""

from lamella.parts.activations import *  # noqa: F403

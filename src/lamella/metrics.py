"""Metrics, under Keras's names."""

from lamella.parts.metrics import *  # noqa: F403

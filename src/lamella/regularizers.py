"""Penalties on weights and activities, under Keras's names."""

from lamella.parts.regularizers import *  # noqa: F403

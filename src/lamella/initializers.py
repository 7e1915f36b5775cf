"""First values of weights, under Keras's names."""

from lamella.parts.initializers import *  # noqa: F403

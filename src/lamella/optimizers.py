"""Optimizers and learning-rate schedules, under Keras's names."""

from lamella.parts import schedules as schedules
from lamella.parts.optimizers import *  # noqa: F403

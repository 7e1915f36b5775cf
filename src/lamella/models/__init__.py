"""Models: graphs and stacks of layers, with the verbs compile, fit, evaluate and predict."""

from lamella.models.model import Functional, Model
from lamella.models.sequential import Sequential

__all__ = ["Functional", "Model", "Sequential"]

"""Models: graphs and stacks of layers, with the verbs compile, fit, evaluate and predict."""

from lamella.models.cloning import clone_model, model_from_json
from lamella.models.function import Function
from lamella.models.model import Functional, Model
from lamella.models.sequential import Sequential
from lamella.saving.files import load_model, save_model

__all__ = [
    "Function",
    "Functional",
    "Model",
    "Sequential",
    "clone_model",
    "load_model",
    "model_from_json",
    "save_model",
]

"""lamella: neural-network layers on JAX in Keras's language, with the batch axis as a checked property."""

from lamella import (
    activations,
    batch,
    callbacks,
    config,
    constraints,
    errors,
    initializers,
    layers,
    losses,
    metrics,
    models,
    ops,
    optimizers,
    preprocessing,
    random,
    regularizers,
    utils,
)
from lamella.core.dtypes import DTypePolicy
from lamella.core.naming import forget_names as clear_session
from lamella.core.seeds import SeedGenerator
from lamella.core.startup import prepare_process
from lamella.core.variable import Variable, jit
from lamella.graph.tensor import SymbolicTensor
from lamella.initializers import Initializer
from lamella.layers import Input, InputSpec, Layer
from lamella.losses import Loss
from lamella.metrics import Metric
from lamella.models import Functional, Model, Sequential
from lamella.optimizers import Optimizer
from lamella.regularizers import Regularizer
from lamella.tools.explaining.explain import explain

prepare_process()
del prepare_process

KerasTensor = SymbolicTensor
__version__ = "0.1.0"

__all__ = [
    "DTypePolicy",
    "Functional",
    "Initializer",
    "Input",
    "InputSpec",
    "KerasTensor",
    "Layer",
    "Loss",
    "Metric",
    "Model",
    "Optimizer",
    "Regularizer",
    "SeedGenerator",
    "Sequential",
    "SymbolicTensor",
    "Variable",
    "activations",
    "batch",
    "callbacks",
    "clear_session",
    "config",
    "constraints",
    "errors",
    "explain",
    "initializers",
    "jit",
    "layers",
    "losses",
    "metrics",
    "models",
    "ops",
    "optimizers",
    "preprocessing",
    "random",
    "regularizers",
    "utils",
]

"""lamella: neural-network layers on JAX in Keras's language, with the batch axis as a checked property."""

from lamella import (
    activations,
    backend,
    batch,
    callbacks,
    checkpoint,
    config,
    constraints,
    dtype_policies,
    errors,
    export,
    initializers,
    layers,
    losses,
    metrics,
    mixed_precision,
    models,
    ops,
    optimizers,
    preprocessing,
    quantizers,
    random,
    regularizers,
    saving,
    tree,
    utils,
    wrappers,
)
from lamella.core.calls import name_scope
from lamella.core.dtypes import DTypePolicy, FloatDTypePolicy
from lamella.core.naming import forget_names as clear_session
from lamella.core.seeds import SeedGenerator
from lamella.core.startup import device, prepare_process
from lamella.core.variable import StatelessScope, Variable, jit
from lamella.graph.operation import Operation
from lamella.graph.tensor import SymbolicTensor
from lamella.initializers import Initializer
from lamella.layers import Input, InputSpec, Layer
from lamella.losses import Loss
from lamella.metrics import Metric
from lamella.models import Function, Functional, Model, Sequential
from lamella.ops.lift import remat
from lamella.optimizers import Optimizer
from lamella.quantizers import Quantizer
from lamella.regularizers import Regularizer
from lamella.tools.explaining.explain import explain

prepare_process()
del prepare_process

KerasTensor = SymbolicTensor
__version__ = "0.1.0"


def version() -> str:
    """Return lamella's version."""
    return __version__


__all__ = [
    "DTypePolicy",
    "FloatDTypePolicy",
    "Function",
    "Functional",
    "Initializer",
    "Input",
    "InputSpec",
    "KerasTensor",
    "Layer",
    "Loss",
    "Metric",
    "Model",
    "Operation",
    "Optimizer",
    "Quantizer",
    "Regularizer",
    "SeedGenerator",
    "Sequential",
    "StatelessScope",
    "SymbolicTensor",
    "Variable",
    "activations",
    "backend",
    "batch",
    "callbacks",
    "checkpoint",
    "clear_session",
    "config",
    "constraints",
    "device",
    "dtype_policies",
    "errors",
    "explain",
    "export",
    "initializers",
    "jit",
    "layers",
    "losses",
    "metrics",
    "mixed_precision",
    "models",
    "name_scope",
    "ops",
    "optimizers",
    "preprocessing",
    "quantizers",
    "random",
    "regularizers",
    "remat",
    "saving",
    "tree",
    "utils",
    "version",
    "wrappers",
]

"""The errors that lamella raises; each is also the kind of Python error that Keras raises."""

from lamella.core.errors import (
    ArgumentError,
    BatchAxisError,
    BatchSizeError,
    DataError,
    LamellaError,
    MaskShapeError,
    NotBuiltError,
    ReservedNameError,
    SampleStateError,
    ShapeError,
    SymbolicBranchError,
    SymbolicValueError,
    UnknownNameError,
    VariableInJitError,
    WeightTooLargeError,
)

__all__ = [
    "ArgumentError",
    "BatchAxisError",
    "BatchSizeError",
    "DataError",
    "LamellaError",
    "MaskShapeError",
    "NotBuiltError",
    "ReservedNameError",
    "SampleStateError",
    "ShapeError",
    "SymbolicBranchError",
    "SymbolicValueError",
    "UnknownNameError",
    "VariableInJitError",
    "WeightTooLargeError",
]

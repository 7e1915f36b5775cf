"""What happens around a layer's `call`: arguments, masks, training, checks and errors. Each step is a function."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from lamella.core.axes import describe, names, shown
from lamella.core.calls import present_call
from lamella.core.dtypes import is_float
from lamella.core.errors import (
    ArgumentError,
    DataError,
    MaskShapeError,
    ShapeError,
    user_line,
)
from lamella.core.masked import mask_of, value_of
from lamella.core.operators import ArrayLike
from lamella.core.settings import strict_masks
from lamella.core.structure import leaves_of, map_leaves
from lamella.graph.trace import branch_error, branched_in_python, value_error
from lamella.layers.single import takes_one_sample

if TYPE_CHECKING:
    from lamella.layers.layer import Layer


class MaskDroppedWarning(UserWarning):
    """A mask reached a layer that neither uses it nor passes it on."""


@dataclass(frozen=True)
class Signature:
    """The arguments of a `call` method."""

    names: tuple[str, ...]
    required: tuple[str, ...]
    defaults: dict[str, Any]
    variadic: bool
    catches_all: bool

    def bind(self, owner: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments by name."""
        if self.variadic and len(args) > len(self.names):
            return {**dict(zip(self.names, args, strict=False)), "*": args[len(self.names) :], **kwargs}
        if len(args) > len(self.names):
            raise ArgumentError(f"{owner}.call takes {len(self.names)} arguments {self.names}, got {len(args)}.")
        given = dict(zip(self.names, args, strict=False))
        unknown = [n for n in kwargs if n not in self.names and not self.catches_all and n not in ("mask", "training")]
        if unknown:
            raise ArgumentError(f"{owner}.call has no argument {unknown[0]!r}; it has {', '.join(self.names)}.")
        given.update(kwargs)
        missing = [name for name in self.required if name not in given]
        if missing:
            raise ArgumentError(f"{owner}.call needs the argument {missing[0]!r}.")
        return given


@cache
def signature_of(function: Callable[..., Any]) -> Signature:
    """Read the signature of an unbound `call` method, without `self`."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    kinds = inspect.Parameter
    named = [p for p in parameters if p.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)]
    return Signature(
        names=tuple(p.name for p in named),
        required=tuple(p.name for p in named if p.default is kinds.empty),
        defaults={p.name: p.default for p in named if p.default is not kinds.empty},
        variadic=any(p.kind is kinds.VAR_POSITIONAL for p in parameters),
        catches_all=any(p.kind is kinds.VAR_KEYWORD for p in parameters),
    )


def to_arrays(layer: Layer, arguments: dict[str, Any]) -> dict[str, Any]:
    """Turn what people pass (NumPy, lists of arrays, masked pairs) into JAX arrays in the layer's float type."""
    compute = layer.compute_dtype if layer.autocast else None

    def convert(leaf: Any) -> Any:
        leaf = value_of(leaf)
        if isinstance(leaf, ArrayLike):
            leaf = leaf.value
        elif isinstance(leaf, np.ndarray):
            if leaf.dtype.kind not in "bfiuc" and not jnp.issubdtype(leaf.dtype, jnp.floating):
                raise DataError(f"An array of {leaf.dtype} cannot go into a layer; numbers and booleans can.")
            leaf = jnp.asarray(leaf)
        if isinstance(leaf, jax.Array) and compute and leaf.dtype != compute and is_float(leaf.dtype):
            return leaf.astype(compute)
        return leaf

    return {
        name: value if name in ("training", "mask") or value is None else map_leaves(convert, _numeric(value))
        for name, value in arguments.items()
    }


def _numeric(value: Any) -> Any:
    """A list of plain numbers is one array; a list of arrays is a list of inputs."""
    if isinstance(value, list) and value and all(isinstance(v, int | float | list) for v in leaves_of(value)):
        return np.asarray(value, "float32" if any(isinstance(v, float) for v in leaves_of(value)) else None)
    return value


def split_masks(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return, for each argument that carries masks, the structure of its masks (None where there is none)."""
    masks = {}
    for name, value in arguments.items():
        if name not in ("mask", "training") and any(mask_of(leaf) is not None for leaf in leaves_of(value)):
            masks[name] = mask_of(value) if not isinstance(value, list | tuple | dict) else _masks(value)
    return masks


def _masks(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _masks(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masks(item) for item in value]
    return mask_of(value)


def pass_masks(signature: Signature, arguments: dict[str, Any], masks: dict[str, Any]) -> dict[str, Any]:
    """Give `call` the masks that travel beside its arguments, where it asks for them and none was passed."""
    first = signature.names[0] if signature.names else ""
    for name, mask in masks.items():
        for wanted in ("mask", f"{name}_mask") if name == first else (f"{name}_mask",):
            if wanted in signature.names and arguments.get(wanted) is None:
                arguments[wanted] = mask
                break
    return arguments


def resolve_training(signature: Signature, given: Any) -> bool | None:
    """Decide the mode: what was passed, else the mode of the call around, else the default of `call`."""
    if given is not None:
        return bool(given)
    outer = present_call()
    if outer is not None and outer.training is not None:
        return outer.training
    return signature.defaults.get("training")


def warn_dropped(layer: Layer, mask_sources: str) -> None:
    """Say that a mask ends here: a warning, or an error in strict mode."""
    message = (
        f"The layer {layer.name!r} ({type(layer).__name__}, made at {layer.made_at}) got a mask on {mask_sources} and "
        f"neither uses it nor passes it on, so padded steps count from here.\n"
        f"  Try: `supports_masking = True` in the class to pass it on; `mask=None` in its `call` to use it; "
        f"mask_zero=False where the mask is made"
    )
    if strict_masks():
        raise MaskShapeError(message)
    warnings.warn(message, MaskDroppedWarning, stacklevel=2)


_SHAPES = re.compile(r"\(([\d, a-z*+]*)\)")


def explain(layer: Layer, error: Exception, arguments: dict[str, Any]) -> Exception:
    """Turn JAX's complaint about shapes or values inside `call` into one with axes' names and the user's line."""
    if isinstance(error, jax.errors.TracerBoolConversionError):
        return branch_error(error, repr(layer.name)) if branched_in_python(error) else error
    untraceable = value_error(error, repr(layer.name))
    if untraceable is not None:
        return untraceable
    text = str(error)
    if not isinstance(error, TypeError | ValueError) or "shape" not in text or isinstance(error, ShapeError):
        return error
    if "broadcast" not in text and "contracting dimensions" not in text:
        return error
    shapes = [tuple(part.strip() for part in s.split(",") if part.strip()) for s in _SHAPES.findall(text)]
    masks = [m for name, m in arguments.items() if name.endswith("mask") and m is not None]
    mask_shapes = {tuple(map(str, leaf.shape)) for mask in masks for leaf in leaves_of(mask)}
    named = [_described(layer, shape, shape in mask_shapes) for shape in shapes] if "broadcast" in text else []
    shown_shapes = " and ".join(named) or text
    line = user_line(error.__traceback__)
    where = f"\n  {line}" if line else ""
    if any(shape in mask_shapes for shape in shapes):
        return MaskShapeError(
            f"A mask has no features axis; it does not line up with the values: {shown_shapes}.{where}",
            mend="mask[..., None] (or ops.expand_dims(mask, -1)) before multiplying; "
            "keepdims=True in sums over the mask",
        )
    method = "call_sample" if takes_one_sample(layer) else "call"
    return ShapeError(
        f"Two arrays inside `{method}` do not fit together: {shown_shapes}.{where}",
        mend="x[..., None] or keepdims=True for an axis that is missing; ops.transpose for axes out of order",
    )


def _described(layer: Layer, shape: tuple[str, ...], is_mask: bool) -> str:
    dims = [int(dim) if dim.isdigit() else None for dim in shape]
    if takes_one_sample(layer):
        return describe(dims, ("time",) if is_mask else names(len(dims) + 1)[1:])
    return describe(dims, ("batch", "time") if is_mask else layer.axis_names)


def context_of(layer: Layer, arguments: dict[str, Any]) -> str:
    """Say which layer of which model an error came from, on what, and where the layer was made."""
    call = present_call()
    path = "/".join((*(call.path if call else ()), layer.name))
    received = ", ".join(
        f"{name}={describe(leaf.shape, ('batch', 'time') if name.endswith('mask') else layer.axis_names)}"
        for name, value in arguments.items()
        for leaf in leaves_of(value)
        if hasattr(leaf, "shape")
    )
    return f"In the layer {path!r} ({type(layer).__name__}, made at {layer.made_at}), called with {received}."


def shapes_of(value: Any) -> Any:
    """Return the shape of an array, or the structure of shapes of a structure of arrays."""
    if isinstance(value, dict):
        return {key: shapes_of(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [shapes_of(item) for item in value]
    return shown(value.shape) if hasattr(value, "shape") else None

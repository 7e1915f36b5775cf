"""Whether arrays in a file fit the weights of a model, and how it is said if they do not."""

from __future__ import annotations

import warnings

import jax.numpy as jnp

from lamella.core.errors import FileFormatError
from lamella.core.variable import Variable
from lamella.saving.hdf5 import Declared

# Arrays of an optimizer that has taken no step: the number of the step and, where it is no schedule, the rate.
BEFORE_THE_FIRST_STEP = 2
# Faults that are told; there may be one for each layer.
TOLD = 8


def difference(variable: Variable, found: Declared | None) -> str | None:
    """Return in what an array in a file does not fit a variable; numbers of one kind may differ in their width."""
    if found is None:
        return f"{variable.name} is not in the file"
    if found.shape != variable.shape:
        return f"{variable.name} has the shape {variable.shape}, the file has {found.shape}"
    if jnp.issubdtype(found.dtype, jnp.floating) != jnp.issubdtype(variable.dtype, jnp.floating):
        return f"{variable.name} is {variable.dtype}, the file has {found.dtype}"
    return None


def report(faults: dict[str, str], skip: bool) -> None:
    """Say which layers do not fit a file: an error, or a warning where they are skipped."""
    lines = [f"  {path or 'the model itself'}: {fault}" for path, fault in list(faults.items())[:TOLD]]
    more = [f"  and {len(faults) - TOLD} more"] if len(faults) > TOLD else []
    told = "\n".join([*lines, *more])
    if skip:
        warnings.warn(f"These stay as they are; the file's weights do not fit:\n{told}", stacklevel=4)
    else:
        raise FileFormatError(
            f"The file's weights are those of another model:\n{told}",
            mend="skip_mismatch=True leaves the layers that do not fit as they are",
        )

"""Checkpoints: the state of a model and its training in a folder, by steps, through Orbax.

Orbax writes each device's part of an array from where it is, and reads it to where it belongs. What a checkpoint must
hold is told by the model; the folder is compared with that, and decides nothing.
"""

from __future__ import annotations

import math
import operator
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import jax
import numpy as np

from lamella.core.errors import ArgumentError, FileFormatError, FileTakenError, LamellaError, add_context
from lamella.core.extras import need
from lamella.core.settings import one_of
from lamella.saving import state
from lamella.saving.digest import digest
from lamella.saving.hdf5 import Declared
from lamella.saving.plain import read_json, write_json

_ABOUT = "training"
_PARTS = ("model", "optimizer", "trackers")
_DELETED = "deleted"
_WORSE = {"min": math.inf, "max": -math.inf}


class Checkpoints:
    """A folder of checkpoints, one for each step: the `max_to_keep` latest, and beside them the best.

    `best` names a metric and which end is better, ("val_loss", "min"). A checkpoint is in the folder as a whole or not
    at all. With `save_on_background` files are written while the program goes on; `wait`, `close` and the end of a
    `with` block wait for them, and raise what went wrong.

    >>> checkpoints = Checkpoints("checkpoints", max_to_keep=3, best=("val_loss", "min"))
    >>> checkpoints.steps
    []
    """

    def __init__(
        self,
        directory: Any,
        max_to_keep: int | None = 3,
        best: tuple[str, str] | None = None,
        save_on_background: bool = False,
    ) -> None:
        if max_to_keep is not None and (isinstance(max_to_keep, bool) or max_to_keep < 1):
            raise ArgumentError(f"max_to_keep is a number of checkpoints, or None for all, got {max_to_keep!r}.")
        if best is not None and (isinstance(best, str) or len(best) != 2):
            raise ArgumentError(f"best is a metric and its better end, got {best!r}.", mend='best=("val_loss", "min")')
        if best is not None:
            one_of("best", best[1], ("min", "max"))
        self._orbax = need("orbax.checkpoint", "checkpoint")
        self.directory = os.path.abspath(directory)
        self.max_to_keep, self.best, self.save_on_background = max_to_keep, best, save_on_background
        self._writer: Any = None

    # -- saving ---------------------------------------------------------------------------------------------------

    def save(self, model: Any, step: int, metrics: Mapping[str, float] | None = None) -> None:
        """Save a built model as it is now: all variables, the optimizer's, random states; in `fit`, the place in it."""
        self._save(step, state.parts_of(model), state.about(model), metrics)

    def save_weights(self, model: Any, step: int, metrics: Mapping[str, float] | None = None) -> None:
        """Save a built model's variables alone."""
        self._save(step, {"model": state.parts_of(model)["model"]}, {}, metrics)

    def _save(self, step: int, parts: Any, about: Any, metrics: Mapping[str, float] | None) -> None:
        step = _as_step(step)
        measured = {name: float(value) for name, value in (metrics or {}).items() if np.ndim(value) == 0}
        self._check_step(step)
        if self.best is not None and self.best[0] not in measured:
            given = ", ".join(measured) or "none"
            raise ArgumentError(
                f"The best is by {self.best[0]!r}, which is not among the metrics: {given}.",
                mend=f"save(model, {step}, metrics={{{self.best[0]!r}: 0.5}})",
            )
        if self._writer is None:
            os.makedirs(self.directory, exist_ok=True)
            self._writer = self._writing()
        args = self._orbax.args
        # Orbax refuses what is empty, as the variables of layers without weights are.
        full = {part: named for part, named in parts.items() if named}
        arrays = {part: {name: variable.value for name, variable in named.items()} for part, named in full.items()}
        # What cannot be written is found now, not in the background.
        told = read_json(write_json({**about, "digests": _digests(arrays)}), _ABOUT)
        items = {part: args.PyTreeSave(named) for part, named in arrays.items()} | {_ABOUT: args.JsonSave(told)}
        self.wait()
        self._writer.save(step, args=args.Composite(**items), metrics=measured, force=True)
        if not self.save_on_background:
            self.wait()

    def _check_step(self, step: int) -> None:
        latest = self.latest_step if self._writer is None else self._writer.latest_step()
        if latest is not None and step <= latest:
            raise FileTakenError(
                f"{self.directory!r} holds a checkpoint of step {latest}; the next is of a later step, got {step}.",
                mend="another folder, or go on from the checkpoint",
            )

    def wait(self) -> None:
        """Wait until everything is on the disk; raise what went wrong."""
        if self._writer is None:
            return
        try:
            self._writer.wait_until_finished()
        except BaseException:
            # It would tell the same again and again.
            self._writer = None
            raise
        if jax.process_index() == 0:
            shutil.rmtree(os.path.join(self.directory, _DELETED), ignore_errors=True)

    def close(self) -> None:
        """Wait, and end what runs in the background; a later call opens the folder again."""
        self.wait()
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what there is ---------------------------------------------------------------------------------------------

    @property
    def steps(self) -> list[int]:
        """The steps of which there is a checkpoint, in their order."""
        return sorted(int(step) for step in self._read().all_steps()) if os.path.isdir(self.directory) else []

    @property
    def latest_step(self) -> int | None:
        """The latest step, or None."""
        return max(self.steps, default=None)

    @property
    def best_step(self) -> int | None:
        """The step of the best checkpoint, or None."""
        if self.best is None:
            raise ArgumentError(
                "Nobody said which checkpoint is the best.", mend='Checkpoints(folder, best=("val_loss", "min"))'
            )
        reader = self._read()
        by_value = {step: self._value(self._measured(reader, step)) for step in self.steps}
        known = {step: value for step, value in by_value.items() if math.isfinite(value)}
        choose = min if self.best[1] == "min" else max
        return choose(known, key=lambda step: known[step]) if known else None

    def metrics(self, step: int) -> dict[str, float]:
        """Return the metrics that a checkpoint was saved with."""
        return self._measured(self._read(), self._known(step))

    def _measured(self, reader: Any, step: int) -> dict[str, float]:
        with self._about(step):
            found = reader.metrics(step) or {}
            if not isinstance(found, dict) or not all(isinstance(value, int | float) for value in found.values()):
                raise FileFormatError("The metrics are not numbers by names.")
            return found

    def told(self, step: int) -> Any:
        """Return what a checkpoint says of the training, as plain data."""
        path = os.path.join(self._folder(step), _ABOUT, "metadata")
        with self._about(step), open(path, "rb") as file:
            return read_json(file.read(), _ABOUT)

    # -- restoring -------------------------------------------------------------------------------------------------

    def restore(self, model: Any, step: int | str | None = None) -> int:
        """Give a built model the values of a step, of the "best", or the latest; return the step.

        A compiled model's optimizer gets its state too, if the checkpoint has it. Names, shapes and kinds of numbers
        must be the model's; all of them are compared before memory is taken or a value changed. Each array goes where
        the model's is, spread over the same devices.
        """
        chosen = self._chosen(step)
        folder = self._folder(chosen)
        parts = state.parts_of(model)
        there = {part: named for part, named in parts.items() if part == "model" or os.path.isdir(f"{folder}/{part}")}
        self._fill(chosen, there)
        return chosen

    def restore_training(self, model: Any, step: int) -> None:
        """Give a model that is in `fit` the values of a step with everything that training needs."""
        self._fill(step, state.parts_of(model))

    def _fill(self, step: int, parts: dict[str, state.Named]) -> None:
        folder, args = self._folder(step), self._orbax.args
        with self._about(step):
            _refuse_links(folder)
            reader, told = self._read(), self.told(step)
            declared = {part: self._declared(reader.directory / str(step) / part) for part in parts}
            for part, named in parts.items():
                state.compare(part, named, declared[part])
            full = {part: named for part, named in parts.items() if named}
            specs = {part: {name: _spec(variable) for name, variable in named.items()} for part, named in full.items()}
            where = self._orbax.checkpoint_utils.construct_restore_args
            wanted = {part: args.PyTreeRestore(named, restore_args=where(named)) for part, named in specs.items()}
            arrays = reader.restore(step, args=args.Composite(**wanted)) if wanted else {}
            _check_digests({part: arrays[part] for part in full}, declared, told.get("digests"))
        for part, named in full.items():
            for name, variable in named.items():
                variable.assign(arrays[part][name])

    def _declared(self, place: Any) -> dict[str, Declared]:
        """Return shapes and types of a part, as the arrays themselves have them; nothing is read of their values."""
        if not place.is_dir():
            return {}
        if (place / "checkpoint").exists():
            raise FileFormatError(f"{place.name!r} is in a form that Orbax has given up; it is not read.")
        tree = self._orbax.PyTreeCheckpointHandler().metadata(place).tree
        if not isinstance(tree, dict):
            raise FileFormatError(f"{place.name!r} is not a dict of arrays.")
        return {str(name): _as_declared(name, found) for name, found in tree.items()}

    # -- Orbax -----------------------------------------------------------------------------------------------------

    def _manager(self, writing: bool) -> Any:
        orbax, policies = self._orbax, self._orbax.checkpoint_managers
        kept = [policies.LatestN(self.max_to_keep)]
        if self.best is not None:
            falling = self.best[1] == "min"
            best = policies.BestN(
                get_metric_fn=self._value, reverse=falling, n=1, keep_checkpoints_without_metrics=False
            )
            kept.append(best)
        options = orbax.CheckpointManagerOptions(
            create=False,
            # With it Orbax writes the metrics.
            best_fn=self._value,
            preservation_policy=policies.AnyPreservationPolicy(kept),
            # Taken away in one step, too: a checkpoint that is half deleted would look like one.
            todelete_subdir=_DELETED,
            # Left by a process that was killed; one that only reads may be beside one that writes.
            cleanup_tmp_directories=writing,
            # One checkpoint whose metrics are broken does not stand before the others.
            lightweight_initialize=not writing,
            enable_async_checkpointing=writing and self.save_on_background,
        )
        # What reads each part is said here, not in the folder. Weights are noise to a compressor.
        handlers = {part: orbax.PyTreeCheckpointHandler(use_compression=False) for part in _PARTS} | {
            _ABOUT: orbax.JsonCheckpointHandler()
        }
        return orbax.CheckpointManager(self.directory, item_handlers=handlers, options=options)

    def _writing(self) -> Any:
        """Return what writes: it knows the metrics of all checkpoints, to choose those that are kept."""
        try:
            return self._manager(writing=True)
        except (ValueError, RecursionError) as error:
            raise FileFormatError(
                f"The metrics of a checkpoint in {self.directory!r} are broken: {str(error)[:200]}.",
                mend="remove that checkpoint; Checkpoints(folder).metrics(step) tells which it is",
            ) from error

    def _read(self) -> Any:
        """Return what knows the folder as it is now."""
        self.wait()
        return self._manager(writing=False)

    def _value(self, metrics: Any) -> float:
        """Return the number that decides which checkpoint is the best; one that is missing or NaN is the worst."""
        if self.best is None:
            return 0.0
        name, mode = self.best
        value = metrics.get(name) if isinstance(metrics, dict) else None
        return float(value) if isinstance(value, int | float) and not math.isnan(value) else _WORSE[mode]

    # -- which -----------------------------------------------------------------------------------------------------

    def _chosen(self, step: int | str | None) -> int:
        if not os.path.isdir(self.directory):
            raise FileNotFoundError(f"There is no folder {self.directory!r}.")
        if step is None or isinstance(step, str):
            best = one_of("step", step or "latest", ("best", "latest")) == "best"
            found = self.best_step if best else self.latest_step
            if found is None:
                of = " with such a metric" if best else ""
                raise FileNotFoundError(f"There is no whole checkpoint{of} in {self.directory!r}.")
            return found
        return self._known(_as_step(step))

    def _known(self, step: int) -> int:
        steps = self.steps
        if step not in steps:
            known = ", ".join(map(str, steps)) or "none"
            raise ArgumentError(f"There is no checkpoint of step {step!r} in {self.directory!r}. There are: {known}.")
        return step

    def _folder(self, step: int) -> str:
        return os.path.join(self.directory, str(step))

    @contextmanager
    def _about(self, step: int) -> Iterator[None]:
        """Say of which checkpoint an error is, and give one kind of error for what makes no sense at all."""
        try:
            yield
        except LamellaError as error:
            add_context(error, f"In the checkpoint {self._folder(step)!r}.")
            raise
        except jax.errors.JaxRuntimeError:
            # Memory, not the folder.
            raise
        except Exception as error:
            text = str(error).partition("\n")[0][:300].rstrip(".")
            raise FileFormatError(
                f"The checkpoint {self._folder(step)!r} is broken: {type(error).__name__}, {text}."
            ) from error


def _as_step(step: Any) -> int:
    try:
        number = -1 if isinstance(step, bool) else operator.index(step)
    except TypeError:
        number = -1
    if number < 0:
        raise ArgumentError(f"A step is a number from 0 on, got {step!r}.")
    return number


def _digests(arrays: dict[str, dict[str, Any]]) -> dict[str, dict[str, int]]:
    found = jax.device_get(jax.tree.map(digest, arrays))
    return {part: {name: int(value) for name, value in named.items()} for part, named in found.items()}


def _check_digests(arrays: dict[str, dict[str, Any]], declared: dict[str, dict[str, Declared]], told: Any) -> None:
    for part, found in _digests(arrays).items():
        for name, value in found.items():
            # In another width the bits are others.
            same_type = declared[part][name].dtype == arrays[part][name].dtype
            if same_type and value != told[part][name]:
                raise FileFormatError(f"The bits of {part}/{name} are not those that were written.")


def _spec(variable: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(variable.shape, variable.value.dtype, sharding=variable.value.sharding)


def _as_declared(name: Any, found: Any) -> Declared:
    shape, dtype, storage = (getattr(found, what, None) for what in ("shape", "dtype", "storage"))
    chunk = getattr(storage, "chunk_shape", None)
    if shape is None or dtype is None or chunk is None:
        raise FileFormatError(f"{name!r} is no array.")
    if any(part > size for part, size in zip(chunk, shape, strict=True)):
        raise FileFormatError(f"{name!r} has the shape {shape} and pieces of {chunk}: more than the whole.")
    return Declared(tuple(shape), np.dtype(dtype))


def _refuse_links(folder: str) -> None:
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if os.path.islink(os.path.join(place, name)):
                raise FileFormatError(
                    f"{os.path.join(place, name)!r} is a link to another place, which is not followed."
                )

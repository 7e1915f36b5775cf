"""Variables: stateful for people, pure for the compiler.

A `Variable` has a value. A `Frame` may bind other values to variables for the time of a pure call. `pure` is the
only machinery between the two worlds; everything compiled goes through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar, Token
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import unsafe_am_i_under_a_jit_DO_NOT_USE as _under_jit  # type: ignore[attr-defined]

from lamella.core.calls import collecting, present_path
from lamella.core.dtypes import is_float, standardize_dtype
from lamella.core.errors import ShapeError, VariableInJitError, did_you_mean
from lamella.core.memory import check_fits, declare
from lamella.core.naming import automatic_name
from lamella.core.operators import ArrayLike
from lamella.core.sample import outside_samples

_frame: ContextVar[Frame | None] = ContextVar("lamella_frame", default=None)
_autocast: ContextVar[str | None] = ContextVar("lamella_autocast", default=None)
_eager: ContextVar[bool] = ContextVar("lamella_eager", default=False)
_abstract: ContextVar[bool] = ContextVar("lamella_abstract", default=False)
_unfilled: ContextVar[bool] = ContextVar("lamella_unfilled", default=False)


class Variable(ArrayLike):
    """An array with a name that layers train and update; usable as an array in arithmetic and in jnp.

    >>> step = Variable(0.0, name="step")
    >>> step.assign_add(2.0)
    >>> float(step * 3)
    6.0
    """

    def __init__(
        self,
        initializer: Any,
        shape: Sequence[int] | None = None,
        dtype: Any = None,
        trainable: bool = True,
        autocast: bool = True,
        aggregation: str = "none",
        synchronization: str = "auto",
        name: str | None = None,
        regularizer: Callable[[Any], Any] | None = None,
        constraint: Callable[[Any], Any] | None = None,
    ) -> None:
        self.name = name or automatic_name("Variable")
        self.path = "/".join((*present_path(), self.name))
        self.aggregation, self.synchronization = aggregation, synchronization
        self.trainable = self.made_trainable = trainable
        self.autocast = autocast
        self.regularizer = regularizer
        self.constraint = constraint
        with values_at_once():
            self._value = _first_value(initializer, shape, dtype, self.name)
        self.shape: tuple[int, ...] = tuple(self._value.shape)
        self.dtype: str = self._value.dtype.name

    @property
    def value(self) -> Any:
        """The array: the one bound by the present frame, else the variable's own."""
        frame = _frame.get()
        if frame is not None:
            value = frame.read(self)
        elif under_jit() and not _eager.get():
            raise VariableInJitError(
                f"The variable {self.path!r} is read inside a bare jax.jit, which would freeze its present value.",
                mend="lamella.jit in place of jax.jit",
            )
        else:
            value = self._value
        if isinstance(value, jax.ShapeDtypeStruct):
            value = jnp.zeros(value.shape, value.dtype)
        dtype = _autocast.get()
        if dtype is not None and dtype != self.dtype and self.autocast and is_float(self.dtype):
            return value.astype(dtype)
        return value

    def assign(self, value: Any) -> None:
        """Give the variable a new value of the same shape; inside a pure call only the frame sees it."""
        array = _as_array(value, self.dtype)
        if array.shape != self.shape:
            raise ShapeError(
                f"The variable {self.path!r} has shape {self.shape}; the value assigned has {array.shape}."
            )
        frame = _frame.get()
        if frame is None:
            if isinstance(array, Tracer):
                raise VariableInJitError(
                    f"The variable {self.path!r} is assigned inside a bare jax.jit or a loop of jax.lax, which would "
                    "leave it without a value.",
                    mend="lamella.jit, lamella.ops.scan and their kin",
                )
            self._value = array
        else:
            frame.write(self, array)

    def assign_add(self, value: Any) -> None:
        """Add to the value."""
        self.assign(self.value + value)

    def assign_sub(self, value: Any) -> None:
        """Subtract from the value."""
        self.assign(self.value - value)

    def numpy(self) -> np.ndarray[Any, Any]:
        """Return a copy of the value as a NumPy array: a training step reuses the value's own memory."""
        return np.array(self.value)

    @property
    def filled(self) -> bool:
        """Whether the variable has a value; one made for a file that was not read yet has none."""
        return not isinstance(self._value, jax.ShapeDtypeStruct)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """The bytes that the value takes."""
        return self.size * jnp.dtype(self.dtype).itemsize

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.asarray(self.value, dtype)

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):
            raise AttributeError(attribute)
        if not hasattr(jax.Array, attribute):
            known = [n for n in (*vars(type(self)), *vars(self), *dir(jax.Array)) if n[0] != "_"]
            raise AttributeError(f"A variable has no attribute {attribute!r}.{did_you_mean(attribute, known)}")
        return getattr(self.value, attribute)

    def __repr__(self) -> str:
        return f"<Variable {self.path!r} shape={self.shape} dtype={self.dtype}>"

    def __deepcopy__(self, memo: dict[int, Any]) -> Variable:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        with values_at_once():
            # In memory of its own: a step donates that of every variable.
            twin._value = jnp.array(self._value, copy=True)
        memo[id(self)] = twin
        return twin


# jnp's jitted functions take a variable as the array it holds.
jax.tree_util.register_pytree_node(Variable, lambda v: ((v.value,), None), lambda _, values: values[0])


def _as_array(value: Any, dtype: Any) -> jax.Array:
    # Without a conversion on the host, and a dtype, JAX would compile one.
    if dtype is not None and isinstance(value, bool | int | float):
        value = np.asarray(value, dtype)
    if dtype is None and isinstance(value, np.ndarray):
        dtype = jax.dtypes.canonicalize_dtype(value.dtype)
    return jnp.asarray(value, dtype)


def _first_value(initializer: Any, shape: Sequence[int] | None, dtype: Any, name: str) -> Any:
    if not callable(initializer):
        return _as_array(initializer, None if dtype is None else standardize_dtype(dtype))
    dims = tuple(int(dim) for dim in shape or ())
    if _abstract.get():
        return jnp.zeros(dims, standardize_dtype(dtype))
    declare(name, dims, standardize_dtype(dtype))
    if _unfilled.get():
        return jax.ShapeDtypeStruct(dims, standardize_dtype(dtype))
    check_fits(name, dims, standardize_dtype(dtype))
    return jnp.asarray(initializer(dims, dtype=standardize_dtype(dtype)))


class Frame:
    """Values bound to variables for the time of a pure call; writes stay in the frame.

    `seen` lists the variables read or written that were not bound: what the call depends on without saying so.
    """

    def __init__(self, variables: Iterable[Variable] = (), values: Iterable[Any] = ()) -> None:
        self.values: dict[int, Any] = {id(variable): value for variable, value in zip(variables, values, strict=True)}
        self.seen: dict[int, Variable] = {}
        self.written: dict[int, Variable] = {}
        self.parent: Frame | None = None
        self._token: Token[Frame | None] | None = None

    def __enter__(self) -> Self:
        self.parent = _frame.get()
        self._token = _frame.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _frame.reset(self._token)

    def read(self, variable: Variable) -> Any:
        """Return the value that this frame, or the frames around it, bind to a variable."""
        if id(variable) in self.values:
            return self.values[id(variable)]
        self.seen[id(variable)] = variable
        return variable._value if self.parent is None else self.parent.read(variable)

    def write(self, variable: Variable, value: Any) -> None:
        """Bind a new value for the rest of the call."""
        self.values[id(variable)] = value
        self.written[id(variable)] = variable


class StatelessScope(Frame):
    """A frame under Keras's name: inside, variables have the given values, and keep new ones for themselves.

    >>> count = Variable(1.0)
    >>> with StatelessScope([(count, jnp.float32(5))]) as scope:
    ...     count.assign_add(2.0)
    >>> float(scope.get_current_value(count)), float(count)
    (7.0, 1.0)
    """

    def __init__(
        self, state_mapping: Iterable[tuple[Variable, Any]] | None = None, collect_losses: bool = False
    ) -> None:
        pairs = [(variable, _as_array(getattr(v, "value", v), variable.dtype)) for variable, v in state_mapping or ()]
        for variable, value in pairs:
            if value.shape != variable.shape:
                raise ShapeError(f"The variable {variable.path!r} has shape {variable.shape}, its value {value.shape}.")
        super().__init__([variable for variable, _ in pairs], [value for _, value in pairs])
        self.collect_losses = collect_losses
        self.losses: list[Any] = []
        self._collected = ExitStack()

    def __enter__(self) -> Self:
        if self.collect_losses:
            self.losses = self._collected.enter_context(collecting(None)).losses
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._collected.close()

    def add_loss(self, loss: Any) -> None:
        """Add a loss to `losses`."""
        self.losses.append(loss)

    def add_update(self, update: tuple[Variable, Any]) -> None:
        """Give a variable, the first of the pair, a new value in this scope."""
        self.write(*update)

    def get_current_value(self, variable: Variable) -> Any:
        """Return the value that the scope holds for a variable, or None."""
        return self.values.get(id(variable))


def pure(fn: Callable[..., Any], variables: Sequence[Variable]) -> Callable[..., Any]:
    """Return `(values, *args, **kwargs) -> (out, new_values)`: fn with its state made explicit.

    >>> count = Variable(0.0)
    >>> out, new = pure(lambda x: count.assign_add(x), [count])([jnp.float32(1)], 2.0)
    >>> float(new[0]), float(count)
    (3.0, 0.0)
    """

    def call(values: Sequence[Any], *args: Any, **kwargs: Any) -> tuple[Any, list[Any]]:
        with Frame(variables, values) as frame:
            out = fn(*args, **kwargs)
            return out, [frame.values[id(variable)] for variable in variables]

    return call


def places(variables: Sequence[Variable], among: Sequence[Variable]) -> list[int]:
    """Return where each variable stands in a list: by identity, for == compares values."""
    index = {id(variable): place for place, variable in enumerate(among)}
    return [index[id(variable)] for variable in variables]


def discover(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[list[Variable], list[Variable]]:
    """Return the variables that fn reads, and those it writes, by tracing it without computing anything."""
    seen: dict[int, Variable] = {}
    written: dict[int, Variable] = {}

    def traced(*inputs: Any) -> Any:
        with Frame() as frame:
            out = jax.tree.leaves(fn(*inputs, **kwargs))
        seen.update(frame.seen)
        written.update(frame.written)
        return out

    jax.eval_shape(traced, *args)
    return list({**seen, **written}.values()), list(written.values())


@contextmanager
def autocasting(dtype: str | None) -> Iterator[None]:
    """Read float variables in this dtype; None reads them as they are stored."""
    token = _autocast.set(dtype)
    try:
        yield
    finally:
        _autocast.reset(token)


@contextmanager
def values_at_once() -> Iterator[None]:
    """Compute real values even while a call is traced, as building does; but none where only shapes are asked for."""
    with outside_samples():
        if _abstract.get():
            yield
            return
        with jax.ensure_compile_time_eval():
            yield


@contextmanager
def abstract_values() -> Iterator[None]:
    """Make variables whose values are only traced, so that shapes can be asked for without memory."""
    token = _abstract.set(True)
    try:
        yield
    finally:
        _abstract.reset(token)


@contextmanager
def unfilled() -> Iterator[None]:
    """Make variables that take no memory until a value is assigned; for weights that come from a file."""
    token = _unfilled.set(True)
    try:
        yield
    finally:
        _unfilled.reset(token)


def under_jit() -> bool:
    """Tell whether the present call is traced by a jit, of ours or of anybody's."""
    return bool(_under_jit())


@contextmanager
def eager_call() -> Iterator[None]:
    """Allow, in a call that runs eagerly, loops of jax.lax to read variables: their values cannot change meanwhile."""
    if _frame.get() is not None or _eager.get() or under_jit():
        yield
        return
    token = _eager.set(True)
    try:
        yield
    finally:
        _eager.reset(token)


def in_frame() -> bool:
    """Tell whether the present call is a pure one."""
    return _frame.get() is not None


def jit(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that reads or updates variables, which `jax.jit` would freeze.

    The variables are found by tracing; new values come back into them after each call. One program is kept for each
    structure, shape and dtype of the arguments.

    >>> total = Variable(0.0)
    >>> @jit
    ... def add(x):
    ...     total.assign_add(x.sum())
    >>> add(jnp.ones(3)); add(jnp.ones(3)); float(total)
    6.0
    """
    programs: dict[Any, tuple[list[Variable], list[Variable], Callable[..., Any]]] = {}

    def call(*args: Any, **kwargs: Any) -> Any:
        if in_frame():
            return fn(*args, **kwargs)
        leaves, tree = jax.tree.flatten((args, kwargs))
        leaves = [jnp.asarray(leaf) for leaf in leaves]
        key = tree, tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        if key not in programs:
            programs[key] = _compile(fn, tree, leaves)
        reads, writes, program = programs[key]
        out, new = program([variable._value for variable in reads], leaves)
        for variable, value in zip(writes, new, strict=True):
            variable._value = value
        return out

    call.__doc__, call.__name__ = fn.__doc__, getattr(fn, "__name__", "call")
    return call


def _compile(
    fn: Callable[..., Any], tree: Any, leaves: list[Any]
) -> tuple[list[Variable], list[Variable], Callable[..., Any]]:
    def on_leaves(leaves: list[Any]) -> Any:
        args, kwargs = jax.tree.unflatten(tree, leaves)
        return fn(*args, **kwargs)

    reads, writes = discover(on_leaves, leaves)
    positions = places(writes, reads)

    def call(values: list[Any], leaves: list[Any]) -> tuple[Any, list[Any]]:
        out, new = pure(on_leaves, reads)(values, leaves)
        return out, [new[position] for position in positions]

    return reads, writes, jax.jit(call)

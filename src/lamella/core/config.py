"""Constructor arguments, captured: configs, fields, and the way back from a config to an object."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from lamella.core import dtypes
from lamella.core.dtypes import DTypePolicy
from lamella.core.errors import ArgumentError, FileFormatError, UnknownNameError, did_you_mean
from lamella.core.seeds import SeedGenerator

MISSING = inspect.Parameter.empty


@dataclass(frozen=True)
class Convert:
    """Metadata of a field's type: how what a person gives becomes what the layer keeps."""

    function: Callable[[Any], Any]


@dataclass(frozen=True)
class Field:
    """One declared argument of a class: its name, default and conversion."""

    name: str
    default: Any
    convert: Callable[[Any], Any] | None


class Configurable:
    """A base whose constructor arguments are captured in `__new__` and may be declared as fields.

    A class with annotations and no `__init__` takes its fields as arguments, positional and by keyword:

    >>> class Scale(Configurable):
    ...     factor: float
    ...     offset: float = 0.0
    >>> Scale(2.0).get_config()
    {'factor': 2.0, 'offset': 0.0}
    >>> Scale.from_config({'factor': 3.0}).factor
    3.0
    """

    keras_module: ClassVar[str] = ""
    arguments_first: ClassVar[tuple[str, ...]] = ()
    arguments_last: ClassVar[tuple[str, ...]] = ()
    # Arguments that Keras does not have, each with the value that needs no place in a config.
    arguments_beyond: ClassVar[Mapping[str, Any]] = {}
    config_name: ClassVar[str] = ""
    _fields: ClassVar[tuple[Field, ...] | None] = None
    _captured: tuple[tuple[Any, ...], dict[str, Any]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._fields = None
        if cls.__module__.startswith("lamella.") and not cls.__name__.startswith("_"):
            _known[cls.keras_module, _config_name(cls)] = cls
        cls.__signature__ = _signature(cls)  # type: ignore[attr-defined]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        self._captured = (args, kwargs)
        return self

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._set_fields(args, kwargs)

    def _set_fields(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Bind arguments to the declared fields, convert them, set them as attributes."""
        fields = fields_of(type(self))
        owner = type(self).__name__
        if len(args) > len(fields):
            expected = ", ".join(field.name for field in fields) or "none"
            raise ArgumentError(
                f"{owner} takes at most {len(fields)} positional arguments ({expected}), got {len(args)}."
            )
        given = {field.name: value for field, value in zip(fields, args, strict=False)}
        for name, value in kwargs.items():
            if name in given:
                raise ArgumentError(f"{owner} got {name!r} twice, by position and by keyword.")
            if name not in {field.name for field in fields}:
                known = list(inspect.signature(type(self)).parameters)
                raise ArgumentError(f"{owner} has no argument {name!r}.{did_you_mean(name, known)}")
            given[name] = value
        for field in fields:
            value = given.get(field.name, field.default)
            if value is MISSING:
                raise ArgumentError(f"{owner} needs the argument {field.name!r}.")
            setattr(self, field.name, field.convert(value) if field.convert else value)
        self.__post_init__()

    def __post_init__(self) -> None:
        """Derive what follows from the fields; for subclasses."""

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal object, as plain data."""
        if type(self).__init__ in _generic_inits:
            values = {field.name: getattr(self, field.name) for field in fields_of(type(self))}
            beyond = self.arguments_beyond
            return {k: serialize(v) for k, v in values.items() if k not in beyond or v != beyond[k]}
        return {name: serialize(value) for name, value in captured_arguments(self).items()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make an object from `get_config`'s answer."""
        arguments = {name: deserialize(value) for name, value in config.items()}
        positional = arguments.pop("*args", ())
        return cls(*positional, **arguments)


# The constructors that only bind fields; a class with any other one is described by what it was called with.
_generic_inits: set[Any] = {Configurable.__init__}
# By module and class name: a loss and a metric may share the second.
_known: dict[tuple[str, str], type] = {}
_registered: dict[str, Any] = {}
# While a whole model is written or read: the objects with their configs, and those made by their numbers.
_described: ContextVar[dict[int, tuple[Any, dict[str, Any]]] | None] = ContextVar("lamella_described", default=None)
_made: ContextVar[dict[Any, Any] | None] = ContextVar("lamella_made", default=None)
_custom: ContextVar[dict[str, Any]] = ContextVar("lamella_custom_objects", default={})  # noqa: B039


def generic_init(method: Callable[..., None]) -> Callable[..., None]:
    """Mark an `__init__` as one that only binds fields, so that configs are read from the fields."""
    _generic_inits.add(method)
    return method


def fields_of(cls: type) -> tuple[Field, ...]:
    """Return the declared fields of a class, its bases' first; `arguments_first` and `arguments_last` have the word."""
    if cls.__dict__.get("_fields") is None:
        hints = _hints(cls)
        fields: dict[str, Field] = {}
        for name, default in _declared(cls).items():
            metadata = getattr(hints.get(name), "__metadata__", ())
            convert = next((m.function for m in metadata if isinstance(m, Convert)), None)
            fields[name] = Field(name, default, convert)
        cls._fields = tuple(fields.values())  # type: ignore[attr-defined]
    return cls._fields  # type: ignore[attr-defined,no-any-return]


def _hints(cls: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except NameError:  # annotations that name things local to a function: no conversion then
        return {}


def _declared(cls: type) -> dict[str, Any]:
    """Return the names and defaults of the declared fields, in the order of positional arguments."""
    found = dict(_annotated(cls))
    first: tuple[str, ...] = cls.arguments_first  # type: ignore[attr-defined]
    last = [name for name in cls.arguments_last if name in found]  # type: ignore[attr-defined]
    between = (name for name in found if name not in (*first, *last))
    return {name: found[name] for name in (*first, *between, *last)}


def _annotated(cls: type) -> Iterator[tuple[str, Any]]:
    for base in reversed(cls.__mro__):
        own = base.__dict__
        if base is Configurable or "__init__" in own or not issubclass(base, Configurable):
            continue
        for name, annotation in own.get("__annotations__", {}).items():
            text = annotation if isinstance(annotation, str) else str(annotation)
            if not name.startswith("_") and "ClassVar" not in text and "Variable" not in text:
                yield name, getattr(cls, name, MISSING)


def _signature(cls: type) -> inspect.Signature:
    """Return what the constructor takes: the declared fields, or the arguments of an `__init__` of its own."""
    if cls.__init__ not in _generic_inits:  # type: ignore[misc]
        own = inspect.signature(cls.__init__)  # type: ignore[misc]
        return own.replace(parameters=list(own.parameters.values())[1:])
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    fields = [inspect.Parameter(name, kind, default=default) for name, default in _declared(cls).items()]
    fields.sort(key=lambda parameter: parameter.default is not MISSING)
    return inspect.Signature([*fields, inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)])


def captured_arguments(obj: Configurable) -> dict[str, Any]:
    """Return what an object was made with, by argument name, defaults included."""
    args, kwargs = obj._captured
    signature = inspect.signature(type(obj).__init__)
    bound = signature.bind(obj, *args, **kwargs)
    bound.apply_defaults()
    arguments: dict[str, Any] = {}
    for name, value in list(bound.arguments.items())[1:]:
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            arguments.update(value)
        elif kind is not inspect.Parameter.VAR_POSITIONAL:
            arguments[name] = value
        elif value:
            # Positional arguments before *args can only be repeated by position.
            arguments = {"*args": [*arguments.values(), *value]}
    return arguments


def register_keras_serializable(package: str = "Custom", name: str | None = None) -> Callable[[Any], Any]:
    """Register a class or function, so that configs and files that name it can be read.

    >>> @register_keras_serializable("demo")
    ... def double(x): return 2 * x
    >>> serialize(double)["registered_name"]
    'demo>double'
    """

    def enter(thing: Any) -> Any:
        _registered[f"{package}>{name or thing.__name__}"] = thing
        return thing

    return enter


def get_registered_name(obj: Any) -> str:
    """Return the name under which a class or function was registered, else its own name."""
    return next((name for name, known in _registered.items() if known is obj), str(obj.__name__))


def get_registered_object(
    name: str, custom_objects: Mapping[str, Any] | None = None, module_objects: Mapping[str, Any] | None = None
) -> Any:
    """Return what was registered under a name, else what one of the tables holds for it, else None."""
    for table in (_custom.get(), _registered, custom_objects or {}, module_objects or {}):
        if name in table:
            return table[name]
    return None


def get_custom_objects() -> dict[str, Any]:
    """Return the table of what was registered, which may be changed."""
    return _registered


class CustomObjectScope:
    """Make classes and functions known by name while configs are read.

    >>> with CustomObjectScope({"double": lambda x: 2 * x}):
    ...     deserialize({"class_name": "function", "config": "double"})(4)
    8
    """

    def __init__(self, custom_objects: Mapping[str, Any] | None) -> None:
        self.custom_objects = custom_objects or {}
        self._token: Token[dict[str, Any]] | None = None

    def __enter__(self) -> Self:
        self._token = _custom.set({**_custom.get(), **self.custom_objects})
        return self

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _custom.reset(self._token)


custom_object_scope = CustomObjectScope


# What a slice consists of.
_ENDS = ("start", "stop", "step")


def serialize(obj: Any) -> Any:
    """Return plain data (strings, numbers, lists, dicts) for an argument's value."""
    if obj is None or isinstance(obj, bool | int | float | str):
        return obj
    if isinstance(obj, np.generic):
        return obj.item()
    if isinstance(obj, tuple | list):
        return [serialize(item) for item in obj]
    if isinstance(obj, dict):
        return {key: serialize(item) for key, item in obj.items()}
    if isinstance(obj, np.ndarray) or hasattr(obj, "__jax_array__") or type(obj).__name__ == "ArrayImpl":
        array = np.asarray(obj)
        return {"class_name": "__numpy__", "config": {"value": array.tolist(), "dtype": array.dtype.name}}
    if isinstance(obj, slice):
        return {"class_name": "__slice__", "config": {end: serialize(getattr(obj, end)) for end in _ENDS}}
    if obj is Ellipsis:
        return {"class_name": "__ellipsis__", "config": {}}
    if isinstance(obj, Configurable | DTypePolicy | SeedGenerator) or hasattr(type(obj), "get_config"):
        return _object_config(obj)
    if hasattr(obj, "__name__"):
        return _function_config(obj)
    raise ArgumentError(f"{obj!r} of type {type(obj).__name__} cannot be written into a config.")


def _config_name(cls: type) -> str:
    """Return the name of a class in configs: its own, unless the class itself says another."""
    return str(cls.__dict__.get("config_name") or cls.__name__)


def _object_config(value: Any) -> dict[str, Any]:
    cls = type(value)
    ours = cls.__module__.startswith("lamella.")
    config = {
        "module": (getattr(cls, "keras_module", "") or "keras") if ours else _module_of(cls),
        "class_name": _config_name(cls),
        "config": value.get_config(),
        "registered_name": None if ours else get_registered_name(cls),
    }
    met = _described.get()
    if met is not None:
        # The table holds the object too: a number that is free again would stand for another one.
        _, first = met.setdefault(id(value), (value, config))
        if first is not config:
            first["shared_object_id"] = config["shared_object_id"] = id(value)
    return config


def _module_of(cls: type) -> str | None:
    return None if cls.__module__ == "__main__" else cls.__module__


@contextmanager
def sharing() -> Iterator[None]:
    """Keep objects that stand at several places one object: what is described inside, or made from a description.

    >>> policy = dtypes.get_policy("float32")
    >>> with sharing():
    ...     first, second = serialize([policy, policy])
    >>> with sharing():
    ...     twins = deserialize([first, second])
    >>> twins[0] is twins[1]
    True
    """
    described, made = _described.set({}), _made.set({})
    try:
        yield
    finally:
        _described.reset(described)
        _made.reset(made)


def _function_config(value: Any) -> Any:
    name = value.__name__
    registered = any(known is value for known in _registered.values())
    if value.__module__.startswith("lamella.") and "<" not in name and not registered:
        return name
    if "<" in name and not registered and _described.get() is not None:
        raise ArgumentError(
            "A function without a name cannot be found again when the file is read; its code is not stored.",
            mend="@lamella.saving.register_keras_serializable() above a function with a name, `def double(x): ...`",
        )
    return {
        "module": "builtins",
        "class_name": "function",
        "config": name,
        "registered_name": get_registered_name(value),
    }


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Return the value that `serialize` described; unknown classes must be registered or passed."""
    with custom_object_scope(custom_objects or {}):
        if isinstance(config, list | tuple):
            return type(config)(deserialize(item) for item in config)
        if not isinstance(config, dict):
            return config
        if "class_name" not in config:
            return {key: deserialize(item) for key, item in config.items()}
        return _from_object_config(config)


def _from_object_config(config: dict[str, Any]) -> Any:
    name, inner = config["class_name"], config.get("config")
    inner = {} if inner is None else inner
    registered, module = config.get("registered_name"), config.get("module")
    if not isinstance(name, str) or not isinstance(registered, str | None) or not isinstance(module, str | None):
        raise FileFormatError(f"The config names a class by {name!r}, {registered!r} and {module!r}; names are text.")
    if name in ("__numpy__", "__tensor__"):
        return _array(inner)
    if name == "__slice__":
        return _slice(inner)
    if name == "__ellipsis__":
        return ...
    if name == "__lambda__":
        raise FileFormatError(
            "The config holds the code of a Python lambda. Code in a file is never run: a function is found by its "
            "name, among those that were registered or passed.",
            mend='@register_keras_serializable() above a named function, or custom_objects={"name": function}',
        )
    if name == "function":
        return _function(str(inner), registered)
    cls = lookup(name, registered, module)
    if not isinstance(inner, dict) or not hasattr(cls, "from_config"):
        raise FileFormatError(f"The config names {name!r} with {type(inner).__name__} for its arguments.")
    made, number = _made.get(), config.get("shared_object_id")
    if made is None or not isinstance(number, int):
        return cls.from_config(inner)
    if number not in made:
        made[number] = cls.from_config(inner)
    if not isinstance(made[number], cls):
        raise FileFormatError(f"The config gives {name!r} and {type(made[number]).__name__!r} one number, {number}.")
    return made[number]


def _array(inner: Any) -> np.ndarray[Any, Any]:
    """Return an array that a config holds in numbers."""
    if not isinstance(inner, dict) or inner.get("dtype") not in dtypes.DTYPES:
        raise FileFormatError(f"The config holds an array that is not of numbers: {str(inner)[:80]}.")
    return np.array(inner["value"], inner["dtype"])


def _slice(inner: Any) -> slice:
    """Return a slice between whole numbers."""
    ends = [inner.get(end) for end in _ENDS] if isinstance(inner, dict) else [inner]
    if not all(end is None or isinstance(end, int) for end in ends):
        raise FileFormatError(f"The config holds a slice that is not between whole numbers: {str(inner)[:80]}.")
    return slice(*ends)


def _function(name: str, registered_name: str | None) -> Any:
    """Return the function that was registered or passed under a name; a file gets at no other one."""
    found = custom_object(name, registered_name)
    if found is None:
        # Keras has written the bare name of what was registered as "package>name".
        found = next((known for key, known in _registered.items() if key.endswith(f">{name}")), None)
    if found is None:
        raise _unknown(name, None, (*_custom.get(), *_registered))
    return found


def custom_object(name: str, registered_name: str | None = None) -> Any:
    """Return what a caller passed or registered under this name, or None."""
    custom = _custom.get()
    for table in (custom, _registered):
        if registered_name in table:
            return _of_one_name(table[registered_name], name, registered_name)
        if name in table:
            return table[name]
    return None


def knows(name: str, module: str) -> bool:
    """Tell whether lamella itself has a class of this name in a module."""
    return (module, name) in _known


def _of_one_name(found: Any, name: str, registered_name: str) -> Any:
    """Return what was registered, unless the config calls it by the name of another thing."""
    if name not in (registered_name, registered_name.rpartition(">")[2], getattr(found, "__name__", name)):
        raise FileFormatError(f"The config names {name!r} and, for the same thing, {registered_name!r}.")
    return found


def lookup(name: str, registered_name: str | None = None, module: str | None = None) -> Any:
    """Return the class or function of this name: passed by the caller, registered, or lamella's own.

    `module` tells classes of one name apart. Where Keras has moved a class, the first one of the name is meant.
    """
    found = custom_object(name, registered_name) or _known.get((module or "", name))
    if found is None and ((module is None and registered_name is None) or f"{module}.".startswith("keras.")):
        found = next((cls for (_, known), cls in _known.items() if known == name), None)
    if found is None:
        raise _unknown(name, module, (*_custom.get(), *_registered, *(known for _, known in _known)))
    return found


def _unknown(name: str, module: str | None, known: Iterable[str]) -> UnknownNameError:
    of = f" (module {module!r})" if module else ""
    label = name.rsplit(">", 1)[-1]
    near = did_you_mean(name, known)
    return UnknownNameError(
        f"The config names {name[:200]!r}, which is not known here{of}: nothing is imported because a config names it."
        f"{near if near.startswith(' Did') else ''}",
        mend=f"custom_objects={{{name!r}: {label}}}" if label.isidentifier() else "custom_objects={...}",
    )


_known.update({(kind.keras_module, kind.__name__): kind for kind in dtypes.KINDS.values()})
_known["keras.random", "SeedGenerator"] = SeedGenerator

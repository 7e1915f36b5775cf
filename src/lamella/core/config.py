"""Constructor arguments, captured: configs, fields, and the way back from a config to an object."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from lamella.core import dtypes
from lamella.core.dtypes import DTypePolicy
from lamella.core.errors import ArgumentError, UnknownNameError, did_you_mean
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
            return {field.name: serialize(getattr(self, field.name)) for field in fields_of(type(self))}
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
    registered = get_registered_name(cls)
    return {
        "module": (getattr(cls, "keras_module", "") or "keras") if ours else None,
        "class_name": _config_name(cls),
        "config": value.get_config(),
        "registered_name": None if ours else registered,
    }


def _function_config(value: Any) -> Any:
    name = value.__name__
    registered = any(known is value for known in _registered.values())
    if value.__module__.startswith("lamella.") and "<" not in name and not registered:
        return name
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
    name, inner = config["class_name"], config.get("config", {})
    if name in ("__numpy__", "__tensor__"):
        return np.array(inner["value"], inner["dtype"])
    if name == "function":
        return lookup(str(inner), config.get("registered_name"))
    cls = lookup(name, config.get("registered_name"), config.get("module"))
    return cls.from_config(inner)


def custom_object(name: str, registered_name: str | None = None) -> Any:
    """Return what a caller passed or registered under this name, or None."""
    custom = _custom.get()
    for table in (custom, _registered):
        for key in (registered_name, name):
            if key in table:
                return table[key]
    return None


def lookup(name: str, registered_name: str | None = None, module: str | None = None) -> Any:
    """Return the class or function of this name: passed by the caller, registered, or lamella's own.

    `module` tells classes of one name apart; where it is none of ours, the first class of the name is meant.
    """
    found = custom_object(name, registered_name) or _known.get((module or "", name))
    found = found or next((cls for (_, known), cls in _known.items() if known == name), None)
    if found is None:
        names = (*_custom.get(), *(known for _, known in _known))
        raise UnknownNameError(
            f"The config names {name!r}, which is not known here.{did_you_mean(name, names)}",
            mend=f"custom_objects={{{name!r}: {name.rsplit('>', 1)[-1]}}}",
        )
    return found


_known.update({(kind.keras_module, kind.__name__): kind for kind in dtypes.KINDS.values()})
_known["keras.random", "SeedGenerator"] = SeedGenerator

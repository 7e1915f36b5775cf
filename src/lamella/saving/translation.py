"""The configs in HDF5 files, Keras 2's and Keras 3's, in the form that .keras files have today.

Plain data in, plain data out. Nothing is made or imported here: what comes out is read by the same table, with the same
checks, as the config of any .keras file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lamella.core.config import custom_object, knows
from lamella.core.errors import FileFormatError

_MODULES = {"Functional": "keras.src.models.functional", "Model": "keras", "Sequential": "keras"}
# What an argument takes, by the end of its name.
_PARTS = {"initializer": "keras.initializers", "regularizer": "keras.regularizers", "constraint": "keras.constraints"}
_OPERATIONS = "keras.src.ops.numpy"
_OF_TENSORFLOW = {"TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "ClassMethod", "InstanceMethod"}
_RENAMED = {"BatchNormalizationV1": "BatchNormalization", "BatchNormalizationV2": "BatchNormalization"}
_RUN_BY_STEPS = ("Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "GRU", "LSTM", "RNN", "SimpleRNN")
_KERNELS = ("DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D")
_TRANSPOSED = ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
# Arguments that Keras 2 wrote and nobody takes today, with the values that they may have; None for any.
_GONE: tuple[tuple[tuple[str, ...], dict[str, tuple[Any, ...] | None]], ...] = (
    ((*_KERNELS, *_TRANSPOSED), {"groups": (1,)}),
    (_KERNELS, {"kernel_initializer": None, "kernel_regularizer": None, "kernel_constraint": None}),
    ((*_RUN_BY_STEPS, "LSTMCell", "GRUCell", "SimpleRNNCell"), {"implementation": None, "time_major": (False,)}),
    (("BatchNormalization",), {"fused": None, "virtual_batch_size": (None,), "adjustment": (None,)}),
    (("Attention", "AdditiveAttention"), {"causal": (False,)}),
    (("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"), {"noise_shape": (None,)}),
    (("Embedding",), {"input_length": None, "sparse": (False,)}),
    (("MultiHeadAttention",), {"query_shape": None, "key_shape": None, "value_shape": None}),
)
_WRAPPERS = ("MeanMetricWrapper", "LossFunctionWrapper")
_OPTIMIZERS = {"jit_compile": None, "is_legacy_optimizer": None, "schedule_decay": None, "decay": (0, None)}


def model_today(config: Any, old: bool) -> Any:
    """Return the config of a model as a .keras file would have it; `old` for those of Keras 2.

    >>> dense = {"class_name": "Dense", "config": {"units": 2, "batch_input_shape": [None, 3]}}
    >>> model_today({"class_name": "Sequential", "config": [dense]}, old=True)["config"]["layers"][0]["module"]
    'keras.layers'
    """
    return _value(config, "", old)


def training_today(training: dict[str, Any], old: bool) -> dict[str, Any]:
    """Return what `compile` was given as a .keras file would have it."""
    return {
        "optimizer": _optimizer(training["optimizer_config"], old),
        "loss": _part(training.get("loss"), "keras.losses"),
        "loss_weights": training.get("loss_weights"),
        "metrics": _part(training.get("metrics"), "keras.metrics"),
        "weighted_metrics": _part(training.get("weighted_metrics"), "keras.metrics"),
        "steps_per_execution": training.get("steps_per_execution"),
    }


def plain_name(name: Any) -> Any:
    """Return a layer's name as it may be today: Keras 2 allowed "conv1/bn"."""
    if isinstance(name, str) and all(part not in ("", ".", "..") for part in name.split("/")):
        return name.replace("/", "_")
    return name


# -- layers -----------------------------------------------------------------------------------------------------


def _value(value: Any, key: str, old: bool) -> Any:
    """Return an argument's value; descriptions of objects in it get the form of today."""
    if isinstance(value, list):
        return [_value(item, key, old) for item in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("class_name"), str) and "config" in value:
        return _described(value, key, old)
    return {name: _value(item, name, old) for name, item in value.items()}


def _described(entry: dict[str, Any], key: str, old: bool) -> dict[str, Any]:
    name, inner = entry["class_name"], entry["config"]
    if name in _OF_TENSORFLOW:
        what = inner.get("function", inner.get("name")) if isinstance(inner, dict) else name
        raise FileFormatError(
            f"The config has {str(what)[:80]!r} of TensorFlow among its layers, which nothing here stands for.",
            mend="a layer in its place, as Add()([a, b]), in the model that was saved",
        )
    if name == "Sequential" and isinstance(inner, list):
        inner = {"layers": inner, "name": entry.get("name")}
    if old:
        name = _RENAMED.get(name, name)
    if isinstance(inner, dict):
        inner = {argument: _value(item, argument, old) for argument, item in inner.items()}
        inner = _lambda(inner) if name == "Lambda" else inner
        inner = _arguments(name, inner, key) if old else inner
    found = {**entry, "class_name": name, "config": inner, **_module(name, inner, key, entry, old)}
    if old and "name" in found:
        found["name"] = plain_name(found["name"])
    return found


def _module(name: str, inner: Any, key: str, entry: dict[str, Any], old: bool) -> dict[str, Any]:
    """Return the module of a class of Keras's; classes of one's own go by their names alone."""
    if "module" in entry or name.startswith("__") or name == "function":
        return {}
    called, layer = "inbound_nodes" in entry, isinstance(inner, dict) and ("trainable" in inner or name == "InputLayer")
    if called and not layer and not old and custom_object(name) is None:
        return {"module": _OPERATIONS}
    module = _PARTS.get(key.rpartition("_")[2]) or _MODULES.get(name, "keras.layers")
    return {"module": module, "registered_name": None} if knows(name, module) else {}


def _arguments(name: str, inner: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the arguments that the same layer takes today."""
    if custom_object(name) is not None:
        return inner
    found = _without(inner, {argument: may for names, gone in _GONE if name in names for argument, may in gone.items()})
    if key.endswith("_initializer"):
        found.pop("dtype", None)
    if isinstance(found.get("dtype"), dict):
        found["dtype"] = found["dtype"]["config"]["name"]
    if "name" in found:
        found["name"] = plain_name(found["name"])
    if name == "InputLayer" and "batch_input_shape" in found:
        found["batch_shape"] = found.pop("batch_input_shape")
    if name == "BatchNormalization" and isinstance(found.get("axis"), list) and len(found["axis"]) == 1:
        found["axis"] = found["axis"][0]
    if name in ("GRU", "GRUCell"):
        # The first versions knew only this form, and did not write it down.
        found.setdefault("reset_after", False)
    for argument in ("activation", "recurrent_activation"):
        _check_activation(found.get(argument))
    if "layers" in found:
        _keep_one_shape(found["layers"])
    if "input_layers" in found:
        _connect(found)
    return found


def _without(inner: dict[str, Any], gone: dict[str, tuple[Any, ...] | None]) -> dict[str, Any]:
    def says_nothing(name: str, value: Any) -> bool:
        allowed = gone.get(name, ())
        return allowed is None or any(value is known or value == known for known in allowed)

    return {name: value for name, value in inner.items() if not says_nothing(name, value)}


def _check_activation(name: Any) -> None:
    if name == "hard_sigmoid" and custom_object(name) is None:
        raise FileFormatError(
            "The config has the activation 'hard_sigmoid' of Keras 2, clip(0.2 * x + 0.5, 0, 1). Today's is another, "
            "clip(x / 6 + 0.5, 0, 1): the model would compute something else.",
            mend='custom_objects={"hard_sigmoid": old}, with `def old(x): return ops.clip(0.2 * x + 0.5, 0, 1)`',
        )


def _keep_one_shape(layers: list[Any]) -> None:
    """Keep the input's shape of the first layer alone: Keras 2 wrote that of others too."""
    for layer in layers[1:]:
        layer["config"].pop("batch_input_shape", None)


def _lambda(inner: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a Lambda: code as code, which is refused where it is read; a name as a name."""
    found = {k: v for k, v in inner.items() if k not in ("module", "output_shape_module")}
    for name in ("function", "output_shape"):
        kind, value = found.pop(f"{name}_type", None), found.get(name)
        if kind == "lambda" or (name == "function" and isinstance(value, list)):
            found[name] = {"class_name": "__lambda__", "config": {}}
        elif kind == "function" or (name == "function" and isinstance(value, str)):
            found[name] = {"module": "builtins", "class_name": "function", "config": value, "registered_name": None}
    return found


# -- graphs -----------------------------------------------------------------------------------------------------


def _connect(graph: dict[str, Any]) -> None:
    """Write the calls in a graph of Keras 2, [name, number, place, arguments], in the form of today."""
    layers = graph["layers"]
    calls = _Calls(layers, graph["output_layers"])
    for layer in layers:
        layer["inbound_nodes"] = [calls.call(node, layer["class_name"]) for node in layer["inbound_nodes"]]
    for ends in ("input_layers", "output_layers"):
        graph[ends] = calls.ends(graph[ends])


class _Calls:
    """References to calls. Those of a model in a model begin at 1 there, where it was made with an input."""

    def __init__(self, layers: list[Any], outputs: Any) -> None:
        self._names = {layer["name"] for layer in layers}
        self._models = {layer["name"]: "input_layers" in layer["config"] for layer in layers if _is_model(layer)}
        self._first: dict[str, int] = {}
        for name, number, *_ in self._references([[layer["inbound_nodes"] for layer in layers], outputs]):
            if name in self._models:
                self._first[name] = min(number, self._first.get(name, number))

    def _is_reference(self, value: list[Any]) -> bool:
        numbers = len(value) in (3, 4) and all(type(number) is int for number in value[1:3])
        return numbers and isinstance(value[0], str) and plain_name(value[0]) in self._names

    def _references(self, value: Any) -> Iterator[Any]:
        if isinstance(value, list) and self._is_reference(value):
            yield [plain_name(value[0]), *value[1:3]]
            value = value[3:]
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from self._references(item)

    def _reference(self, value: list[Any]) -> list[Any]:
        name = plain_name(value[0])
        return [name, value[1] - self._first.get(name, 0), value[2]]

    def _argument(self, value: Any) -> Any:
        if isinstance(value, list) and self._is_reference(value):
            return {"class_name": "__keras_tensor__", "config": {"keras_history": self._reference(value)}}
        if isinstance(value, list):
            return [self._argument(item) for item in value]
        return {k: self._argument(item) for k, item in value.items()} if isinstance(value, dict) else value

    def call(self, node: Any, layer: str) -> dict[str, Any]:
        """Return the arguments of one call."""
        if isinstance(node, dict):
            return {"args": [self._argument(node)], "kwargs": {}}
        tensors = self._argument(node)
        given: dict[str, Any] = next((item[3] for item in node if len(item) == 4), {})
        kwargs = {name: self._argument(value) for name, value in given.items()}
        if layer in _RUN_BY_STEPS and len(tensors) > 1:
            return {"args": tensors[:1], "kwargs": {**kwargs, "initial_state": tensors[1:]}}
        return {"args": tensors if len(tensors) == 1 else [tensors], "kwargs": kwargs}

    def ends(self, value: Any) -> Any:
        """Return the inputs or outputs of a graph; one alone is no list."""
        if isinstance(value, dict):
            return {name: self.ends(item) for name, item in value.items()}
        if not self._is_reference(value):
            return self.ends(value[0]) if len(value) == 1 else [self.ends(item) for item in value]
        name, number, place = self._reference(value)
        # Today's form counts from 1 here too, for functional models.
        return [name, number + self._models.get(name, False), place]


def _is_model(layer: dict[str, Any]) -> bool:
    return isinstance(layer["config"], dict) and "layers" in layer["config"]


# -- training ---------------------------------------------------------------------------------------------------


def _optimizer(entry: Any, old: bool) -> dict[str, Any]:
    name = str(entry["class_name"])
    short = name.removeprefix("Custom>")
    if custom_object(name) is None and knows(short, "keras.optimizers"):
        name = short
    inner = dict(entry["config"])
    if old:
        inner = _rate_today(inner)
    if "learning_rate" in inner:
        inner["learning_rate"] = _part(inner["learning_rate"], "keras.optimizers.schedules")
    return _entry(name, inner, "keras.optimizers")


def _rate_today(inner: dict[str, Any]) -> dict[str, Any]:
    if "lr" in inner:
        inner["learning_rate"] = inner.pop("lr")
    if inner.get("decay"):
        given = {"initial_learning_rate": inner["learning_rate"], "decay_steps": 1, "decay_rate": inner.pop("decay")}
        inner["learning_rate"] = {"class_name": "InverseTimeDecay", "config": given}
    if inner.get("epsilon", 0) is None:
        del inner["epsilon"]
    return _without(inner, _OPTIMIZERS)


def _part(value: Any, module: str) -> Any:
    """Return losses, metrics or schedules, in whatever they are held."""
    if isinstance(value, list):
        return [_part(item, module) for item in value]
    if not isinstance(value, dict):
        return value
    if "class_name" not in value:
        return {name: _part(item, module) for name, item in value.items()}
    inner = value.get("config")
    if isinstance(inner, dict):
        if value["class_name"] in _WRAPPERS and isinstance(inner.get("fn"), str):
            return inner["fn"]
        if inner.get("reduction") == "auto":
            inner = {**inner, "reduction": "sum_over_batch_size"}
    return {**value, **_entry(value["class_name"], inner, value.get("module", module))}


def _entry(name: str, inner: Any, module: str) -> dict[str, Any]:
    described = {"class_name": name, "config": inner}
    return {"module": module, "registered_name": None, **described} if knows(name, module) else described

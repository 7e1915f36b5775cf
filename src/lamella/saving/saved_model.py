"""Programs as TensorFlow's SavedModel: the same StableHLO, called by TensorFlow, with the weights beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lamella.core.axes import shown
from lamella.core.extras import need
from lamella.core.structure import map_leaves
from lamella.core.variable import Frame, discover
from lamella.graph.trace import Spec
from lamella.kernels import made_for
from lamella.saving.durable import replacing_folder
from lamella.saving.endpoint import Endpoint

# A folder with this file is a SavedModel.
_MARK = "saved_model.pb"


def write_saved_model(
    endpoint: Endpoint, path: str, platforms: Sequence[str] = ("cpu", "cuda", "tpu"), jax2tf_kwargs: Any = None
) -> None:
    """Write an endpoint as a folder, whose `serve` takes the arguments of the model's `call`."""
    tf = need("tensorflow", "tensorflow")
    jax2tf = need("jax.experimental.jax2tf", "tensorflow")

    def made(endpoint: Endpoint) -> Any:
        variables, _ = discover(endpoint.call, *endpoint.arguments)

        def with_weights(values: list[Any], *inputs: Any) -> Any:
            with Frame(variables, values), made_for("each"):
                return endpoint.call(*inputs)

        options = {"native_serialization_platforms": tuple(platforms), "with_gradient": False, **(jax2tf_kwargs or {})}
        shapes = [None, *map_leaves(lambda spec: f"({', '.join(map(str, spec.shape))},)", endpoint.arguments)]
        options["polymorphic_constraints"] = endpoint.limits
        program = jax2tf.convert(with_weights, polymorphic_shapes=shapes, **options)
        module = tf.Module()
        module.weights = [tf.Variable(v.numpy(), trainable=False, name=v.path.replace("/", "_")) for v in variables]
        names = iter(endpoint.input_names)

        def tensor(spec: Spec) -> Any:
            return tf.TensorSpec(shown(spec.shape), str(spec.dtype), name=next(names))

        signature = map_leaves(tensor, endpoint.arguments)
        serve = tf.function(
            lambda *inputs: program(module.weights, *inputs), autograph=False, input_signature=signature
        )
        serve.get_concrete_function()
        module.serve = serve
        return module

    module = endpoint.attempt(made)
    with replacing_folder(path, _MARK) as folder:
        tf.saved_model.save(module, folder)

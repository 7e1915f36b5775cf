"""A model spread over four devices, saved and restored: `python sharded_checkpoint.py FOLDER` says "done"."""

from __future__ import annotations

import sys
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as orbax
from etils import epath
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import lamella
from lamella.checkpoint import Checkpoints

X = np.random.default_rng(0).normal(size=(16, 8)).astype("float32")
MESH = Mesh(np.array(jax.devices()), ("devices",))


def made(spread: bool) -> Any:
    model = lamella.Sequential([lamella.Input((8,)), lamella.layers.Dense(16), lamella.layers.Dense(4)])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    for variable in (*model.variables, *model.optimizer.variables) if spread else ():
        axes = PartitionSpec(None, "devices") if variable.ndim == 2 else PartitionSpec()
        variable.assign(jax.device_put(variable.value, NamedSharding(MESH, axes)))
    return model


def values(model: Any) -> list[Any]:
    return [variable.numpy() for variable in (*model.variables, *model.optimizer.variables)]


def main(folder: str) -> None:
    model = made(spread=True)
    model.fit(X, X[:, :4], epochs=2, verbose=0)
    Checkpoints(folder).save(model, 1)

    # On the disk there is a piece for each device.
    for part, name in (("model", "layers/dense/kernel"), ("optimizer", "2")):
        tree = orbax.StandardCheckpointHandler().metadata(epath.Path(folder) / "1" / part).tree
        assert tree[name].shape == (8, 16) and tree[name].storage.chunk_shape == (8, 4), tree[name]

    twin = made(spread=True)
    Checkpoints(folder).restore(twin)
    kernel = twin.layers[0].kernel.value
    assert [shard.data.shape for shard in kernel.addressable_shards] == [(8, 4)] * 4
    assert kernel.sharding == model.layers[0].kernel.value.sharding

    alone = made(spread=False)
    Checkpoints(folder).restore(alone)
    assert len(alone.layers[0].kernel.value.sharding.device_set) == 1
    for restored in (twin, alone):
        for a, b in zip(values(model), values(restored), strict=True):
            np.testing.assert_array_equal(a, b)
    print("done")


if __name__ == "__main__":
    main(sys.argv[1])

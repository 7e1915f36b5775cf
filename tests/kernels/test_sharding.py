"""A batch spread over devices: values and gradients are those of one device."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import jax, jax.numpy as jnp, numpy as np
import lamella
from lamella import layers
from jax.sharding import Mesh, NamedSharding, PartitionSpec

lamella.utils.set_random_seed(3)
images = lamella.Input((12, 12, 4))
x = layers.Conv2D(24, 3, padding="same", activation="relu")(images)
x = layers.Conv2D(24, 3, padding="same", strides=2)(layers.MaxPooling2D()(x))
x = layers.Conv2D(24, 3, groups=24, padding="same")(layers.BatchNormalization()(x))
x = layers.Reshape((9, 24))(layers.LayerNormalization()(x))
x = layers.Bidirectional(layers.LSTM(8, return_sequences=True))(x)
x = layers.Dropout(0.5, seed=1)(layers.GRU(8)(x))
model = lamella.Model(images, layers.Dense(3)(x))
data = np.random.default_rng(0).normal(size=(8, 12, 12, 4)).astype("float32")
trained = [w.value for w in model.trainable_variables]
others = [w.value for w in model.non_trainable_variables]

def loss(trained, x):
    out, state = model.stateless_call(trained, others, x, training=True)
    return jnp.mean(jnp.square(out)), state

step = jax.jit(jax.value_and_grad(loss, has_aux=True))
alone = step(trained, data)
mesh = Mesh(np.array(jax.devices()), ("batch",))
spread = jax.device_put(data, NamedSharding(mesh, PartitionSpec("batch")))
assert len(spread.sharding.device_set) == 4
together = step(jax.device_put(trained, NamedSharding(mesh, PartitionSpec())), spread)
for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6 + 1e-5 * float(jnp.abs(a).max()))
print(len(jax.tree.leaves(alone)))
"""


def test_a_batch_over_four_devices() -> None:
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 20

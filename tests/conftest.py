"""One environment for every test, set before anything imports JAX, Keras or Matplotlib."""

from __future__ import annotations

import os

from hypothesis import settings

os.environ["KERAS_BACKEND"] = "jax"
os.environ["MPLBACKEND"] = "Agg"
# a program compiled by an earlier run would hide a failure to compile, and leave files in the user's folder
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)

# the first example of a test compiles, the others do not: a time limit for each would measure the compiler
settings.register_profile("lamella", settings.default, deadline=None)
settings.load_profile("lamella")

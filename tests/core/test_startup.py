"""What an import sets for the process: freed memory is kept, compiled programs are found again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Memory that was freed is found again after some calls, when neighbouring pieces have joined.
COUNT_FAULTS = """
import resource, lamella, jax, jax.numpy as jnp
program = jax.jit(lambda x: x * 2 + 1)
x = jnp.ones((4096, 4096))
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    program(x).block_until_ready()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print([faults() for _ in range(60)][40:])
"""
COMPILE = """
import lamella, jax, jax.numpy as jnp
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.jit(lambda x: jnp.sort(x) + 1)(jnp.ones(8)).block_until_ready()
print(jax.config.jax_compilation_cache_dir)
"""
# A program long enough to count, after memory was freed that nothing else needs.
GIVE_BACK = """
import lamella, jax, jax.numpy as jnp, numpy as np
from pathlib import Path
def held():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 >> 20
started = held()
lamella.core.startup._WORTH_KEEPING = 0.0
parts = [np.ones(1 << 20) for _ in range(40)]
del parts
freed = held()
jax.jit(lambda x: jnp.sort(x) + 1)(np.ones(8)).block_until_ready()
print([started, freed, held()])
"""
LIMITED = """
import lamella, numpy as np
from pathlib import Path
def held():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 >> 20
model = lamella.Sequential([lamella.Input((4,)), lamella.layers.Dense(2)])
model.predict(np.ones((8, 4), "float32"), memory_limit="1GB", verbose=0)
started = held()
parts = [np.ones(1 << 20) for _ in range(40)]
full = held()
del parts
print([started, full, held()])
"""


def run(program: str, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env={**kept, **environment}, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_freed_memory_is_not_fetched_from_the_system_again(tmp_path: Path) -> None:
    kept = json.loads(run(COUNT_FAULTS, XDG_CACHE_HOME=str(tmp_path)))
    given_back = json.loads(run(COUNT_FAULTS, XDG_CACHE_HOME=str(tmp_path), LAMELLA_KEEP_MEMORY="0"))
    assert sum(kept) < sum(given_back) / 4


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_memory_is_given_back_after_compiling(tmp_path: Path) -> None:
    started, freed, after = json.loads(run(GIVE_BACK, XDG_CACHE_HOME=str(tmp_path)))
    assert freed > started + 250
    assert after < started + 150


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_with_a_memory_limit_freed_memory_goes_back(tmp_path: Path) -> None:
    started, full, after = json.loads(run(LIMITED, XDG_CACHE_HOME=str(tmp_path)))
    assert full > started + 250
    assert after < started + 50


def test_compiled_programs_are_kept_in_the_cache_folder(tmp_path: Path) -> None:
    folder = Path(run(COMPILE, XDG_CACHE_HOME=str(tmp_path)))
    assert folder == tmp_path / "lamella" / "programs"
    kept = set(folder.glob("*-cache"))
    assert kept
    run(COMPILE, XDG_CACHE_HOME=str(tmp_path))
    assert set(folder.glob("*-cache")) == kept


def test_a_folder_of_the_users_own_is_respected(tmp_path: Path) -> None:
    assert run(COMPILE, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "own")) == str(tmp_path / "own")


def test_no_folder_no_cache(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert run(COMPILE, XDG_CACHE_HOME=str(blocked)) == "None"

"""What a large exported program costs: seconds and memory to write it, seconds to read it and to call it.

`python benchmarks/export.py [--megabytes 100]`; Linux.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import lamella

READER = """
import sys, time
from pathlib import Path
import jax, numpy
x = numpy.ones((32, 1000), "float32")
start = time.perf_counter()
call = jax.jit(jax.export.deserialize(bytearray(Path(sys.argv[1]).read_bytes())).call)
read = time.perf_counter()
jax.block_until_ready(call(x))
first = time.perf_counter()
jax.block_until_ready(call(x))
then = time.perf_counter()
print(f"read {read - start:.2f} s, first call {first - read:.2f} s, next {(then - first) * 1000:.1f} ms")
"""


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=100)
    count = max(1, parser.parse_args().megabytes // 4)
    model = lamella.Sequential([lamella.Input((1000,)), *(lamella.layers.Dense(1000) for _ in range(count))])
    x = np.ones((32, 1000), "float32")
    model.predict(x, verbose=0)
    start = time.perf_counter()
    model.predict(x, verbose=0)
    print(f"{count} layers, {model.count_params() * 4 / 1e6:.0f} MB of weights")
    print(f"predict {(time.perf_counter() - start) * 1000:.1f} ms, peak {peak():.0f} MB")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.stablehlo")
        start = time.perf_counter()
        model.export(path)
        seconds = time.perf_counter() - start
        print(f"export {seconds:.2f} s, {path.stat().st_size / 1e6:.0f} MB, peak {peak():.0f} MB", flush=True)
        subprocess.run([sys.executable, "-c", READER, str(path)], check=True)


if __name__ == "__main__":
    main()

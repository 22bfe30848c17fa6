"""Takes turns loading one compressed checkpoint with its layers stacked, by Orbax and JAX and by Graft; scripts/compare-surgery runs it."""

from __future__ import annotations

import ast
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

LAYER_COUNT = 32
# Loads of a process of Graft's; the first is into fresh memory and is what one load of Orbax's is compared with.
REPEATS = 3


def make(path: Path) -> None:
    """Layers of 32 MiB as Orbax saves them by default; noise of the shape that trained values have."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax.numpy as jnp
    import numpy as np
    from orbax.checkpoint import v1 as ocp

    generator = np.random.default_rng(7)

    def array(*shape: int):
        return jnp.asarray(generator.standard_normal(shape, np.float32) * np.float32(0.02)).astype(jnp.bfloat16)

    layer = lambda: {"attention": {"kernel": array(2048, 2048)}, "mlp": {"kernel": array(2048, 6144)}, "norm": {"scale": array(2048)}}
    ocp.save(path, {"params": {f"layer{n}": layer() for n in range(LAYER_COUNT)}})


def load_by_orbax(path: Path) -> None:
    """Loads and stacks, and prints how long that took."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    import logging
    import warnings

    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    import jax
    import jax.numpy as jnp
    from orbax.checkpoint import v1 as ocp

    jax.block_until_ready(jnp.stack([jnp.zeros(2)] * 2))
    start = time.perf_counter()
    params = ocp.load(path)["params"]
    layers = [params.pop(f"layer{n}") for n in range(LAYER_COUNT)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)
    jax.block_until_ready(stacked)
    print([time.perf_counter() - start])


def run(command: list[str]) -> tuple[list[float], float]:
    """The seconds that a process prints, and its peak of resident memory in MiB."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return ast.literal_eval(output.decode()), usage.ru_maxrss / 1024


def warm(path: Path) -> None:
    for file in path.rglob("*"):
        if file.is_file():
            with open(file, "rb", buffering=0) as stream:
                while stream.read(1 << 24):
                    pass


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):8.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    if sys.argv[1] == "--orbax":
        return load_by_orbax(Path(sys.argv[2]).resolve())
    driver, path, rounds = sys.argv[1], Path(sys.argv[2]).resolve(), int(sys.argv[3])
    if not path.exists():
        print(f"making {path}", flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, __file__, "--make", path], check=True, stderr=subprocess.DEVNULL)
    sides = {
        "orbax": [sys.executable, __file__, "--orbax", str(path)],
        "graft": [driver, "stack", str(path), str(REPEATS)],
    }
    seconds: dict[str, list[list[float]]] = {name: [] for name in sides}
    memory: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in sorted(sides, reverse=bool(number % 2)):
            warm(path)
            times, peak = run(sides[name])
            seconds[name].append(times)
            memory[name].append(peak)
    orbax = [times[0] for times in seconds["orbax"]]
    first = [times[0] for times in seconds["graft"]]
    repeated = [statistics.median(times[1:]) for times in seconds["graft"]]
    print(f"{rounds} rounds in turns, warm; medians (smallest to largest)")
    print(f"  ocp.load and jnp.stack, s                  {spread(orbax)}")
    print(f"  Graft, first load of a process, s          {spread(first)}")
    print(f"  Graft, repeated, s                         {spread(repeated)}")
    print(f"  Orbax / Graft, first load                  {spread([a / b for a, b in zip(orbax, first)])}")
    print(f"  Orbax / Graft, repeated                    {spread([a / b for a, b in zip(orbax, repeated)])}")
    print(f"  peak of resident memory, Orbax, MiB        {spread(memory['orbax'])}")
    print(f"  peak of resident memory, Graft, MiB        {spread(memory['graft'])}")
    print(f"  Graft / Orbax, memory                      {spread([a / b for a, b in zip(memory['graft'], memory['orbax'])])}")


if __name__ == "__main__":
    if sys.argv[1] == "--make":
        make(Path(sys.argv[2]))
    else:
        main()

"""Takes turns loading the same checkpoints by the real Orbax and by Graft; scripts/compare-orbax runs it.

Before the rounds it checks that both give the same values: every leaf that both load is compared, bit for bit.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import statistics
import subprocess
import time
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
# Orbax tells of every sharding that it takes from its file.
logging.disable(logging.WARNING)
warnings.filterwarnings("ignore")

import jax
import numpy as np
import orbax.checkpoint
from orbax.checkpoint import v1 as ocp
from safetensors import safe_open

# How often the tool loads in one turn; the first is into fresh memory and is reported apart.
REPEATS = 3


class Graft:
    """The tool, as a process of its own for each turn."""

    def __init__(self, tool: str, threads: int | None):
        self.tool, self.options = tool, [] if threads is None else ["--threads", str(threads)]

    def run(self, *arguments: str) -> dict:
        command = [self.tool, *map(str, arguments), "--json", "--quiet"]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)

    def load(self, path: Path, *options: str) -> tuple[float, float]:
        """The time of a load into fresh memory, and the median of those that follow it in the same process."""
        answer = self.run("load", path, "--repeat", REPEATS, "--no-ceiling", *self.options, *options)
        assert len(answer["seconds"]) == REPEATS
        return answer["seconds"][0], statistics.median(answer["seconds"][1:])

    def inspect(self, path: Path) -> float:
        """The time of the process from its start to its end, which lists every leaf."""
        start = time.perf_counter()
        command = [self.tool, "inspect", str(path), "--json", "--quiet"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start


def timed(load: Callable[[], object]) -> float:
    """The time of a load by Orbax, until all of its arrays are there."""
    start = time.perf_counter()
    tree = load()
    jax.block_until_ready(tree)
    seconds = time.perf_counter() - start
    del tree
    gc.collect()
    return seconds


def parameters_only(path: Path):
    """What to load: the parameters as they were saved, and a placeholder for everything else."""
    metadata = ocp.metadata(path).metadata
    return {
        key: tree if key == "params" else jax.tree.map(lambda _: ..., tree) for key, tree in metadata.items()}


def warm(path: Path) -> None:
    """Brings the checkpoint's files into the page cache: some kernels drop what was not touched for a minute."""
    for file in path.rglob("*"):
        if file.is_file():
            with open(file, "rb", buffering=0) as stream:
                while stream.read(1 << 24):
                    pass


def leaves(tree) -> dict[str, np.ndarray]:
    """The arrays by the names that Graft gives them in safetensors."""
    def name(part) -> str:
        return str(next(getattr(part, kind) for kind in ("key", "idx", "name") if hasattr(part, kind)))

    return {
        ".".join(map(name, path)): np.asarray(leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
        if leaf is not ...}


def check_equal(graft: Graft, path: Path, tree, scratch: Path, *options: str) -> int:
    """Every leaf that Orbax gave is in what Graft converts, bit for bit, and no other; the bytes that were compared."""
    expected = leaves(tree)
    graft.run("convert", path, scratch, "--overwrite", *options)
    compared = 0
    with safe_open(scratch, "numpy") as found:
        assert set(found.keys()) == set(expected), set(found.keys()) ^ set(expected)
        for key, value in expected.items():
            other = found.get_tensor(key)
            assert (other.dtype, other.shape) == (value.dtype, value.shape), key
            # As bytes, so that NaNs are equal to themselves and zeros have signs.
            same = np.array_equal(
                np.atleast_1d(other).reshape(-1).view(np.uint8), np.atleast_1d(value).reshape(-1).view(np.uint8))
            assert same, f"{key} differs"
            compared += value.nbytes
    scratch.unlink()
    return compared


def spread(values: list[float], unit: str) -> str:
    return f"{statistics.median(values):8.3f} {unit} ({min(values):.3f} to {max(values):.3f})"


def busy_share() -> Callable[[], float]:
    """What says how much of the processors' time was used since now, by whomever."""

    def sample() -> tuple[float, float]:
        ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
        return sum(ticks) - ticks[3] - ticks[4], sum(ticks)

    start = sample()

    def share() -> float:
        now = sample()
        return (now[0] - start[0]) / max(1, now[1] - start[1])

    return share


def compare(title: str, rounds: int, prepare: Callable[[], None], turns: dict[str, Callable[[], dict[str, float]]]) -> None:
    """Runs the turns in every round, another first each time, and prints medians and the ratios of each round.

    A turn gives seconds by name; the ratios are those of Orbax's to each of the others.
    """
    seconds: dict[str, list[float]] = {}
    share = busy_share()
    own = time.process_time() + sum(os.times()[2:4])
    started = time.perf_counter()
    names = list(turns)
    for number in range(-1, rounds):
        order = names[max(0, number) % len(names):] + names[:max(0, number) % len(names)]
        for name in order:
            prepare()
            for what, value in turns[name]().items():
                if number >= 0:
                    seconds.setdefault(what, []).append(value)
    elapsed = (time.perf_counter() - started) * (os.cpu_count() or 1)
    own = (time.process_time() + sum(os.times()[2:4]) - own) / elapsed
    print(f"\n{title}; others had {max(0, share() - own):.0%} of the processors", flush=True)
    for what, values in seconds.items():
        print(f"  {what:44} {spread(values, 's')}")
    orbax = next(what for what in seconds if what.startswith("ocp."))
    for what, values in seconds.items():
        if what != orbax:
            ratios = [a / b for a, b in zip(seconds[orbax], values)]
            print(f"  {orbax + ' / ' + what:44} {spread(ratios, 'times')}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tool")
    parser.add_argument("folder", type=Path)
    parser.add_argument("rounds", type=int)
    arguments = parser.parse_args()
    folder, rounds = arguments.folder.resolve(), arguments.rounds
    graft = Graft(arguments.tool, None)
    scratch = folder / "compared.safetensors"
    print(f"orbax-checkpoint {orbax.checkpoint.__version__}, jax {jax.__version__}, {os.cpu_count()} processors")
    print(f"{rounds} rounds in turns, warm; medians (smallest to largest)")

    for name in ("compressed", "plain"):
        path = folder / name
        tree = ocp.load(path)
        compared = check_equal(graft, path, tree, scratch)
        total = sum(leaf.nbytes for leaf in leaves(tree).values())
        del tree
        gc.collect()
        print(f"\n{name}: {total / (1 << 30):.2f} GiB; {compared} bytes of Graft's are Orbax's", flush=True)

        def loaded_by_graft(*options: str) -> dict[str, float]:
            fresh, repeated = graft.load(path, *options)
            return {"graft, first load of a process": fresh, "graft, repeated": repeated}

        compare(f"{name}, everything", rounds, lambda: warm(path), {
            "orbax": lambda: {"ocp.load": timed(lambda: ocp.load(path))},
            "graft": loaded_by_graft,
        })
        target = parameters_only(path)
        tree = ocp.load(path, target)
        compared = check_equal(graft, path, tree, scratch, "--select", "params/**")
        del tree
        gc.collect()
        print(f"\n{name}, parameters only; {compared} bytes of Graft's are Orbax's", flush=True)
        compare(f"{name}, parameters only", rounds, lambda: warm(path), {
            "orbax": lambda: {"ocp.load with placeholders": timed(lambda: ocp.load(path, target))},
            "graft": lambda: loaded_by_graft("--select", "params/**"),
        })

    path = folder / "many-leaves"
    listed = {leaf["path"]: (leaf["dtype"], tuple(leaf["shape"])) for leaf in graft.run("inspect", path)["leaves"]}
    known = {
        "/".join(str(part.key) for part in keys): (leaf.dtype.name, tuple(leaf.shape))
        for keys, leaf in jax.tree_util.tree_flatten_with_path(ocp.metadata(path).metadata)[0]}
    assert listed == known
    compare(f"metadata of {len(known)} leaves", rounds, lambda: warm(path), {
        "orbax": lambda: {"ocp.metadata": timed(lambda: ocp.metadata(path) and None)},
        "graft": lambda: {"graft inspect, start of the process included": graft.inspect(path)},
    })


if __name__ == "__main__":
    main()

"""Saves one training state by Graft, by Orbax and by safetensors, in turns; scripts/compare-save says how it is called."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"

import ml_dtypes
import numpy as np
import safetensors.numpy
from orbax.checkpoint import v1 as ocp

TOOL, FOLDER, MEBIBYTES, ROUNDS = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
WIDTH = 4096


def training_state() -> dict[str, np.ndarray]:
    """Parameters of bfloat16 and two moments of float32, normally distributed, in layers of at most 32 MiB of parameters."""
    generator = np.random.default_rng(5)
    rows = (MEBIBYTES << 20) // 10 // WIDTH
    layers = max(1, rows // 4096)
    state = {}
    for layer in range(layers):
        shape = (rows // layers, WIDTH)
        first = generator.standard_normal(shape, np.float32) * np.float32(1e-4)
        state[f"params.layer{layer}"] = (generator.standard_normal(shape, np.float32) * np.float32(0.02)).astype(ml_dtypes.bfloat16)
        state[f"mu.layer{layer}"] = first
        state[f"nu.layer{layer}"] = first * first
    return state


def sync(path: Path) -> None:
    """Waits until a file, or all files and folders below a folder, are on the disk."""
    for name in [path, *(path.rglob("*") if path.is_dir() else [])]:
        descriptor = os.open(name, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)


def main() -> None:
    state = training_state()
    size = sum(array.nbytes for array in state.values())
    source = FOLDER / "compared-state.safetensors"
    safetensors.numpy.save_file(state, source)
    tree: dict = {}
    for name, array in state.items():
        part, layer = name.split(".")
        tree.setdefault(part, {})[layer] = array
    orbax, single = FOLDER / "compared-orbax", FOLDER / "compared.safetensors"
    orbax, single = orbax.resolve(), single.resolve()

    def graft(destination: Path, *options: str):
        def run() -> float:
            answer = subprocess.run(
                [TOOL, "convert", source, destination, "--budget", "128MiB", "--json", "--quiet", *options],
                check=True, capture_output=True)
            return json.loads(answer.stdout)["seconds"]
        return destination, run

    def orbax_save() -> float:
        start = time.perf_counter()
        ocp.save(orbax, tree)
        sync(orbax)
        return time.perf_counter() - start

    def safetensors_save() -> float:
        start = time.perf_counter()
        safetensors.numpy.save_file(state, single)
        sync(single)
        return time.perf_counter() - start

    contestants = {
        "ocp.save": (orbax, orbax_save),
        "Graft, zstd 3": graft(orbax),
        "Graft, zstd entropy": graft(orbax, "--compression", "zstd:entropy"),
        "Graft, blosc entropy": graft(orbax, "--compression", "blosc:entropy"),
        "Graft, uncompressed": graft(orbax, "--compression", "none"),
        "save_file and fsync": (single, safetensors_save),
        "Graft, safetensors": graft(single),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for number in range(-1, ROUNDS):  # the one before the first does not count
        for turn in range(len(names)):
            name = names[(turn + max(0, number)) % len(names)]
            path, run = contestants[name]
            remove(path)
            taken = run()
            if number >= 0:
                seconds[name].append(taken)
            if number == 0 and path == orbax and name != "ocp.save":
                # What was written is what the real library reads.
                found = ocp.load(orbax)
                assert all(
                    np.asarray(found[part][layer]).tobytes() == array.tobytes()
                    for part, layers in tree.items() for layer, array in layers.items()), name
            remove(path)
    source.unlink()
    print(f"{size / 2**20:.0f} MiB in {len(state)} leaves, {ROUNDS} rounds, everything synced; load {os.getloadavg()[0]:.1f}")
    for name, own in seconds.items():
        other = "save_file and fsync" if "safetensors" in name or "save_file" in name else "ocp.save"
        ratios = sorted(b / a for a, b in zip(own, seconds[other]))
        print(
            f"{name:24} {size / 2**30 / statistics.median(own):6.2f} GiB/s   "
            f"{statistics.median(ratios):5.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f}) of {other}")


main()

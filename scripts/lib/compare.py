"""Takes turns loading one safetensors file by the Python library and by Graft; scripts/compare runs it."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import ml_dtypes  # noqa: F401  (tells NumPy of bfloat16 and its like)
from safetensors.numpy import load_file

# How often the tool loads in one turn; the first is into fresh memory and is reported apart.
REPEATS = 4


def python_seconds(path: Path, backend: str, copy: bool) -> float:
    """The time of `load_file`, with a copy of each tensor as programs make it that must not hold on to a mapping.

    Version 0.8 gives NumPy arrays memory of their own already, so that the copy is one too many there; with other frameworks
    it is what `load_file` plus `clone` does. Both are reported.
    """
    start = time.perf_counter()
    tensors = load_file(path, backend=backend)
    if copy:
        tensors = {name: tensor.copy() for name, tensor in tensors.items()}
    seconds = time.perf_counter() - start
    del tensors
    return seconds


def graft_seconds(tool: str, path: Path) -> list[float]:
    """The times of the tool's loads, as it says them, in one process."""
    command = [tool, "load", str(path), "--repeat", str(REPEATS), "--no-ceiling", "--json", "--quiet"]
    answer = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    assert answer["bytes_read"] >= answer["logical_bytes"] and len(answer["seconds"]) == REPEATS
    return answer["seconds"]


def spread(values: list[float], unit: str) -> str:
    return f"{statistics.median(values):6.2f} {unit} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    tool, path, rounds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    gib = path.stat().st_size / (1 << 30)
    library = {
        "load_file": ("mmap", False),
        "load_file, backend pread": ("pread", False),
        "load_file and copy": ("mmap", True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in [*library, "graft, fresh", "graft, repeated"]}
    python_seconds(path, "pread", copy=False)  # brings the file into the page cache
    for _ in range(rounds):
        for name, (backend, copy) in library.items():
            seconds[name].append(python_seconds(path, backend, copy))
        fresh, *repeated = graft_seconds(tool, path)
        seconds["graft, fresh"].append(fresh)
        seconds["graft, repeated"].append(statistics.median(repeated))
    print(f"{path.name}: {gib:.2f} GiB, warm, {rounds} rounds; medians (smallest to largest)")
    for name, values in seconds.items():
        print(f"  {name:40} {spread([gib / value for value in values], 'GiB/s')}")
    for name in library:
        ratios = [a / b for a, b in zip(seconds[name], seconds["graft, repeated"])]
        print(f"  {'graft, repeated / ' + name:40} {spread(ratios, 'times')}")


if __name__ == "__main__":
    main()

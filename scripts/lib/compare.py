"""Takes turns loading one safetensors file by the Python library and by Graft; scripts/compare runs it."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import ml_dtypes  # noqa: F401  (tells NumPy of bfloat16 and its like)
from safetensors.numpy import load_file

# How often the tool loads in one turn; the first is into fresh memory and does not count among the repeated ones.
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


# A process that loads once, into memory that nobody has touched, and says how long that took without its start.
FIRST_LOAD = """
import sys, time
import ml_dtypes
from safetensors.numpy import load_file
start, processor = time.perf_counter(), time.process_time()
tensors = load_file(sys.argv[1])
print(time.perf_counter() - start, time.process_time() - processor)
"""


def python_first(path: Path) -> tuple[float, float]:
    """The time of `load_file` as the first load of a process, and the processors' time that it took."""
    answer = subprocess.run([sys.executable, "-c", FIRST_LOAD, str(path)], check=True, stdout=subprocess.PIPE)
    seconds, processor = answer.stdout.split()
    return float(seconds), float(processor)


def graft_first(tool: str, path: Path) -> tuple[float, float]:
    """The time of the tool's only load, as it says it, and the processors' time of the whole process, its start included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [tool, "load", str(path), "--no-ceiling", "--json", "--quiet"]
    answer = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return answer["seconds"][0], after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def first_loads(tool: str, path: Path, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """First loads of fresh processes, which take turns at going first: memory that another gave back a moment ago is faster."""
    loads: dict[str, list[tuple[float, float]]] = {"load_file": [], "graft": []}
    for turn in range(rounds):
        contestants = [("load_file", lambda: python_first(path)), ("graft", lambda: graft_first(tool, path))]
        for name, load in contestants if turn % 2 == 0 else reversed(contestants):
            loads[name].append(load())
    return loads


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
    seconds: dict[str, list[float]] = {name: [] for name in [*library, "graft, repeated"]}
    python_seconds(path, "pread", copy=False)  # brings the file into the page cache
    for _ in range(rounds):
        for name, (backend, copy) in library.items():
            seconds[name].append(python_seconds(path, backend, copy))
        _, *repeated = graft_seconds(tool, path)
        seconds["graft, repeated"].append(statistics.median(repeated))
    print(f"{path.name}: {gib:.2f} GiB, warm, {rounds} rounds; medians (smallest to largest)")
    for name, values in seconds.items():
        print(f"  {name:40} {spread([gib / value for value in values], 'GiB/s')}")
    for name in library:
        ratios = [a / b for a, b in zip(seconds[name], seconds["graft, repeated"])]
        print(f"  {'graft, repeated / ' + name:40} {spread(ratios, 'times')}")
    first = first_loads(tool, path, rounds)
    print(f"the first load of a process, {rounds} alternated rounds of two processes")
    for name, loads in first.items():
        print(f"  {name:40} {spread([gib / seconds for seconds, _ in loads], 'GiB/s')}")
        print(f"  {name + ', processor time':40} {spread([processor for _, processor in loads], 's')}")
    for part, what in enumerate(["graft / load_file", "graft / load_file, by processor time"]):
        ratios = [a[part] / b[part] for a, b in zip(first["load_file"], first["graft"])]
        print(f"  {what:40} {spread(ratios, 'times')}")


if __name__ == "__main__":
    main()

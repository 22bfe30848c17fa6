"""What a comparison was taken on, and how busy others kept it."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

PACKAGES = [
    "orbax-checkpoint", "tensorstore", "jax", "safetensors", "torch", "runai-model-streamer", "fastsafetensors", "mergekit", "numpy",
]  # fmt: skip


def facts(root: Path, folder: Path) -> dict[str, str]:
    """The machine in words, and Graft's commit."""
    processor = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    memory = next(int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal"))
    system = next((line.partition("=")[2].strip('"') for line in _lines("/etc/os-release") if line.startswith("PRETTY_NAME")), "Linux")
    return {
        "processors": f"{os.cpu_count()} × {processor}",
        "memory": f"{memory / (1 << 20):.1f} GiB",
        "kernel": re.sub(r"[^0-9.].*", "", platform.release()),
        "system": system,
        "storage": _file_system(folder),
        "graft": _commit(root),
    }


def versions() -> dict[str, str]:
    """The peers' versions, as they are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _file_system(folder: Path) -> str:
    """The type of the file system that a folder is on."""
    best, kind = "", "unknown"
    for line in _lines("/proc/self/mounts"):
        _, place, found, *_ = line.split()
        inside = str(folder.resolve()).startswith(place if place.endswith("/") else place + "/")
        if inside and len(place) > len(best):
            best, kind = place, found
    return kind


def _commit(root: Path) -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True).stdout.strip()

    # The last that changed what is measured, so that changes of documents are no other Graft.
    product = ["--", "Sources", "CSources", "Package.swift"]
    changed = git("status", "--porcelain", "--untracked-files=no", *product)
    return (git("log", "-1", "--format=%h", "--abbrev=10", *product) or "unknown") + (" with changes" if changed else "")


def busy_share() -> Callable[[float], float]:
    """What says how much of the processors' time others took since now, given what we took of it in seconds."""

    def sample() -> tuple[int, int]:
        ticks = [int(field) for field in _lines("/proc/stat")[0].split()[1:9]]
        return sum(ticks) - ticks[3] - ticks[4], sum(ticks)

    start = sample()

    def share(own: float) -> float:
        busy, total = (now - before for now, before in zip(sample(), start))
        return max(0.0, (busy - own * os.sysconf("SC_CLK_TCK")) / max(1, total))

    return share


# ---- the page cache ------------------------------------------------------------------------------------------------------------


def files(paths: list[Path]) -> list[Path]:
    """The files that are, or are below, some paths."""
    return [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*"))) if file.is_file()]


def warm(paths: list[Path]) -> None:
    """Brings files into the page cache: some kernels drop what was not touched for a minute."""
    memory = bytearray(1 << 22)
    for file in files(paths):
        with open(file, "rb", buffering=0) as stream:
            while stream.readinto(memory):
                pass


def evict(paths: list[Path]) -> None:
    """Drops files from the page cache, and fails where pages stay."""
    for file in files(paths):
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            left = _cached_pages(descriptor)
        finally:
            os.close(descriptor)
        # A few pages that somebody holds for a moment decide nothing.
        if left is not None and left * 4096 > max(1 << 20, file.stat().st_size // 100):
            raise RuntimeError(f"{left} pages of {file.name} stay in the page cache, so that no load of it would be cold")


def _cached_pages(descriptor: int) -> int | None:
    """How many pages of a file are in the page cache; None where the kernel has no `cachestat` (before 6.5)."""
    everything = (ctypes.c_uint64 * 2)(0, 0)
    answer = (ctypes.c_uint64 * 5)()
    status = ctypes.CDLL(None, use_errno=True).syscall(451, descriptor, everything, answer, 0)
    return answer[0] if status == 0 else None


def sync() -> None:
    """Waits until nothing is on its way to the disk, so that nobody pays for what another wrote."""
    os.sync()

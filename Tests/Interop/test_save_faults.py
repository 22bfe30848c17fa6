"""Whatever happens to a save, the old checkpoint is there, or the new one is, whole; and what is left behind is known for what it is.

The real tool saves, with faults/interposer.c between it and the C library: the process is killed at every call that changes a file, or
the call fails as it would on a full or broken disk. Of many calls a sample is taken, whose seed is printed; GRAFT_ALL_FAULTS=1 takes all.
"""

from __future__ import annotations

import errno
import hashlib

import os
import random
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import safetensors.numpy

from graft import ERROR, TIMEOUT_SECONDS, Graft

POINT_LIMIT = 10_000 if os.environ.get("GRAFT_ALL_FAULTS") else 10
SEED = int(os.environ.get("GRAFT_SEED", "20261124"))


class Call(NamedTuple):
    """A call that changed a file."""

    number: int
    name: str
    path: str
    second: str


@pytest.fixture(scope="module")
def interposer(tmp_path_factory) -> Path:
    library = tmp_path_factory.mktemp("interposer") / "faults.so"
    source = Path(__file__).parent / "faults/interposer.c"
    subprocess.run(
        ["cc", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl", "-lpthread"], check=True)
    return library


def tensors(seed: int) -> dict[str, np.ndarray]:
    # Several that are larger than a page, so that half a write is a write of something.
    random = np.random.default_rng(seed)
    return {f"layer{index}.kernel": random.standard_normal((96, 128 + index), np.float32) for index in range(4)}


class Scenario:
    """A save to one place, which can be done again and again."""

    def __init__(self, graft: Graft, interposer: Path, folder: Path, name: str, options: list[str], replaces: bool):
        self.graft, self.interposer, self.replaces = graft, interposer, replaces
        self.options = [*options, *(["--overwrite"] if replaces else [])]
        self.new, self.old = folder / "new.safetensors", folder / "old.safetensors"
        safetensors.numpy.save_file(tensors(1), self.new)
        safetensors.numpy.save_file(tensors(2), self.old)
        self.log = folder / "log"
        self.root = folder / "root"
        self.destination = self.root / name
        self.root.mkdir()
        self.pristine = None
        if replaces:
            result = graft.run("convert", self.old, self.destination, *options, "--quiet")
            assert result.status == 0, result
            self.pristine = folder / "pristine"
            shutil.copytree(self.root, self.pristine)

    def reset(self) -> None:
        shutil.rmtree(self.root)
        if self.pristine:
            shutil.copytree(self.pristine, self.root)
        else:
            self.root.mkdir()
        self.log.unlink(missing_ok=True)

    def save(self, at: int = 0, act: str = "kill") -> subprocess.CompletedProcess:
        """Saves, with something happening at a call."""
        environment = {
            **os.environ, "LD_PRELOAD": str(self.interposer), "GRAFT_FAULT_ROOT": str(self.root), "GRAFT_FAULT_LOG": str(self.log),
            "GRAFT_FAULT_AT": str(at), "GRAFT_FAULT_ACT": act}
        return subprocess.run(
            [self.graft.tool, "convert", self.new, self.destination, *self.options, "--quiet", "--threads", "1"], env=environment,
            capture_output=True, timeout=TIMEOUT_SECONDS, stdin=subprocess.DEVNULL)

    def calls(self) -> list[Call]:
        """The calls of a save to which nothing happens."""
        self.reset()
        result = self.save()
        assert result.returncode == 0, result
        lines = [line.split("\t") for line in self.log.read_text().splitlines()]
        return [Call(int(number), name, path, second) for number, name, path, second in lines]

    def digest(self) -> dict[str, str]:
        """What stands at the destination, byte for byte."""
        if self.destination.is_file():
            return {"": hashlib.sha256(self.destination.read_bytes()).hexdigest()}
        return {
            str(path.relative_to(self.destination)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.destination.rglob("*")) if path.is_file()}

    def equals(self, source: Path) -> bool:
        """Whether the destination is whole, with the values of a source."""
        result = self.graft.run("diff", source, self.destination, "--quiet")
        if result.status > 1:
            return False
        return result.status == 0

    def leftovers(self) -> list[str]:
        return sorted(path.name for path in self.root.iterdir() if path != self.destination)

    def check_old_or_new(self, old: dict[str, str]) -> str:
        """Checks that the destination is what it was, or all new; says which."""
        now = self.digest()
        if now == old and (self.replaces or not self.destination.exists()):
            return "old"
        assert self.equals(self.new), f"neither the old checkpoint nor the new one: {sorted(now)}"
        return "new"


FORMATS = {
    "file": ("model.safetensors", []),
    "folder": ("model", ["--to", "safetensors", "--shard-size", "100KiB"]),
    "orbax": ("model", ["--to", "orbax"]),
}
CASES = [(name, replaces) for name in FORMATS for replaces in (False, True)]


@pytest.fixture(params=CASES, ids=[f"{name}-{'replacing' if replaces else 'new'}" for name, replaces in CASES], scope="module")
def scenario(request, graft: Graft, interposer: Path, tmp_path_factory) -> Scenario:
    name, replaces = request.param
    destination, options = FORMATS[name]
    return Scenario(graft, interposer, tmp_path_factory.mktemp("faults"), destination, options, replaces)


def sample(points: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """All points, or some of them: the last ones, where names are given, and others at random."""
    if len(points) <= POINT_LIMIT:
        return points
    print(f"seed {SEED}: {POINT_LIMIT} of {len(points)} points")
    last = points[-POINT_LIMIT // 2:]
    return sorted(random.Random(SEED).sample(points[: -len(last)], POINT_LIMIT - len(last))) + last


LEFTOVER = re.compile(r"^\.(.+)\.graft-tmp-[0-9]+-[0-9a-f]{16}$")


def test_a_save_that_is_killed_leaves_the_old_checkpoint_or_the_new_one(scenario: Scenario):
    calls = scenario.calls()
    assert len(calls) > 5, calls
    points = [(call.number, act) for call in calls for act in ("kill", *(["tear"] if call.name == "write" else []))]
    outcomes = []
    for number, act in sample(points):
        scenario.reset()
        old = scenario.digest()
        result = scenario.save(number, act)
        assert result.returncode == -signal.SIGKILL, (number, act, result)
        outcomes.append(scenario.check_old_or_new(old))
        for name in scenario.leftovers():
            match = LEFTOVER.match(name)
            assert match and match[1] == scenario.destination.name, (number, act, name)
        # The next save finds nothing in its way, and clears up.
        arguments = scenario.options + ([] if scenario.replaces or outcomes[-1] == "old" else ["--overwrite"])
        again = scenario.graft.run("convert", scenario.new, scenario.destination, *arguments, "--quiet")
        assert again.status == 0, (number, act, again)
        assert scenario.equals(scenario.new), (number, act)
        assert scenario.leftovers() == [], (number, act)
    # Before the new name is given it is the old one; that it can be the new one is seen by the last calls.
    assert outcomes[0] == "old" and "new" in outcomes, outcomes


def test_a_call_that_fails_is_a_clear_error_and_leaves_nothing(scenario: Scenario):
    calls = scenario.calls()
    # What cannot be removed, when it is a leftover, is one.
    points = [
        (call.number, str(number)) for call in calls if call.name not in ("unlink", "rmdir")
        for number in (errno.ENOSPC, errno.EIO, errno.EDQUOT)]
    names = {call.number: call.name for call in calls}
    failures = 0
    for number, act in sample(points):
        scenario.reset()
        old = scenario.digest()
        result = scenario.save(number, act)
        what = (number, names[number], errno.errorcode[int(act)], result)
        outcome = scenario.check_old_or_new(old)
        # A folder that was exchanged stays under the temporary name when it is not known that the exchange is on the disk.
        was_exchanged = outcome == "new" and scenario.replaces and names[number] == "fsync" and result.returncode == ERROR
        assert all(was_exchanged and LEFTOVER.match(name) for name in scenario.leftovers()), what
        if result.returncode == 0:
            assert outcome == "new", what
            continue
        failures += 1
        assert result.returncode == ERROR and result.stdout == b"", what
        paragraph = result.stderr.decode().strip()
        assert paragraph and "\n" not in paragraph and "Fatal error" not in paragraph, what
        assert str(scenario.destination) in paragraph, what
        assert errno.errorcode[int(act)] in paragraph or os.strerror(int(act)).lower() in paragraph.lower(), what
    assert failures > 0


def test_all_data_is_on_the_disk_before_the_name_is_given(scenario: Scenario):
    """A power failure keeps of a file what was synced, and of a folder's names those that were there when it was synced."""
    calls = scenario.calls()
    places = [index for index, call in enumerate(calls) if call.name in ("rename", "exchange") and call.second == str(scenario.destination)]
    # A folder is first tried as if its name were free, and then exchanged for what has it.
    assert 1 <= len(places) <= 2, calls
    named = places[-1]
    temporary = calls[named].path
    dirty: dict[str, Call] = {}  # files with bytes that are not on the disk
    unsynced: dict[str, Call] = {}  # folders with names that are not on the disk
    for call in calls[:places[0]]:
        if call.name in ("fsync", "fdatasync"):
            dirty.pop(call.path, None)
            unsynced.pop(call.path, None)
        elif call.name in ("write", "ftruncate", "fallocate"):
            dirty[call.path] = call
        elif call.name in ("create", "mkdir", "link", "linkat", "rename"):
            path = call.second or call.path
            if path != temporary:
                unsynced[str(Path(path).parent)] = call
    assert dirty == {} and unsynced == {}, (dirty, unsynced)
    after = calls[named + 1:]
    assert after and after[0].name == "fsync" and after[0].path == str(scenario.root), after
    # What was replaced goes when the new name is on the disk, and not before.
    for call in calls[:named]:
        assert call.name not in ("unlink", "rmdir"), call


def test_of_savers_to_one_name_at_once_one_wins_whole(scenario: Scenario, tmp_path: Path):
    sources = []
    for index in range(4):
        sources.append(tmp_path / f"{index}.safetensors")
        safetensors.numpy.save_file(tensors(10 + index), sources[-1])
    for _ in range(3):
        scenario.reset()
        processes = [
            subprocess.Popen(
                [scenario.graft.tool, "convert", source, scenario.destination, *scenario.options, "--quiet"], stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) for source in sources]
        results = [process.communicate(timeout=TIMEOUT_SECONDS) for process in processes]
        statuses = [process.returncode for process in processes]
        if not scenario.replaces:
            assert statuses.count(0) == 1, (statuses, results)
        assert 0 in statuses and set(statuses) <= {0, ERROR}, (statuses, results)
        winners = [source for source, status in zip(sources, statuses) if status == 0 and scenario.equals(source)]
        assert len(winners) == 1, (statuses, results)
        assert scenario.leftovers() == [], scenario.leftovers()


def in_mount(options: str, destination: Path, command: list[object], mount: Path) -> subprocess.CompletedProcess:
    """Runs a command with a file system of its own mounted, which goes with it; skips the test where that is not permitted."""
    mount.mkdir()
    script = f'mount -t tmpfs -o {options} tmpfs "$0" || exit 99; "$@"; status=$?; ls -A "$0" >&2; exit $status'
    result = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, mount, *command], capture_output=True, timeout=TIMEOUT_SECONDS,
        stdin=subprocess.DEVNULL)
    if result.returncode == 99 or b"unshare:" in result.stderr:
        pytest.skip("mounting a file system is not permitted here")
    return result


@pytest.mark.parametrize("name", FORMATS)
def test_a_full_disk_is_named_and_nothing_is_left_on_it(graft: Graft, tmp_path: Path, name: str):
    source = tmp_path / "source.safetensors"
    safetensors.numpy.save_file({"kernel": np.random.default_rng(3).standard_normal((512, 512), np.float32)}, source)
    destination, options = FORMATS[name]
    mount = tmp_path / "mount"
    result = in_mount("size=512k", mount, [graft.tool, "convert", source, mount / destination, *options, "--quiet"], mount)
    lines = result.stderr.decode().splitlines()
    assert result.returncode == ERROR and len(lines) == 1, result
    assert "space" in lines[0] and str(mount / destination) in lines[0], lines


@pytest.mark.parametrize("name", FORMATS)
def test_a_read_only_disk_is_named(graft: Graft, tmp_path: Path, name: str):
    source = tmp_path / "source.safetensors"
    safetensors.numpy.save_file(tensors(1), source)
    destination, options = FORMATS[name]
    mount = tmp_path / "mount"
    result = in_mount("ro", mount, [graft.tool, "convert", source, mount / destination, *options, "--quiet"], mount)
    lines = result.stderr.decode().splitlines()
    assert result.returncode == ERROR and len(lines) == 1, result
    assert "read-only" in lines[0].lower() or "EROFS" in lines[0], lines

"""Checkpoints that several real processes save together with the real Orbax: one OCDBT database of each, joined by references."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import save_by_processes as saving
from test_orbax import SEED, Drawing, assert_same
from values import flattened, same_values

PROCESSES = 2


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A folder with a checkpoint in each layout, all of them saved by the same processes."""
    folder = tmp_path_factory.mktemp("processes")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, saving.__file__]
    running = [
        subprocess.Popen(
            [*command, str(process), str(PROCESSES), str(port), str(folder), str(SEED)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for process in range(PROCESSES)
    ]
    try:
        outputs = [process.communicate(timeout=120)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    for process, output in zip(running, outputs):
        assert process.returncode == 0, output[-2000:]
    return folder


def expected() -> dict:
    return {name: value[0] if isinstance(value, tuple) else value for name, value in saving.state(SEED).items()}


@pytest.mark.parametrize("layout", saving.LAYOUTS)
def test_what_processes_saved_together_is_one_tree(graft, saved, tmp_path, layout):
    assert_same(graft, saved / layout, expected(), tmp_path, Drawing(f"processes, {layout}"))


def test_every_process_wrote_a_database_and_all_of_them_are_read(graft, saved):
    databases = sorted(path.name for path in (saved / "database-zarr3/state").glob("ocdbt.process_*"))
    assert databases == [f"ocdbt.process_{process}" for process in range(PROCESSES)]
    # What is too large for a node lies in the files of the process that had it, and so does each half of this array.
    for rows in ("0:32", "32:64"):
        answer = graft.json("peek", saved / "database-zarr3", "large", "--slice", rows)
        start = int(rows.split(":")[0])
        assert same_values(flattened(answer["values"]), expected()["large"][start:start + 32])
        assert 0 < answer["bytes_read"] <= expected()["large"].nbytes * 0.6


def test_a_database_that_is_gone_is_named(graft, saved, tmp_path):
    shutil.copytree(saved / "database-zarr3", tmp_path / "checkpoint")
    gone = tmp_path / "checkpoint/state/ocdbt.process_1"
    shutil.rmtree(gone)
    error = graft.error("load", tmp_path / "checkpoint")
    assert "ocdbt.process_1" in error and "missing" in error

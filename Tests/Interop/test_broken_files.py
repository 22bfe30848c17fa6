"""What is broken is named: the file, what was expected, what was found; never a trap, a hang, or half a result."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors

import tensors as st
from graft import ERROR, USAGE, Graft

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def file_of(entries: dict | str | bytes, data: bytes = bytes(8)) -> bytes:
    header = entries if isinstance(entries, (str, bytes)) else json.dumps(entries)
    return st.with_header(header.encode() if isinstance(header, str) else header, data)


def entry(**changes) -> dict:
    return {"a": {**F32, **changes}}


SOUND = file_of({"a": F32})

# What is wrong, and the file. The reference library refuses every one of them too; a test holds the table to that.
BROKEN = {
    "empty file": b"",
    "seven bytes": SOUND[:7],
    "header size alone": SOUND[:8],
    "header cut short": SOUND[:20],
    "data cut short": SOUND[:-1],
    "data too long": SOUND + b"\0",
    "header size of zero": bytes(8),
    "header size past the end": (1 << 20).to_bytes(8, "little") + SOUND[8:],
    "header size past every limit": (1 << 40).to_bytes(8, "little") + SOUND[8:],
    "header size of 2^63": (1 << 63).to_bytes(8, "little") + SOUND[8:],
    "header size of 2^64 - 1": b"\xff" * 8 + SOUND[8:],
    "no JSON": file_of("not json"),
    "no object": file_of("[]"),
    "unfinished JSON": file_of('{"a":{"dtype":"F32"'),
    "something after the JSON": file_of(json.dumps({"a": F32}) + "{}"),
    "bad UTF-8": file_of(b'{"\xff\xfe":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'),
    "unpaired surrogate": file_of('{"\\ud800":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'),
    "nesting bomb": file_of("{" + '"a":{' * 100_000),
    "list bomb": file_of('{"a":' + "[" * 100_000),
    "unknown dtype": file_of(entry(dtype="F128")),
    "dtype of another type": file_of(entry(dtype=32)),
    "shape that contradicts the range": file_of(entry(shape=[3])),
    "negative extent": file_of(entry(shape=[-2])),
    "fractional extent": file_of(entry(shape=[2.5])),
    "shape whose product overflows": file_of(entry(shape=[1 << 32, 1 << 32])),
    "extent past 2^64": file_of('{"a":{"dtype":"F32","shape":[18446744073709551617],"data_offsets":[0,8]}}'),
    "negative offset": file_of(entry(data_offsets=[-8, 0])),
    "offsets that run backwards": file_of(entry(data_offsets=[8, 0])),
    "offsets past 2^63": file_of(entry(data_offsets=[(1 << 63) - 8, 1 << 63])),
    "range past the end": file_of(entry(data_offsets=[0, 8]), bytes(4)),
    "three offsets": file_of(entry(data_offsets=[0, 8, 8])),
    "no offsets": file_of({"a": {"dtype": "F32", "shape": [2]}}),
    "hole at the start": file_of(entry(data_offsets=[4, 12]), bytes(12)),
    "hole in the middle": file_of({"a": F32, "b": {**F32, "data_offsets": [12, 20]}}, bytes(20)),
    "overlap": file_of({"a": F32, "b": {**F32, "data_offsets": [4, 12]}}, bytes(12)),
    "two at one place": file_of({"a": F32, "b": F32}),
    "metadata that is no text": file_of({"__metadata__": {"a": 1}, "a": F32}),
    "sub-byte tensor that ends inside a byte": file_of(
        {"a": {"dtype": "F4", "shape": [3], "data_offsets": [0, 2]}}, bytes(2)),
}
# What the reference library lets pass and Graft does not: the specification forbids it, or bytes would be lost silently.
BROKEN_FOR_GRAFT = {
    "white space before the brace": file_of(" " + json.dumps({"a": F32})),
    "a name twice": file_of(
        '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'),
    "a key of the metadata twice": file_of(
        '{"__metadata__":{"k":"1","k":"2"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_reference_library_refuses_it_too(tmp_path, name):
    (tmp_path / "a.safetensors").write_bytes(BROKEN[name])
    with pytest.raises(safetensors.SafetensorError):
        with safetensors.safe_open(tmp_path / "a.safetensors", framework="np") as file:
            file.keys()


@pytest.mark.parametrize("name", BROKEN_FOR_GRAFT)
def test_the_reference_library_lets_it_pass(tmp_path, name):
    (tmp_path / "a.safetensors").write_bytes(BROKEN_FOR_GRAFT[name])
    assert list(st.read(tmp_path / "a.safetensors")) == ["a"]


@pytest.mark.parametrize("verb", ["inspect", "load"])
@pytest.mark.parametrize("name", {**BROKEN, **BROKEN_FOR_GRAFT})
def test_a_broken_file_is_named(graft, tmp_path, name, verb):
    path = tmp_path / "broken one.safetensors"
    path.write_bytes({**BROKEN, **BROKEN_FOR_GRAFT}[name])
    assert "broken one.safetensors" in graft.error(verb, path)


def test_an_error_about_a_tensor_names_it_and_its_bytes(graft, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(file_of(entry(shape=[3])))
    message = graft.error("inspect", path)
    assert "leaf a" in message
    assert "12" in message and "8" in message


def test_every_flipped_bit_of_a_header_is_an_answer_or_an_error(graft, tmp_path):
    # Spread over the header: each is a whole process. The parser's own tests flip all of them.
    path = tmp_path / "a.safetensors"
    for bit in range(0, (len(SOUND) - 8) * 8, 23):
        changed = bytearray(SOUND)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        result = graft.run("inspect", path, "--json", "--quiet")
        assert result.status in (0, ERROR), f"bit {bit}: {result}"


# ---- what is no file of ours -----------------------------------------------------------------------------------------


def test_what_is_not_there_is_named(graft, tmp_path):
    assert "nowhere.safetensors" in graft.error("inspect", tmp_path / "nowhere.safetensors")


def test_a_folder_that_is_no_checkpoint_says_what_was_looked_for(graft, tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    message = graft.error("inspect", tmp_path)
    assert tmp_path.name in message and "safetensors" in message


def test_a_pipe_is_refused_and_not_waited_for(graft, tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    assert "pipe.safetensors" in graft.error("inspect", tmp_path / "pipe.safetensors")


def test_a_device_is_refused(graft):
    assert "/dev/zero" in graft.error("inspect", "/dev/zero")


@pytest.mark.parametrize("verb", ["inspect", "load"])
def test_a_file_that_may_not_be_read_is_named(graft, verb):
    # Root may read every file, so then somebody else asks, who must be able to reach the folder and the tool.
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder, "a.safetensors")
        path.write_bytes(SOUND)
        path.chmod(0)
        asker = Graft(graft.tool, user="nobody") if os.geteuid() == 0 else graft
        try:
            message = asker.error(verb, path)
        except PermissionError:
            pytest.skip("nobody may not run the tool where it lies")
    assert "a.safetensors" in message and "ermission" in message


def test_a_wrong_leaf_offers_near_ones(graft, tmp_path):
    contents = {"encoder.layer.0.kernel": st.from_numpy(np.zeros(2, np.float32))}
    source = st.write(tmp_path / "a.safetensors", contents)
    assert "encoder/layer/0/kernel" in graft.error("peek", source, "encoder/layer/0/kernal")


def test_a_selection_of_nothing_is_an_error(graft, tmp_path):
    source = st.write(tmp_path / "a.safetensors", {"a": st.from_numpy(np.zeros(2, np.float32))})
    assert "paramz" in graft.error("load", source, "--select", "paramz/**")


# ---- slices and arguments --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["9", "-5", "0:1,0:1,0:1", "1:x", "::0"])
def test_a_slice_that_does_not_fit_is_an_error(graft, tmp_path, text):
    source = st.write(tmp_path / "a.safetensors", {"a": st.from_numpy(np.zeros((4, 4), np.float32))})
    result = graft.run("peek", source, "a", f"--slice={text}", "--quiet")
    assert result.status in (ERROR, USAGE), result
    assert result.output == ""


@pytest.mark.parametrize(
    "arguments",
    [["frobnicate"], ["inspect"], ["inspect", "a", "b", "c"], ["load", "a", "--budget", "many"],
     ["load", "a", "--engine", "steam"], ["inspect", "a", "--no-such-option"]],
    ids=" ".join)
def test_wrong_usage_has_a_status_of_its_own(graft, arguments):
    result = graft.run(*arguments)
    assert result.status == USAGE, result
    assert result.output == ""
    assert result.diagnostics != ""


# ---- destinations ----------------------------------------------------------------------------------------------------


def model(path, bytes_per_tensor: int = 4096, count: int = 4):
    values = np.random.default_rng(9).standard_normal(bytes_per_tensor // 4, dtype=np.float32)
    return st.write(path, {f"t{i}": st.from_numpy(values + i) for i in range(count)})


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("destination", ["there.safetensors", "there"])
def test_a_destination_that_exists_is_left_alone(graft, tmp_path, destination):
    source = model(tmp_path / "a.safetensors")
    path = tmp_path / destination
    if path.suffix:
        path.write_bytes(b"precious")
    else:
        path.mkdir()
        (path / "precious").write_bytes(b"precious")
    before = names(tmp_path)
    message = graft.error("convert", source, path, "--to", "safetensors")
    assert destination in message and "overwrit" in message
    assert names(tmp_path) == before
    assert (path if path.suffix else path / "precious").read_bytes() == b"precious"


def test_overwriting_replaces_the_whole_result(graft, tmp_path):
    source = model(tmp_path / "a.safetensors")
    graft.json("convert", source, tmp_path / "model", "--to", "safetensors", "--shard-size", "4KiB")
    many = names(tmp_path / "model")
    graft.json("convert", source, tmp_path / "model", "--to", "safetensors", "--select", "t1", "--overwrite")
    assert len(names(tmp_path / "model")) < len(many)
    assert list(st.read_folder(tmp_path / "model")) == ["t1"]


def test_a_destination_in_a_folder_that_is_not_there_is_an_error(graft, tmp_path):
    source = model(tmp_path / "a.safetensors")
    assert "missing" in graft.error("convert", source, tmp_path / "missing" / "b.safetensors")


def test_a_broken_source_leaves_nothing_behind(graft, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(BROKEN["data cut short"])
    graft.error("convert", tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert names(tmp_path) == ["a.safetensors"]


def test_converting_a_file_onto_itself_does_not_lose_it(graft, tmp_path):
    source = model(tmp_path / "a.safetensors")
    before = st.read(source)
    result = graft.run("convert", source, source, "--overwrite", "--quiet")
    assert result.status in (0, ERROR), result
    assert st.read(source) == before


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one mebibyte; only root may make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=1m", "tmpfs"]
    if subprocess.run(["mount", *options, folder], capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system is not permitted here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize("destination", ["b.safetensors", "b"])
def test_a_full_disk_is_named_and_nothing_is_left_on_it(graft, tmp_path, small_disk, destination):
    source = model(tmp_path / "a.safetensors", bytes_per_tensor=1 << 20)
    message = graft.error("convert", source, small_disk / destination, "--to", "safetensors")
    assert destination in message
    assert "space" in message or "full" in message
    assert names(small_disk) == []


def test_an_interrupt_ends_with_its_status_and_leaves_nothing(graft, tmp_path):
    source = model(tmp_path / "a.safetensors", bytes_per_tensor=16 << 20, count=24)
    folder = tmp_path / "out"
    folder.mkdir()
    # Converting may be done before the signal comes; then there is a whole result, and one tries again sooner.
    for delay in (0.2, 0.1, 0.05, 0.02, 0.01, 0.0):
        process = subprocess.Popen(
            [graft.tool, "convert", source, folder / "b.safetensors", "--quiet", "--overwrite"], stdout=subprocess.PIPE)
        deadline = time.monotonic() + 30
        # It has begun to write when something appears; before that the signal has nothing to clean up.
        while process.poll() is None and names(folder) == [] and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        status = process.wait(timeout=30)
        if status != 0:
            assert status == 130
            assert names(folder) == []
            return
        assert names(folder) == ["b.safetensors"]
        (folder / "b.safetensors").unlink()
    pytest.skip("every conversion was done before it could be interrupted")


def test_the_result_of_a_conversion_is_an_ordinary_file(graft, tmp_path):
    source = model(tmp_path / "a.safetensors")
    previous = os.umask(0o022)
    try:
        graft.json("convert", source, tmp_path / "b.safetensors")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "b.safetensors").stat().st_mode) == 0o644

"""Conversions into Orbax checkpoints by the tool: the real Orbax loads what comes out, bit for bit, in every layout."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

# Before JAX is imported, which reads both once.
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"

import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

import tensors as st
from graft import TIMEOUT_SECONDS

FIXTURES = Path(__file__).resolve().parents[1] / "Fixtures" / "orbax"
sys.path.append(str(FIXTURES))
import noting

# What TensorStore, and so Orbax, has no arrays of.
NOT_IN_ORBAX = {"F6_E2M3", "F6_E3M2"}
LAYOUTS = {
    "usual": [],
    "small chunks": ["--chunk-size", "1KiB"],
    "cut": ["--cut", "**=-1:3", "--cut", "cube=1:5", "--chunk-size", "300B"],
    "plain": ["--compression", "none", "--chunk-size", "777B"],
    "zstd 19": ["--compression", "zstd:19"],
    "zstd entropy": ["--compression", "zstd:entropy"],
    "blosc 9": ["--compression", "blosc:9", "--chunk-size", "10KiB"],
    "blosc entropy": ["--compression", "blosc:entropy", "--no-checksums"],
    "version 0": ["--format-version", "0"],
    "version 0, zarr 3": ["--format-version", "0", "--zarr", "3", "--chunk-size", "1KiB"],
    "zarr 2": ["--zarr", "2", "--compression", "blosc"],
    "folders": ["--folders", "--chunk-size", "2KiB"],
    "version 0 in folders": ["--format-version", "0", "--folders", "--compression", "none"],
    "several data files": ["--shard-size", "20KiB", "--chunk-size", "4KiB"],
}


def load(path: Path):
    if (path / "state").is_dir():
        return ocp.load(path)
    return ocp.load(path, checkpointable_name=None)  # how version 1 of the API loads its predecessor's checkpoints


def leaf(tree, path: str):
    for key in path.split("/"):
        tree = tree[int(key)] if isinstance(tree, (list, tuple)) else tree[key]
    return tree


def as_orbax(tensor: st.Tensor) -> np.ndarray:
    dtype = st.BY_STORED[tensor.dtype]
    raw = np.frombuffer(tensor.data, np.uint8)
    if dtype.bits == 4:
        raw = np.stack([raw & 15, raw >> 4], axis=-1).reshape(-1)
    return raw.view(dtype.numpy).reshape(tensor.shape)


def check(path: Path, contents: dict[str, st.Tensor]) -> None:
    found = load(path)
    for name, tensor in contents.items():
        value, expected = np.asarray(leaf(found, name.replace(".", "/"))), as_orbax(tensor)
        assert (value.dtype, value.shape) == (expected.dtype, expected.shape), name
        assert value.tobytes() == expected.tobytes(), name


@pytest.mark.parametrize("dtype", [pytest.param(dtype, id=dtype.stored) for dtype in st.DTYPES])
def test_a_dtype_survives_the_way_to_orbax_and_back(graft, tmp_path, dtype):
    contents = {
        "matrix": st.random_bits(dtype, (16, 24), seed=1),
        "odd": st.random_bits(dtype, (7, 5, 8), seed=2),
        "row.of": st.random_bits(dtype, (1, 64), seed=3),
    }
    if dtype.bits >= 8:
        contents["scalar"] = st.random_bits(dtype, (), seed=4)
    written = all(st.BY_STORED[tensor.dtype].written for tensor in contents.values())
    source = (st.write if written else st.write_raw)(tmp_path / "source.safetensors", contents)
    if dtype.stored in NOT_IN_ORBAX:
        assert dtype.named in graft.error("convert", source, tmp_path / "orbax")
        assert [path.name for path in tmp_path.iterdir()] == ["source.safetensors"]
        return
    answer = graft.json("convert", source, tmp_path / "orbax", "--chunk-size", "100B")
    assert answer["leaves_written"] == len(contents)
    assert answer["report"]["logical_bytes"] == answer["bytes_read"] == sum(len(t.data) for t in contents.values())
    check(tmp_path / "orbax", contents)
    graft.json("convert", tmp_path / "orbax", tmp_path / "back.safetensors")
    assert st.read(tmp_path / "back.safetensors") == contents


@pytest.fixture(scope="module")
def mixed() -> dict[str, st.Tensor]:
    by_name = {dtype.stored: dtype for dtype in st.DTYPES}
    return {
        "params.dense.kernel": st.random_bits(by_name["BF16"], (96, 130), seed=5),
        "params.dense.bias": st.random_bits(by_name["F32"], (130,), seed=6),
        "cube": st.random_bits(by_name["F32"], (11, 13, 17), seed=7),
        "wide": st.random_bits(by_name["F16"], (3, 10_007), seed=8),
        "long": st.random_bits(by_name["U8"], (30_011,), seed=9),
        "step": st.random_bits(by_name["I64"], (), seed=10),
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_orbax_loads_every_layout(graft, tmp_path, mixed, layout):
    source = st.write(tmp_path / "source.safetensors", mixed, {"who": "somebody", "epoch": "3"})
    graft.json("convert", source, tmp_path / "orbax", *LAYOUTS[layout])
    check(tmp_path / "orbax", mixed)
    about = json.loads((tmp_path / "orbax/_CHECKPOINT_METADATA").read_bytes())
    assert about["custom_metadata"] == {"who": "somebody", "epoch": "3"}
    graft.json("convert", tmp_path / "orbax", tmp_path / "back.safetensors")
    assert st.read(tmp_path / "back.safetensors") == mixed
    assert st.metadata(tmp_path / "back.safetensors") == {"who": "somebody", "epoch": "3"}


def fixtures() -> list:
    found = []
    for version in sorted(path for path in FIXTURES.iterdir() if (path / "index.json").is_file()):
        for name in json.loads((version / "index.json").read_bytes()):
            found.append(pytest.param(version, name, id=f"{version.name} {name}"))
    return found


@pytest.mark.parametrize("version, name", fixtures())
@pytest.mark.parametrize("layout", ["usual", "small chunks", "version 0"])
def test_a_checkpoint_of_orbax_is_written_as_another(graft, tmp_path, version, name, layout):
    expected = json.loads((version / "index.json").read_bytes())[name]
    path, _, checkpointable = name.partition(":")
    part = ["--checkpointable", checkpointable] if checkpointable else []
    graft.json("convert", version / path, tmp_path / "copy", *part, *LAYOUTS[layout])
    if version.name == "0.4.8":
        # Their arrays are spread over four devices, and stay so: with eight, Orbax loads neither the copy nor the original.
        graft.json("convert", version / path, tmp_path / "a.safetensors", "--drop", "name", "--drop", "numpy/a.b")
        graft.json("convert", tmp_path / "copy", tmp_path / "b.safetensors", "--drop", "name", "--drop", "numpy/a.b")
        assert st.read(tmp_path / "a.safetensors") == st.read(tmp_path / "b.safetensors")
        return
    noting.note("copy", load(tmp_path / "copy"))
    assert noting.index.pop("copy") == expected


def test_what_a_recipe_makes_is_written_as_orbax(graft, tmp_path):
    generator = np.random.default_rng(12)
    layers = {f"layer{i}.kernel": generator.normal(size=(33, 65)).astype(np.float32) for i in range(5)}
    source = st.write(tmp_path / "source.safetensors", {name: st.from_numpy(value) for name, value in layers.items()})
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "steps:\n"
        "  - stack: {pattern: 'layer(\\d+)/kernel', to: 'layers/kernel', axis: 1}\n"
        "  - init: {path: layers/bias, shape: [5, 65], dtype: float32, with: ones}\n"
        "  - nest: {under: params}\n")
    options = ["--recipe", recipe, "--chunk-size", "2000B", "--cut", "**/kernel=0:2", "--cast", "**/bias=bfloat16", "--allow-lossy"]
    plan = graft.json("plan", source, "--to", "orbax", *options)
    answer = graft.json("convert", source, tmp_path / "orbax", *options)
    assert answer["bytes_read"] <= plan["bytes_read"] and plan["bytes_written"] == answer["report"]["logical_bytes"]
    assert {leaf["path"]: leaf["shape"] for leaf in plan["leaves"]} == {
        "params/layers/kernel": [33, 5, 65], "params/layers/bias": [5, 65]}
    found = load(tmp_path / "orbax")["params"]["layers"]
    assert np.asarray(found["kernel"]).tobytes() == np.stack(list(layers.values()), axis=1).tobytes()
    assert np.asarray(found["bias"]).dtype.name == "bfloat16" and (np.asarray(found["bias"]) == 1).all()
    assert {path.name for path in tmp_path.iterdir()} == {"source.safetensors", "recipe.yaml", "orbax"}


def test_steps_are_found_by_orbax_and_by_graft(graft, tmp_path, mixed):
    source = st.write(tmp_path / "source.safetensors", mixed)
    root = tmp_path / "run"
    for step in (9, 10):
        graft.json("convert", source, root, "--step", step)
    assert "--overwrite" in graft.error("convert", source, root, "--step", 10)
    graft.json("convert", source, root, "--step", 10, "--overwrite")
    with ocp.training.Checkpointer(root) as checkpointer:
        assert checkpointer.latest.step == 10 and [entry.step for entry in checkpointer.checkpoints] == [9, 10]
    check(root / "10", mixed)
    graft.json("convert", root, tmp_path / "latest.safetensors")
    graft.json("convert", f"{root}@9", tmp_path / "ninth.safetensors")
    assert st.read(tmp_path / "latest.safetensors") == st.read(tmp_path / "ninth.safetensors") == mixed
    (root / "step_7").mkdir()
    assert "step_7" in graft.error("convert", source, root, "--step", 7)


def test_wrong_options_are_usage_errors(graft, tmp_path, mixed):
    source = st.write(tmp_path / "source.safetensors", mixed)
    for arguments in (
        ["a.safetensors", "--compression", "zstd"], ["a", "--compression", "zstd:99"], ["a", "--compression", "lz4"],
        ["a", "--to", "safetensors", "--step", "3"], ["a", "--zarr", "4"], ["a", "--format-version", "2"],
        ["a", "--cut", "kernel"], ["a", "--cut", "kernel=0:0"], ["a.safetensors", "--to", "orbax"],
    ):
        assert graft.run("convert", source, *arguments).status == 64, arguments


# ---- memory, interruption --------------------------------------------------------------------------------------------


def huge_model(path: Path) -> Path:
    """Four leaves of 320 MiB, of noise in every sixteenth page and zeros else."""
    generator = np.random.default_rng(3)
    count = 4
    header = {
        f"leaf{i}": {"dtype": "BF16", "shape": [4096, 40960], "data_offsets": [i * 335544320, (i + 1) * 335544320]}
        for i in range(count)
    }
    with open(path, "wb") as file:
        file.write(st.with_header(json.dumps(header).encode(), padded=True))
        start = file.tell()
        file.truncate(start + count * 335544320)
        for page in range(0, count * 335544320, 65536):
            file.seek(start + page)
            file.write(generator.bytes(4096))
    return path


@pytest.mark.parametrize("compression", ["zstd", "none", "blosc:entropy"])
def test_a_save_of_more_than_a_gibibyte_stays_within_its_budget(graft, tmp_path, compression):
    source = huge_model(tmp_path / "huge.safetensors")

    def peak(*command: object) -> int:
        process = subprocess.Popen(
            [graft.tool, *map(str, command)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_maxrss * 1024

    base = peak("inspect", source)
    taken = peak(
        "convert", source, tmp_path / "orbax", "--compression", compression, "--budget", "128MiB",
        # A cut along the inner axis, so that chunks are put together from many rows.
        "--cut", "leaf1=1:10", "--quiet")
    assert taken - base <= 128 << 20, (taken, base)


def test_an_interrupted_conversion_leaves_nothing_behind(graft, tmp_path):
    source = huge_model(tmp_path / "huge.safetensors")
    process = subprocess.Popen(
        [graft.tool, "convert", source, tmp_path / "orbax", "--compression", "zstd:19", "--quiet"],
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not any(".graft-tmp-" in path.name for path in tmp_path.iterdir()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 130
    assert [path.name for path in tmp_path.iterdir()] == ["huge.safetensors"]

"""Linked checkpoints, as the real Orbax loads them: bit for bit, whole, in part and resharded, with their sources deleted, from sources
of every layout; and what linking leaves behind when it is killed, and says when a source is changed in place.

GRAFT_INTEROP_SEED sets another seed of the values.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from test_orbax_grids import DATABASE_3, FOLDERS_3, LITTLE, ZSTD, shards, write_instead  # sets up JAX before it is imported
from test_orbax_processes import saved  # noqa: F401 (a fixture)
from test_orbax import LAYOUTS, SEED, save
import save_by_processes

import jax
import ml_dtypes  # noqa: F401 (NumPy then knows the names)
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from orbax.checkpoint import v1 as ocp

import tensors as st

LAYERS = 12
STACK = {"stack": {"pattern": r"params/layer(\d+)/(.*)", "to": r"params/layers/\2", "axis": 0}}


def model(seed: int = 0) -> dict:
    """A model as a tree; small parts lie in the metadata of Orbax, large ones in files."""
    print(f"GRAFT_INTEROP_SEED={SEED}")
    random = np.random.default_rng([SEED, seed])

    def bits(dtype: str, *shape: int) -> np.ndarray:
        values = np.dtype(dtype)
        return random.integers(0, 256, (*shape, values.itemsize), np.uint8).view(values).reshape(shape)

    layer = lambda: {"kernel": bits("bfloat16", 32, 48), "bias": bits("float32", 48), "mask": bits("int32", 16, 8, 4)}  # noqa: E731
    layers = {f"layer{i}": layer() for i in range(LAYERS)}
    return {"params": {"embed": bits("float32", 100, 24), **layers}, "step": bits("int64", 1)}


def stacked(tree: dict) -> dict:
    """The model with its layers as one."""
    params = tree["params"]
    layers = {key: np.stack([params[f"layer{i}"][key] for i in range(LAYERS)]) for key in params["layer0"]}
    return {"params": {"embed": params["embed"], "layers": layers}, "step": tree["step"]}


def flat(tree: dict, prefix: str = "") -> dict[str, np.ndarray]:
    result = {}
    for key, value in tree.items():
        result |= flat(value, f"{prefix}{key}/") if isinstance(value, dict) else {prefix + key: value}
    return result


def write_safetensors(path: Path, tree: dict) -> Path:
    return st.write(path, {name.replace("/", "."): st.from_numpy(value) for name, value in flat(tree).items()})


def recipe(folder: Path, *steps: dict, sources: dict | None = None) -> Path:
    path = folder / f"recipe{len(list(folder.glob('recipe*')))}.json"
    path.write_text(json.dumps({"sources": {k: str(v) for k, v in (sources or {}).items()}, "steps": list(steps)}))
    return path


def same(found, expected: np.ndarray) -> bool:
    found = np.asarray(found)
    return found.dtype == expected.dtype and found.shape == expected.shape and found.tobytes() == expected.tobytes()


def check(found: dict, expected: dict):
    found, expected = flat(found), flat(expected)
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert same(found[name], value), name


def check_orbax(path: Path, tree: dict):
    """Loads the checkpoint with the real Orbax: whole, with placeholders, and resharded over four devices."""
    check(ocp.load(path), tree)
    names = flat(tree)
    kept = set(list(names)[::2])

    def target(node: dict, prefix: str = ""):
        return {
            key: target(value, f"{prefix}{key}/") if isinstance(value, dict)
            else np.zeros(value.shape, value.dtype) if prefix + key in kept else ...
            for key, value in node.items()}

    found = flat(ocp.load(path, target(tree)))
    for name, value in names.items():
        assert same(found[name], value) if name in kept else found[name] is ...
    mesh = Mesh(np.array(jax.devices()[:4]).reshape(2, 2), ("x", "y"))

    def sharded(node: dict):
        result = {}
        for key, value in node.items():
            if isinstance(value, dict):
                result[key] = sharded(value)
            elif value.dtype in (np.int64, np.float64):
                result[key] = np.zeros(value.shape, value.dtype)
            else:
                axes = [axis if extent % 2 == 0 else None for extent, axis in zip(value.shape, ("x", "y"))]
                result[key] = jax.ShapeDtypeStruct(
                    value.shape, value.dtype, sharding=NamedSharding(mesh, PartitionSpec(*axes)))
        return result

    check(ocp.load(path, sharded(tree)), tree)


def link(graft, *arguments) -> dict:
    """Links, and checks that not a byte of a tensor was read where nothing had to be written anew."""
    answer = graft.json("convert", *arguments, "--link")
    if not answer["leaves_rewritten"]:
        assert answer["bytes_read"] == 0 and answer["bytes_written"] == answer["report"]["bytes_copied"]
    return answer


ORBAX_LAYOUTS = [name for name in LAYOUTS if name.startswith(("database", "folders", "small"))]


@pytest.mark.parametrize("layout", ["safetensors", *ORBAX_LAYOUTS])
def test_a_stacked_model_is_linked_and_outlives_its_source(graft, tmp_path, layout):
    tree = model()
    if layout == "safetensors":
        source = write_safetensors(tmp_path / "model.safetensors", tree)
    else:
        source = save(tmp_path / "source", tree, **LAYOUTS[layout])
    answer = link(graft, source, tmp_path / "linked", "--recipe", recipe(tmp_path, STACK))
    assert answer["leaves_rewritten"] == [] and answer["leaves_linked"] == 5
    # Chunks of less than 100 bytes are in the database itself, and with them there may be no file.
    assert {file["way"] for file in answer["report"]["files"]} <= {"hard link"}
    assert answer["report"]["files"] or layout.startswith("small chunks")
    check_orbax(tmp_path / "linked", stacked(tree))
    shutil.rmtree(source) if source.is_dir() else source.unlink()
    check_orbax(tmp_path / "linked", stacked(tree))
    graft.json("convert", tmp_path / "linked", tmp_path / "back.safetensors")
    assert st.read(tmp_path / "back.safetensors") == {
        name.replace("/", "."): st.from_numpy(value) for name, value in flat(stacked(tree)).items()}


GRIDS = {
    "whole shards": (DATABASE_3, shards([8, 48], [4, 16], [LITTLE, ZSTD])),
    "shards in folders": (FOLDERS_3, shards([8, 48], [4, 16], [LITTLE, ZSTD])),
    "shards with checksums, index in front": (
        DATABASE_3, shards([16, 24], [8, 24], [LITTLE, ZSTD, {"name": "crc32c"}], index_location="start")),
    "plain chunks in shards": (DATABASE_3, shards([32, 48], [8, 48], [LITTLE])),
    "chunks that divide nothing": (DATABASE_3, {
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [5, 9]}}, "codecs": [LITTLE, ZSTD]}),
    "blosc": (DATABASE_3, {"codecs": [LITTLE, {"name": "blosc", "configuration": {
        "cname": "lz4", "clevel": 5, "shuffle": "shuffle", "typesize": 4, "blocksize": 0}}]}),
}


@pytest.mark.parametrize("grid", GRIDS)
def test_arrays_in_odd_grids_are_linked(graft, tmp_path, grid):
    options, metadata = GRIDS[grid]
    random = np.random.default_rng(SEED)
    print(f"GRAFT_INTEROP_SEED={SEED}")
    tree = {f"layer{i}": {"w": random.standard_normal((32, 48), np.float32)} for i in range(3)}
    source = save(tmp_path / "source", {key: {"w": np.zeros((32, 48), np.float32)} for key in tree}, **options)
    for key in tree:
        write_instead(source, f"{key}.w", tree[key]["w"], options, metadata)
    steps = {"stack": {"pattern": r"layer(\d+)/(.*)", "to": r"layers/\2", "axis": 0}}
    answer = link(graft, source, tmp_path / "linked", "--recipe", recipe(tmp_path, steps))
    assert answer["leaves_rewritten"] == []
    shutil.rmtree(source)
    check_orbax(tmp_path / "linked", {"layers": {"w": np.stack([tree[key]["w"] for key in tree])}})


def test_chunks_within_shards_are_linked_where_shards_are_cut(graft, tmp_path):
    values = np.random.default_rng(SEED).standard_normal((32, 48), np.float32)
    source = save(tmp_path / "source", {"w": np.zeros_like(values)})
    write_instead(source, "w", values, DATABASE_3, shards([16, 48], [4, 16], [LITTLE, ZSTD]))
    steps = {"slice": {"select": "w", "slice": "4:20"}}
    answer = graft.json("convert", source, tmp_path / "linked", "--link", "--recipe", recipe(tmp_path, steps))
    assert answer["leaves_rewritten"] == []
    shutil.rmtree(source)
    check_orbax(tmp_path / "linked", {"w": values[4:20]})


@pytest.mark.parametrize("layout", save_by_processes.LAYOUTS)
def test_what_processes_saved_together_is_linked(graft, saved, tmp_path, layout):  # noqa: F811
    source = tmp_path / "source"
    shutil.copytree(saved / layout, source)
    answer = link(graft, source, tmp_path / "linked")
    assert answer["leaves_rewritten"] == []
    shutil.rmtree(source)
    expected = {
        name: value[0] if isinstance(value, tuple) else value for name, value in save_by_processes.state(SEED).items()}
    # The leaves are still said to be on the devices of those processes, which this one does not have.
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    found = ocp.load(tmp_path / "linked", {
        name: jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=here) if isinstance(value, np.ndarray) else value
        for name, value in expected.items()})
    for name, value in expected.items():
        assert same(found[name], value) if isinstance(value, np.ndarray) else found[name] == value


def test_several_models_of_several_formats_are_merged(graft, tmp_path):
    image, text = model(1), model(2)
    sources = {
        "image": save(tmp_path / "image", image), "text": write_safetensors(tmp_path / "text.safetensors", text)}
    steps = [
        {"take": {"from": "image", "select": "params/**", "to": "image/**"}},
        {"take": {"from": "text", "select": "params/**", "to": "text/**"}},
        {"init": {"path": "fusion/kernel", "shape": [8, 4], "dtype": "float32", "with": {"constant": 0.5}}},
    ]
    answer = graft.json("merge", recipe(tmp_path, *steps, sources=sources), tmp_path / "linked", "--link")
    assert answer["leaves_rewritten"] == [{"path": "fusion/kernel", "reason": "values of it are new"}]
    assert len(answer["report"]["files"]) == len({file["source"] for file in answer["report"]["files"]}) >= 2
    expected = {"image": image["params"], "text": text["params"], "fusion": {"kernel": np.full((8, 4), 0.5, np.float32)}}
    check_orbax(tmp_path / "linked", expected)


def test_links_of_links_of_links(graft, tmp_path):
    tree = model()
    write_safetensors(tmp_path / "model.safetensors", tree)
    link(graft, tmp_path / "model.safetensors", tmp_path / "first")
    link(graft, tmp_path / "first", tmp_path / "second", "--recipe", recipe(tmp_path, STACK))
    steps = {"unstack": {"select": "params/layers/**", "to": "params/layer{index}/**", "axis": 0}}
    link(graft, tmp_path / "second", tmp_path / "third", "--recipe", recipe(tmp_path, steps))
    for name in ("first", "second"):
        shutil.rmtree(tmp_path / name)
    (tmp_path / "model.safetensors").unlink()
    check_orbax(tmp_path / "third", tree)


def test_leaves_that_cannot_be_linked_are_written_and_named(graft, tmp_path):
    tree = {"a": np.arange(600, dtype=np.float32).reshape(20, 30), "b": np.arange(600, dtype=np.float32).reshape(20, 30)}
    source = save(tmp_path / "source", tree)
    steps = [{"transpose": {"select": "b", "axes": [1, 0]}}, {"cast": {"select": "a", "dtype": "float64"}}]
    answer = link(graft, source, tmp_path / "linked", "--recipe", recipe(tmp_path, *steps))
    reasons = {leaf["path"]: leaf["reason"] for leaf in answer["leaves_rewritten"]}
    assert reasons["a"] == "its values are computed: cast to float64" and "another order" in reasons["b"]
    assert answer["bytes_read"] > 0 and answer["leaves_linked"] == 0
    found = ocp.load(tmp_path / "linked")
    assert same(found["a"], tree["a"].astype(np.float64)) and same(found["b"], np.ascontiguousarray(tree["b"].T))
    text = graft.run("convert", source, tmp_path / "again", "--link", "--recipe", recipe(tmp_path, *steps)).output
    assert "wrote 2 leaves anew" in text and "b: the chunks of its sources" in text


@pytest.fixture
def other_file_system(tmp_path):
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system")
    folder = shared / f"graft-linking-{os.getpid()}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("format", ["safetensors", "orbax"])
def test_across_file_systems_what_is_needed_is_copied(graft, tmp_path, other_file_system, format):
    tree = model() | {"unwanted": np.ones(200_000, np.float32)}
    source = write_safetensors(tmp_path / "m.safetensors", tree) if format == "safetensors" else save(tmp_path / "m", tree)
    steps = recipe(tmp_path, {"drop": {"select": "unwanted"}}, STACK)
    answer = link(graft, source, other_file_system / "linked", "--recipe", steps)
    assert answer["leaves_rewritten"] == [] and {file["way"] for file in answer["report"]["files"]} == {"copy"}
    assert 0 < answer["bytes_written"] < 200_000
    shutil.rmtree(source) if source.is_dir() else source.unlink()
    check_orbax(other_file_system / "linked", stacked({key: tree[key] for key in ("params", "step")}))


def test_a_source_that_is_changed_in_place_is_noticed(graft, tmp_path):
    source = write_safetensors(tmp_path / "model.safetensors", model())
    link(graft, source, tmp_path / "linked")
    shutil.copytree(tmp_path / "linked", tmp_path / "copied")
    graft.json("inspect", tmp_path / "linked")
    time.sleep(0.02)  # longer than a file system's clock stands still
    with source.open("r+b") as file:
        file.seek(-8, os.SEEK_END)
        file.write(b"\xff" * 8)
    error = graft.error("inspect", tmp_path / "linked")
    assert "was changed after that" in error and "linked-0" in error and str(source) in error
    assert "linked again" in error or "link it again" in error.lower()
    graft.error("load", tmp_path / "linked", "--no-ceiling")
    # A copy has bytes of its own, whatever times and numbers its files have.
    graft.json("inspect", tmp_path / "copied")
    check(ocp.load(tmp_path / "copied"), model())
    with source.open("ab") as file:
        file.write(b"more")
    assert "bytes instead of" in graft.error("inspect", tmp_path / "linked")


def test_a_source_that_is_replaced_is_no_concern(graft, tmp_path):
    source = write_safetensors(tmp_path / "model.safetensors", model())
    link(graft, source, tmp_path / "linked")
    write_safetensors(tmp_path / "other.safetensors", model(3))
    os.replace(tmp_path / "other.safetensors", source)
    graft.json("inspect", tmp_path / "linked")
    check(ocp.load(tmp_path / "linked"), model())


def test_symbolic_links_are_followed(graft, tmp_path):
    (tmp_path / "blobs").mkdir()
    blob = write_safetensors(tmp_path / "blobs" / "b.safetensors", model())
    (tmp_path / "model.safetensors").symlink_to(blob)
    link(graft, tmp_path / "model.safetensors", tmp_path / "linked")
    assert not any(path.is_symlink() for path in (tmp_path / "linked").rglob("*"))
    blob.unlink()
    check(ocp.load(tmp_path / "linked"), model())


def test_a_checkpoint_is_replaced_by_what_is_linked_to_it(graft, tmp_path):
    tree = model()
    source = save(tmp_path / "checkpoint", tree)
    error = graft.error("convert", source, source, "--link", "--recipe", recipe(tmp_path, STACK))
    assert "--overwrite" in error
    link(graft, source, source, "--overwrite", "--recipe", recipe(tmp_path, STACK))
    check_orbax(source, stacked(tree))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_step_is_linked(graft, tmp_path):
    source = write_safetensors(tmp_path / "model.safetensors", model())
    link(graft, source, tmp_path / "steps", "--step", "1000")
    check(ocp.load(tmp_path / "steps" / "1000"), model())


def test_linking_that_is_killed_leaves_nothing_that_opens(graft, tmp_path):
    """Killed at many moments; afterwards there is a whole checkpoint under the name, or none."""
    tree = {f"layer{i}": {"w": np.full((64, 64), i, np.float32)} for i in range(300)}
    source = write_safetensors(tmp_path / "model.safetensors", tree)
    finished = 0
    for number in range(24):
        destination = tmp_path / f"linked{number}"
        process = subprocess.Popen(
            [graft.tool, "convert", source, destination, "--link", "--quiet", "--json"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.01 * number)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if destination.exists():
            check(ocp.load(destination), tree)
            finished += 1
        else:
            assert graft.run("inspect", destination).status == 2
    # Nobody takes what is left for a checkpoint's own, and the next save to the name removes it.
    for number in range(24):
        link(graft, source, tmp_path / f"linked{number}", "--overwrite")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert finished < 24, "nothing was killed in time"


@pytest.mark.parametrize("arguments", [
    ["a.safetensors"], ["a", "--to", "safetensors"], ["a", "--format-version", "0"], ["a", "--zarr", "2"], ["a", "--folders"]])
def test_only_the_usual_layout_of_orbax_is_linked(graft, tmp_path, arguments):
    source = write_safetensors(tmp_path / "model.safetensors", {"w": np.zeros(4, np.float32)})
    result = graft.run("convert", source, tmp_path / arguments[0], *arguments[1:], "--link")
    assert result.status == 64 and "--link" in result.diagnostics

"""Checkpoints that the real Orbax writes, in every layout, as Graft reads them: bit for bit what Orbax itself gives back.

Values, shapes and slices are drawn from a seed, which a failure prints; GRAFT_INTEROP_SEED sets another.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
from pathlib import Path
from typing import NamedTuple

# Before JAX is imported, which reads both once.
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp0
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from orbax.checkpoint import v1 as ocp
from orbax.checkpoint._src.metadata.pytree_metadata_options import PyTreeMetadataOptions

import tensors as st
from values import flattened, same_values

SEED = int(os.environ.get("GRAFT_INTEROP_SEED", "20260417"))

# Every dtype of JAX on a CPU that Orbax 0.12.8 saves, save int2, which Graft does not read; the others Orbax refuses itself.
JAX_DTYPES = (
    "bool int4 int8 int16 int32 uint8 uint16 uint32 bfloat16 float16 float32 complex64 float4_e2m1fn float8_e3m4 "
    "float8_e4m3b11fnuz float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu").split()
NUMPY_DTYPES = "bool int8 int64 uint16 uint64 float16 float32 float64 complex64 complex128".split()
# What safetensors cannot hold, or its Python library cannot spell whole; these are compared value by value.
PEEKED_ALONE = {"int4", "float4_e2m1fn", "float8_e3m4", "float8_e4m3b11fnuz", "complex128"}
FEWER_BITS = {"int4": 4, "float4_e2m1fn": 4}

Saving = ocp.options.ArrayOptions.Saving
# How a version 1 checkpoint can be laid out, by name.
LAYOUTS = {
    "database, zarr 3": {},
    "database, zarr 2": dict(use_zarr3=False),
    "folders, zarr 3": dict(use_ocdbt=False, use_zarr3=True),
    "folders, zarr 2": dict(use_ocdbt=False, use_zarr3=False),
    "database, zarr 3, plain": dict(use_compression=False),
    "database, zarr 2, plain": dict(use_zarr3=False, use_compression=False),
    "folders, zarr 3, plain": dict(use_ocdbt=False, use_compression=False),
    "small chunks": dict(storage_options=Saving.StorageOptions(chunk_byte_size=96)),
    "small chunks, zarr 2": dict(use_zarr3=False, storage_options=Saving.StorageOptions(chunk_byte_size=96)),
    "small chunks, folders": dict(use_ocdbt=False, storage_options=Saving.StorageOptions(chunk_byte_size=96)),
    "small chunks along one axis": dict(storage_options=Saving.StorageOptions(chunk_byte_size=96, shard_axes=(0,))),
}
# How a version 0 checkpoint can be laid out, by name: what its handler is told.
LAYOUTS_0 = {
    "database": {},
    "folders": dict(use_ocdbt=False),
    "database, zarr 3": dict(use_zarr3=True),
    "folders, zarr 3": dict(use_ocdbt=False, use_zarr3=True),
    "rich types": dict(pytree_metadata_options=PyTreeMetadataOptions(support_rich_types=True)),
}


class Moments(NamedTuple):
    mu: object
    nu: object


class Drawing:
    """Values drawn from a seed and a name, so that a test alone draws what it draws among all."""

    def __init__(self, name: str):
        print(f"GRAFT_INTEROP_SEED={SEED}")
        self.random = random.Random(f"{SEED} {name}")

    def shape(self, rank: int | None = None) -> tuple[int, ...]:
        return tuple(self.random.randint(1, 9) for _ in range(self.random.randint(1, 4) if rank is None else rank))

    def bits(self, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        """Random bits as elements, NaNs and negative zeros among them; some arrays are all zero, which is what is filled in."""
        numpy = np.dtype(getattr(jnp, dtype, dtype))
        if self.random.random() < 0.1:
            return np.zeros(shape, numpy)
        limit = 2 if dtype == "bool" else 1 << FEWER_BITS.get(dtype, 8)
        data = bytes(self.random.randrange(limit) for _ in range(math.prod(shape) * numpy.itemsize))
        return np.frombuffer(data, numpy).reshape(shape)

    def slice(self, shape: list[int]) -> tuple[str, tuple]:
        """A slice as the tool takes it and as NumPy does: every dimension an index, a range, perhaps with a step, or whole."""
        texts, parts = [], []
        for extent in shape:
            kind = self.random.choice(["index", "range", "step", "whole"])
            start = self.random.randrange(extent)
            end = self.random.randint(start + 1, extent)
            step = self.random.randint(1, 3)
            text, part = {
                "index": (f"{start}", start),
                "range": (f"{start}:{end}", slice(start, end)),
                "step": (f"{start}:{end}:{step}", slice(start, end, step)),
                "whole": (":", slice(None)),
            }[kind]
            texts.append(text)
            parts.append(part)
        return ",".join(texts), tuple(parts)


# ---- what is saved ---------------------------------------------------------------------------------------------------


def mixed_state(drawing: Drawing) -> dict:
    """A tree of every kind of leaf, container and key."""

    def floats(*shape: int) -> jax.Array:
        return jnp.asarray(drawing.bits("float32", shape or drawing.shape()))

    return {
        "params": {f"layer{n}": {"kernel": floats(), "bias": floats(600)} for n in (0, 2, 10)},
        "jax": {name: jnp.asarray(drawing.bits(name, drawing.shape())) for name in JAX_DTYPES},
        "numpy": {name: drawing.bits(name, drawing.shape()) for name in NUMPY_DTYPES},
        "negative zero": np.full((3, 4), -0.0, np.float32),
        "rank 0": jnp.asarray(1.5, jnp.bfloat16),
        "opt": [floats(), None, (), {}, [], [floats(), {"deep": [floats()]}]],
        "pair": (floats(), 2.5),
        "moments": Moments(floats(), Moments(floats(), floats())),
        "step": 12345678901,
        "flag": True,
        "name": 'hé/llo\n"quoted" \\',
        "none": None,
        "odd": {key: floats() for key in ["a.b", "a.c.", "x/y", "", " ", "e\u0301", "\u00e9", "模型", "0", "**", "{x}", "[0]"]},
    }


def meshes() -> dict[str, Mesh]:
    devices = np.array(jax.devices())
    return {
        "2x2": Mesh(devices[:4].reshape(2, 2), ("x", "y")),
        "4x1": Mesh(devices[:4].reshape(4, 1), ("x", "y")),
        "1x8": Mesh(devices.reshape(1, 8), ("x", "y")),
        "3x2": Mesh(devices[:6].reshape(3, 2), ("x", "y")),
    }


def sharded_state(drawing: Drawing, mesh: Mesh) -> dict:
    """Arrays split over a mesh in every way, in blocks of odd sizes too."""
    rows, columns = mesh.devices.shape

    def array(dtype: str, shape: tuple[int, ...], *spec) -> jax.Array:
        return jax.device_put(drawing.bits(dtype, shape), NamedSharding(mesh, PartitionSpec(*spec)))

    return {
        "both": array("float32", (rows * 5, columns * 3), "x", "y"),
        "rows": array("bfloat16", (rows * 3, 7), "x"),
        "columns": array("int16", (5, columns * 2, 3), None, "y"),
        "together": array("float32", (rows * columns * 3,), ("x", "y")),
        "turned": array("uint8", (columns * 3, 2, rows * 5), "y", None, "x"),
        "replicated": array("float32", (5, 3)),
        "int4": array("int4", (rows * 3, columns * 2), "x", "y"),
    }


# ---- comparing -------------------------------------------------------------------------------------------------------


def printed(key) -> str:
    """A key of JAX's, as a path of the tool has it."""
    text = next(str(getattr(key, name)) for name in ("key", "idx", "name") if hasattr(key, name))
    # What parts keys, and what patterns give a meaning to, has a backslash in front.
    return "".join("\\" + character if character in "\\/*?{}" else character for character in text) or "\\e"


def leaves_of(tree) -> dict[str, tuple[str | None, np.ndarray | str]]:
    """The leaves by path, each with the name that safetensors has for it."""
    leaves = {}
    for keys, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        if jnp.issubdtype(getattr(leaf, "dtype", np.float32), jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        names = [printed(key) for key in keys]
        plain = [next(str(getattr(key, name)) for name in ("key", "idx", "name") if hasattr(key, name)) for key in keys]
        # A key with a dot has no name there that is split into the same path again.
        leaves["/".join(names)] = (None if any("." in key for key in plain) else ".".join(plain), leaf if isinstance(leaf, str) else np.asarray(leaf))
    return leaves


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def assert_same(graft, path: Path, tree, scratch: Path, drawing: Drawing, peeks: int = 10) -> None:
    """The checkpoint at `path` holds exactly the leaves of `tree`, which Orbax loaded: all as a file, and some slices."""
    leaves = leaves_of(tree)
    inspected = {leaf["path"]: leaf for leaf in graft.json("inspect", path)["leaves"]}
    assert inspected.keys() ^ leaves.keys() == set()
    arrays = {leaf: value for leaf, (_, value) in leaves.items() if not isinstance(value, str)}
    for leaf, value in arrays.items():
        assert (inspected[leaf]["dtype"], inspected[leaf]["shape"]) == (value.dtype.name, list(value.shape)), leaf

    peeked = {leaf for leaf, value in arrays.items() if leaves[leaf][0] is None or value.dtype.name in PEEKED_ALONE}
    kept = {leaves[leaf][0]: st.from_numpy(value) for leaf, value in arrays.items() if leaf not in peeked}
    dropped = [option for leaf in leaves if leaf in peeked or leaf not in arrays for option in ("--drop", leaf)]
    graft.json("convert", path, scratch / "model.safetensors", *dropped)
    found = st.read(scratch / "model.safetensors")
    assert found.keys() == kept.keys()
    assert {name: tensor for name, tensor in found.items() if tensor != kept[name]} == {}

    for leaf, (_, value) in leaves.items():
        if isinstance(value, str):
            assert graft.json("peek", path, leaf)["values"] == value
        elif leaf in peeked:
            answer = graft.json("peek", path, leaf)
            assert answer["shape"] == list(value.shape) and same_values(flattened(answer["values"]), value), leaf
    choices = sorted(leaf for leaf, value in arrays.items() if value.ndim > 0)
    for leaf in drawing.random.sample(choices, min(peeks, len(choices))):
        text, part = drawing.slice(list(arrays[leaf].shape))
        expected = arrays[leaf][part]
        answer = graft.json("peek", path, leaf, "--slice", text)
        assert answer["shape"] == list(expected.shape), (leaf, text)
        assert same_values(flattened(answer["values"]), expected), (leaf, text)


def assert_saved(tree, loaded) -> None:
    """Orbax gives back what was saved, so that agreeing with it is agreeing with the truth."""
    saved, found = leaves_of(tree), leaves_of(loaded)
    assert [value for _, value in saved.values() if isinstance(value, str)] == [
        value for _, value in found.values() if isinstance(value, str)]
    for leaf, (_, value) in found.items():
        if leaf in saved and not isinstance(value, str):
            assert same_bits(value, saved[leaf][1]), leaf


def save(path: Path, state, **options) -> Path:
    with ocp.Context(array_options=ocp.options.ArrayOptions(saving=Saving(**options))):
        ocp.save(path, state)
    return path


# ---- layouts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_mixed_tree_is_read_in_every_layout_of_version_1(graft, tmp_path, layout):
    drawing = Drawing(layout)
    state = mixed_state(drawing)
    if LAYOUTS[layout].get("use_ocdbt") is False:
        # A key that is empty or ends in a dot leaves an empty or a hidden name for the folder; the others are kept.
        state["odd"].pop("")
    if layout == "small chunks along one axis":
        # Orbax takes the axis of every array, so scalars have none to give.
        state = {"params": state["params"], "opt": state["opt"]}
    path = save(tmp_path / "checkpoint", state, **LAYOUTS[layout])
    loaded = ocp.load(path)
    assert_saved(state, loaded)
    assert_same(graft, path, loaded, tmp_path, drawing)


@pytest.mark.parametrize("layout", LAYOUTS_0)
def test_a_mixed_tree_is_read_in_every_layout_of_version_0(graft, tmp_path, layout):
    drawing = Drawing(f"version 0, {layout}")
    state = mixed_state(drawing)
    state["odd"].pop("")
    with ocp0.Checkpointer(ocp0.PyTreeCheckpointHandler(**LAYOUTS_0[layout])) as checkpointer:
        checkpointer.save(tmp_path / "checkpoint", state)
        loaded = checkpointer.restore(tmp_path / "checkpoint")
    assert_same(graft, tmp_path / "checkpoint", loaded, tmp_path, drawing)


def test_the_standard_checkpointer_s_tree_is_read(graft, tmp_path):
    drawing = Drawing("standard")
    state = {"params": mixed_state(drawing)["params"], "opt": [np.float32([1, 2]), {"count": 3}]}
    with ocp0.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "checkpoint", state)
        checkpointer.wait_until_finished()
        loaded = checkpointer.restore(tmp_path / "checkpoint")
    assert_same(graft, tmp_path / "checkpoint", loaded, tmp_path, drawing)


@pytest.mark.parametrize("mesh", meshes())
@pytest.mark.parametrize("layout", ["database, zarr 3", "folders, zarr 2", "small chunks", "small chunks along one axis"])
def test_arrays_in_shards_are_put_together(graft, tmp_path, mesh, layout):
    drawing = Drawing(f"{mesh}, {layout}")
    state = sharded_state(drawing, meshes()[mesh])
    path = save(tmp_path / "checkpoint", state, **LAYOUTS[layout])
    loaded = ocp.load(path)
    assert_saved(state, loaded)
    assert_same(graft, path, loaded, tmp_path, drawing, peeks=6)


def test_keys_of_random_number_generators_are_their_words(graft, tmp_path):
    state = {"key": jax.random.key(7), "keys": jax.random.split(jax.random.key(8), 3), "rbg": jax.random.key(1, impl="rbg")}
    ocp.save(tmp_path / "checkpoint", state)
    assert_same(graft, tmp_path / "checkpoint", ocp.load(tmp_path / "checkpoint"), tmp_path, Drawing("keys"))


def test_a_tree_that_is_one_array_is_read(graft, tmp_path):
    values = np.arange(15, dtype=np.float32).reshape(3, 5)
    ocp.save(tmp_path / "checkpoint", values)
    [leaf] = graft.json("inspect", tmp_path / "checkpoint")["leaves"]
    assert (leaf["dtype"], leaf["shape"]) == ("float32", [3, 5])
    answer = graft.json("peek", tmp_path / "checkpoint", leaf["path"])
    assert same_values(flattened(answer["values"]), values)
    # Its path has no key that could name a tensor.
    assert "under a key" in graft.error("convert", tmp_path / "checkpoint", tmp_path / "a.safetensors")


def test_a_dtype_that_graft_lacks_concerns_its_leaf_alone(graft, tmp_path):
    ocp.save(tmp_path / "checkpoint", {"a": jnp.zeros((4,), "int2"), "b": jnp.ones((3,), "int4")})
    [a, b] = graft.json("inspect", tmp_path / "checkpoint")["leaves"]
    assert (a["dtype"], a["shape"], b["dtype"]) == ("int2", [4], "int4")
    assert graft.json("peek", tmp_path / "checkpoint", "b")["values"] == [1, 1, 1]
    assert graft.json("load", tmp_path / "checkpoint", "--drop", "a", "--no-ceiling")["leaves"] == 1
    error = graft.error("load", tmp_path / "checkpoint")
    assert "int2 is not supported" in error and "leaf a" in error and "--drop" in error


# ---- steps and parts -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def steps(tmp_path_factory) -> Path:
    """A root of the steps 3, 20 and 100, each a tree and JSON; 50 is gone."""
    root = tmp_path_factory.mktemp("steps") / "run"
    with ocp0.CheckpointManager(
        root, options=ocp0.CheckpointManagerOptions(max_to_keep=None), item_names=("default", "info")
    ) as manager:
        for step in (3, 20, 50, 100):
            tree = {"w": np.arange(6, dtype=np.float32) + step}
            manager.save(step, args=ocp0.args.Composite(
                default=ocp0.args.StandardSave(tree), info=ocp0.args.JsonSave({"step": step})))
        manager.wait_until_finished()
        manager.delete(50)
    return root


def test_a_root_of_steps_is_its_latest_by_number(graft, steps):
    assert graft.json("peek", steps, "w")["values"] == [100, 101, 102, 103, 104, 105]
    assert graft.json("inspect", steps)["metadata"]["step"] == "100"


def test_a_step_is_opened_by_its_folder(graft, steps):
    assert graft.json("peek", steps / "20", "w", "--slice", "2:4")["values"] == [22, 23]


def test_a_part_of_json_is_metadata(graft, steps):
    assert json.loads(graft.json("inspect", steps)["metadata"]["info"]) == {"step": 100}


def test_a_step_that_is_not_finished_is_passed_over_and_refused_by_itself(graft, steps, tmp_path):
    root = tmp_path / "run"
    shutil.copytree(steps, root)
    temporary = root / "200.orbax-checkpoint-tmp"
    shutil.copytree(root / "100", temporary)
    assert graft.json("inspect", root)["metadata"]["step"] == "100"
    error = graft.error("inspect", temporary)
    assert "not finished" in error and "temporary name" in error and str(temporary) in error


def test_a_checkpoint_that_was_not_committed_is_refused_with_the_reason(graft, steps, tmp_path):
    folder = tmp_path / "100"
    shutil.copytree(steps / "100", folder)
    metadata = json.loads((folder / "_CHECKPOINT_METADATA").read_text())
    metadata["commit_timestamp_nsecs"] = None
    (folder / "_CHECKPOINT_METADATA").write_text(json.dumps(metadata))
    (folder / "commit_success.txt").unlink(missing_ok=True)
    error = graft.error("inspect", folder)
    assert "not finished" in error and "commit" in error and str(folder) in error


def test_parts_of_a_checkpoint_are_opened_by_their_folders(graft, tmp_path):
    drawing = Drawing("parts")
    parts = {
        name: {"w": drawing.bits("float32", (4, 6)), "step": number} for number, name in enumerate(["state", "ema", "data"])}
    ocp.save_checkpointables(tmp_path / "checkpoint", parts)
    loaded = ocp.load_checkpointables(tmp_path / "checkpoint")
    assert_same(graft, tmp_path / "checkpoint", loaded["state"], tmp_path, drawing)
    for name in parts:
        folder = tmp_path / f"{name} out"
        folder.mkdir()
        assert_same(graft, tmp_path / "checkpoint" / name, loaded[name], folder, drawing)
    assert set(graft.json("inspect", tmp_path / "checkpoint")["metadata"]["checkpointables"].split(", ")) == set(parts)


def test_custom_metadata_is_shown(graft, tmp_path):
    ocp.save(tmp_path / "checkpoint", {"a": np.ones(3, np.float32)}, custom_metadata={"author": "hé", "run": {"n": 3}})
    metadata = graft.json("inspect", tmp_path / "checkpoint")["metadata"]
    assert json.loads(metadata["custom_metadata"]) == {"author": "hé", "run": {"n": 3}}


def test_two_leaves_that_orbax_stores_as_one_are_reported(graft, tmp_path):
    # Orbax saves both without a word, and gives the one back for the other.
    ocp.save(tmp_path / "checkpoint", {"a.b": np.ones(3, np.float32), "a": {"b": np.zeros(3, np.float32)}})
    error = graft.error("inspect", tmp_path / "checkpoint")
    assert "Two leaves are stored under the one name" in error and "a.b" in error and "a/b" in error


# ---- how much is read ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> tuple[Path, dict]:
    """16 MiB without compression, a fourth of it parameters; one leaf in rows of their own."""
    drawing = np.random.default_rng(SEED)
    state = {
        "params": {f"layer{n}": drawing.standard_normal((256, 1024), dtype=np.float32) for n in range(4)},
        "opt": {f"layer{n}": drawing.standard_normal((256, 3072), dtype=np.float32) for n in range(4)},
    }
    folder = tmp_path_factory.mktemp("large") / "checkpoint"
    chunks = Saving.StorageOptions(chunk_byte_size=1 << 16, shard_axes=(0,))
    return save(folder, state, use_compression=False, storage_options=chunks), state


def test_what_is_not_selected_is_not_read(graft, large):
    path, state = large
    wanted = sum(value.nbytes for value in state["params"].values())
    everything = graft.json("load", path, "--no-ceiling")["bytes_read"]
    parameters = graft.json("load", path, "--no-ceiling", "--select", "params/**")["bytes_read"]
    assert wanted <= parameters <= wanted * 1.05
    assert everything >= 4 * wanted


def test_a_slice_reads_about_what_it_needs(graft, large):
    path, state = large
    answer = graft.json("peek", path, "opt/layer3", "--slice", "100:102")
    assert same_values(flattened(answer["values"]), state["opt"]["layer3"][100:102])
    assert 2 * 3072 * 4 <= answer["bytes_read"] <= state["opt"]["layer3"].nbytes // 8


def test_a_slice_of_compressed_shards_reads_those_it_touches(graft, tmp_path):
    mesh = meshes()["2x2"]
    values = np.random.default_rng(SEED).standard_normal((512, 512), dtype=np.float32)
    save(tmp_path / "checkpoint", {"w": jax.device_put(values, NamedSharding(mesh, PartitionSpec("x", "y")))})
    answer = graft.json("peek", tmp_path / "checkpoint", "w", "--slice", "256:258,:8")
    assert same_values(flattened(answer["values"]), values[256:258, :8])
    assert 0 < answer["bytes_read"] <= values.nbytes * 0.3

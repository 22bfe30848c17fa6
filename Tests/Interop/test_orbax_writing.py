"""Checkpoints that Graft writes, as the real Orbax and TensorStore load them: bit for bit, whole, in part, resharded, and damaged.

GRAFT_INTEROP_SEED sets another seed of the values; a failure prints it.
"""

from __future__ import annotations

import collections
import json
import os
import subprocess
from pathlib import Path

# Before JAX is imported, which reads both once.
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import ml_dtypes  # noqa: F401 (NumPy then knows the names)
import numpy as np
import orbax.checkpoint as ocp0
import pytest
import tensorstore as ts
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from orbax.checkpoint import v1 as ocp

from graft import TIMEOUT_SECONDS

SEED = int(os.environ.get("GRAFT_INTEROP_SEED", "20260418"))

# What JAX has on a device by default; the others come as NumPy arrays.
DTYPES = [
    "bool", "int4", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float4_e2m1fn", "float8_e3m4",
    "float8_e4m3b11fnuz", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "bfloat16",
    "float16", "float32", "float64", "complex64", "complex128",
]  # fmt: skip
LAYOUTS = {
    "usual": {},
    "small chunks": dict(chunk_bytes=64, file_bytes=300),
    "cut": dict(chunk_bytes=4096, cuts=[[0, 4], [-1, 2]]),
    "uncompressed": dict(compression="none", chunk_bytes=512),
    "blosc": dict(compression="blosc", chunk_bytes=2048),
    "entropy": dict(compression="zstd:entropy"),
    "blosc entropy": dict(compression="blosc:entropy", checksums=False),
    "unchecked": dict(checksums=False, compression="zstd:1"),
    "version 0": dict(version=0),
    "version 0, zarr 3": dict(version=0, zarr=3, chunk_bytes=512),
    "version 1, zarr 2": dict(zarr=2, compression="blosc", chunk_bytes=512),
    "folders": dict(database=False, chunk_bytes=512),
    "version 0 in folders": dict(version=0, database=False, chunk_bytes=512, compression="none"),
}

Pair = collections.namedtuple("Pair", "mu nu")


class Array:
    """An array and what the checkpoint says of it."""

    def __init__(self, value: np.ndarray, *kind: str):
        self.value = value
        self.kind = kind or ("numpy",)


class Driver:
    def __init__(self, path: Path):
        self.path = path
        if not path.is_file():
            pytest.exit(f"there is no {path}; build it", returncode=3)

    def run(self, folder: Path, tree, options: dict, name: str = "checkpoint") -> subprocess.CompletedProcess:
        """Writes a tree of Arrays, strings and containers."""
        count = 0

        def described(node):
            nonlocal count
            if node is None:
                return ["none"]
            if isinstance(node, str):
                return ["string", node]
            if isinstance(node, (Array, np.ndarray)):
                node = node if isinstance(node, Array) else Array(node)
                file = folder / f"elements{count}"
                count += 1
                file.write_bytes(np.ascontiguousarray(node.value).tobytes())
                return ["array", str(node.value.dtype), list(node.value.shape), str(file), *node.kind]
            if isinstance(node, dict):
                return ["dict", [[key, described(child)] for key, child in node.items()]]
            if isinstance(node, Pair):
                return ["named", [[key, described(child)] for key, child in node._asdict().items()]]
            return ["list" if isinstance(node, list) else "tuple", [described(child) for child in node]]

        description = folder / "description.json"
        description.write_text(json.dumps({"options": options, "tree": described(tree)}))
        return subprocess.run(
            [self.path, description, folder / name], capture_output=True, timeout=TIMEOUT_SECONDS, stdin=subprocess.DEVNULL, text=True)

    def write(self, folder: Path, tree, **options) -> Path:
        finished = self.run(folder, tree, options)
        assert finished.returncode == 0, finished.stderr
        return folder / "checkpoint"


@pytest.fixture(scope="session")
def driver(graft):
    return Driver(graft.tool.parent / "graft-writing-driver")


def values(name: str, dtype: str, *shape: int) -> np.ndarray:
    """Random bits, of which all are an element; NaNs of every kind are among them."""
    print(f"GRAFT_INTEROP_SEED={SEED}")
    generator = np.random.default_rng([SEED, *name.encode()])
    numpy = np.dtype(dtype)
    bits = {"bool": 1, "int4": 4, "float4_e2m1fn": 4}.get(dtype, 8 * numpy.itemsize)
    raw = generator.integers(0, 256, (*shape, numpy.itemsize), dtype=np.uint8)
    if dtype == "int4":  # as ml_dtypes keeps it, with its sign in the upper bits
        return (generator.integers(-8, 8, shape, dtype=np.int8)).astype(numpy)
    if bits < 8:
        raw &= (1 << bits) - 1
    return raw.reshape(*shape, numpy.itemsize).view(numpy).reshape(shape)


def same(found, expected: np.ndarray) -> bool:
    found = np.asarray(found)
    return found.dtype == expected.dtype and found.shape == expected.shape and found.tobytes() == expected.tobytes()


def check(found, tree, kept_types: bool = False):
    """Compares what Orbax loaded; tuples come back as lists, and named tuples as dictionaries, as Orbax's own do."""
    if isinstance(tree, (np.ndarray, Array)):
        assert same(found, tree.value if isinstance(tree, Array) else tree)
    elif isinstance(tree, Pair):
        check(found, tree._asdict())
    elif isinstance(tree, dict):
        assert isinstance(found, dict) and set(found) == set(tree)
        for key in tree:
            check(found[key], tree[key])
    elif isinstance(tree, (list, tuple)):
        assert isinstance(found, (list, tuple)) and len(found) == len(tree)
        for a, b in zip(found, tree):
            check(a, b)
    else:
        assert found == tree and type(found) is type(tree)


def load(path: Path, options: dict, target=None):
    if options.get("version") == 0:
        # The API of version 1 loads its predecessor's checkpoints as a tree without a name.
        return ocp.load(path, *([] if target is None else [target]), checkpointable_name=None)
    return ocp.load(path, *([] if target is None else [target]))


def state() -> dict:
    return {
        "params": {
            "layer0": {"kernel": values("k0", "float32", 32, 24), "bias": values("b0", "bfloat16", 24)},
            "layer1": {"kernel": values("k1", "float32", 37, 11), "bias": values("b1", "float16", 1)},
            "cube": values("c", "int32", 5, 3, 7),
        },
        "opt": [Pair(values("mu", "float32", 16, 16), {"count": values("n", "int32")}), ()],
        "step": Array(np.array(1234, np.int64), "scalar"),
        "rate": Array(np.array(0.25, np.float64), "scalar"),
        "done": Array(np.array(True), "scalar"),
        "name": "größe \U0001f600\n",
        "nothing": None,
        "empty": {},
        "none of them": [],
        "no elements": values("z", "float32", 3, 0, 2),
        "a/b": values("slash", "uint8", 300),
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_orbax_loads_everything(driver, tmp_path, layout):
    tree = state()
    path = driver.write(tmp_path, tree, **LAYOUTS[layout])
    found = load(path, LAYOUTS[layout])
    assert found.pop("step") == 1234 and found.pop("rate") == 0.25 and found.pop("done") is True
    for scalar in ("step", "rate", "done"):
        tree.pop(scalar)
    check(found, tree)


@pytest.mark.parametrize("layout", ["usual", "version 0", "blosc", "uncompressed", "folders"])
def test_every_dtype_that_tensorstore_knows_arrives_bit_for_bit(driver, tmp_path, layout):
    tree = {dtype: {"m": values(dtype, dtype, 13, 7), "s": values(dtype + "s", dtype)} for dtype in DTYPES}
    path = driver.write(tmp_path, tree, **{"chunk_bytes": 50, **LAYOUTS[layout]})
    check(load(path, LAYOUTS[layout]), tree)


@pytest.mark.parametrize("dtype", ["uint4", "float6_e2m3fn", "float6_e3m2fn", "float8_e4m3"])
def test_a_dtype_that_tensorstore_does_not_know_is_refused(driver, tmp_path, dtype):
    finished = driver.run(tmp_path, {"a": {"b": np.zeros(3, dtype)}}, {})
    assert finished.returncode == 1 and "cannot load" in finished.stderr and "a/b" in finished.stderr
    assert not (tmp_path / "checkpoint").exists()


@pytest.mark.parametrize("layout", ["usual", "small chunks", "cut", "folders", "version 0"])
def test_orbax_loads_resharded_and_in_part(driver, tmp_path, layout):
    tree = {"w": values("w", "float32", 32, 16), "v": values("v", "bfloat16", 64), "skipped": values("x", "float32", 128), "n": Array(np.array(7, np.int32), "scalar")}
    path = driver.write(tmp_path, tree, **LAYOUTS[layout])
    mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("x", "y"))
    for spec in (PartitionSpec("x", "y"), PartitionSpec("y"), PartitionSpec(None, "x"), PartitionSpec()):
        target = {
            "w": jax.ShapeDtypeStruct((32, 16), np.float32, sharding=NamedSharding(mesh, spec)),
            "v": jax.ShapeDtypeStruct((64,), "bfloat16", sharding=NamedSharding(mesh, PartitionSpec(("x", "y")))),
            "skipped": ...,
            "n": jax.ShapeDtypeStruct((), np.int32, sharding=NamedSharding(mesh, PartitionSpec())),
        }
        found = load(path, LAYOUTS[layout], target)
        assert same(found["w"], tree["w"]) and same(found["v"], tree["v"]) and found["skipped"] is ...
        assert found["n"] == 7 and found["w"].sharding.spec == spec and len(found["w"].devices()) == 8


@pytest.mark.parametrize("layout", ["version 0", "version 0, zarr 3", "version 0 in folders"])
def test_the_api_of_version_0_loads_its_layout(driver, tmp_path, layout):
    tree = {"w": values("w", "float32", 32, 16), "opt": [values("v", "int32", 64), None], "name": "x"}
    path = driver.write(tmp_path, tree, **LAYOUTS[layout])
    check(ocp0.PyTreeCheckpointer().restore(path), tree)
    with ocp0.StandardCheckpointer() as checkpointer:
        check(checkpointer.restore(path), tree)
    arguments = ocp0.args.PyTreeRestore(
        item={"w": 0}, restore_args={"w": ocp0.RestoreArgs(restore_type=np.ndarray)}, partial_restore=True)
    with ocp0.Checkpointer(ocp0.PyTreeCheckpointHandler()) as checkpointer:
        found = checkpointer.restore(path, arguments)
    assert set(found) == {"w"} and same(found["w"], tree["w"])


def test_a_leaf_that_is_said_to_be_on_a_device_is_loaded_there(driver, tmp_path):
    sharding = json.dumps({"sharding_type": "SingleDeviceSharding", "device_str": str(jax.devices()[3])})
    path = driver.write(tmp_path, {"w": Array(values("w", "float32", 8), sharding)})
    found = ocp.load(path)
    assert same(found["w"], values("w", "float32", 8)) and found["w"].devices() == {jax.devices()[3]}


def test_keys_of_random_number_generators_are_such_keys_again(driver, tmp_path):
    keys = jax.random.split(jax.random.key(7), 3)
    sharding = json.dumps({"sharding_type": "SingleDeviceSharding", "device_str": str(jax.devices()[0])})
    path = driver.write(tmp_path, {"keys": Array(np.asarray(jax.random.key_data(keys)), sharding, "threefry2x32")})
    found = ocp.load(path)["keys"]
    assert found.dtype == keys.dtype and (jax.random.key_data(found) == jax.random.key_data(keys)).all()


def test_orbax_tells_what_is_there_without_loading_it(driver, tmp_path):
    tree = state()
    del tree["done"]  # Orbax 0.12.8 says nothing of a checkpoint with a scalar of bool, its own ones included.
    path = driver.write(tmp_path, tree, custom={"note": "written", "n": [1, 2]})
    metadata = ocp.metadata(path)
    assert metadata.metadata["params"]["cube"].shape == (5, 3, 7)
    assert str(metadata.metadata["params"]["layer0"]["bias"].dtype) == "bfloat16"
    assert metadata.custom_metadata == {"note": "written", "n": [1, 2]}
    assert metadata.init_timestamp_nsecs <= metadata.commit_timestamp_nsecs


@pytest.mark.parametrize("tree", [
    {"only": "strings", "and": None}, {}, {"": values("e", "float32", 3)}, [values("a", "float32", 2), {"x": values("b", "int8", 2)}],
    {"é": values("1", "int8", 2), "e\u0301": values("2", "int8", 2)}, {"'\"\\\n": {"it's": values("q", "int8", 2)}},
    {"../up": values("u", "int8", 200), "": {"x": values("x", "int8", 2)}}, values("bare", "float32", 4, 4), "text",
], ids=["strings", "nothing", "empty key", "list", "accents", "quotes", "dots", "an array", "a string"])  # fmt: skip
def test_odd_trees(driver, tmp_path, tree):
    path = driver.write(tmp_path, tree)
    check(ocp.load(path), tree)


@pytest.mark.parametrize("tree, leaf", [
    ({"a.b": np.zeros(2), "a": {"b": np.zeros(2)}}, "a/b"), ({"a": ["x"], "a.0": np.zeros(2)}, "a.0"),
], ids=["arrays", "a string"])  # fmt: skip
def test_names_that_orbax_cannot_tell_apart_are_refused(driver, tmp_path, tree, leaf):
    finished = driver.run(tmp_path, tree, {})
    assert finished.returncode == 1 and "one name" in finished.stderr and leaf in finished.stderr
    assert not (tmp_path / "checkpoint").exists()


@pytest.mark.parametrize("tree", [
    {"a": np.zeros(2), "a/c": np.zeros(2)}, {"_METADATA": np.zeros(2)}, {"..": np.zeros(2)}, {"": np.zeros(2)}, np.zeros(2),
    {"x" * 256: np.zeros(2)},
])  # fmt: skip
def test_names_that_are_no_folders_are_refused(driver, tmp_path, tree):
    finished = driver.run(tmp_path, tree, dict(database=False, version=0))
    assert finished.returncode == 1 and "database" in finished.stderr
    assert not (tmp_path / "checkpoint").exists()


def test_tensorstore_lists_a_database_of_many_keys(driver, tmp_path):
    """Thousands of chunks, in nodes of several levels."""
    tree = {f"layer{i}": {"w": values(f"{i}", "uint8", 40, 8)} for i in range(400)}
    path = driver.write(tmp_path, tree, chunk_bytes=8, compression="none", file_bytes=4000)
    store = ts.KvStore.open({"driver": "ocdbt", "base": {"driver": "file", "path": f"{path}/state"}}).result()
    keys = store.list().result()
    expected = {f"layer{i}.w/c/{j}/0" for i in range(400) for j in range(40)} | {f"layer{i}.w/zarr.json" for i in range(400)}
    assert len(keys) == len(expected) and {key.decode() for key in keys} == expected
    for i in (0, 9, 10, 399):
        array = ts.open({"driver": "zarr3", "kvstore": {"driver": "ocdbt", "base": {"driver": "file", "path": f"{path}/state"}, "path": f"layer{i}.w/"}}).result()
        assert same(array.read().result(), tree[f"layer{i}"]["w"])
        assert same(array[7:9, 2:5].read().result(), tree[f"layer{i}"]["w"][7:9, 2:5])
    # TensorStore can write on: a new version, with the old values where they are.
    store.write("more", b"x").result()
    again = ts.KvStore.open({"driver": "ocdbt", "base": {"driver": "file", "path": f"{path}/state"}}).result()
    assert len(again.list().result()) == len(expected) + 1
    check(ocp.load(path)["layer17"], tree["layer17"])


@pytest.mark.parametrize("compression", ["zstd", "none", "blosc:entropy"])
def test_a_flipped_bit_is_refused_by_orbax_and_by_graft(graft, driver, tmp_path, compression):
    tree = {"w": values("w", "float32", 64, 64), "v": values("v", "bfloat16", 3000)}
    path = driver.write(tmp_path, tree, compression=compression, chunk_bytes=4096)
    target = {"w": np.zeros((64, 64), np.float32), "v": np.zeros(3000, "bfloat16")}
    [file] = [file for file in (path / "state" / "d").iterdir() if file.stat().st_size > 10_000]
    original = file.read_bytes()
    generator = np.random.default_rng(SEED)
    print(f"GRAFT_INTEROP_SEED={SEED}")
    for number in range(100):
        # Between aligned chunks there is nothing to be checked.
        bit = int(generator.integers(0, 8 * len(original)))
        damaged = bytearray(original)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        # A decoder may see it before the checksum is compared.
        with pytest.raises(Exception, match="(?i)crc32c|checksum|DATA_LOSS|ZSTD_decompress|Blosc error"):
            ocp.load(path, target)
        if number < 5:
            assert "checksum" in graft.error("load", path, "--no-ceiling")
    file.write_bytes(original)
    check(ocp.load(path), tree)


def test_a_checkpoint_is_replaced_and_nothing_else_is(driver, tmp_path):
    path = driver.write(tmp_path, {"w": values("1", "float32", 8)})
    assert driver.run(tmp_path, {"w": values("2", "float32", 8)}, {}).returncode == 1
    check(ocp.load(path), {"w": values("1", "float32", 8)})
    driver.write(tmp_path, {"w": values("2", "float32", 8)}, overwriting=True)
    check(ocp.load(path), {"w": values("2", "float32", 8)})
    (path / "notes.txt").write_text("mine")
    finished = driver.run(tmp_path, {"w": values("3", "float32", 8)}, dict(overwriting=True))
    assert finished.returncode == 1 and "notes.txt" in finished.stderr
    home = tmp_path / "home"
    home.mkdir()
    (home / "letters").mkdir()
    finished = driver.run(tmp_path, {"w": values("3", "float32", 8)}, dict(overwriting=True), name="home")
    assert finished.returncode == 1 and (home / "letters").exists()

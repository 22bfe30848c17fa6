"""Surgeries on checkpoints that the real Orbax wrote, as Graft does them, and the same in JAX and NumPy: bit for bit.

What Graft runs are the programs of Examples/Surgery, which users copy, and SurgeryDriver for single operations.
GRAFT_INTEROP_SEED sets another seed of the values; a failure prints it.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

# Before JAX is imported, which reads both once.
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from orbax.checkpoint import v1 as ocp

import tensors as st
from graft import TIMEOUT_SECONDS

SEED = int(os.environ.get("GRAFT_INTEROP_SEED", "20260417"))
LAYER_COUNT = 12

Saving = ocp.options.ArrayOptions.Saving
LAYOUTS = {
    "compressed": {},
    "uncompressed": dict(use_compression=False),
    "small chunks": dict(storage_options=Saving.StorageOptions(chunk_byte_size=96)),
    "folders": dict(use_ocdbt=False, use_zarr3=False),
    "sharded": {},
}


@pytest.fixture(scope="session")
def example(graft):
    return Program(graft.tool.parent / "surgery-examples")


@pytest.fixture(scope="session")
def driver(graft):
    return Program(graft.tool.parent / "graft-surgery-driver")


class Program:
    """An executable that is built beside the tool."""

    def __init__(self, path: Path):
        self.path = path
        if not path.is_file():
            pytest.exit(f"there is no {path}; build it", returncode=3)

    def run(self, *arguments: object) -> str:
        finished = subprocess.run(
            [self.path, *map(str, arguments)], capture_output=True, timeout=TIMEOUT_SECONDS, stdin=subprocess.DEVNULL, text=True)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout


class State:
    """Training states of random values, placed on a mesh of virtual devices if the layout is the sharded one."""

    def __init__(self, name: str, layout: str):
        print(f"GRAFT_INTEROP_SEED={SEED}")
        self.generator = np.random.default_rng([SEED, *name.encode()])
        self.mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("x", "y")) if layout == "sharded" else None

    def array(self, dtype, *shape: int) -> jax.Array:
        value = jnp.asarray(self.generator.standard_normal(shape, np.float32)).astype(dtype)
        if self.mesh is None:
            return value
        # Every axis that divides evenly is split, so that most leaves lie in several blocks.
        names = [
            name if shape[axis] % self.mesh.shape[name] == 0 else None for axis, name in zip(range(len(shape)), ("x", "y"))]
        return jax.device_put(value, NamedSharding(self.mesh, PartitionSpec(*names)))

    def layer(self) -> dict:
        return {
            "attention": {"kernel": self.array(jnp.bfloat16, 16, 24), "bias": self.array(jnp.float32, 24)},
            "mlp": {"kernel": self.array(jnp.float32, 8, 3, 5)},
            "scale": self.array(jnp.float16, 16),
        }

    def training(self) -> dict:
        params = {"embedding": self.array(jnp.bfloat16, 40, 16), **{f"layer{n}": self.layer() for n in range(LAYER_COUNT)}}
        return {
            "params": params,
            "opt_state": [{"mu": self.array(jnp.float32, 40, 16), "nu": self.array(jnp.float32, 40, 16)}, ()],
            "step": 1234,
        }


def save(path: Path, state, layout: str) -> Path:
    with ocp.Context(array_options=ocp.options.ArrayOptions(saving=Saving(**LAYOUTS[layout]))):
        ocp.save(path, state)
    return path


def named(tree) -> dict[str, st.Tensor]:
    """The leaves under the names that safetensors has for them."""
    return {
        ".".join(str(key.key if hasattr(key, "key") else key.idx) for key in keys): st.from_numpy(np.asarray(leaf))
        for keys, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def assert_result(path: Path, expected) -> None:
    found, wanted = st.read(path), named(expected)
    assert found.keys() == wanted.keys()
    assert [name for name, tensor in found.items() if tensor != wanted[name]] == []


# ---- the five cases --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_optimizer_state_is_skipped(example, tmp_path, layout):
    path = save(tmp_path / "checkpoint", State("skip", layout).training(), layout)
    example.run("skip-optimizer", path, tmp_path / "result.safetensors")
    loaded = ocp.load(path)
    assert_result(tmp_path / "result.safetensors", {"params": loaded["params"], "step": loaded["step"]})


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_layers_are_stacked_as_jax_stacks_them(example, tmp_path, layout, axis):
    path = save(tmp_path / "checkpoint", State("stack", layout).training(), layout)
    example.run("stack", path, tmp_path / "result.safetensors", axis)
    params = ocp.load(path)["params"]
    layers = [params[f"layer{n}"] for n in range(LAYER_COUNT)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack([np.asarray(leaf) for leaf in leaves], axis), *layers)
    assert_result(
        tmp_path / "result.safetensors",
        {"params": {"embedding": params["embedding"], "layers": stacked}, "step": np.int64(1234)})


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_stacked_layers_are_taken_apart(example, tmp_path, layout, axis):
    state = State("unstack", layout)
    other = {0: (7, 6), 1: (6, 7), -1: (6, 7)}[axis]
    layers = {"kernel": state.array(jnp.bfloat16, *other), "bias": state.array(jnp.float32, *other)}
    path = save(tmp_path / "checkpoint", {"params": {"layers": layers, "head": state.array(jnp.float32, 3)}}, layout)
    example.run("unstack", path, tmp_path / "result.safetensors", axis)
    params = ocp.load(path)["params"]
    apart = {
        f"layer{n}": jax.tree.map(lambda leaf: jnp.take(np.asarray(leaf), n, axis), params["layers"]) for n in range(7)}
    assert_result(tmp_path / "result.safetensors", {"params": {"head": params["head"], **apart}})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_two_models_become_one_with_a_new_layer(example, tmp_path, layout):
    image = save(tmp_path / "image", State("image", layout).training(), layout)
    text = save(tmp_path / "text", State("text", layout).training(), layout)
    results = [tmp_path / f"{n}.safetensors" for n in range(2)]
    for result in results:
        example.run("merge", image, text, result)
    # The new values are the same in each process.
    assert results[0].read_bytes() == results[1].read_bytes()
    kernel = st.read(results[0])["params.fusion_layer.kernel"]
    values = np.frombuffer(kernel.data, np.float32)
    assert (kernel.dtype, tuple(kernel.shape)) == ("F32", (512, 256))
    # As jax.nn.initializers.truncated_normal: cut at two of the untruncated distribution's deviations, which leaves 0.8796 of one.
    # With 131,072 values the mean's deviation is 0.00005 and that of the deviation less; five of each are allowed.
    assert np.abs(values).max() <= 0.04 and abs(values.mean()) < 0.00025
    reference = np.asarray(jax.nn.initializers.truncated_normal(0.02)(jax.random.key(0), (512, 256)))
    assert abs(values.std() - reference.std()) < 0.0003
    assert np.abs(np.quantile(values, [0.1, 0.25, 0.5, 0.75, 0.9]) - np.quantile(reference, [0.1, 0.25, 0.5, 0.75, 0.9])).max() < 0.001
    assert len(np.unique(values)) > 100_000
    image, text = ocp.load(image), ocp.load(text)
    fusion = {"kernel": values.reshape(512, 256), "bias": np.zeros(256, np.float32)}
    assert_result(results[0], {
        "params": {"image_encoder": image["params"], "text_encoder": text["params"], "fusion_layer": fusion},
        "step": image["step"]})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_frozen_teacher_stands_beside_a_student(example, tmp_path, layout):
    teacher = save(tmp_path / "teacher", State("teacher", layout).training(), layout)
    student = save(tmp_path / "student", State("student", layout).training(), layout)
    example.run("teacher", teacher, student, tmp_path / "result.safetensors")
    frozen = jax.tree.map(lambda leaf: np.asarray(leaf).astype(ml_dtypes.bfloat16), ocp.load(teacher)["params"])
    assert_result(tmp_path / "result.safetensors", {"teacher": {"params": frozen}, "student": ocp.load(student)})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_tree_of_another_shape_is_loaded_by_omission(example, tmp_path, layout):
    path = save(tmp_path / "checkpoint", State("omission", layout).training(), layout)
    example.run("omission", path, tmp_path / "result.safetensors")
    loaded = ocp.load(path)
    kernel = st.read(tmp_path / "result.safetensors")["params.head.kernel"]
    values = np.frombuffer(kernel.data, np.float32).reshape(16, 4)
    # lecun_normal: truncated at two deviations, and widened so that the variance is 1 / 16 all the same.
    assert 0 < np.abs(values).max() <= 2 * 0.25 / 0.8796
    params = {key: loaded["params"][key] for key in ("embedding", "layer0")}
    assert_result(
        tmp_path / "result.safetensors", {"params": {**params, "head": {"kernel": values}}, "step": loaded["step"]})


# ---- casts and arithmetic --------------------------------------------------------------------------------------------

DTYPES = (
    "bool int4 uint4 int8 uint8 int16 uint16 int32 uint32 int64 uint64 float4_e2m1fn float6_e2m3fn float6_e3m2fn "
    "float8_e3m4 float8_e4m3 float8_e4m3b11fnuz float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu "
    "bfloat16 float16 float32 float64 complex64 complex128").split()
BIT_WIDTHS = {"int4": 4, "uint4": 4, "float4_e2m1fn": 4, "float6_e2m3fn": 6, "float6_e3m2fn": 6}
# What both safetensors and NumPy can spell, as sources.
CAST_SOURCES = (
    "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 float8_e4m3fn float8_e5m2 bfloat16 float16 float32 float64 "
    "complex64").split()


def numpy_dtype(name: str) -> np.dtype:
    return np.dtype(getattr(ml_dtypes, name, None) or name)


def elements(data: bytes, name: str) -> np.ndarray:
    """Graft's elements as NumPy has them, each of whole bytes."""
    width = BIT_WIDTHS.get(name)
    if width is None:
        return np.frombuffer(data, numpy_dtype(name))
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    bits = bits[: len(bits) // width * width].reshape(-1, width)
    return np.packbits(bits, axis=1, bitorder="little")[:, 0].view(np.uint8)


def cast_values(name: str, generator: np.random.Generator) -> np.ndarray:
    """Random bits, and numbers of moderate size, of which every narrow dtype holds some."""
    dtype = numpy_dtype(name)
    if name == "bool":
        return generator.integers(0, 2, 512).astype(bool)
    noise = np.frombuffer(generator.bytes(256 * dtype.itemsize), dtype)
    with np.errstate(all="ignore"):
        small = (generator.standard_normal(256) * generator.choice([0.1, 1, 10, 100], 256)).astype(np.float32).astype(dtype)
    return np.concatenate([noise, small])


def defined(source: np.ndarray, name: str) -> np.ndarray:
    """Where C, and so NumPy, says what the cast gives: an integer has to hold the truncated value."""
    if name == "float8_e8m0fnu" and source.dtype == np.float64:
        # It has no zero, and ml_dtypes goes by way of float32, where a number this small is one and so a NaN.
        return ~(np.abs(source) < 2.0**-149)
    kind = numpy_dtype(name).kind if name not in ("int4", "uint4") else "i"
    if kind not in "iu" or source.dtype.kind in "biu":
        return np.ones(source.shape, bool)
    with np.errstate(all="ignore"):
        real = source.real if source.dtype.kind == "c" else source
        wide = real.astype(np.float64)
        low, high = (-8, 7) if name == "int4" else (0, 15) if name == "uint4" else (np.iinfo(name).min, np.iinfo(name).max)
        # One less than 2^63 is no float64; the next below it is.
        return np.isfinite(wide) & (np.trunc(wide) >= low) & (np.trunc(wide) <= np.nextafter(float(high), 0) if high > 2**52 else np.trunc(wide) <= high)


def test_every_cast_is_numpy_s(driver, tmp_path):
    print(f"GRAFT_INTEROP_SEED={SEED}")
    generator = np.random.default_rng(SEED)
    sources = {name: cast_values(name, generator) for name in CAST_SOURCES}
    st.write_raw(tmp_path / "sources.safetensors", {name: st.from_numpy(value) for name, value in sources.items()})
    (tmp_path / "found").mkdir()
    driver.run("casts", tmp_path / "sources.safetensors", tmp_path / "found")
    wrong, compared = {}, 0
    for source_name, source in sources.items():
        for name in DTYPES:
            found = elements((tmp_path / "found" / f"{source_name}.{name}").read_bytes(), name)
            try:
                with np.errstate(all="ignore"):
                    expected = source.astype(numpy_dtype(name))
            except TypeError:
                continue  # a pair that ml_dtypes does not know
            compared += 1
            where = defined(source, name)
            if numpy_dtype(name).kind == "c" or name not in BIT_WIDTHS and is_float(name):
                # A NaN is a NaN whatever its payload.
                same = (found == expected) & (np.signbit(real(found)) == np.signbit(real(expected))) | (isnan(found) & isnan(expected))
            else:
                same = found.view(np.uint8).reshape(len(found), -1) == (
                    expected.view(np.uint8) & ((1 << BIT_WIDTHS.get(name, 8)) - 1)).reshape(len(found), -1)
                same = same.all(axis=1)
            if not (same | ~where).all():
                index = int(np.argmin(same | ~where))
                wrong[source_name, name] = (source[index], found[index], expected[index])
    assert wrong == {}
    assert compared > 300


def is_float(name: str) -> bool:
    return name.startswith(("float", "bfloat"))


def real(values: np.ndarray) -> np.ndarray:
    return values.real if values.dtype.kind == "c" else values.astype(np.float64)


def isnan(values: np.ndarray) -> np.ndarray:
    return np.isnan(values if values.dtype.kind == "c" else values.astype(np.float64))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_arithmetic_is_numpy_s_with_one_rounding(driver, tmp_path, dtype):
    print(f"GRAFT_INTEROP_SEED={SEED}")
    generator = np.random.default_rng([SEED, *dtype.encode()])
    # More than one tile of the executor's, and no multiple of a vector's width.
    count = 300_007
    a, b = (
        (generator.standard_normal(count) * 10.0 ** generator.integers(-3, 3, count)).astype(numpy_dtype(dtype)) for _ in "ab")
    b[b == 0] = 1
    path = st.write_raw(tmp_path / "pair.safetensors", {"x.a": st.from_numpy(a), "x.b": st.from_numpy(b)})
    (tmp_path / "found").mkdir()
    driver.run("arithmetic", path, tmp_path / "found")
    wide = np.float64 if dtype == "float64" else np.float32
    p, q = a.astype(wide), b.astype(wide)
    with np.errstate(over="ignore"):
        expected = {
            "add": p + q, "subtract": p - q, "multiply": p * q, "divide": p / q, "scale": p * wide(0.3),
            "lerp": p * wide(1 - 0.3) + q * wide(0.3), "mean": (p * wide(3) + q) / wide(4),
            "mean_of_three": (p + q + p) / wide(3),
        }
        expected = {name: value.astype(numpy_dtype(dtype)) for name, value in expected.items()}
    for name, value in expected.items():
        found = np.frombuffer((tmp_path / "found" / f"x.{name}").read_bytes(), numpy_dtype(dtype))
        different = np.flatnonzero(found.view(np.uint8).reshape(count, -1) != value.view(np.uint8).reshape(count, -1))
        assert len(different) == 0, (name, a[different[0] // a.itemsize], b[different[0] // a.itemsize])


# ---- memory ----------------------------------------------------------------------------------------------------------


def peak_resident_bytes(*command: object) -> int:
    """The most resident memory that a process had at any time, as the kernel counts it."""
    process = subprocess.Popen([*map(str, command)], stdin=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss * 1024


def test_surgeries_on_a_leaf_of_2_gib_stay_within_their_budget(driver, tmp_path):
    path = tmp_path / "huge.safetensors"
    with open(path, "wb") as file:
        file.write(st.with_header(
            b'{"huge":{"dtype":"BF16","shape":[32768,32768],"data_offsets":[0,2147483648]}}', padded=True))
        start = file.tell()
        # Zeros that take no disk, but for a number at the start of every 1,024th row.
        file.truncate(start + (2 << 30))
        for row in range(0, 32768, 1024):
            file.seek(start + row * 65536)
            file.write(int(row // 1024 + 1).to_bytes(2, "little"))
    base = peak_resident_bytes(driver.path, "open", path, tmp_path / "none")
    peak = peak_resident_bytes(driver.path, "stream", path, tmp_path / "result.safetensors")
    assert peak - base <= 128 << 20
    result = st.read(tmp_path / "result.safetensors")
    columns = np.frombuffer(result["columns"].data, np.uint16).reshape(32768, 512)
    assert columns[::1024, 0].tolist() == list(range(1, 33)) and np.count_nonzero(columns) == 32
    transposed = np.frombuffer(result["transposed"].data, np.uint16).reshape(32768, 2048)
    assert (transposed[0, 0], transposed[0, 1024]) == (7, 8) and np.count_nonzero(transposed) == 2
    interleaved = np.frombuffer(result["interleaved"].data, np.uint16).reshape(1024, 32768, 2)
    assert interleaved[0, 0].tolist() == [15, 16] and np.count_nonzero(interleaved) == 2

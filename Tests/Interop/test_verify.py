"""Seals, checksums and comparisons, as NumPy, Orbax and a checksum of our own see them."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import tensors as st
from graft import Graft

SEED = int(os.environ.get("GRAFT_INTEROP_SEED", "20261124"))
WHOLE_BYTES = [pytest.param(dtype, id=dtype.stored) for dtype in st.DTYPES if dtype.bits >= 8]


def crc32c(data: bytes) -> int:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    checksum = 0xFFFFFFFF
    for byte in data:
        checksum = checksum >> 8 ^ table[(checksum ^ byte) & 0xFF]
    return checksum ^ 0xFFFFFFFF


def answer(graft: Graft, *arguments: object, status: int = 0) -> dict:
    result = graft.run(*arguments, "--json", "--quiet")
    assert result.status == status and result.diagnostics == "", result
    return json.loads(result.output)


# MARK: diff


def expected_difference(a: np.ndarray, b: np.ndarray, tolerance: float | None) -> tuple[int, int, float]:
    """How many elements differ, how many of them at no distance, and how far the others are apart at most."""
    width = a.dtype.itemsize
    bits = [x.reshape(-1).view(np.uint8).reshape(-1, width) for x in (a, b)]
    if a.dtype.kind in "iu":
        x, y = (value.reshape(-1).astype(object) for value in (a, b))
        distance = np.array([abs(int(p) - int(q)) for p, q in zip(x, y)], dtype=np.float64)
    else:
        wide = np.complex128 if a.dtype.kind == "c" else np.float64
        x, y = (value.reshape(-1).astype(wide) for value in (a, b))
        with np.errstate(invalid="ignore", over="ignore"):
            if wide is np.complex128:
                parts = [np.where(p == q, 0, np.abs(p - q)) for p, q in ((x.real, y.real), (x.imag, y.imag))]
                distance = np.where(np.isnan(parts[0]) | np.isnan(parts[1]), np.nan, np.hypot(*parts))
            else:
                distance = np.where(x == y, 0, np.abs(x - y))
    if tolerance is None:
        differs = (bits[0] != bits[1]).any(axis=1)
        # Two NaNs of other bits differ, and there is no distance to tell.
        same = np.zeros(len(differs), bool) if a.dtype.kind in "iu" else same_numbers(x, y)
    else:
        same = np.zeros(len(distance), bool) if a.dtype.kind in "iu" else same_numbers(x, y)
        differs = ~((distance <= tolerance) | same)
    comparable = differs & np.isfinite(distance)
    incomparable = differs & ~np.isfinite(distance) & ~same
    return int(differs.sum()), int(incomparable.sum()), float(distance[comparable].max(initial=0))


def same_numbers(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    def same(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        return (p == q) | (np.isnan(p) & np.isnan(q))

    return same(x.real, y.real) & same(x.imag, y.imag)


@pytest.mark.parametrize("tolerance", [None, 0.0, 1.5])
@pytest.mark.parametrize("dtype", WHOLE_BYTES)
def test_differences_are_numpys(graft: Graft, tmp_path: Path, dtype: st.Dtype, tolerance: float | None):
    rng = np.random.default_rng(SEED)
    print(f"GRAFT_INTEROP_SEED={SEED}")
    first = st.random_bits(dtype, (37, 53), seed=SEED)
    size = dtype.bits // 8
    data = bytearray(first.data)
    # Some elements become others at random, NaNs and infinities too, and some change their lowest bit alone.
    for index in rng.choice(37 * 53, 200, replace=False):
        if index % 2:
            data[index * size:(index + 1) * size] = st.random_bits(dtype, (1,), seed=int(index)).data
        elif dtype.named != "bool":
            data[index * size] ^= 1
    second = st.Tensor(first.dtype, first.shape, bytes(data))
    paths = []
    for name, tensor in (("a", first), ("b", second)):
        contents = {"x": tensor, "same": st.random_bits(dtype, (5,), seed=1)}
        write = st.write if dtype.written else st.write_raw
        paths.append(write(tmp_path / f"{name}.safetensors", contents))
    arrays = [np.frombuffer(tensor.data, dtype.numpy) for tensor in (first, second)]
    count, incomparable, distance = expected_difference(*arrays, tolerance)
    assert count > 0 or tolerance is not None
    options = [] if tolerance is None else ["--tolerance", str(tolerance)]
    found = answer(graft, "diff", *paths, *options, status=1 if count else 0)
    assert found["equal_leaves"] == (1 if count else 2)
    if count:
        [leaf] = found["different_values"]
        assert (leaf["path"], leaf["count"], leaf["incomparable"]) == ("x", count, incomparable)
        # NumPy's hypot and ours may differ in the last bit.
        assert leaf["max_abs"] == distance or np.isclose(leaf["max_abs"], distance, rtol=1e-15, atol=0)


# MARK: seals


def test_a_seal_is_what_the_specification_says(graft: Graft, tmp_path: Path):
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file({"a": np.arange(20_000, dtype=np.float32), "b": np.zeros(3, np.int8)}, path)
    assert answer(graft, "verify", path, "--seal")["verified_leaves"] == 2
    text = (tmp_path / "model.safetensors.graft-seal").read_bytes()
    seal = json.loads(text)
    data = path.read_bytes()
    assert seal["files"] == [{"name": "model.safetensors", "bytes": len(data), "crc32c": f"{crc32c(data):08x}"}]
    assert list(seal) == ["graft_seal", "block_bytes", "files", "digest"] and seal["block_bytes"] == 4 << 20
    covered = text[:text.index(b',"digest"')]
    assert seal["digest"] == f"{crc32c(covered):08x}"


def test_a_sealed_folder_is_read_by_others_as_before(graft: Graft, tmp_path: Path):
    source = tmp_path / "source.safetensors"
    tensors = {f"layer.{i}": np.random.default_rng(i).standard_normal((64, 64), np.float32) for i in range(5)}
    safetensors.numpy.save_file(tensors, source)
    folder = tmp_path / "folder"
    graft.json("convert", source, folder, "--to", "safetensors", "--shard-size", "40KB")
    (folder / "README.md").write_text("not sealed")
    assert answer(graft, "verify", folder, "--seal")["verified_leaves"] == 5
    names = [file["name"] for file in json.loads((folder / "graft-seal.json").read_text())["files"]]
    assert names == sorted(path.name for path in folder.iterdir() if "safetensors" in path.name)
    (folder / "README.md").write_text("changed")
    assert answer(graft, "verify", folder)["verified_leaves"] == 5
    assert answer(graft, "diff", source, folder)["equal_leaves"] == 5
    index = next(folder.glob("*.index.json"))
    index.write_text(index.read_text().replace("layer.0", "layer.9"))
    assert graft.run("verify", folder, "--quiet").status != 0


def test_a_load_that_insists_is_refused_what_it_cannot_verify(graft: Graft, tmp_path: Path):
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file({"a": np.arange(200_000, dtype=np.float32), "b": np.ones(3, np.int8)}, path)
    assert "without a checksum" in graft.error("load", path, "--verify", "always")
    assert answer(graft, "verify", path, "--seal")["verified_leaves"] == 2
    assert graft.json("load", path, "--verify", "always", "--no-ceiling")["leaves"] == 2
    data = bytearray(path.read_bytes())
    data[-500_000] ^= 4
    path.write_bytes(data)
    paragraph = graft.error("load", path, "--verify", "always")
    assert "sealed" in paragraph and "leaf a" in paragraph
    assert "sealed" in graft.error("convert", path, tmp_path / "copy.safetensors", "--verify", "always")
    assert not (tmp_path / "copy.safetensors").exists()
    assert graft.json("load", path, "--no-ceiling")["bytes_verified"] == 0


# MARK: Orbax


@pytest.fixture
def written(graft: Graft, tmp_path: Path) -> Path:
    """An Orbax checkpoint as Graft writes it, whose chunks have checksums."""
    source = tmp_path / "source.safetensors"
    rng = np.random.default_rng(7)
    safetensors.numpy.save_file(
        {"params.kernel": rng.standard_normal((300, 90), np.float32), "params.bias": rng.standard_normal(700, np.float32),
         "small": np.arange(3, dtype=np.int32)}, source)
    result = graft.run("convert", source, tmp_path / "written", "--to", "orbax", "--quiet")
    assert result.status == 0, result
    return tmp_path / "written"


def test_what_graft_writes_is_verified_whole(graft: Graft, written: Path):
    report = answer(graft, "verify", written)
    assert report["verified_leaves"] == 3 and report["unprotected_leaves"] == 0
    loaded = graft.json("load", written, "--no-ceiling")
    assert loaded["bytes_verified"] > 300 * 90 * 3
    assert graft.json("load", written, "--no-ceiling", "--verify", "never")["bytes_verified"] == 0
    assert graft.json("load", written, "--no-ceiling", "--verify", "always")["leaves"] == 3


@pytest.mark.parametrize("form", [["--to", "orbax"], ["--to", "safetensors", "--shard-size", "40KB"]])
def test_a_sealed_folder_can_be_replaced_with_its_seal(graft: Graft, tmp_path: Path, form: list[str]):
    source = tmp_path / "source.safetensors"
    safetensors.numpy.save_file({"a": np.ones((100, 100), np.float32)}, source)
    graft.json("convert", source, tmp_path / "folder", *form)
    assert answer(graft, "verify", tmp_path / "folder", "--seal")["failed_leaves"] == 0
    graft.json("convert", source, tmp_path / "folder", *form, "--overwrite")
    assert not (tmp_path / "folder" / "graft-seal.json").exists()
    assert answer(graft, "diff", source, tmp_path / "folder")["equal_leaves"] == 1


def test_no_flipped_bit_in_the_data_that_graft_writes_goes_unseen(graft: Graft, written: Path):
    rng = random.Random(SEED)
    print(f"GRAFT_INTEROP_SEED={SEED}")
    files = [path for path in written.rglob("*") if path.is_file() and (path.parent.name == "d" or path.name == "manifest.ocdbt")]
    assert files
    for _ in range(40):
        path = rng.choice(files)
        sound = path.read_bytes()
        offset, bit = rng.randrange(len(sound)), rng.randrange(8)
        path.write_bytes(sound[:offset] + bytes([sound[offset] ^ 1 << bit]) + sound[offset + 1:])
        result = graft.run("verify", written, "--quiet")
        # Either a chunk or a node does not have its checksum; bytes of the manifest may also make it something else.
        assert result.status == 1 or (result.status == 2 and path.name == "manifest.ocdbt"), (path, offset, bit, result)
        path.write_bytes(sound)
    assert answer(graft, "verify", written)["verified_leaves"] == 3

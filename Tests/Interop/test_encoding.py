"""Chunks that Graft encodes, decoded by TensorStore, numcodecs' c-blosc and zstandard: bit for bit, and refused when damaged.

GRAFT_INTEROP_SEED sets another seed of the values; a failure prints it.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import ml_dtypes
import numcodecs.blosc
import numpy as np
import pytest
import tensorstore as ts
import zstandard

from graft import TIMEOUT_SECONDS

SEED = int(os.environ.get("GRAFT_INTEROP_SEED", "20260418"))
COMPRESSIONS = ["none", "zstd", "zstd:1", "zstd:12", "zstd:entropy", "blosc", "blosc:5", "blosc:9", "blosc:entropy"]
DTYPES = {
    "bfloat16": ml_dtypes.bfloat16,
    "float32": np.float32,
    "float64": np.float64,
    "int8": np.int8,
    "complex128": np.complex128,
}
# A chunk of a few elements, one that is no multiple of any block, and whole blocks of zstd and of blosc.
CHUNK_LENGTHS = [7, 1_000, 70_001, 262_144]


@pytest.fixture(scope="session")
def driver(graft):
    path = graft.tool.parent / "graft-encoding-driver"
    assert path.is_file(), f"build {path.name} first"
    return path


def values(dtype, count: int, kind: str) -> np.ndarray:
    random = np.random.default_rng(SEED)
    if kind == "zeros":
        return np.zeros(count, dtype)
    if kind == "random bits":
        bits = random.integers(0, 256, count * np.dtype(dtype).itemsize, dtype=np.uint8)
        return bits.view(dtype)
    return (random.standard_normal(count) * 20).astype(dtype)


def encode(driver, folder: Path, array: np.ndarray, compression: str, chunk_length: int, checksum: bool) -> dict:
    """Writes the array's chunks as `c/0`, `c/1` and so on, and gives the metadata of their codecs."""
    chunks = folder / "c"
    chunks.mkdir(parents=True)
    elements = folder / "elements"
    # The last chunk of an array is a whole one.
    padded = np.zeros(-(-len(array) // chunk_length) * chunk_length, array.dtype)
    padded[: len(array)] = array
    elements.write_bytes(padded.tobytes())
    size = array.dtype.itemsize
    result = subprocess.run(
        [driver, compression, str(size), str(checksum).lower(), str(chunk_length * size), elements, chunks],
        capture_output=True, text=True, timeout=TIMEOUT_SECONDS,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def read_version3(folder: Path, array: np.ndarray, dtype: str, chunk_length: int, codecs: list):
    metadata = {
        "zarr_format": 3, "node_type": "array", "shape": list(array.shape), "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [chunk_length]}},
        "chunk_key_encoding": {"name": "default"}, "codecs": codecs,
        "fill_value": [0.0, 0.0] if dtype.startswith("complex") else 0,
    }
    (folder / "zarr.json").write_text(json.dumps(metadata))
    return ts.open({"driver": "zarr3", "kvstore": f"file://{folder}/"}, open=True).result().read().result()


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_tensorstore_reads_what_was_encoded(driver, tmp_path, compression, dtype):
    for number, chunk_length in enumerate(CHUNK_LENGTHS):
        kinds = ["normal"] if chunk_length == CHUNK_LENGTHS[-1] else ["normal", "zeros", "random bits"]
        for kind in kinds:
            array = values(DTYPES[dtype], chunk_length + chunk_length // 2, kind)
            folder = tmp_path / f"{number} {kind}"
            metadata = encode(driver, folder, array, compression, chunk_length, checksum=number != 1)
            read = read_version3(folder, array, dtype, chunk_length, metadata["codecs"])
            assert read.tobytes() == array.tobytes(), f"{chunk_length} {kind}, seed {SEED}"


@pytest.mark.parametrize("compression", [c for c in COMPRESSIONS if c != "none"])
def test_tensorstore_reads_it_as_version_2(driver, tmp_path, compression):
    array = values(np.float32, 100_000, "normal")
    metadata = encode(driver, tmp_path, array, compression, 70_000, checksum=False)
    for number in range(2):
        (tmp_path / "c" / str(number)).rename(tmp_path / str(number))
    (tmp_path / ".zarray").write_text(json.dumps({
        "zarr_format": 2, "shape": [100_000], "chunks": [70_000], "dtype": "<f4", "order": "C", "filters": None,
        "fill_value": 0, "compressor": metadata["compressor"],
    }))
    read = ts.open({"driver": "zarr", "kvstore": f"file://{tmp_path}/"}, open=True).result().read().result()
    assert read.tobytes() == array.tobytes()


def test_tensorstore_writes_the_same_metadata(driver, tmp_path):
    for compression in COMPRESSIONS:
        folder = tmp_path / compression
        metadata = encode(driver, folder, values(np.float32, 10, "normal"), compression, 10, checksum=True)
        created = ts.open(
            {"driver": "zarr3", "kvstore": "memory://", "metadata": {"codecs": metadata["codecs"]}},
            dtype=ts.float32, shape=[10], create=True,
        ).result()
        assert created.spec().to_json()["metadata"]["codecs"] == metadata["codecs"]


@pytest.mark.parametrize("compression", ["blosc", "blosc:9", "blosc:entropy"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_c_blosc_reads_the_buffers(driver, tmp_path, compression, dtype):
    for number, length in enumerate([1, 31, 128, 4_096, 65_537, 524_288]):
        array = values(DTYPES[dtype], length, "normal")
        encode(driver, tmp_path / str(number), array, compression, length, checksum=False)
        buffer = (tmp_path / str(number) / "c" / "0").read_bytes()
        assert numcodecs.blosc.decompress(buffer) == array.tobytes(), f"{length}, seed {SEED}"


@pytest.mark.parametrize("compression", ["zstd", "zstd:entropy"])
def test_zstandard_reads_the_frames(driver, tmp_path, compression):
    for number, length in enumerate([1, 4_096, 65_537, 1_048_577]):
        array = values(np.float32, length, "normal")
        encode(driver, tmp_path / str(number), array, compression, length, checksum=False)
        frame = (tmp_path / str(number) / "c" / "0").read_bytes()
        assert zstandard.get_frame_parameters(frame).content_size == array.nbytes
        assert zstandard.get_frame_parameters(frame).has_checksum is False
        assert zstandard.ZstdDecompressor().decompress(frame) == array.tobytes(), f"{length}, seed {SEED}"


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_tensorstore_refuses_every_flipped_bit(driver, tmp_path, compression):
    random = np.random.default_rng(SEED)
    array = values(ml_dtypes.bfloat16, 3_000, "normal")
    metadata = encode(driver, tmp_path, array, compression, 3_000, checksum=True)
    path = tmp_path / "c" / "0"
    chunk = path.read_bytes()
    assert read_version3(tmp_path, array, "bfloat16", 3_000, metadata["codecs"]).tobytes() == array.tobytes()
    # The headers whole, and some of the rest.
    places = list(range(32)) + list(random.integers(32, len(chunk), 60)) + list(range(len(chunk) - 4, len(chunk)))
    for place in places:
        damaged = bytearray(chunk)
        damaged[place] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(Exception, match="(?i)error|checksum|digest|invalid|corrupt"):
            read_version3(tmp_path, array, "bfloat16", 3_000, metadata["codecs"])

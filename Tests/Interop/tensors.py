"""safetensors files as the reference library sees them: names, dtypes, shapes and bytes, of every dtype it knows."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np
import safetensors


class Dtype(NamedTuple):
    stored: str  # as the format spells it
    written: str | None  # as the Python library spells it when it writes; None where it only reads
    named: str  # as NumPy and ml_dtypes, and so the tool, spell it
    bits: int

    @property
    def numpy(self) -> np.dtype:
        return np.dtype(getattr(ml_dtypes, self.named, None) or self.named)


# Every dtype of safetensors 0.8.0.
DTYPES = [
    Dtype("BOOL", "bool", "bool", 8),
    Dtype("F4", "float4_e2m1fn_x2", "float4_e2m1fn", 4),
    Dtype("F6_E2M3", None, "float6_e2m3fn", 6),
    Dtype("F6_E3M2", None, "float6_e3m2fn", 6),
    Dtype("U8", "uint8", "uint8", 8),
    Dtype("I8", "int8", "int8", 8),
    Dtype("F8_E5M2", "float8_e5m2", "float8_e5m2", 8),
    Dtype("F8_E4M3", "float8_e4m3fn", "float8_e4m3fn", 8),
    Dtype("F8_E8M0", "float8_e8m0fnu", "float8_e8m0fnu", 8),
    Dtype("F8_E4M3FNUZ", "float8_e4m3fnuz", "float8_e4m3fnuz", 8),
    Dtype("F8_E5M2FNUZ", "float8_e5m2fnuz", "float8_e5m2fnuz", 8),
    Dtype("I16", "int16", "int16", 16),
    Dtype("U16", "uint16", "uint16", 16),
    Dtype("F16", "float16", "float16", 16),
    Dtype("BF16", "bfloat16", "bfloat16", 16),
    Dtype("I32", "int32", "int32", 32),
    Dtype("U32", "uint32", "uint32", 32),
    Dtype("F32", "float32", "float32", 32),
    Dtype("C64", "complex64", "complex64", 64),
    Dtype("F64", "float64", "float64", 64),
    Dtype("I64", "int64", "int64", 64),
    Dtype("U64", "uint64", "uint64", 64),
]
BY_STORED = {dtype.stored: dtype for dtype in DTYPES}


class Tensor(NamedTuple):
    """A tensor by its bytes, so that comparing is comparing bits: NaNs, negative zeros and padding too."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    def __repr__(self) -> str:
        shown = self.data[:24].hex() + ("…" if len(self.data) > 24 else "")
        return f"{self.dtype}{list(self.shape)} {len(self.data)} bytes {shown}"


def from_numpy(values: np.ndarray) -> Tensor:
    """A tensor of the values; only for dtypes of whole bytes, which NumPy keeps as the format does."""
    stored = next(dtype.stored for dtype in DTYPES if dtype.numpy == values.dtype)
    assert BY_STORED[stored].bits >= 8
    return Tensor(stored, values.shape, np.ascontiguousarray(values).tobytes())


def random_bits(dtype: Dtype, shape: tuple[int, ...], seed: int) -> Tensor:
    """A tensor of random bits, so every pattern of the small dtypes comes up; booleans are 0 and 1, all that is valid."""
    count = math.prod(shape) * dtype.bits
    assert count % 8 == 0
    generator = np.random.default_rng(seed)
    data = generator.integers(0, 2 if dtype.named == "bool" else 256, count // 8, dtype=np.uint8).tobytes()
    return Tensor(dtype.stored, shape, data)


def read(path: Path) -> dict[str, Tensor]:
    """All tensors of a file, as the reference library reads them."""
    return {
        name: Tensor(entry["dtype"], tuple(entry["shape"]), bytes(entry["data"]))
        for name, entry in safetensors.deserialize(path.read_bytes())
    }


def read_folder(folder: Path) -> dict[str, Tensor]:
    """All tensors of a model in a folder, read by the reference library; the index must be exact, if it needs one."""
    files = sorted(path.name for path in folder.iterdir())
    if files == ["model.safetensors"]:
        return read(folder / files[0])
    index = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
    shards = {name: read(folder / name) for name in sorted(set(index["weight_map"].values()))}
    assert files == sorted([*shards, "model.safetensors.index.json"])
    placed = {tensor: shard for shard, tensors in shards.items() for tensor in tensors}
    assert placed == index["weight_map"]
    assert sum(len(tensors) for tensors in shards.values()) == len(placed), "a tensor stands in two shards"
    tensors = {name: tensor for shard in shards.values() for name, tensor in shard.items()}
    assert index["metadata"]["total_size"] == sum(len(tensor.data) for tensor in tensors.values())
    return tensors


def metadata(path: Path) -> dict[str, str]:
    """The metadata of a file, as the reference library reads it."""
    with safetensors.safe_open(path, framework="np") as file:
        return file.metadata() or {}


def write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
    """Writes a file by the reference library itself."""
    keep_alive = {name: np.frombuffer(tensor.data or b"\0", dtype=np.uint8) for name, tensor in tensors.items()}
    specs = {}
    for name, tensor in tensors.items():
        shape, written = list(tensor.shape), BY_STORED[tensor.dtype].written
        assert written is not None, f"the library does not write {tensor.dtype}; use write_raw"
        if written.endswith("_x2"):
            shape[-1] //= 2  # two elements to a byte: the library counts bytes there
        specs[name] = safetensors.TensorSpec(
            dtype=written, shape=shape, data_ptr=keep_alive[name].ctypes.data, data_len=len(tensor.data))
    safetensors.serialize_file(specs, path, metadata=metadata)
    return path


def write_raw(path: Path, tensors: dict[str, Tensor], padded: bool = True) -> Path:
    """Writes a file by hand, in the order of `tensors`: what the library reads but does not write."""
    header, data = {}, b""
    for name, tensor in tensors.items():
        header[name] = {
            "dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(tensor.data)]}
        data += tensor.data
    path.write_bytes(with_header(json.dumps(header, ensure_ascii=False).encode(), data, padded))
    return path


def with_header(header: bytes, data: bytes = b"", padded: bool = False) -> bytes:
    """The bytes of a file with this header, however wrong it is."""
    if padded:
        header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data


def leaf_path(name: str) -> str:
    """The path that the tool gives to a plain name: split at dots, joined by slashes."""
    return name.replace(".", "/")

#!/usr/bin/env python3
"""Makes the golden safetensors files with the reference implementation, and what it reads back from them.

    python3 -m venv .venv && .venv/bin/pip install safetensors==0.8.0 numpy ml_dtypes
    .venv/bin/python Tests/Fixtures/safetensors/generate.py

The folder is named after the version of the library that wrote the files; a new version makes a new folder, and the old
one stays, since users' files do. What the library cannot write from Python (dtypes without a NumPy type, offsets that are
not aligned) is put together from raw bytes and accepted only if the library reads it. expected.json holds, for every file,
the library's own reading: each tensor's dtype, shape and bytes, and the metadata.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import ml_dtypes
import numpy
import safetensors
from safetensors import numpy as safetensors_numpy

FOLDER = Path(__file__).parent / safetensors.__version__


def raw(entries: list[tuple[str, str, list[int], bytes]], metadata=None, padding: str = "") -> bytes:
    """A file with exactly these tensors in this order, not aligned."""
    header: dict[str, object] = {} if metadata is None else {"__metadata__": metadata}
    end = 0
    for name, dtype, shape, data in entries:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + len(data)]}
        end += len(data)
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode() + padding.encode()
    return struct.pack("<Q", len(text)) + text + b"".join(data for _, _, _, data in entries)


def counting(count: int, start: int = 1) -> bytes:
    return bytes((start + 37 * index) % 256 for index in range(count))


# Bits per element of every dtype of the format.
BITS = {
    "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip


def dtype_tensors() -> list[tuple[str, str, list[int], bytes]]:
    tensors = []
    for name, bits in BITS.items():
        data = bytes([0, 1] * 4) if name == "BOOL" else counting(bits)
        tensors.append((f"dtype.{name.lower()}", name, [2, 4], data))
    return tensors


def files() -> dict[str, bytes]:
    written = {
        "numpy.safetensors": safetensors_numpy.save(
            {
                "model.layers.0.weight": numpy.arange(6, dtype=numpy.float32).reshape(2, 3),
                "model.layers.1.weight": -numpy.arange(6, dtype=numpy.float32).reshape(2, 3),
                "model.layers.10.weight": numpy.full((2, 3), 0.5, dtype=numpy.float32),
                "model.half": numpy.array([1.5, -2.0], dtype=numpy.float16),
                "model.wide": numpy.array([2.0**40], dtype=numpy.float64),
                "model.complex": numpy.array([1 + 2j], dtype=numpy.complex64),
                "model.bfloat16": numpy.array([1.0, -3.0], dtype=ml_dtypes.bfloat16),
                "model.mask": numpy.array([True, False, True]),
                "model.small": numpy.array([-1, 2], dtype=numpy.int8),
                "model.counts": numpy.array([[1, 2**63]], dtype=numpy.uint64),
                "step": numpy.array(1000, dtype=numpy.int64),
            },
            metadata={"format": "np", "note": 'quotes " and \\ and\nlines, é 😀'},
        ),
        "empty.safetensors": safetensors_numpy.save({}),
        "zero-sized.safetensors": safetensors_numpy.save(
            {
                "a": numpy.zeros((0,), dtype=numpy.float32),
                "b": numpy.zeros((3, 0, 2), dtype=numpy.int16),
                "c": numpy.ones((2,), dtype=numpy.uint8),
            }
        ),
        "names.safetensors": safetensors_numpy.save(
            {
                ".": numpy.array([1], dtype=numpy.uint8),
                ".x": numpy.array([2], dtype=numpy.uint8),
                "a..b": numpy.array([3], dtype=numpy.uint8),
                "c.": numpy.array([4], dtype=numpy.uint8),
                "slash/and\\back": numpy.array([5], dtype=numpy.uint8),
                "café": numpy.array([6], dtype=numpy.uint8),  # é as one scalar
                "cafe\u0301": numpy.array([7], dtype=numpy.uint8),  # and as two
                "日本.語": numpy.array([8], dtype=numpy.uint8),
                "😀": numpy.array([9], dtype=numpy.uint8),
                'tab\there and "quotes"': numpy.array([10], dtype=numpy.uint8),
                "__metadata__.x": numpy.array([11], dtype=numpy.uint8),
            }
        ),
        "all-dtypes.safetensors": raw(dtype_tensors(), metadata={"format": "pt"}, padding="   "),
        # Data begins at an odd offset, and so do floats in it.
        "misaligned.safetensors": raw(
            [
                ("byte", "U8", [1], counting(1)),
                ("floats", "F32", [3], numpy.array([1, 2, 3], dtype=numpy.float32).tobytes()),
                ("empty", "F64", [0], b""),
                ("double", "F64", [], numpy.array(0.25).tobytes()),
            ],
            padding=" ",
        ),
        "unordered.safetensors": unordered(),
    }
    return written


def unordered() -> bytes:
    """Tensors whose order in the header is not that of the data, with a field that nobody knows."""
    text = json.dumps(
        {
            "second": {"dtype": "U8", "shape": [2], "data_offsets": [3, 5]},
            "first": {"data_offsets": [0, 3], "shape": [3], "dtype": "I8", "unknown": {"a": [1, 2]}},
        }
    ).encode()
    return struct.pack("<Q", len(text)) + text + counting(5)


def reading(data: bytes) -> dict[str, object]:
    """What the library reads; names, dtypes, shapes and bytes are its own."""
    tensors = {
        name: {"dtype": tensor["dtype"], "shape": tensor["shape"], "data": bytes(tensor["data"]).hex()}
        for name, tensor in safetensors.deserialize(data)
    }
    path = FOLDER / "reading.tmp"
    path.write_bytes(data)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata()
    finally:
        path.unlink()
    return {"tensors": tensors, "metadata": metadata or {}}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    expected = {}
    for name, data in files().items():
        expected[name] = reading(data)
        (FOLDER / name).write_bytes(data)
    text = json.dumps(expected, indent=1, sort_keys=True, ensure_ascii=False)
    (FOLDER / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

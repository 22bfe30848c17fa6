#!/usr/bin/env python3
"""Makes the Zarr arrays beside it with TensorStore, and index.json, which says what TensorStore reads from them.

    generate.py        writes one folder for each array, and index.json, into its own folder

Needs Tests/Interop/orbax/requirements.txt.
"""

import hashlib
import json
import pathlib
import shutil

import ml_dtypes  # noqa: F401  (gives NumPy the small floats)
import numpy as np
import tensorstore as ts

HERE = pathlib.Path(__file__).parent
index = {}


def values(shape: list[int], dtype: str) -> np.ndarray:
    count = int(np.prod(shape, dtype=np.int64))
    numbers = (np.arange(count) * 7919 % 251).reshape(shape)
    if dtype == "bool":
        return numbers % 3 == 0
    if dtype.startswith("complex"):
        return (numbers - 100 + 1j * (numbers % 13)).astype(dtype)
    if dtype == "int4":
        return (numbers % 16 - 8).astype(ts.int4.numpy_dtype)
    if dtype.startswith("u"):
        return numbers.astype(dtype)
    return (numbers % 17 - 8).astype(ts.dtype(dtype).numpy_dtype)


def make(name: str, driver: str, dtype: str, shape: list[int], metadata: dict, written=None, store_fill=True) -> None:
    """Writes values into `written` (a slice, all by default), and notes the whole as TensorStore reads it back."""
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    spec = {
        "driver": driver,
        "kvstore": {"driver": "file", "path": f"{folder}/"},
        "metadata": {"shape": shape, **metadata},
        "dtype": dtype,
        "create": True,
        "store_data_equal_to_fill_value": store_fill,
    }
    array = ts.open(spec).result()
    data = values(shape, dtype)
    if written is None:
        array.write(data).result()
    else:
        array[written].write(data[written]).result()
    read = np.ascontiguousarray(array.read().result())
    raw = read.tobytes()
    if dtype in ("int4", "float4_e2m1fn"):
        raw = bytes(byte & 15 for byte in raw)
    index[name] = {"dtype": dtype, "shape": shape, "sha256": hashlib.sha256(raw).hexdigest(), "byte_count": len(raw)}


def grid(shape: list[int]) -> dict:
    return {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}}}


LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
ZSTD = {"name": "zstd", "configuration": {"level": 3}}
CRC = {"name": "crc32c"}


def sharded(inner: list[int], codecs: list, location: str = "end", index_codecs: list | None = None) -> dict:
    configuration = {"chunk_shape": inner, "codecs": codecs, "index_location": location, "index_codecs": index_codecs or [LITTLE, CRC]}
    return {"codecs": [{"name": "sharding_indexed", "configuration": configuration}]}


def main() -> None:
    zstd2 = {"compressor": {"id": "zstd", "level": 1}}
    make("v2-plain", "zarr", "float32", [5, 7], {"chunks": [2, 3], "compressor": None})
    make("v2-zstd-slash", "zarr", "bfloat16", [9, 4], {"chunks": [4, 4], "dimension_separator": "/", **zstd2})
    make("v2-blosc", "zarr", "int16", [300], {"chunks": [128], "compressor": {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1}})
    make("v2-scalar", "zarr", "int64", [], {"chunks": [], **zstd2})
    make("v2-fill", "zarr", "float64", [6, 6], {"chunks": [2, 2], "dtype": "<f8", "fill_value": -1.5, **zstd2}, written=np.s_[0:2, 2:6])
    for dtype in ("bool", "int4", "float8_e4m3fn", "complex64"):
        make(f"v2-{dtype}", "zarr", dtype, [11], {"chunks": [4], **zstd2})

    make("v3-plain", "zarr3", "float32", [5, 7], {**grid([2, 3]), "codecs": [LITTLE]})
    make("v3-zstd", "zarr3", "float16", [5, 7], {**grid([5, 7]), "codecs": [LITTLE, ZSTD]})
    make("v3-crc32c", "zarr3", "uint32", [20], {**grid([8]), "codecs": [LITTLE, ZSTD, CRC]})
    make("v3-blosc", "zarr3", "int32", [500], {**grid([200]), "codecs": [LITTLE, {"name": "blosc", "configuration": {"cname": "zstd", "clevel": 3, "shuffle": "shuffle", "typesize": 4, "blocksize": 0}}]})
    make("v3-keys-v2", "zarr3", "int8", [3, 3], {**grid([2, 2]), "codecs": [{"name": "bytes"}], "chunk_key_encoding": {"name": "v2"}})
    make("v3-keys-dot", "zarr3", "uint8", [3, 3], {**grid([2, 2]), "codecs": [{"name": "bytes"}], "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}}})
    make("v3-scalar", "zarr3", "float64", [], {**grid([]), "codecs": [LITTLE, ZSTD]})
    make("v3-fill", "zarr3", "bfloat16", [6, 6], {**grid([2, 2]), "codecs": [LITTLE, ZSTD], "data_type": "bfloat16", "fill_value": "NaN"}, written=np.s_[2:4, 0:4])
    make("v3-fill-complex", "zarr3", "complex128", [4], {**grid([2]), "codecs": [LITTLE], "data_type": "complex128", "fill_value": [1.5, "-Infinity"]}, written=np.s_[0:2])
    make("v3-sharded", "zarr3", "float32", [10, 13], {**grid([4, 6]), **sharded([2, 3], [LITTLE, ZSTD])})
    make("v3-sharded-start", "zarr3", "int16", [10, 13], {**grid([4, 6]), **sharded([4, 2], [LITTLE], "start")})
    make("v3-sharded-plain-index", "zarr3", "uint16", [9], {**grid([4]), **sharded([2], [LITTLE, CRC], "end", [LITTLE])})
    make("v3-sharded-gaps", "zarr3", "int32", [8, 8], {**grid([4, 4]), **sharded([2, 2], [LITTLE, ZSTD]), "data_type": "int32", "fill_value": 9}, written=np.s_[1:3, 0:5], store_fill=False)
    make("v3-sharded-scalar", "zarr3", "bool", [], {**grid([]), **sharded([], [{"name": "bytes"}, ZSTD])})
    for dtype in (
        "bool int4 int8 uint8 int16 uint16 int32 uint32 int64 uint64 float4_e2m1fn float8_e3m4 float8_e4m3b11fnuz float8_e4m3fn "
        "float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu bfloat16 float16 float32 float64 complex64 complex128"
    ).split():
        bytes_codec = LITTLE if ts.dtype(dtype).numpy_dtype.itemsize > 1 else {"name": "bytes"}
        make(f"v3-{dtype}", "zarr3", dtype, [11], {**grid([4]), "codecs": [bytes_codec, ZSTD]})

    (HERE / "index.json").write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    main()

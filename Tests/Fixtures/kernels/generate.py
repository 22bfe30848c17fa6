"""Writes what NumPy and ml_dtypes make of every element of up to 16 bits, and of many float32, in every other dtype.

    python -m venv venv && venv/bin/pip install ml_dtypes==0.6.0 numpy==2.4.6
    venv/bin/python generate.py

Makes ml_dtypes-0.6.0/casts.txt beside this script, with lines of `source destination hash`: the FNV-1a 64-bit hash of the
destination's bytes, each element of less than a byte in a byte of its own, after casting every code of the source in order. The
source `float32` is the 65536 numbers whose bits are i * 65537 modulo 2^32.

Where NumPy leaves something open or the cast of CGraftKernels is another by its definition (graft_compute.h), this script does
it that way, and says so.
"""

import pathlib
import warnings

import ml_dtypes
import numpy as np

assert ml_dtypes.__version__ == "0.6.0" and np.__version__ == "2.4.6"
warnings.simplefilter("ignore")
HERE = pathlib.Path(__file__).parent / f"ml_dtypes-{ml_dtypes.__version__}"
HERE.mkdir(exist_ok=True)

SMALL_FLOATS = {
    "float4_e2m1fn": 4, "float6_e2m3fn": 6, "float6_e3m2fn": 6, "float8_e3m4": 8, "float8_e4m3": 8,
    "float8_e4m3b11fnuz": 8, "float8_e4m3fn": 8, "float8_e4m3fnuz": 8, "float8_e5m2": 8, "float8_e5m2fnuz": 8,
    "float8_e8m0fnu": 8,
}
INTEGERS = ["int4", "uint4", *(f"{u}int{n}" for n in (8, 16, 32, 64) for u in ("", "u"))]
FLOATS = [*SMALL_FLOATS, "bfloat16", "float16", "float32", "float64"]
ALL = ["bool", *INTEGERS, *FLOATS, "complex64", "complex128"]
SIGNIFICAND = {"bfloat16": (16, 7), "float16": (16, 10), "float32": (32, 23), "float64": (64, 52)}


def dtype_of(name):
    return np.dtype(getattr(ml_dtypes, name, None) or name)


def codes(name):
    if name == "float32":
        return (np.arange(65536, dtype=np.uint64) * 65537 % 2**32).astype(np.uint32)
    if name == "bool":
        return np.arange(2, dtype=np.uint8)
    bits = 4 if name.endswith("int4") else SMALL_FLOATS.get(name) or dtype_of(name).itemsize * 8
    return np.arange(2**bits, dtype=np.uint8 if bits <= 8 else np.uint16)


def nan_bits(values, name):
    """The bits of NaN in a wider float: sign, quiet, and what there is room for of the payload."""
    source = np.dtype(values.dtype)
    wide = values.astype(np.float32).view(np.uint32)
    sign = np.signbit(values.astype(np.float32))
    payload = np.where(True, (wide & 0x7FFFFF) | 0x400000, 0).astype(np.uint64)
    width, significand = SIGNIFICAND[name]
    payload = payload >> np.uint64(23 - significand) if significand <= 23 else payload << np.uint64(significand - 23)
    exponent = np.uint64(((1 << (width - 1 - significand)) - 1) << significand)
    bits = payload | exponent | (sign.astype(np.uint64) << np.uint64(width - 1))
    # bfloat16 is the upper half of a float32 as it is, quiet or not.
    if source.name == "bfloat16" and name == "float32":
        bits = values.view(np.uint16).astype(np.uint64) << np.uint64(16)
    return bits


def cast(values, source, name):
    target = dtype_of(name)
    if name.startswith("complex"):
        real = cast(values, source, "float32" if name == "complex64" else "float64")
        whole = np.zeros((len(real), 2), real.dtype)
        # Through integers, as NaN's payload must not change on the way.
        whole.view(f"u{real.itemsize}")[:, 0] = real.view(f"u{real.itemsize}")
        return whole.reshape(-1)
    if source in FLOATS:
        wide = values.astype(np.float32)  # exact
        if name == "bool":
            return wide != 0
        if name in INTEGERS:
            # Out of range is undefined in NumPy; here it saturates, and NaN is 0.
            info = ml_dtypes.iinfo(target)
            return np.array([
                0 if np.isnan(v) else int(max(info.min, min(info.max, np.trunc(v)))) if np.isfinite(v)
                else info.max if v > 0 else info.min for v in wide.astype(object)], dtype=object).astype(
                    np.uint64 if name == "uint64" else np.int64).astype(target)
        result = wide.astype(target) if name != source else values.copy()
        if name == "float8_e8m0fnu" and name != source:
            # ml_dtypes rounds what is above 2^-127 but nearer to it than to 2^-126 upwards.
            bits = wide.view(np.uint32)
            result.view(np.uint8)[(bits > 0x400000) & (bits < 0x600000)] = 0
        if name in SIGNIFICAND and name != source:
            places = np.isnan(wide)
            unsigned = result.view(f"u{result.itemsize}")
            unsigned[places] = nan_bits(values, name)[places].astype(unsigned.dtype)
        return result
    if name in SMALL_FLOATS or name in ("bfloat16", "float16"):
        return values.astype(np.float32).astype(target)  # integers of up to 16 bits are exact
    if name == "int4" or name == "uint4":
        return values.astype(np.int32).astype(target)
    return values.astype(target)


def fnv1a(data):
    digest = 0xCBF29CE484222325
    for byte in data:
        digest = (digest ^ byte) * 0x100000001B3 % 2**64
    return digest


with open(HERE / "casts.txt", "w") as out:
    for source in ALL:
        if source in ("float64", "complex64", "complex128") or source in INTEGERS and source.endswith(("32", "64")):
            continue
        values = codes(source).view(dtype_of(source))
        for name in ALL:
            result = np.ascontiguousarray(cast(values, source, name))
            out.write(f"{source} {name} {fnv1a(result.tobytes()):016x}\n")

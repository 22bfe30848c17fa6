"""Writes what ml_dtypes and NumPy say every code of the small floating-point dtypes is, as float32.

    python -m venv venv && venv/bin/pip install ml_dtypes==0.6.0 numpy==2.4.6
    venv/bin/python generate.py

Makes the folder ml_dtypes-0.6.0 beside this script:
  <dtype>.f32   for dtypes of up to 8 bits, the float32 of each code in order, little-endian; NaN is 0x7fc00000
  hashes.txt    for bfloat16 and float16, the FNV-1a 64-bit hash of the bytes that such a file would have
  exact.txt     every pair of dtypes of which the first converts to the second without changing any value
  promoted.txt  for every pair of the dtypes that NumPy has itself, the dtype that NumPy promotes both to
"""

import pathlib

import ml_dtypes
import numpy as np

assert ml_dtypes.__version__ == "0.6.0" and np.__version__ == "2.4.6"
HERE = pathlib.Path(__file__).parent / f"ml_dtypes-{ml_dtypes.__version__}"
HERE.mkdir(exist_ok=True)

SMALL = {
    "float4_e2m1fn": 4, "float6_e2m3fn": 6, "float6_e3m2fn": 6, "float8_e3m4": 8, "float8_e4m3": 8,
    "float8_e4m3b11fnuz": 8, "float8_e4m3fn": 8, "float8_e4m3fnuz": 8, "float8_e5m2": 8, "float8_e5m2fnuz": 8,
    "float8_e8m0fnu": 8,
}


def canonical(values):
    bits = values.astype(np.float32).view("<u4").copy()
    bits[np.isnan(values.astype(np.float32))] = 0x7FC00000
    return bits.tobytes()


def fnv1a(data):
    digest = 0xCBF29CE484222325
    for byte in data:
        digest = (digest ^ byte) * 0x100000001B3 % 2**64
    return digest


every = {}  # dtype: all of its values, or those at the edges where there are too many
for name, bits in SMALL.items():
    every[name] = np.arange(2**bits, dtype=np.uint8).view(getattr(ml_dtypes, name))
    (HERE / f"{name}.f32").write_bytes(canonical(every[name]))
with open(HERE / "hashes.txt", "w") as out:
    for name, dtype in [("bfloat16", ml_dtypes.bfloat16), ("float16", np.float16)]:
        every[name] = np.arange(2**16, dtype=np.uint16).view(dtype)
        out.write(f"{name} {fnv1a(canonical(every[name])):016x}\n")

every["bool"] = np.array([False, True])
for name in ["int4", "uint4"]:
    every[name] = np.arange(-8 if name == "int4" else 0, 8 if name == "int4" else 16).astype(getattr(ml_dtypes, name))
for bits in [8, 16, 32, 64]:
    for name in [f"int{bits}", f"uint{bits}"]:
        info = np.iinfo(name)
        near = [info.min, info.min + 1, -1, 0, 1, info.max - 1, info.max, 2**53 + 1, 2**24 + 1, 2**11 + 1, 2**8 + 1]
        every[name] = np.array([v for v in near if info.min <= v <= info.max], dtype=name)
INTEGERS = {name: (int(min(values)), int(max(values))) for name, values in every.items() if "int" in name}
for name in ["float32", "float64"]:
    info = np.finfo(name)
    one = np.dtype(name).type(1)
    every[name] = np.array(
        [0, -0.0, 1, one + info.eps, info.max, info.min, info.smallest_subnormal, np.inf, -np.inf, np.nan], dtype=name)
every["complex64"] = (every["float32"] + 0j).astype(np.complex64)
every["complex128"] = (every["float64"] + 0j).astype(np.complex128)
every["complex64"].imag = every["float32"][::-1]
every["complex128"].imag = every["float64"][::-1]


FLOATS = {*SMALL, "bfloat16", "float16"}


def parts(values):
    if np.iscomplexobj(values):
        return parts(values.real) + parts(values.imag)
    if values.dtype.kind in "iub" or values.dtype.name in ("int4", "uint4"):
        return [(int(v), False) for v in values]
    wide = values.astype(np.float64)
    # NaN is the same as NaN; a negative zero is not the same as zero.
    return [("nan" if np.isnan(v) else float(v), bool(np.signbit(v)) and not np.isnan(v) and v == 0) for v in wide]


def survives(source, target):
    if source == target:
        return True
    if target == "bool" or source.startswith("complex") and not target.startswith("complex"):
        return False
    if target in INTEGERS:
        # Integers by their ranges; every floating-point type has fractions or infinities.
        lowest, highest = INTEGERS[target]
        return (source == "bool" or source in INTEGERS) and all(lowest <= v <= highest for v, _ in parts(every[source]))
    with np.errstate(all="ignore"):
        values = every[source]
        if source in FLOATS or source.endswith("int4"):
            values = values.astype(np.float32)
        if target in FLOATS:
            # ml_dtypes has no cast between some of its types; by way of float32, of which each is a part, there is.
            values = values.real.astype(np.float32)
        there = values.astype(every[target].dtype)
    before, after = parts(every[source]), parts(there)
    if target.startswith("complex") and not source.startswith("complex"):
        after = after[: len(before)]
    return all(b == a and s == t for (b, s), (a, t) in zip(before, after, strict=True))


with open(HERE / "exact.txt", "w") as out:
    for source in every:
        for target in every:
            if survives(source, target):
                out.write(f"{source} {target}\n")


NATIVE = ["bool", *(f"{u}int{n}" for n in (8, 16, 32, 64) for u in ("", "u")), "float16", "float32", "float64",
          "complex64", "complex128"]
with open(HERE / "promoted.txt", "w") as out:
    for first in NATIVE:
        for second in NATIVE:
            out.write(f"{first} {second} {np.promote_types(first, second).name}\n")

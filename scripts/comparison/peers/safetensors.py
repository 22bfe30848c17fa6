"""The safetensors library, into NumPy's arrays.

Version 0.8 has two backends: it maps the file and copies out of the mapping, or it reads with `pread`.
"""

from __future__ import annotations

import ml_dtypes  # noqa: F401  (tells NumPy of bfloat16 and its like)
import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from comparison import parts
from comparison.peers import prepared, sync_file

DTYPES = {"BF16": "bfloat16", "F32": "float32"}


def load(path: str, backend: str):
    return load_file(path, backend=backend)


def parameters(path: str, backend: str):
    """The parameters alone of a training state, leaf by leaf."""
    with safe_open(path, "numpy", backend=backend) as opened:
        return {name: opened.get_tensor(name) for name in opened.keys() if parts.is_parameter(name)}


def slices(path: str, backend: str):
    """This process's part of each matrix, by `get_slice`."""
    found = {}
    with safe_open(path, "numpy", backend=backend) as opened:
        for name in opened.keys():
            part = opened.get_slice(name)
            found[name] = np.ascontiguousarray(part[parts.of_tensor(name, part.get_shape())])
    return found


def stack(path: str, backend: str):
    """Layers stacked in place: each is read into memory of its own and copied to where it belongs."""
    found = {}
    with safe_open(path, "numpy", backend=backend) as opened:
        for name, layers in parts.stacked(opened.keys()).items():
            if layers == [name]:
                found[name] = opened.get_tensor(name)
                continue
            first = opened.get_tensor(layers[0])
            joined = np.empty((len(layers), *first.shape), first.dtype)
            joined[0] = first
            for index, layer in enumerate(layers[1:], 1):
                joined[index] = opened.get_tensor(layer)
            found[name] = joined
    return found


def cast(path: str, backend: str):
    with safe_open(path, "numpy", backend=backend) as opened:
        return {name: opened.get_tensor(name).astype(np.float32) for name in opened.keys()}


@prepared
def save(source: str, path: str):
    """`save_file` of arrays that are in memory, until they are on stable storage."""
    arrays = load_file(source)

    def run() -> None:
        save_file(arrays, path)
        sync_file(path)

    return run


def merge(a: str, b: str, path: str) -> None:
    """Two models into one file, with prefixes: everything is loaded and written again."""
    arrays = {f"{prefix}.{name}": array for prefix, file in (("a", a), ("b", b)) for name, array in load_file(file).items()}
    save_file(arrays, path)
    sync_file(path)


def metadata(path: str):
    """Every leaf's dtype and shape."""
    with safe_open(path, "numpy") as opened:
        found = {}
        for name in opened.keys():
            part = opened.get_slice(name)
            found[name] = (DTYPES[part.get_dtype()], part.get_shape())
        return found

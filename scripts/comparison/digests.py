"""Digests of results, by which those of different libraries are held equal: dtype, shape and every bit of every leaf.

    python -m comparison.digests safetensors PATH            of a file, or of all in a folder
    python -m comparison.digests merged NAME=PATH…           of several files, with a prefix each
    python -m comparison.digests torch|orbax|tensorstore PATH    of what these libraries load
    python -m comparison.digests raw COMMAND…                runs the comparison driver with a folder added, and takes what it wrote there
    python -m comparison.digests inspect COMMAND…            runs `graft inspect`, and takes what it says of the leaves
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

Digests = dict[str, list]


def _each(leaves: dict[str, Callable[[], list]]) -> Digests:
    # SHA-256 lets go of the interpreter's lock, so that all processors take part.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(leaves, pool.map(lambda leaf: leaf(), leaves.values())))


def _digest(dtype: str, shape: tuple[int, ...], memory) -> list:
    return [dtype, list(shape), hashlib.sha256(memory).hexdigest()]


def _of_array(array) -> list:
    """The digest of an array of NumPy, JAX or PyTorch."""
    import ml_dtypes  # noqa: F401  (tells NumPy of bfloat16 and its like)
    import numpy as np

    if type(array).__module__.partition(".")[0] == "torch":
        import torch

        dtype, shape = str(array.dtype).removeprefix("torch."), tuple(array.shape)
        return _digest(dtype, shape, array.detach().contiguous().reshape(-1).view(torch.uint8).numpy())
    array = np.asarray(array)
    return _digest(array.dtype.name, array.shape, np.ascontiguousarray(array).reshape(-1).view(np.uint8))


def digests(arrays: dict) -> Digests:
    """Of arrays by name; of metadata, a dtype's name and a shape by name, what it says."""
    if all(isinstance(array, tuple) for array in arrays.values()):
        return {name: [dtype, list(shape)] for name, (dtype, shape) in arrays.items()}
    return _each({name: lambda array=array: _of_array(array) for name, array in arrays.items()})


def of_safetensors(path: str) -> Digests:
    import ml_dtypes  # noqa: F401
    from safetensors import safe_open

    found: Digests = {}
    for file in [Path(path)] if Path(path).is_file() else sorted(Path(path).glob("*.safetensors")):
        with safe_open(file, "numpy") as opened:
            found |= _each({name: lambda name=name: _of_array(opened.get_tensor(name)) for name in opened.keys()})
    return found


def of_merged(*named: str) -> Digests:
    found: Digests = {}
    for prefix, _, path in (each.partition("=") for each in named):
        found |= {f"{prefix}.{name}": digest for name, digest in of_safetensors(path).items()}
    return found


def of_loaded(peer: str, path: str, **arguments) -> Digests:
    return digests(importlib.import_module(f"comparison.peers.{peer}").load(path, **arguments))


def of_raw(*command: str) -> Digests:
    with tempfile.TemporaryDirectory(dir=os.environ["COMPARISON_FOLDER"]) as folder:
        answer = json.loads(subprocess.run([*command, folder], check=True, stdout=subprocess.PIPE).stdout)

        def digest(name: str, dtype: str, shape: list[int]) -> list:
            return _digest(dtype, tuple(shape), (Path(folder) / name).read_bytes())

        return _each({name: lambda name=name, spec=spec: digest(name, *spec) for name, spec in answer["leaves"].items()})


def of_inspection(*command: str) -> Digests:
    answer = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return {leaf["path"].replace("/", "."): [leaf["dtype"], leaf["shape"]] for leaf in answer["leaves"]}


KINDS: dict[str, Callable[..., Digests]] = {
    "safetensors": of_safetensors, "merged": of_merged, "raw": of_raw, "inspect": of_inspection,
    "orbax": lambda path: of_loaded("orbax", path),
    "tensorstore": lambda path: of_loaded("tensorstore", path),
    "torch": lambda path: of_loaded("torch", path, mmap=True),
}  # fmt: skip


def main() -> None:
    os.environ["JAX_PLATFORMS"] = "cpu"
    kind, *rest = sys.argv[1:]
    print(json.dumps({"digests": KINDS[kind](*rest)}))


if __name__ == "__main__":
    main()

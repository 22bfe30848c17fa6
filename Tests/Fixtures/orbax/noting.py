"""What the generators share: values to save, and the index of what is in which checkpoint."""

import hashlib
import pathlib

import jax
import jax.numpy as jnp
import ml_dtypes  # noqa: F401
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

HERE = pathlib.Path(__file__).parent
index = {}


def printed(key) -> str:
    for attribute in ("key", "idx", "name"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute)).replace("\\", "\\\\").replace("/", "\\/") or "\\e"
    raise TypeError(key)


def note(name: str, state) -> None:
    leaves = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        key = "/".join(map(printed, path)) or "(root)"
        if isinstance(leaf, str):
            leaves[key] = leaf
            continue
        if jnp.issubdtype(getattr(leaf, "dtype", np.float32), jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        value = np.asarray(leaf)
        raw = np.ascontiguousarray(value).tobytes()
        if value.dtype.name in ("int4", "float4_e2m1fn"):
            raw = bytes(byte & 15 for byte in raw)
        leaves[key] = {"dtype": value.dtype.name, "shape": list(value.shape), "sha256": hashlib.sha256(raw).hexdigest()}
    index[name] = leaves


def values(shape, dtype) -> np.ndarray:
    return (np.arange(int(np.prod(shape))) * 7919 % 251 % 13 - 4).reshape(shape).astype(dtype)


def sharded(array: np.ndarray, mesh: Mesh, *spec) -> jax.Array:
    return jax.device_put(array, NamedSharding(mesh, PartitionSpec(*spec)))

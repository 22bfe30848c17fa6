"""Orbax, into JAX's arrays on the processor."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from orbax.checkpoint import v1 as ocp

from comparison import parts
from comparison.peers import prepared, sync_folder


def nested(arrays: dict) -> dict:
    """A tree by the dots in names, as Graft makes of safetensors."""
    tree: dict = {}
    for name, array in arrays.items():
        *folders, last = name.split(".")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[last] = array
    return tree


def flat(tree) -> dict:
    """The leaves by names with dots, without placeholders."""
    return {
        ".".join(str(part.key) for part in path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
        if leaf is not ...}  # fmt: skip


def _ready(tree) -> dict:
    jax.block_until_ready(tree)
    return flat(tree)


def load(path: str):
    """`ocp.load`."""
    return _ready(ocp.load(path))


def load_safetensors(path: str):
    """`ocp.load` of a safetensors checkpoint, which Orbax reads too."""
    with ocp.Context(checkpoint_layout=ocp.options.CheckpointLayout.SAFETENSORS):
        return dict(_ready_flat(ocp.load(path)))


def _ready_flat(arrays: dict) -> dict:
    jax.block_until_ready(arrays)
    return arrays


def parameters(path: str):
    """`ocp.load` with placeholders for everything but the parameters."""
    metadata = ocp.metadata(path).metadata
    target = {key: tree if key == "params" else jax.tree.map(lambda _: ..., tree) for key, tree in metadata.items()}
    return _ready(ocp.load(path, target))


@prepared
def stack(path: str):
    """`ocp.load`, then `jnp.stack` of each layer's leaves; what was stacked is let go of."""
    jax.block_until_ready(jnp.stack([jnp.zeros(2)] * 2))

    def run():
        leaves = flat(ocp.load(path))
        found = {}
        for name, layers in parts.stacked(list(leaves)).items():
            taken = [leaves.pop(layer) for layer in layers]
            found[name] = jnp.stack(taken) if layers != [name] else taken[0]
        jax.block_until_ready(found)
        return found

    return run


def cast(path: str):
    """`ocp.load` with float32 as the dtype of the target, which has Orbax cast."""
    metadata = ocp.metadata(path).metadata
    target = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.float32), metadata)
    return _ready(ocp.load(path, target))


def saving(options: dict) -> ocp.Context:
    """The context of saves with some options of arrays."""
    context = ocp.Context()
    for name, value in options.items():
        if name == "chunk_byte_size":
            context.array.saving.storage_options.chunk_byte_size = value
        else:
            setattr(context.array.saving, name, value)
    return context


@prepared
def save(source: str, path: str, options: dict):
    """`ocp.save` of a tree of arrays that are in memory, until it is on stable storage."""
    from safetensors.numpy import load_file

    tree = jax.tree.map(jnp.asarray, nested(load_file(source)))
    jax.block_until_ready(tree)

    def run() -> None:
        with saving(options):
            ocp.save(path, tree)
        sync_folder(path)

    return run


def merge(a: str, b: str, path: str, options: dict) -> None:
    """Two checkpoints into one: both are loaded, and saved under one name each."""
    with saving(options):
        ocp.save(path, {"a": ocp.load(a), "b": ocp.load(b)})
    sync_folder(path)


def metadata(path: str):
    """Every leaf's dtype and shape, by `ocp.metadata`."""
    leaves = jax.tree_util.tree_flatten_with_path(ocp.metadata(path).metadata)[0]
    return {".".join(str(part.key) for part in keys): (np.dtype(leaf.dtype).name, tuple(leaf.shape)) for keys, leaf in leaves}

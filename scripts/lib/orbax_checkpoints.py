"""Makes the checkpoints that the benchmarks of reading Orbax use, with the real Orbax; scripts/orbax-checkpoints runs it.

    compressed    a training state of 4.9 GiB with Orbax's defaults: bfloat16 parameters, float32 Adam moments, zstd
    plain         one of 2.9 GiB without compression
    single-frame  one leaf of 131 MB in one zstd frame, as Orbax's defaults store every leaf
    sub-chunked   the same leaf in chunks of at most 1 MiB, each a frame of its own
    row-chunked   the same leaf cut along its rows alone, which Orbax cuts into single ones: 32,000 frames of 4 KiB
    many-leaves   10,000 small leaves
    layouts/*     one small state in every layout that versions 0 and 1 write

Values are noise of the shape that trained ones have: every bit of a mantissa is random, exponents are few. Every checkpoint has
beside it a file that says how it was made, and one that was made so already is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp0
from orbax.checkpoint import v1 as ocp

# Changes with what is made, so that checkpoints of an earlier recipe are made anew.
RECIPE = 1

Saving = ocp.options.ArrayOptions.Saving


class Noise:
    """Normal values drawn one array after another from one seed."""

    def __init__(self, seed: int):
        self.generator = np.random.default_rng(seed)

    def array(self, shape: tuple[int, ...], dtype, scale: float) -> jax.Array:
        values = self.generator.standard_normal(shape, dtype=np.float32)
        values *= np.float32(scale)
        return jnp.asarray(values.astype(dtype))

    def squares(self, shape: tuple[int, ...], scale: float) -> jax.Array:
        values = self.generator.standard_normal(shape, dtype=np.float32)
        values *= values
        values *= np.float32(scale)
        return jnp.asarray(values)


def training_state(layers: int, width: int, inner: int, keys: int, vocabulary: int, seed: int) -> dict:
    """A language model as TinyLlama is built, and Adam's two moments for each parameter."""
    shapes: dict = {"embed": {"embedding": (vocabulary, width)}, "norm": {"scale": (width,)}, "lm_head": {"kernel": (width, vocabulary)}}
    for layer in range(layers):
        shapes[f"layer_{layer}"] = {
            "attention": {"query": (width, width), "key": (width, keys), "value": (width, keys), "output": (width, width)},
            "mlp": {"gate": (width, inner), "up": (width, inner), "down": (inner, width)},
            "norms": {"input": (width,), "attention": (width,)},
        }
    noise = Noise(seed)

    def each(make: Callable[[tuple[int, ...]], jax.Array]) -> dict:
        return jax.tree.map(make, shapes, is_leaf=lambda shape: isinstance(shape, tuple))

    return {
        "params": each(lambda shape: noise.array(shape, jnp.bfloat16, 0.02)),
        "opt_state": {
            "mu": each(lambda shape: noise.array(shape, np.float32, 1e-4)),
            "nu": each(lambda shape: noise.squares(shape, 1e-8)),
            "count": jnp.asarray(1000, jnp.int32),
        },
        "step": 1000,
    }


def many_leaves(count: int) -> dict:
    parts = ["query", "key", "value", "output", "gate", "up", "down", "input_norm", "output_norm", "bias"]
    noise = Noise(5)
    return {
        "params": {
            f"layer_{layer}": {part: noise.array((8,), np.float32, 1) for part in parts} for layer in range(count // len(parts))
        }
    }


def save(path: Path, state, **options) -> None:
    with ocp.Context(array_options=ocp.options.ArrayOptions(saving=Saving(**options))):
        ocp.save(path, state)


def save_version_0(path: Path, state, **options) -> None:
    with ocp0.Checkpointer(ocp0.PyTreeCheckpointHandler(**options)) as checkpointer:
        checkpointer.save(path, state)


class Maker:
    """Makes checkpoints in a folder, each under its name at once or not at all."""

    def __init__(self, folder: Path, tiny: bool):
        self.folder, self.tiny = folder, tiny

    def make(self, name: str, write: Callable[[Path], None]) -> None:
        path = self.folder / name
        note = path.with_name(path.name + ".json")
        made = {"recipe": RECIPE, "tiny": self.tiny, "orbax-checkpoint": ocp0.__version__}
        if path.exists() and note.exists() and json.loads(note.read_text()) == made:
            return
        print(f"making {path}", flush=True)
        staged = path.with_name(f"{path.name}-unfinished")
        for old in (path, staged):
            shutil.rmtree(old, ignore_errors=True)
        note.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        write(staged)
        staged.rename(path)
        note.write_text(json.dumps(made))


# The switches of each version, by the word that a checkpoint's name has for each choice.
SWITCHES = {
    "use_ocdbt": {True: "database", False: "folders"},
    "use_zarr3": {False: "zarr2", True: "zarr3"},
    "use_compression": {True: "zstd", False: "plain"},
}


def layouts() -> dict[str, tuple[Callable, dict]]:
    made = {}
    for version, writer in (("v0", save_version_0), ("v1", save)):
        for database in (True, False):
            for zarr3 in (False, True):
                for compression in (True, False):
                    choices = dict(use_ocdbt=database, use_zarr3=zarr3, use_compression=compression)
                    words = [SWITCHES[switch][choice] for switch, choice in choices.items()]
                    made["-".join([version, *words])] = (writer, choices)
    chunks = Saving.StorageOptions(chunk_byte_size=1 << 20)
    made["v1-database-zarr3-zstd-subchunked"] = (save, dict(storage_options=chunks))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes the checkpoints that the benchmarks of reading Orbax use.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tiny", action="store_true", help="a few MiB in all: shows that everything runs")
    arguments = parser.parse_args()
    folder, tiny = arguments.folder.resolve(), arguments.tiny
    maker = Maker(folder, tiny)

    leaf = (500, 128) if tiny else (32_000, 2048)
    small = dict(width=128, inner=352, keys=32, vocabulary=512)
    usual = dict(width=2048, inner=5632, keys=256, vocabulary=32_000)
    maker.make("single-frame", lambda path: save(path, {"embedding": Noise(3).array(leaf, jnp.bfloat16, 0.02)}))
    for name, axes in {"sub-chunked": {}, "row-chunked": dict(shard_axes=(0,))}.items():
        chunks = Saving.StorageOptions(chunk_byte_size=1 << (14 if tiny else 20), **axes)
        maker.make(
            name, lambda path: save(path, {"embedding": Noise(3).array(leaf, jnp.bfloat16, 0.02)}, storage_options=chunks))
    maker.make("many-leaves", lambda path: save(path, many_leaves(100 if tiny else 10_000)))

    def middling():
        return training_state(layers=1, **small if tiny else dict(width=1024, inner=2816, keys=256, vocabulary=8192), seed=4)

    for name, (writer, choices) in layouts().items():
        maker.make(f"layouts/{name}", lambda path: writer(path, middling(), **choices))
    maker.make(
        "plain", lambda path: save(path, training_state(layers=2 if tiny else 4, **small if tiny else usual, seed=2), use_compression=False))
    maker.make("compressed", lambda path: save(path, training_state(layers=2 if tiny else 9, **small if tiny else usual, seed=1)))


if __name__ == "__main__":
    main()

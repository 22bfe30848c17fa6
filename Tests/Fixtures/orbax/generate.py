#!/usr/bin/env python3
"""Makes small checkpoints with the real Orbax, in every layout that it writes, and index.json, which says what is in them.

    generate.py [FOLDER]     writes into FOLDER, by default the folder of this Orbax's version beside it

Needs Tests/Interop/orbax/requirements.txt. Four virtual devices stand for a mesh, so arrays come in several shards.
index.json has, for each checkpoint, the leaves by path (keys joined by `/`, as Graft prints them): dtype, shape and the SHA-256 of
the elements in row-major order, elements of less than a byte in a byte each; or the text of a string.
"""

import json
import os
import pathlib
import shutil
import sys
from typing import NamedTuple

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp0
from jax.sharding import Mesh
from orbax.checkpoint import v1 as ocp
from orbax.checkpoint._src.metadata.pytree_metadata_options import PyTreeMetadataOptions

from noting import HERE, index, note, sharded, values

OUT = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else HERE / ocp0.__version__


class Moments(NamedTuple):
    mu: object
    nu: object


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    devices = np.array(jax.devices())
    square, line = Mesh(devices.reshape(2, 2), ("x", "y")), Mesh(devices, ("x",))

    # Too large for a node of the database, which holds small chunks itself.
    noise = np.random.default_rng(0).standard_normal((600,)).astype("float32")
    dtypes = {
        name: jnp.asarray(values((3, 5), np.float32)).astype(name)
        for name in "bfloat16 float16 float8_e4m3fn float8_e5m2 int4 int8 uint8 int32 uint32 complex64".split()
    }
    state = {
        "params": {"layer0": {"kernel": jnp.asarray(values((6, 10), "float32")), "bias": jnp.asarray(noise)}},
        "dtypes": dtypes | {"bool": jnp.asarray(values((7,), "int32") > 0)},
        "numpy": {"f8": values((40,), "float64"), "i8": values((40,), "int64"), "c16": values((3,), "complex128")},
        "opt": [values((3,), "float32"), None, (), {}, []],
        "pair": (1, 2.5),
        "moments": Moments(values((2,), "float32"), values((2,), "float32")),
        "step": 7,
        "flag": True,
        "name": "hé/llo\n",
        "odd": {"a.b": values((2,), "int8"), "x/y": values((2,), "int8"), "": values((2,), "int8"), "e\u0301": values((2,), "int8")},
    }
    ocp.save(OUT / "v1", state | {"key": jax.random.key(7)})
    note("v1", state | {"key": jax.random.key(7)})

    mesh_state = {
        "square": sharded(values((8, 12), "float32"), square, "x", "y"),
        "rows": sharded(values((8, 6), jnp.bfloat16), line, "x", None),
        "columns": sharded(values((3, 8), "int16"), line, None, "x"),
        "replicated": sharded(values((5, 3), "float32"), line),
        "half": sharded(values((4, 6), "float32"), square, None, "y"),
    }
    ocp.save(OUT / "v1-mesh", mesh_state)
    note("v1-mesh", mesh_state)

    saving = ocp.options.ArrayOptions.Saving
    with ocp.Context(array_options=ocp.options.ArrayOptions(saving=saving(storage_options=saving.StorageOptions(chunk_byte_size=64)))):
        ocp.save(OUT / "v1-subchunked", mesh_state)
    note("v1-subchunked", mesh_state)
    with ocp.Context(array_options=ocp.options.ArrayOptions(saving=saving(storage_options=saving.StorageOptions(chunk_byte_size=64, shard_axes=(0,))))):
        ocp.save(OUT / "v1-shard-axes", mesh_state)
    note("v1-shard-axes", mesh_state)

    plain = {"a": {"b": values((2, 3), "float32")}, "c.d": jnp.asarray(values((4,), jnp.bfloat16)), "x/y": values((2,), "int64"), "s": "text", "n": 3}
    for name, options in {
        "v1-folders-zarr3": dict(use_ocdbt=False, use_zarr3=True),
        "v1-folders-zarr2": dict(use_ocdbt=False, use_zarr3=False),
        "v1-ocdbt-zarr2": dict(use_ocdbt=True, use_zarr3=False),
        "v1-uncompressed": dict(use_ocdbt=True, use_zarr3=True, use_compression=False),
    }.items():
        with ocp.Context(array_options=ocp.options.ArrayOptions(saving=saving(**options))):
            ocp.save(OUT / name, plain)
        note(name, plain)

    ocp.save(OUT / "v1-bare", values((3,), "float32"))
    note("v1-bare", values((3,), "float32"))
    ocp.save_checkpointables(OUT / "v1-many", {"state": plain, "other": {"z": values((2,), "int32")}})
    note("v1-many", plain)
    note("v1-many:other", {"z": values((2,), "int32")})

    ocp0.PyTreeCheckpointer().save(OUT / "v0", plain)
    note("v0", plain)
    ocp0.Checkpointer(ocp0.PyTreeCheckpointHandler(use_ocdbt=False)).save(OUT / "v0-folders", plain)
    note("v0-folders", plain)
    options = ocp0.CheckpointManagerOptions(step_prefix="ckpt", step_format_fixed_length=4, max_to_keep=None)
    with ocp0.CheckpointManager(OUT / "v0-steps", options=options, item_names=("default", "info")) as manager:
        for step in (3, 20, 100):
            tree = {"w": values((3,), "float32") + step}
            manager.save(step, args=ocp0.args.Composite(default=ocp0.args.StandardSave(tree), info=ocp0.args.JsonSave({"step": step})))
            manager.wait_until_finished()
            note(f"v0-steps@{step}", tree)
    # A save that was interrupted: the folder still has its temporary name.
    shutil.copytree(OUT / "v0-steps" / "ckpt_0100", OUT / "v0-steps" / "ckpt_0200.orbax-checkpoint-tmp")

    rich = ocp0.PyTreeCheckpointHandler(pytree_metadata_options=PyTreeMetadataOptions(support_rich_types=True))
    tree = {"m": Moments(values((2,), "float32"), values((2,), "float32")), "t": (values((2,), "int8"), 4), "l": [1]}
    ocp0.Checkpointer(rich).save(OUT / "v0-rich", tree)
    note("v0-rich", tree)

    # Orbax notes where it committed to; nobody else has that folder.
    for marker in OUT.rglob("commit_success.txt"):
        marker.write_text(marker.read_text().replace(f"{OUT}/", ""))
    (OUT / "index.json").write_text(json.dumps(index, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()

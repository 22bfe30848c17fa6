#!/usr/bin/env python3
"""Makes small checkpoints with older versions of the real Orbax, and index.json beside them, as generate.py does with the pinned one.

    pip install --no-deps --target OLDER orbax-checkpoint==0.6.4 nest_asyncio==1.6.0
    generate_older.py OLDER [FOLDER]     writes into FOLDER, by default the folder of that version beside this script

Needs Tests/Interop/orbax/requirements.txt besides, whose JAX is newer than these versions were made for: the names that JAX has
dropped since are put back below. Nothing of that is about what is written.
"""

import json
import os
import pathlib
import shutil
import sys
import types

sys.path.insert(0, sys.argv[1])
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"

import jax
import jax.lib
import numpy as np
from jax._src import config
from jax.sharding import Mesh, NamedSharding, PartitionSpec

for module, name, value in (
    (jax, "tree_map", jax.tree.map),
    (jax.sharding, "PositionalSharding", type("PositionalSharding", (jax.sharding.Sharding,), {})),
    (jax.lib, "xla_extension", types.SimpleNamespace(XlaRuntimeError=RuntimeError)),
    (config, "enable_memories", types.SimpleNamespace(value=True)),
):
    if not hasattr(module, name):
        setattr(module, name, value)
encode = json.JSONEncoder.default
# Partition specs were tuples.
json.JSONEncoder.default = lambda self, value: list(value) if isinstance(value, PartitionSpec) else encode(self, value)

import orbax.checkpoint as ocp

from noting import HERE, index, note, sharded, values

VERSION = tuple(map(int, ocp.__version__.split(".")))
OUT = pathlib.Path(sys.argv[2]).resolve() if len(sys.argv) > 2 else HERE / ocp.__version__


def save(name: str, state, save_args=None, **options) -> None:
    checkpointer = ocp.Checkpointer(ocp.PyTreeCheckpointHandler(**options))
    if VERSION < (0, 5):
        checkpointer.save(OUT / name, state, save_args=save_args)
    else:
        checkpointer.save(OUT / name, args=ocp.args.PyTreeSave(state, save_args=save_args))


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    mesh = Mesh(np.array(jax.devices()).reshape(2, 2), ("x", "y"))
    state = {
        "square": sharded(values((8, 12), "float32"), mesh, "x", "y"),
        "rows": sharded(values((8, 3), "bfloat16"), mesh, "x"),
        "numpy": {"f8": values((40,), "float64"), "a.b": values((3,), "int8")},
        "list": [values((3,), "float32"), None, (), {}],
        "step": 7,
        "name": "text",
    }
    layouts = {"database": {}, "folders": dict(use_ocdbt=False)}
    if VERSION >= (0, 6):
        layouts |= {"database-zarr3": dict(use_zarr3=True), "folders-zarr3": dict(use_ocdbt=False, use_zarr3=True)}
    for name, options in layouts.items():
        chunked = None
        if "zarr3" in name:
            chunked = jax.tree.map(lambda _: ocp.SaveArgs(chunk_byte_size=64), state)
        save(name, state, chunked, **options)
        note(name, state)
    # Before 0.5 a leaf could be put with others into one file of msgpack, which Graft does not read.
    if VERSION < (0, 5):
        mixed = {"apart": values((3,), "float32"), "together": values((4,), "float32")}
        save("aggregated", mixed, {"apart": ocp.SaveArgs(), "together": ocp.SaveArgs(aggregate=True)}, use_ocdbt=False)
    for marker in OUT.rglob("commit_success.txt"):
        marker.write_text(marker.read_text().replace(f"{OUT}/", ""))
    (OUT / "index.json").write_text(json.dumps(index, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()

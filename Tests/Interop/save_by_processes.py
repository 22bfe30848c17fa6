"""One of several processes that save a checkpoint together with the real Orbax, each the shards of its own devices.

    save_by_processes.py PROCESS PROCESSES PORT FOLDER SEED

Process 0 opens PORT of this machine for the others. FOLDER gets one checkpoint for each layout of LAYOUTS; `state` says what is in
them, so that a test knows without asking.
"""

import os
import sys
from pathlib import Path

DEVICES_PER_PROCESS = 2
# How checkpoints are laid out, by the name of their folders: options of Orbax's.
LAYOUTS = {
    "database-zarr3": {},
    "database-zarr2": dict(use_zarr3=False),
    "folders-zarr3": dict(use_ocdbt=False, use_zarr3=True),
    "small-chunks": dict(chunk_byte_size=96),
}


def state(seed: int) -> dict:
    """The arrays by name, each with the axes of the mesh that its own are split over; numbers and text."""
    import numpy as np

    numbers = np.random.default_rng(seed)
    return {
        "both": (numbers.standard_normal((8, 6), np.float32), ("x", "y")),
        "rows": (numbers.integers(-99, 99, (4, 5)).astype(np.int16), ("x",)),
        "columns": (numbers.standard_normal((3, 8), np.float32), (None, "y")),
        "together": (numbers.standard_normal((16, 3), np.float32), (("x", "y"),)),
        "replicated": (numbers.standard_normal((5, 3), np.float32), ()),
        # Too large for a node of a database, which holds small chunks itself.
        "large": (numbers.standard_normal((64, 64), np.float32), ("x", "y")),
        "step": 7,
        "name": "by several",
    }


def main(process: int, processes: int, port: int, folder: Path, seed: int) -> None:
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={DEVICES_PER_PROCESS}"
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec
    from orbax.checkpoint import v1 as ocp

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=processes, process_id=process)
    mesh = Mesh(np.array(jax.devices()).reshape(processes, DEVICES_PER_PROCESS), ("x", "y"))

    def array(values: np.ndarray, axes: tuple) -> jax.Array:
        return jax.make_array_from_callback(
            values.shape, NamedSharding(mesh, PartitionSpec(*axes)), lambda index: values[index])

    tree = {name: array(*value) if isinstance(value, tuple) else value for name, value in state(seed).items()}
    saving = ocp.options.ArrayOptions.Saving
    for layout, options in LAYOUTS.items():
        options = dict(options)
        if size := options.pop("chunk_byte_size", None):
            options["storage_options"] = saving.StorageOptions(chunk_byte_size=size)
        with ocp.Context(array_options=ocp.options.ArrayOptions(saving=saving(**options))):
            ocp.save(folder / layout, tree)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), Path(sys.argv[4]), int(sys.argv[5]))

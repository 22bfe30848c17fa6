"""Arrays of real Orbax checkpoints in grids that Orbax 0.12.8 reads and does not make itself, written by TensorStore in its place.

Its own chunks divide every array, and its shards hold one chunk each. Those of earlier versions and of other writers do not; Orbax
loads them all the same.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from test_orbax import Drawing, assert_same, save  # sets up JAX, so it comes before what imports that

import numpy as np
import tensorstore as ts
from orbax.checkpoint import v1 as ocp

LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
ZSTD = {"name": "zstd", "configuration": {"level": 3}}


def shards(shard: list[int], chunk: list[int], codecs: list, **more) -> dict:
    """Metadata of Zarr 3 for shards of this shape."""
    configuration = {"chunk_shape": chunk, "codecs": codecs, "index_codecs": [LITTLE, {"name": "crc32c"}]} | more
    return {
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shard}},
        "codecs": [{"name": "sharding_indexed", "configuration": configuration}],
    }


DATABASE_3, DATABASE_2 = {}, dict(use_zarr3=False)
FOLDERS_3, FOLDERS_2 = dict(use_ocdbt=False, use_zarr3=True), dict(use_ocdbt=False, use_zarr3=False)
# Grids for an array of 23 × 38: how Orbax is told to save, and the array's metadata as TensorStore then writes it.
GRIDS = {
    "chunks that divide nothing": (DATABASE_3, {
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [5, 9]}}, "codecs": [LITTLE, ZSTD]}),
    "chunks that divide nothing, zarr 2": (DATABASE_2, {"chunks": [5, 9], "compressor": {"id": "zstd", "level": 1}}),
    "chunks that divide nothing, plain": (FOLDERS_2, {"chunks": [5, 9], "compressor": None}),
    "chunks that divide nothing, blosc": (FOLDERS_2, {"chunks": [5, 9], "compressor": {"id": "blosc"}}),
    "chunks in nested folders": (FOLDERS_2, {"chunks": [5, 9], "compressor": None, "dimension_separator": "/"}),
    "shards of several chunks": (DATABASE_3, shards([23, 38], [23, 19], [LITTLE, ZSTD])),
    "uneven shards of several chunks": (DATABASE_3, shards([10, 12], [5, 4], [LITTLE, ZSTD])),
    "uneven shards in folders": (FOLDERS_3, shards([10, 12], [5, 4], [LITTLE, ZSTD])),
    "uneven shards, index in front": (FOLDERS_3, shards([10, 12], [2, 3], [LITTLE], index_location="start")),
    "uneven shards with checksums": (DATABASE_3, shards([8, 16], [4, 16], [LITTLE, ZSTD, {"name": "crc32c"}])),
    "shards larger than the array": (DATABASE_3, shards([64, 64], [16, 8], [LITTLE, ZSTD])),
}


def write_instead(path: Path, name: str, values: np.ndarray, options: dict, metadata: dict) -> None:
    """Replaces an array of a saved checkpoint by one of other metadata."""
    folder = {"driver": "file", "path": f"{path}/state/"}
    if options.get("use_ocdbt", True):
        store = {"driver": "ocdbt", "base": folder, "path": f"{name}/"}
    else:
        store = folder | {"path": f"{path}/state/{name}/"}
    driver = "zarr3" if options.get("use_zarr3", True) else "zarr"
    array = ts.open(
        {"driver": driver, "kvstore": store, "metadata": {"shape": list(values.shape)} | metadata},
        create=True, delete_existing=True, dtype=ts.dtype(values.dtype), shape=values.shape).result()
    array.write(values).result()


@pytest.mark.parametrize("grid", GRIDS)
def test_uneven_grids_are_read_as_orbax_reads_them(graft, tmp_path, grid):
    options, metadata = GRIDS[grid]
    drawing = Drawing(grid)
    state = {"w": np.float32(drawing.random.random()) + np.arange(23 * 38, dtype=np.float32).reshape(23, 38), "step": 3}
    path = save(tmp_path / "checkpoint", state | {"w": np.zeros_like(state["w"])}, **options)
    write_instead(path, "w", state["w"], options, metadata)
    loaded = ocp.load(path)
    assert np.array_equal(loaded["w"], state["w"])
    assert_same(graft, path, loaded, tmp_path, drawing, peeks=1)
    for _ in range(8):
        text, part = drawing.slice([23, 38])
        answer = graft.json("peek", path, "w", "--slice", text)
        assert answer["shape"] == list(state["w"][part].shape), text
        assert np.array_equal(np.array(answer["values"], np.float32).ravel(), state["w"][part].ravel()), text


UNREAD = {
    "the compressor gzip": (FOLDERS_2, {"chunks": [5, 9], "compressor": {"id": "gzip", "level": 5}}),
    "the column-major order F": (DATABASE_2, {"chunks": [5, 9], "compressor": None, "order": "F"}),
    "the codec gzip": (DATABASE_3, {"codecs": [LITTLE, {"name": "gzip", "configuration": {"level": 5}}]}),
    "the codec transpose": (FOLDERS_3, {
        "codecs": [{"name": "transpose", "configuration": {"order": [1, 0]}}, LITTLE]}),
}


@pytest.mark.parametrize("reason", UNREAD)
def test_an_array_that_is_not_read_keeps_nobody_from_the_others(graft, tmp_path, reason):
    options, metadata = UNREAD[reason]
    values = np.arange(23 * 38, dtype=np.float32).reshape(23, 38)
    path = save(tmp_path / "checkpoint", {"good": values, "bad": values}, **options)
    write_instead(path, "bad", values, options, metadata)
    assert np.array_equal(ocp.load(path)["bad"], values)

    leaves = {leaf["path"]: leaf for leaf in graft.json("inspect", path)["leaves"]}
    assert reason in leaves["bad"]["unsupported"] and "unsupported" not in leaves["good"]
    assert leaves["bad"]["shape"] == [23, 38]
    assert reason in graft.run("inspect", path).output
    assert graft.json("load", path, "--drop", "bad", "--no-ceiling")["leaves"] == 1
    assert graft.json("peek", path, "good", "--slice", "22,37")["values"] == values[22, 37]
    for arguments in (["load", path], ["peek", path, "bad"], ["convert", path, tmp_path / "a.safetensors"]):
        error = graft.error(*arguments)
        assert reason in error.lower().replace(" f ", " F ") and "leaf bad" in error and "--drop" in error
    graft.json("convert", path, tmp_path / "a.safetensors", "--drop", "bad")

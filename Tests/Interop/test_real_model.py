"""A real pretrained model, whole and in part, against the reference library: bit for bit, and byte for byte of what is read."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors import safe_open

import tensors as st

# The word embeddings are half of this model, so few of its bytes are elsewhere; small biases stand between large matrices.
LAYER = "encoder.layer.3."
MATRIX = "encoder.layer.3.intermediate.dense.weight"


@pytest.fixture(scope="module")
def contents(real_model) -> dict[str, st.Tensor]:
    return st.read(real_model)


def byte_count(contents: dict[str, st.Tensor]) -> int:
    return sum(len(tensor.data) for tensor in contents.values())


def test_inspect_shows_every_tensor_and_the_metadata(graft, real_model, contents):
    answer = graft.json("inspect", real_model)
    found = {leaf["path"]: (leaf["dtype"], tuple(leaf["shape"]), leaf["logical_bytes"]) for leaf in answer["leaves"]}
    assert found == {
        st.leaf_path(name): (st.BY_STORED[tensor.dtype].named, tensor.shape, len(tensor.data))
        for name, tensor in contents.items()
    }
    assert answer["logical_bytes"] == answer["stored_bytes"] == byte_count(contents)
    assert answer["metadata"]["format"] == st.metadata(real_model)["format"] == "pt"


def test_a_whole_load_reads_every_byte_once(graft, real_model, contents):
    answer = graft.json("load", real_model, "--no-ceiling")
    assert answer["logical_bytes"] == byte_count(contents)
    # Its data is one range, so not even a gap between tensors is a reason to read more.
    assert byte_count(contents) <= answer["bytes_read"] <= real_model.stat().st_size
    assert answer["leaves"] == len(contents)


def test_a_part_is_loaded_by_reading_little_more_than_it(graft, real_model, contents):
    part = {name: tensor for name, tensor in contents.items() if name.startswith(LAYER)}
    answer = graft.json("load", real_model, "--select", "encoder/layer/3/**", "--no-ceiling")
    assert answer["leaves"] == len(part)
    assert answer["logical_bytes"] == byte_count(part)
    assert byte_count(part) <= answer["bytes_read"] <= 1.05 * byte_count(part)


def test_one_large_leaf_is_read_alone(graft, real_model, contents):
    answer = graft.json("load", real_model, "--select", st.leaf_path(MATRIX), "--no-ceiling")
    assert answer["bytes_read"] == len(contents[MATRIX].data)


@pytest.mark.parametrize("engine", ["auto", "uring", "threads"])
def test_every_engine_reads_the_same_bytes(graft, real_model, contents, tmp_path, engine):
    answer = graft.json("load", real_model, "--engine", engine, "--repeat", "2", "--no-ceiling")
    assert answer["logical_bytes"] == byte_count(contents)
    assert len(answer["seconds"]) == 2


SLICES = [
    ("0:2,0:5", np.s_[0:2, 0:5]),
    ("7", np.s_[7]),
    (":,3", np.s_[:, 3]),
    ("10:20:3,::100", np.s_[10:20:3, ::100]),
    ("-1,-4:", np.s_[-1, -4:]),
    ("1534:9999,::-1", np.s_[1534:9999, ::-1]),  # bounds past the end are those of the end
]


@pytest.mark.parametrize("text, index", SLICES, ids=[text for text, _ in SLICES])
def test_a_slice_shows_the_library_s_values(graft, real_model, text, index):
    with safe_open(real_model, framework="np") as file:
        expected = file.get_tensor(MATRIX)[index]
    answer = graft.json("peek", real_model, st.leaf_path(MATRIX), f"--slice={text}")
    assert answer["shape"] == list(expected.shape)
    assert np.array_equal(np.array(answer["values"], dtype=np.float32).reshape(expected.shape), expected)
    statistics = answer["statistics"]
    assert statistics["min"] == pytest.approx(float(expected.min()), rel=1e-6)
    assert statistics["max"] == pytest.approx(float(expected.max()), rel=1e-6)
    assert statistics["mean"] == pytest.approx(float(expected.mean(dtype=np.float64)), rel=1e-6, abs=1e-9)
    assert statistics["std"] == pytest.approx(float(expected.std(dtype=np.float64)), rel=1e-5)


def test_rows_of_a_leaf_are_read_without_the_rest(graft, real_model, contents):
    rows = 16
    answer = graft.json("peek", real_model, "embeddings/word_embeddings/weight", "--slice", f"1000:{1000 + rows}")
    row_bytes = contents["embeddings.word_embeddings.weight"].shape[1] * 4
    assert answer["bytes_read"] == rows * row_bytes


def test_a_conversion_keeps_every_bit_and_the_metadata(graft, real_model, contents, tmp_path):
    answer = graft.json("convert", real_model, tmp_path / "copy.safetensors")
    assert answer["leaves_written"] == len(contents)
    assert st.read(tmp_path / "copy.safetensors") == contents
    assert st.metadata(tmp_path / "copy.safetensors") == st.metadata(real_model)


def test_a_part_is_converted_and_nothing_else_is_read(graft, real_model, contents, tmp_path):
    answer = graft.json(
        "convert", real_model, tmp_path / "part.safetensors", "--select", "encoder/layer/3/**",
        "--drop", "**/bias")
    part = {name: t for name, t in contents.items() if name.startswith(LAYER) and not name.endswith(".bias")}
    assert st.read(tmp_path / "part.safetensors") == part
    assert byte_count(part) <= answer["bytes_read"] <= 1.05 * byte_count(part)
    assert answer["leaves_written"] == len(part)


def test_shards_and_back_are_the_same_tensors(graft, real_model, contents, tmp_path):
    graft.json("convert", real_model, tmp_path / "model", "--to", "safetensors", "--shard-size", "16MiB")
    assert st.read_folder(tmp_path / "model") == contents
    shards = sorted((tmp_path / "model").glob("*.safetensors"))
    assert len(shards) > 3
    # A leaf larger than a shard has one of its own; every other shard keeps to the size.
    for shard in shards:
        assert len(st.read(shard)) == 1 or byte_count(st.read(shard)) <= 16 << 20
    graft.json("convert", tmp_path / "model", tmp_path / "back.safetensors")
    assert st.read(tmp_path / "back.safetensors") == contents


def test_a_plan_says_what_the_load_then_reads(graft, real_model):
    selection = ["--select", "encoder/layer/{0,5}/**", "--drop", "**/bias"]
    plan = graft.json("plan", real_model, *selection)
    load = graft.json("load", real_model, *selection, "--no-ceiling")
    # Where the file is not in the page cache, whole sectors are read around it.
    assert plan["bytes_read"] <= load["bytes_read"] <= plan["bytes_read"] + 2 * 4096 * load["requests"]
    assert len(plan["leaves"]) == load["leaves"]

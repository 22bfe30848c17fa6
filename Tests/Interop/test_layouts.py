"""Files and folders as people have them: odd names, scalars and empties, shards with and without an index."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tensors as st


def floats(*shape: int, seed: int = 0) -> st.Tensor:
    return st.from_numpy(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))


ODD_NAMES = {
    "composed \u00e9": floats(2, seed=1),
    "composed e\u0301": floats(2, seed=2),  # the same text to a reader, another name to the format
    "模型.重み.0": floats(3, seed=3),
    "slash/in/name": floats(1, seed=4),
    "back\\slash": floats(1, seed=5),
    "a..b": floats(1, seed=6),
    ".leading": floats(1, seed=7),
    "trailing.": floats(1, seed=8),
    "control\u0001\u001b[31m": floats(1, seed=9),
    'quotation"mark': floats(1, seed=10),
    "*.{a,b}": floats(1, seed=11),
    "007": floats(1, seed=13),
    "\U0001f9e0": floats(1, seed=14),
}


@pytest.mark.parametrize("flat", [[], ["--flat"]], ids=["split", "flat"])
def test_odd_names_survive(graft, tmp_path, flat):
    source = st.write(tmp_path / "odd.safetensors", ODD_NAMES)
    graft.json("convert", source, tmp_path / "result.safetensors", *flat)
    assert st.read(tmp_path / "result.safetensors") == ODD_NAMES


def test_a_name_of_no_letters_survives(graft, tmp_path):
    contents = {"": floats(2), "a": floats(3)}
    source = st.write(tmp_path / "nameless.safetensors", contents)
    graft.json("convert", source, tmp_path / "result.safetensors")
    assert st.read(tmp_path / "result.safetensors") == contents


def test_every_odd_name_has_a_path_of_its_own_by_which_it_is_found(graft, tmp_path):
    source = st.write(tmp_path / "odd.safetensors", ODD_NAMES)
    paths = [leaf["path"] for leaf in graft.json("inspect", source)["leaves"]]
    assert len(set(paths)) == len(ODD_NAMES)
    found = {np.array(graft.json("peek", source, path)["values"], np.float32).tobytes() for path in paths}
    assert found == {tensor.data for tensor in ODD_NAMES.values()}


def test_no_path_carries_control_codes_to_a_terminal(graft, tmp_path):
    result = graft.run("inspect", st.write(tmp_path / "odd.safetensors", ODD_NAMES))
    assert result.status == 0, result
    assert not any(ord(c) < 0x20 and c != "\n" or c == "\x7f" for c in result.output)


def test_metadata_is_kept_as_it_is(graft, tmp_path):
    metadata = {"format": "pt", "quotation": 'a "b" \\ c', "lines": "a\nb\u0007", "empty": "", "é": "ü"}
    source = st.write(tmp_path / "a.safetensors", {"a": floats(4)}, metadata)
    assert graft.json("inspect", source)["metadata"] == metadata
    graft.json("convert", source, tmp_path / "b.safetensors")
    assert st.metadata(tmp_path / "b.safetensors") == metadata


def test_a_file_of_no_tensors_is_a_checkpoint(graft, tmp_path):
    source = st.write(tmp_path / "none.safetensors", {}, {"format": "pt"})
    assert graft.json("inspect", source)["leaves"] == []


def test_tensors_of_no_elements_and_scalars_stand_side_by_side(graft, tmp_path):
    contents = {"nothing": floats(0), "a.nothing": floats(3, 0, 2), "scalar": floats(), "one": floats(1, 1, 1)}
    source = st.write(tmp_path / "a.safetensors", contents)
    answer = graft.json("load", source, "--no-ceiling")
    assert (answer["leaves"], answer["logical_bytes"]) == (4, 8)
    graft.json("convert", source, tmp_path / "b.safetensors")
    assert st.read(tmp_path / "b.safetensors") == contents


def test_data_that_is_not_aligned_is_read(graft, tmp_path):
    contents = {"byte": st.from_numpy(np.array([7], np.uint8)), "a": floats(33), "b": floats(5, 7)}
    source = st.write_raw(tmp_path / "odd.safetensors", contents, padded=False)
    assert st.read(source) == contents
    graft.json("convert", source, tmp_path / "b.safetensors")
    assert st.read(tmp_path / "b.safetensors") == contents


def test_thousands_of_leaves_come_through(graft, tmp_path):
    contents = {f"layers.{i}.{part}": floats(i % 7, 3, seed=i) for i in range(1000) for part in ("w", "b", "s")}
    source = st.write(tmp_path / "many.safetensors", contents)
    assert len(graft.json("inspect", source)["leaves"]) == 3000
    graft.json("convert", source, tmp_path / "b.safetensors")
    assert st.read(tmp_path / "b.safetensors") == contents


# ---- names that are both a leaf and a parent -------------------------------------------------------------------------


def test_a_name_that_is_leaf_and_parent_is_an_error_that_the_flat_reading_avoids(graft, tmp_path):
    contents = {"a": floats(2), "a.b": floats(3)}
    source = st.write(tmp_path / "a.safetensors", contents)
    message = graft.error("convert", source, tmp_path / "b.safetensors")
    assert "a.b" in message or "a/b" in message
    assert not (tmp_path / "b.safetensors").exists()
    graft.json("convert", source, tmp_path / "b.safetensors", "--flat")
    assert st.read(tmp_path / "b.safetensors") == contents


# ---- folders ---------------------------------------------------------------------------------------------------------

SHARDS = {
    "model-00001-of-00002.safetensors": {"embed.weight": floats(40, 8, seed=1), "layers.0.w": floats(8, 8, seed=2)},
    "model-00002-of-00002.safetensors": {"layers.1.w": floats(8, 8, seed=3), "head": floats(8, seed=4)},
}
ALL = {name: tensor for shard in SHARDS.values() for name, tensor in shard.items()}


def sharded(folder, index: bool = True, **changes) -> object:
    folder.mkdir()
    for name, contents in SHARDS.items():
        st.write(folder / name, contents, {"format": "pt"})
    weight_map = {name: shard for shard, contents in SHARDS.items() for name in contents}
    weight_map.update(changes.get("weight_map", {}))
    if index:
        total = sum(len(tensor.data) for tensor in ALL.values())
        text = json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map})
        (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("index", [True, False], ids=["index", "no index"])
def test_a_folder_of_shards_is_one_checkpoint(graft, tmp_path, index):
    folder = sharded(tmp_path / "model", index=index)
    assert {leaf["path"] for leaf in graft.json("inspect", folder)["leaves"]} == {st.leaf_path(name) for name in ALL}
    graft.json("convert", folder, tmp_path / "whole.safetensors")
    assert st.read(tmp_path / "whole.safetensors") == ALL


def test_a_shard_that_nothing_is_selected_from_is_not_read(graft, tmp_path):
    answer = graft.json("load", sharded(tmp_path / "model"), "--select", "layers/1/**", "--no-ceiling")
    assert answer["bytes_read"] == len(ALL["layers.1.w"].data)


def test_a_missing_shard_is_named(graft, tmp_path):
    folder = sharded(tmp_path / "model")
    (folder / "model-00002-of-00002.safetensors").unlink()
    assert "model-00002-of-00002.safetensors" in graft.error("inspect", folder)


def test_a_tensor_that_the_index_promises_and_no_shard_has_is_named(graft, tmp_path):
    folder = sharded(tmp_path / "model", weight_map={"layers.2.w": "model-00002-of-00002.safetensors"})
    assert "layers.2.w" in graft.error("load", folder)


def test_a_tensor_that_stands_in_two_shards_is_named(graft, tmp_path):
    folder = sharded(tmp_path / "model", index=False)
    st.write(folder / "model-00003-of-00002.safetensors", {"head": floats(8, seed=5)})
    assert "head" in graft.error("inspect", folder)


@pytest.mark.parametrize("outside", ["../outside.safetensors", "/etc/hostname"])
def test_an_index_leads_nowhere_outside_its_folder(graft, tmp_path, outside):
    st.write(tmp_path / "outside.safetensors", {"head": floats(8, seed=4)})
    folder = sharded(tmp_path / "model", weight_map={"head": outside})
    assert outside in graft.error("inspect", folder)


def test_single_to_sharded_to_single_keeps_everything(graft, tmp_path):
    source = st.write(tmp_path / "a.safetensors", ALL)
    graft.json("convert", source, tmp_path / "model", "--to", "safetensors", "--shard-size", "1KiB")
    assert st.read_folder(tmp_path / "model") == ALL
    graft.json("convert", tmp_path / "model", tmp_path / "b.safetensors")
    assert st.read(tmp_path / "b.safetensors") == ALL

"""Steps, parts and metadata of real Orbax checkpoints as the tool names them, and partial loads beside Orbax's placeholders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from test_orbax import Drawing, assert_same, leaves_of, same_bits  # sets up JAX, so it comes before what imports that

import jax
import numpy as np
import orbax.checkpoint as ocp0
import tensors as st
from orbax.checkpoint import v1 as ocp


# ---- steps and parts -------------------------------------------------------------------------------------------------


def tree(step: int, part: str) -> dict:
    return {"w": np.arange(6, dtype=np.float32) + step, part: {"n": np.array([step, 1], np.int32)}}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Steps of several parts: two trees, JSON, an array, and the keys of random number generators."""
    root = tmp_path_factory.mktemp("parts") / "run@home"
    names = ("params", "opt", "info", "array", "key", "words")
    # Without something that ranks them a manager drops metrics.
    options = ocp0.CheckpointManagerOptions(
        max_to_keep=None, step_prefix="ckpt", step_format_fixed_length=5, best_fn=lambda metrics: metrics["loss"])
    with ocp0.CheckpointManager(root, options=options, item_names=names) as manager:
        for step in (7, 30):
            args = ocp0.args
            manager.save(step, metrics={"loss": 0.5}, args=args.Composite(
                params=args.StandardSave(tree(step, "params")), opt=args.PyTreeSave(tree(step, "opt")),
                info=args.JsonSave({"step": step, "text": "h\u00e9 \"quoted\"", "list": [1, None, 2.5]}),
                array=args.ArraySave(np.arange(5.0) + step), key=args.JaxRandomKeySave(jax.random.key(step)),
                words=args.NumpyRandomKeySave(np.random.RandomState(step).get_state())))
        manager.wait_until_finished()
    return root


@pytest.mark.parametrize("name", ["7", "ckpt_00007", "00007"])
def test_a_step_is_named_by_its_number_or_folder(graft, root, name):
    found = graft.json("peek", f"{root}@{name}", "w", "--checkpointable", "params")
    assert found["values"] == tree(7, "")["w"].tolist()


def test_a_step_that_is_not_there_is_an_error_that_names_those_that_are(graft, root):
    error = graft.error("inspect", f"{root}@8", "--checkpointable", "params")
    assert "step 8" in error and "ckpt_00007" in error and "ckpt_00030" in error


@pytest.mark.parametrize("part", ["params", "opt"])
def test_a_part_that_is_a_tree_is_what_orbax_restores(graft, root, tmp_path, part):
    with ocp0.CheckpointManager(root, options=ocp0.CheckpointManagerOptions(
            step_prefix="ckpt", step_format_fixed_length=5, read_only=True)) as manager:
        restored = manager.restore(30, args=ocp0.args.Composite(**{part: ocp0.args.PyTreeRestore()}))[part]
    inspected = graft.json("inspect", root, "--checkpointable", part)
    assert inspected["metadata"]["checkpointable"] == part
    graft.json("convert", root, tmp_path / "a.safetensors", "--checkpointable", part)
    found = st.read(tmp_path / "a.safetensors")
    assert found == {name: st.from_numpy(np.asarray(value)) for name, value in leaves_of(restored).values()}


def test_a_part_must_be_chosen_where_none_has_a_usual_name(graft, root):
    error = graft.error("inspect", root)
    assert "--checkpointable" in error and "params" in error and "opt" in error


def test_parts_that_are_json_are_shown_whole(graft, root):
    expected = {"step": 30, "text": "h\u00e9 \"quoted\"", "list": [1, None, 2.5]}
    for part in ("info", "params"):
        assert json.loads(graft.json("inspect", root, "--checkpointable", part)["metadata"]["info"]) == expected
    answer = graft.json("inspect", root, "--checkpointable", "info")
    assert answer["leaves"] == [] and answer["metadata"]["step"] == "30"
    assert json.loads(answer["metadata"]["metrics"]) == {"loss": 0.5}


def test_arrays_and_keys_of_generators_that_are_parts_of_their_own_are_read(graft, root):
    array = graft.json("peek", root, "checkpoint", "--checkpointable", "array")
    assert array["values"] == (np.arange(5.0) + 30).tolist()
    key = graft.json("peek", root, "checkpoint", "--checkpointable", "key")
    assert key["values"] == jax.random.key_data(jax.random.key(30)).tolist()
    words = graft.json("peek", root, "1", "--checkpointable", "words")
    assert words["values"] == np.random.RandomState(30).get_state()[1].tolist()


def test_a_tree_that_was_saved_in_parts_is_one_tree(graft, tmp_path):
    drawing = Drawing("partial saves")
    path = tmp_path / "checkpoint"
    ocp.partial.save(path, {"a": drawing.bits("float32", (4, 3)), "list": [{"b": drawing.bits("int16", (700,))}]})
    ocp.partial.save(path, {"c": drawing.bits("float32", (40, 30)), "d": {"e": drawing.bits("uint8", (3,))}})
    ocp.partial.finalize(path)
    assert_same(graft, path, ocp.load(path), tmp_path, drawing)


# ---- partial loads ---------------------------------------------------------------------------------------------------


def test_what_is_dropped_is_what_a_placeholder_leaves_out(graft, tmp_path):
    drawing = Drawing("placeholders")
    state = {
        "params": {f"layer{n}": {"kernel": drawing.bits("float32", (64, 65)), "bias": drawing.bits("bfloat16", (700,))} for n in range(4)},
        "opt": [drawing.bits("float32", (64, 65)), {"count": 3}],
    }
    ocp.save(tmp_path / "checkpoint", state)
    paths = list(leaves_of(state))
    for number in range(6):
        left_out = set(drawing.random.sample(paths, drawing.random.randint(1, len(paths) - 1)))
        target = jax.tree_util.tree_map_with_path(
            lambda keys, value: ocp.PLACEHOLDER if "/".join(
                str(getattr(key, "key", getattr(key, "idx", None))) for key in keys) in left_out else value, state)
        loaded = {leaf: pair for leaf, pair in leaves_of(ocp.load(tmp_path / "checkpoint", target)).items() if pair[1].dtype != object}
        assert loaded.keys() == set(paths) - left_out
        drops = [option for leaf in sorted(left_out) for option in ("--drop", leaf)]
        graft.json("convert", tmp_path / "checkpoint", tmp_path / f"{number}.safetensors", *drops)
        found = st.read(tmp_path / f"{number}.safetensors")
        assert found == {name: st.from_numpy(value) for name, value in loaded.values()}
        answer = graft.json("load", tmp_path / "checkpoint", "--no-ceiling", *drops)
        assert answer["leaves"] == len(loaded)
        assert answer["logical_bytes"] == sum(value.nbytes for _, value in loaded.values())
        assert same_bits(loaded[min(loaded)][1], leaves_of(state)[min(loaded)][1])


# ---- metadata --------------------------------------------------------------------------------------------------------


def metadata_of(path: Path) -> dict:
    with safe_open(path, "numpy") as file:
        return file.metadata() or {}


def test_a_copy_keeps_the_users_metadata_and_nothing_else(graft, tmp_path):
    custom = {"author": "h\u00e9", "run": {"n": 3, "tags": ["a"]}, "score": 0.5, "none": None}
    state = {"a": np.ones(3, np.float32)}
    ocp.save(tmp_path / "checkpoint", state, custom_metadata=custom)
    graft.json("convert", tmp_path / "checkpoint", tmp_path / "a.safetensors")
    found = metadata_of(tmp_path / "a.safetensors")
    assert found.keys() == custom.keys()
    assert found["author"] == custom["author"]
    assert {key: json.loads(value) for key, value in found.items() if key != "author"} == {
        key: value for key, value in custom.items() if key != "author"}
    # The times of the save stay with the checkpoint, which shows them.
    assert "commit_timestamp_nsecs" in graft.json("inspect", tmp_path / "checkpoint")["metadata"]


def test_a_copy_of_a_step_has_no_metadata_where_users_gave_none(graft, root, tmp_path):
    graft.json("convert", f"{root}@7", tmp_path / "a.safetensors", "--checkpointable", "params")
    assert metadata_of(tmp_path / "a.safetensors") == {}


def test_keys_with_dots_are_copied_whole_as_the_error_says(graft, tmp_path):
    state = {"layers.0.bias": np.arange(3, dtype=np.float32), "b": {"c.d": np.ones(2, np.int8)}}
    ocp.save(tmp_path / "checkpoint", state)
    error = graft.error("convert", tmp_path / "checkpoint", tmp_path / "a.safetensors")
    assert "has a dot" in error and "--flat" in error
    graft.json("convert", tmp_path / "checkpoint", tmp_path / "a.safetensors", "--flat")
    assert st.read(tmp_path / "a.safetensors") == {
        "layers.0.bias": st.from_numpy(state["layers.0.bias"]), "b.c.d": st.from_numpy(state["b"]["c.d"])}

"""Recipes on real checkpoints, of safetensors and of Orbax, compared with the same surgery in NumPy: bit for bit."""

from __future__ import annotations

import json
import os
from pathlib import Path

# Before JAX is imported, which reads it once.
os.environ["JAX_PLATFORMS"] = "cpu"

import ml_dtypes
import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

import tensors as st
from graft import Graft

LAYERS = 3
WIDTH = 32


def model(seed: int) -> dict[str, np.ndarray]:
    """A small transformer's parameters by their paths."""
    random = np.random.default_rng(seed)

    def floats(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32)

    tree = {"params/embed": floats(50, WIDTH), "params/norm": floats(WIDTH), "opt/mu/embed": floats(50, WIDTH)}
    for layer in range(LAYERS):
        name = f"params/layer{layer}"
        tree |= {
            f"{name}/qkv/kernel": floats(WIDTH, 3 * WIDTH), f"{name}/qkv/bias": floats(3 * WIDTH),
            f"{name}/mlp/gate": floats(WIDTH, 2 * WIDTH), f"{name}/mlp/up": floats(WIDTH, 2 * WIDTH)}
    return tree


def write(path: Path, tree: dict[str, np.ndarray], format: str) -> Path:
    """The tree as a checkpoint of the format."""
    if format == "safetensors":
        path = path.with_suffix(".safetensors")
        return st.write(path, {name.replace("/", "."): st.from_numpy(values) for name, values in tree.items()})
    nested: dict = {}
    for name, values in tree.items():
        node = nested
        *keys, last = name.split("/")
        for key in keys:
            node = node.setdefault(key, {})
        node[last] = values
    ocp.save(path, nested)
    return path


def read(path: Path) -> dict[str, np.ndarray]:
    return {
        name.replace(".", "/"): np.frombuffer(tensor.data, st.BY_STORED[tensor.dtype].numpy).reshape(tensor.shape)
        for name, tensor in st.read(path).items()
    }


def same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert sorted(found) == sorted(expected)
    for name, values in expected.items():
        assert (found[name].dtype, found[name].shape) == (values.dtype, values.shape), name
        assert found[name].tobytes() == np.ascontiguousarray(values).tobytes(), name


@pytest.fixture(params=["safetensors", "orbax"])
def format(request) -> str:
    return request.param


@pytest.fixture
def convert(graft: Graft, tmp_path: Path, format: str):
    """Does steps on a model, and gives what came out; the plan must have said what was read."""

    def run(steps: list[dict], *options: str, tree: dict[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
        source = write(tmp_path / "model", tree if tree is not None else model(1), format)
        recipe = tmp_path / "recipe.json"
        recipe.write_text(json.dumps({"steps": steps}), encoding="utf-8")
        target = tmp_path / "out.safetensors"
        plan = graft.json("plan", source, "--recipe", recipe, "--destination", target, *options)
        answer = graft.json("convert", source, target, "--recipe", recipe, *options)
        # What is in the page cache is read with fewer gaps than the plan has them read from the disk.
        assert answer["bytes_read"] <= plan["bytes_read"] + 8192 * plan["requests"]
        assert answer["bytes_written"] == plan["bytes_written"]
        assert len(plan["leaves"]) == answer["leaves_written"]
        return read(target)

    return run


def test_layers_are_stacked_and_the_optimizer_is_left_behind(convert):
    tree = model(1)
    found = convert([{"drop": "opt"}, {"stack": {"pattern": r"params/layer(\d+)/(.*)", "to": r"params/layers/\2"}}])
    expected = {name: values for name, values in tree.items() if name in ("params/embed", "params/norm")}
    for part in ("qkv/kernel", "qkv/bias", "mlp/gate", "mlp/up"):
        expected[f"params/layers/{part}"] = np.stack([tree[f"params/layer{i}/{part}"] for i in range(LAYERS)])
    same(found, expected)


def test_stacked_layers_come_apart(convert):
    random = np.random.default_rng(2)
    stacked = random.standard_normal((4, LAYERS, 5)).astype(np.float32)
    found = convert(
        [{"unstack": {"select": "blocks/**", "to": "block{index}/**", "axis": 1}}], tree={"blocks/a/b": stacked})
    same(found, {f"block{i}/a/b": stacked[:, i] for i in range(LAYERS)})


def test_projections_are_split_fused_and_turned(convert):
    tree = model(1)
    found = convert([
        {"keep": "params/layer*/**"},
        {"split": {"select": "**/qkv", "into": ["q", "k", "v"], "axis": -1}},
        {"fuse": {"pattern": r"(.*)/(gate|up)", "order": ["up", "gate"], "to": r"\1/up_gate", "axis": -1}},
        {"transpose": {"select": "**/kernel", "axes": [1, 0]}},
        {"rename": {"pattern": "^params/", "replacement": "model/"}},
        {"rename": {"select": "model/*/mlp/*", "to": "model/*/ffn-*"}},
    ])
    expected = {}
    for layer in range(LAYERS):
        old, new = f"params/layer{layer}", f"model/layer{layer}"
        for index, part in enumerate("qkv"):
            columns = slice(index * WIDTH, (index + 1) * WIDTH)
            expected[f"{new}/{part}/kernel"] = tree[f"{old}/qkv/kernel"][:, columns].T
            expected[f"{new}/{part}/bias"] = tree[f"{old}/qkv/bias"][columns]
        expected[f"{new}/ffn-up_gate"] = np.concatenate([tree[f"{old}/mlp/up"], tree[f"{old}/mlp/gate"]], axis=-1)
    same(found, expected)


# A step on one leaf of shape [6, 4, 5], and NumPy's word for it.
STEPS = {
    "transpose": ({}, lambda x: x.T),
    "slice": ({"slice": "::-2,1:3,..."}, lambda x: x[::-2, 1:3]),
    "pad": ({"widths": [[1, 0], [0, 2], [0, 0]], "value": -1.5},
            lambda x: np.pad(x, [(1, 0), (0, 2), (0, 0)], constant_values=-1.5)),
    "resize": ({"extent": 3, "axis": 1}, lambda x: x[:, :3]),
    "repeat": ({"count": 3, "axis": 1}, lambda x: np.repeat(x, 3, axis=1)),
    "tile": ({"counts": [2, 1, 3]}, lambda x: np.tile(x, (2, 1, 3))),
    "reshape": ({"shape": [8, -1]}, lambda x: x.reshape(8, -1)),
    "flip": ({"axis": -1}, lambda x: np.flip(x, -1)),
    "expand": ({"axis": 1}, lambda x: np.expand_dims(x, 1)),
    "take_rows": ({"indices": [5, 0, 0, -2], "axis": 0}, lambda x: np.take(x, [5, 0, 0, -2], axis=0)),
    "scale": ({"by": 0.3}, lambda x: x * np.float32(0.3)),
    "broadcast": ({"shape": [2, 6, 4, 5]}, lambda x: np.broadcast_to(x, (2, 6, 4, 5))),
    "cast": ({"dtype": "bfloat16", "lossy": True}, lambda x: x.astype(ml_dtypes.bfloat16)),
    "interleave": ({"sizes": [3, 3], "groups": 3, "axis": 0},
                   lambda x: x.reshape(2, 3, 1, 4, 5).transpose(1, 0, 2, 3, 4).reshape(6, 4, 5)),
    "rotary": ({"to": "interleaved", "heads": 1, "axis": 0},
               lambda x: x.reshape(2, 3, 4, 5).transpose(1, 0, 2, 3).reshape(6, 4, 5)),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_step_on_a_tensor_is_numpys(convert, step):
    values = np.random.default_rng(3).standard_normal((6, 4, 5)).astype(np.float32)
    parameters, reference = STEPS[step]
    same(convert([{step: {"select": "**"} | parameters}], tree={"a/x": values}), {"a/x": reference(values)})


def test_two_models_become_one_with_a_new_layer(graft, tmp_path, format):
    image, text = model(4), model(5)
    write(tmp_path / "image", image, "safetensors")
    write(tmp_path / "text", text, format)
    suffix = ".safetensors" if format == "safetensors" else ""
    recipe = tmp_path / "merge.yaml"
    recipe.write_text(
        f"""
sources: {{image: image.safetensors, text: text{suffix}}}
steps:
  - take: {{from: image, select: "params/**", to: "params/image_encoder/**"}}
  - take: {{from: text, select: "params/**", to: "params/text_encoder/**"}}
  - average: {{of: [image, text], select: "params/layer0/**", to: "params/shared/**", weights: [0.25, 0.75]}}
  - init: {{path: params/fusion_layer/kernel, shape: [64, 32], dtype: float32, with: {{truncated_normal: {{stddev: 0.02, seed: 7}}}}}}
  - init: {{path: params/fusion_layer/bias, shape: [32], dtype: float32, with: zeros}}
expect:
  params/fusion_layer/kernel: float32[64, 32]
""", encoding="utf-8")
    target = tmp_path / "merged.safetensors"
    graft.json("merge", recipe, target)
    found = read(target)
    kernel = found.pop("params/fusion_layer/kernel")
    assert kernel.shape == (64, 32) and np.abs(kernel).max() < 0.05 and 0.015 < kernel.std() < 0.025
    expected = {"params/fusion_layer/bias": np.zeros(32, np.float32)}
    for tree, name in ((image, "image_encoder"), (text, "text_encoder")):
        expected |= {k.replace("params", f"params/{name}", 1): v for k, v in tree.items() if k.startswith("params")}
    for name, values in image.items():
        if name.startswith("params/layer0/"):
            # Each product and the sum are rounded to float32.
            mean = values * np.float32(0.25) + text[name] * np.float32(0.75)
            expected[name.replace("layer0", "shared")] = mean
    same(found, expected)


def test_an_adapter_is_folded_and_models_meet_on_the_sphere(graft, tmp_path):
    base, tuned = model(6), model(7)
    random = np.random.default_rng(8)
    weights = [f"params/layer{layer}/mlp/{part}" for layer in range(LAYERS) for part in ("gate", "up")]
    adapter = {}
    for name in weights:
        adapter[f"base_model/model/{name}/lora_A/weight"] = random.standard_normal((4, 2 * WIDTH)).astype(np.float32)
        adapter[f"base_model/model/{name}/lora_B/weight"] = random.standard_normal((WIDTH, 4)).astype(np.float32)
    for name, tree in (("base", base), ("tuned", tuned), ("adapter", adapter)):
        write(tmp_path / name, tree, "safetensors")
    recipe, target = tmp_path / "recipe.yaml", tmp_path / "out.safetensors"
    recipe.write_text(
        """
sources: {tuned: tuned.safetensors}
steps:
  - keep: "params/**"
  - lora: {adapter: adapter.safetensors, alpha: 8}
  - slerp: {of: [source, tuned], at: 0.25, select: params/embed, to: sphere/embed}
""", encoding="utf-8")
    plan = graft.json("plan", tmp_path / "base.safetensors", "--recipe", recipe, "--destination", target)
    answer = graft.json("convert", tmp_path / "base.safetensors", target, "--recipe", recipe)
    # The model's parameters and the adapter once; what meets on the sphere twice, its norms first.
    parameters = sum(values.nbytes for name, values in base.items() if name.startswith("params/"))
    wanted = parameters + sum(values.nbytes for values in adapter.values()) + 4 * base["params/embed"].nbytes
    assert answer["report"]["bytes_wanted"] == wanted
    assert wanted <= answer["bytes_read"] <= plan["bytes_read"]
    found = read(target)
    for name in weights:
        up, down = (adapter[f"base_model/model/{name}/lora_{factor}/weight"] for factor in "BA")
        np.testing.assert_allclose(found[name], base[name] + 2 * (up @ down), rtol=1e-5, atol=1e-5)
    a, b = base["params/embed"].astype(np.float64), tuned["params/embed"].astype(np.float64)
    angle = np.arccos((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))
    expected = (np.sin(0.75 * angle) * a + np.sin(0.25 * angle) * b) / np.sin(angle)
    np.testing.assert_allclose(found["sphere/embed"], expected, rtol=1e-5, atol=1e-6)
    untouched = {name for name in base if name.startswith("params/")} - set(weights)
    for name in untouched:
        assert found[name].tobytes() == base[name].tobytes()


def test_a_real_model_is_cast_and_its_plan_reads_what_the_conversion_reads(graft, real_model, tmp_path):
    target = tmp_path / "half.safetensors"
    arguments = ("--cast", "encoder/**=bfloat16", "--drop", "embeddings/position_ids", "--allow-lossy")
    plan = graft.json("plan", real_model, "--destination", target, *arguments)
    with real_model.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    answer = graft.json("convert", real_model, target, *arguments)
    # Around the page cache whole sectors are read; what the kernel kept of the file is read with fewer gaps.
    assert answer["bytes_read"] <= plan["bytes_read"] + 2 * 4096 * plan["requests"]
    assert answer["bytes_read"] >= 0.98 * plan["bytes_read"]
    before, after = read(real_model), read(target)
    for name, values in after.items():
        expected = before[name].astype(ml_dtypes.bfloat16) if name.startswith("encoder/") else before[name]
        assert values.dtype == expected.dtype and values.tobytes() == expected.tobytes(), name


def test_what_is_wrong_names_step_line_and_leaf_and_leaves_nothing(graft, tmp_path):
    source = write(tmp_path / "model", model(1), "safetensors")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "steps:\n- drop: opt\n- stack:\n    pattern: 'params/layer(\\d+)/.*'\n    to: params/all\n", encoding="utf-8")
    error = graft.error("convert", source, tmp_path / "out.safetensors", "--recipe", recipe)
    assert "step 2 (stack) at line 3, column 3" in error and str(recipe) in error
    recipe.write_text("expect: {params/norm: 'float32[31]'}\n", encoding="utf-8")
    error = graft.error("convert", source, tmp_path / "out.safetensors", "--recipe", recipe)
    assert "Expected float32[31], found float32[32]" in error and "line 1, column 10" in error
    assert not (tmp_path / "out.safetensors").exists()

"""Adapters as PEFT writes them are folded into weights: `graft convert --recipe` against NumPy in float64."""

from __future__ import annotations

import json
import os
import re

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

SEED = int(os.environ.get("GRAFT_INTEROP_SEED", "0")) or int.from_bytes(os.urandom(4), "little")
# Half of the distance between neighbours, relative to a number; and the smallest step, below which roundings are absolute.
ROUNDING = {"float32": (2.0**-24, 2.0**-150), "bfloat16": (2.0**-8, 2.0**-134), "float16": (2.0**-11, 2.0**-25)}


def numpy_dtype(name: str) -> np.dtype:
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


def scale(config: dict, module: str, rank: int) -> float:
    """What PEFT multiplies the product with."""
    found = [alpha for pattern, alpha in config["alpha_pattern"].items() if re.match(rf"(.*\.)?({pattern})$", module)]
    alpha = found[0] if found else config["lora_alpha"]
    return alpha / (rank**0.5 if config["use_rslora"] else rank)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("is_transposed", [False, True])
@pytest.mark.parametrize("is_rooted", [False, True])
def test_folding_is_as_exact_as_float32_allows(graft, tmp_path, dtype, is_transposed, is_rooted):
    print(f"GRAFT_INTEROP_SEED={SEED}")
    generator = np.random.default_rng([SEED, *dtype.encode(), is_transposed, is_rooted])
    config = {
        "peft_type": "LORA", "r": 8, "lora_alpha": 11, "use_rslora": is_rooted, "use_dora": False, "bias": "none",
        "fan_in_fan_out": is_transposed, "init_lora_weights": True, "alpha_pattern": {"v_proj": 3, r"layers\.1\..*": 40},
    }  # fmt: skip
    # Rows × columns of no round number, a rank of one, and one that is more than a panel of the kernel.
    modules = {
        "model.layers.0.q_proj": (37, 129, 8), "model.layers.0.v_proj": (64, 300, 1), "model.layers.1.v_proj": (5, 7, 3),
        "model.layers.1.mlp.up": (301, 65, 97),
    }  # fmt: skip
    base, adapter = {"model.norm.weight": generator.standard_normal(9).astype(numpy_dtype(dtype))}, {}
    for module, (rows, columns, rank) in modules.items():
        weight = (generator.standard_normal((rows, columns)) * 0.1).astype(numpy_dtype(dtype))
        base[f"{module}.weight"] = np.ascontiguousarray(weight.T) if is_transposed else weight
        for factor, shape in (("A", (rank, columns)), ("B", (rows, rank))):
            values = (generator.standard_normal(shape) * 0.1).astype(np.float32)
            adapter[f"base_model.model.{module}.lora_{factor}.weight"] = values
    save_file(base, tmp_path / "base.safetensors")
    (tmp_path / "adapter").mkdir()
    save_file(adapter, tmp_path / "adapter/adapter_model.safetensors")
    (tmp_path / "adapter/adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text("steps:\n- lora: {adapter: adapter}\n", encoding="utf-8")
    graft.json("convert", tmp_path / "base.safetensors", tmp_path / "out.safetensors", "--recipe", tmp_path / "recipe.yaml")
    found = load_file(tmp_path / "out.safetensors")
    assert found.keys() == base.keys()
    assert found["model.norm.weight"].tobytes() == base["model.norm.weight"].tobytes()
    unit, step = ROUNDING[dtype]
    for module, (_, _, rank) in modules.items():
        down, up = (adapter[f"base_model.model.{module}.lora_{factor}.weight"].astype(np.float64) for factor in "AB")
        weight, result = (tensors[f"{module}.weight"].astype(np.float64) for tensors in (base, found))
        if is_transposed:
            weight, result = weight.T, result.T
        factor = scale(config, module, rank)
        expected = weight + factor * (up @ down)
        # In float32: a rounding for each product and each addition of the rank's, for the scale and its product, for the sum with
        # the weight; then one in the weight's dtype. A quarter more is for terms of second order.
        sums = abs(factor) * (np.abs(up) @ np.abs(down))
        tolerance = 1.25 * 2.0**-24 * ((2 * rank + 2) * sums + np.abs(weight) + sums)
        tolerance += unit * (np.abs(expected) + tolerance) + step
        assert (np.abs(result - expected) <= tolerance).all(), (module, np.abs(result - expected).max())


def test_an_adapter_that_cannot_be_folded_is_an_error_that_names_its_configuration(graft, tmp_path):
    save_file({"a.weight": np.zeros((2, 2), np.float32)}, tmp_path / "base.safetensors")
    (tmp_path / "adapter").mkdir()
    factors = {f"base_model.model.a.lora_{factor}.weight": np.zeros((2, 2), np.float32) for factor in "AB"}
    save_file(factors, tmp_path / "adapter/adapter_model.safetensors")
    (tmp_path / "recipe.yaml").write_text("steps:\n- lora: {adapter: adapter}\n", encoding="utf-8")
    arguments = ("convert", tmp_path / "base.safetensors", tmp_path / "out.safetensors", "--recipe", tmp_path / "recipe.yaml")
    error = graft.error(*arguments)
    assert "no configuration that says its scale" in error and "step 1 (lora)" in error
    config = tmp_path / "adapter/adapter_config.json"
    config.write_text('{"peft_type": "LORA", "lora_alpha": 2, "use_dora": true}', encoding="utf-8")
    error = graft.error(*arguments)
    assert "DoRA" in error and "adapter_config.json" in error and "step 1 (lora)" in error
    config.write_text('{"peft_type": "LORA", "lora_alpha": ', encoding="utf-8")
    assert "adapter_config.json" in graft.error(*arguments)
    config.write_bytes(b'{"peft_type": "\xff"}')
    assert "UTF-8" in graft.error(*arguments)
    assert not (tmp_path / "out.safetensors").exists()

#!/usr/bin/env python3
"""Makes small models, merges them with mergekit, folds adapters into them with PEFT, and keeps what goes in and what comes out.

    scripts/mergekit-fixtures        makes an environment of requirements.txt and runs this in it

A folder is named after the library that computed what is in it; a new version makes a new folder. In mergekit's

    <dtype>/{a,b,c}.safetensors      three Llamas of two layers: b and c are tuned versions of a
    <dtype>/<case>.safetensors       what mergekit makes of them
    cases.json                       the versions, and what each case asks mergekit for

and in PEFT's, for each case of cases.json, base.safetensors, an adapter's folder as save_pretrained writes it, and merged.safetensors.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy
import peft
import torch
import transformers
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent
MERGEKIT_VERSION, PEFT_VERSION = version("mergekit"), peft.__version__
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

# mergekit's configurations but for the models' paths. `float32` computes in that dtype and stores the models' own; without it the
# task arithmetic of mergekit computes in what is stored.
CASES = {
    "linear": {"merge_method": "linear", "weights": {"a": 0.7, "b": 0.5}},
    "linear-of-three": {"merge_method": "linear", "weights": {"a": 1.0, "b": 2.0, "c": 4.0}},
    "linear-sum": {
        "merge_method": "linear", "weights": {"a": 1.0, "b": 0.3, "c": -0.45}, "parameters": {"normalize": False},
    },
    "linear-sum-of-halves": {
        "merge_method": "linear", "weights": {"a": 1.0, "b": 0.5, "c": -0.25}, "parameters": {"normalize": False},
    },
    "slerp": {"merge_method": "slerp", "base": "a", "weights": {"a": None, "b": None}, "parameters": {"t": 0.3}},
    "task_arithmetic": {
        "merge_method": "task_arithmetic", "base": "a", "weights": {"b": 0.6, "c": 0.25}, "float32": True,
    },
    "ties": {
        "merge_method": "ties", "base": "a", "weights": {"b": 0.6, "c": 0.25}, "parameters": {"density": 0.4}, "float32": True,
    },
}  # fmt: skip


def configuration() -> transformers.LlamaConfig:
    return transformers.LlamaConfig(
        vocab_size=48, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64, tie_word_embeddings=False, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip


def models() -> dict[str, dict[str, torch.Tensor]]:
    """Three models in float32: one, and two that were tuned from it, each in another direction."""
    generator = torch.Generator().manual_seed(20)
    with torch.device("meta"):
        shapes = {name: tuple(p.shape) for name, p in transformers.LlamaForCausalLM(configuration()).named_parameters()}

    def noise(shape, scale):
        return torch.randn(shape, generator=generator) * scale

    made = {"a": {name: noise(shape, 0.1) + (1.0 if len(shape) == 1 else 0.0) for name, shape in shapes.items()}}
    for name, scale in (("b", 0.1), ("c", 0.05)):
        made[name] = {leaf: values + noise(values.shape, scale) for leaf, values in made["a"].items()}
    # What slerp takes for parallel, and what has no direction.
    made["b"]["model.norm.weight"] = made["a"]["model.norm.weight"] * 1.5
    made["a"]["model.layers.0.input_layernorm.weight"] = torch.zeros(16)
    return made


def write_model(folder: Path, tensors: dict[str, torch.Tensor], dtype: torch.dtype) -> None:
    folder.mkdir(parents=True)
    config = configuration()
    config.architectures = ["LlamaForCausalLM"]
    config.dtype = dtype
    config.save_pretrained(folder)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def read_model(folder: Path) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(file)
    return tensors


def merge(case: dict, folders: dict[str, Path], out: Path) -> dict:
    parameters = lambda weight: {} if weight is None else {"parameters": {"weight": weight}}
    config = {
        "merge_method": case["merge_method"],
        "models": [{"model": str(folders[name]), **parameters(weight)} for name, weight in case["weights"].items()],
        **({"parameters": case["parameters"]} if "parameters" in case else {}),
        **({"base_model": str(folders[case["base"]])} if "base" in case else {}),
        **({"dtype": "float32", "out_dtype": folders["a"].parent.name} if case.get("float32") else {}),
    }
    options = MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True)
    run_merge(MergeConfiguration.model_validate(config), str(out), options)
    return config


def make_merges(scratch: Path) -> None:
    target = HERE / f"mergekit-{MERGEKIT_VERSION}"
    shutil.rmtree(target, ignore_errors=True)
    made = models()
    for dtype_name, dtype in DTYPES.items():
        folders = {name: scratch / dtype_name / name for name in made}
        for name, tensors in made.items():
            write_model(folders[name], {leaf: values.to(dtype) for leaf, values in tensors.items()}, dtype)
        (target / dtype_name).mkdir(parents=True)
        for name, folder in folders.items():
            save_file(read_model(folder), target / dtype_name / f"{name}.safetensors")
        for name, case in CASES.items():
            out = scratch / dtype_name / f"out-{name}"
            merge(case, folders, out)
            merged = read_model(out)
            assert {values.dtype for values in merged.values()} == {dtype}, (name, dtype_name)
            save_file(merged, target / dtype_name / f"{name}.safetensors")
    versions = {library.__name__: library.__version__ for library in (torch, transformers, numpy)}
    text = json.dumps({"mergekit": MERGEKIT_VERSION, **versions, "cases": CASES}, indent=1)
    (target / "cases.json").write_text(text + "\n", encoding="utf-8")


# ---- PEFT ------------------------------------------------------------------------------------------------------------


def llama(dtype: torch.dtype) -> torch.nn.Module:
    model = transformers.LlamaForCausalLM(configuration()).to(dtype)
    model.load_state_dict({leaf: values.to(dtype) for leaf, values in models()["a"].items()})
    return model


def gpt2(dtype: torch.dtype) -> torch.nn.Module:
    config = transformers.GPT2Config(vocab_size=32, n_positions=16, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=1)
    torch.manual_seed(21)
    return transformers.GPT2LMHeadModel(config).to(dtype)


ADAPTERS = {
    # The usual one.
    "attention": (llama, "float32", {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}),
    "attention-bfloat16": (llama, "bfloat16", {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}),
    # Everything that changes a scale.
    "patterns": (llama, "float32", {
        "r": 4, "lora_alpha": 6, "use_rslora": True, "target_modules": "all-linear",
        "rank_pattern": {"up_proj": 2, r"layers\.1\.self_attn\.k_proj": 3}, "alpha_pattern": {"down_proj": 10, r"layers\.0\..*q_proj": 5},
    }),
    # Weights that are stored as columns × rows.
    "transposed": (gpt2, "float32", {"r": 4, "lora_alpha": 8, "target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True}),
}  # fmt: skip


def make_adapters(scratch: Path) -> None:
    target = HERE / f"peft-{PEFT_VERSION}"
    shutil.rmtree(target, ignore_errors=True)
    for name, (make, dtype_name, parameters) in ADAPTERS.items():
        model = make(DTYPES[dtype_name])
        folder = target / name
        folder.mkdir(parents=True)
        save_file({leaf: values.clone() for leaf, values in model.state_dict().items()}, folder / "base.safetensors")
        adapted = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **parameters))
        generator = torch.Generator().manual_seed(22)
        for leaf, values in adapted.named_parameters():
            if "lora_" in leaf:
                values.data = (torch.randn(values.shape, generator=generator) * 0.1).to(values.dtype)
        adapted.save_pretrained(folder / "adapter")
        (folder / "adapter" / "README.md").unlink(missing_ok=True)
        merged = adapted.merge_and_unload().state_dict()
        save_file({leaf: values.clone() for leaf, values in merged.items()}, folder / "merged.safetensors")
    versions = {library.__name__: library.__version__ for library in (peft, torch, transformers)}
    (target / "cases.json").write_text(json.dumps({**versions, "cases": list(ADAPTERS)}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        make_merges(Path(scratch))
        make_adapters(Path(scratch))

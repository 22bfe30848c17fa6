"""Makes what the jobs read, each in a process of its own, under its name at once or not at all.

    python -m comparison.data FOLDER SIZE NAME GRAFT

Values are as trained ones are: normally distributed, so that every bit of a mantissa is random and exponents are few. Parameters are
bfloat16, Adam's two moments float32.

    model-a, model-b     Llamas in safetensors, with the config.json that mergekit wants
    model.pt             model-a, by torch.save
    model-zstd           model-a, by Orbax with its defaults
    model-b-zstd         model-b, likewise
    model-plain          model-a, by Orbax without compression
    state.safetensors    a training state: parameters of a smaller Llama, and Adam's moments
    state-zstd           the same, by Orbax with its defaults
    state.pt             the same, by torch.save
    many.safetensors     10,000 leaves of a few values
    many-zstd            the same, by Orbax
    graft-zstd           model-a, by Graft with its defaults, as Orbax
    graft-plain          the same without compression
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# Changes with what is made, so that the data of an earlier recipe are made anew.
RECIPE = 1


@dataclass(frozen=True)
class Size:
    """How large a model is."""

    width: int
    inner: int
    layers: int
    state_layers: int
    vocabulary: int
    many: int = 10_000

    def shapes(self, layers: int) -> dict[str, tuple[int, ...]]:
        """The tensors of a Llama."""
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocabulary, self.width)}
        for layer in range(layers):
            name = f"model.layers.{layer}"
            for projection in "qkvo":
                shapes[f"{name}.self_attn.{projection}_proj.weight"] = (self.width, self.width)
            for projection in ("gate", "up"):
                shapes[f"{name}.mlp.{projection}_proj.weight"] = (self.inner, self.width)
            shapes[f"{name}.mlp.down_proj.weight"] = (self.width, self.inner)
            for norm in ("input", "post_attention"):
                shapes[f"{name}.{norm}_layernorm.weight"] = (self.width,)
        shapes["model.norm.weight"] = (self.width,)
        shapes["lm_head.weight"] = (self.vocabulary, self.width)
        return shapes

    def parameters(self, layers: int) -> int:
        count = 0
        for shape in self.shapes(layers).values():
            count += shape[0] * (shape[1] if len(shape) > 1 else 1)
        return count

    @property
    def model_bytes(self) -> int:
        return 2 * self.parameters(self.layers)

    @property
    def state_bytes(self) -> int:
        """Two bytes for each parameter, and four for each of its moments."""
        return 10 * self.parameters(self.state_layers)

    @property
    def state_parameter_bytes(self) -> int:
        return 2 * self.parameters(self.state_layers)


# A model of 1.02 GiB and a state of 1.27 GiB; for those who have the time and 32 GiB of memory 5.2 and 5.1 GiB; and some to see that
# everything runs.
SIZES = {
    "usual": Size(width=2048, inner=5632, layers=10, state_layers=2, vocabulary=8192),
    "large": Size(width=4096, inner=11264, layers=13, state_layers=2, vocabulary=16384),
    "quick": Size(width=256, inner=704, layers=4, state_layers=2, vocabulary=1024, many=200),
}

NAMES = [
    "model-a", "model-b", "model.pt", "model-zstd", "model-b-zstd", "model-plain", "state.safetensors", "state-zstd", "state.pt",
    "many.safetensors", "many-zstd", "graft-zstd", "graft-plain",
]  # fmt: skip


def make_missing(python: str, graft: str, folder: Path, size: str) -> None:
    """Makes what is not there; what is there already is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / "made.json"
    made = {"recipe": RECIPE, "size": SIZES[size].__dict__}
    if not note.exists() or json.loads(note.read_text(encoding="utf-8")) != made:
        for name in NAMES:
            _remove(folder / name)
        note.write_text(json.dumps(made), encoding="utf-8")
    for name in NAMES:
        if not (folder / name).exists():
            print(f"making {folder / name}", flush=True)
            subprocess.run([python, "-m", "comparison.data", folder, size, name, graft], check=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# ---- what the process does -------------------------------------------------------------------------------------------------------


def _normals(shapes: dict[str, tuple[int, ...]], seed: int, scale: float, dtype) -> dict:
    """Normal values for each name from a generator of its own, so that they depend on no order; on all processors."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    def values(index_and_shape):
        index, shape = index_and_shape
        drawn = np.random.default_rng([seed, index]).standard_normal(shape, np.float32)
        drawn *= np.float32(scale)
        return drawn.astype(dtype, copy=False)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(shapes, pool.map(values, enumerate(shapes.values()))))


def _model(size: Size, seed: int) -> dict:
    import ml_dtypes

    return _normals(size.shapes(size.layers), seed, 0.02, ml_dtypes.bfloat16)


def _state(size: Size) -> dict:
    import ml_dtypes
    import numpy as np

    shapes = size.shapes(size.state_layers)
    state = {f"params.{name}": array for name, array in _normals(shapes, 3, 0.02, ml_dtypes.bfloat16).items()}
    state |= {f"mu.{name}": array for name, array in _normals(shapes, 4, 1e-4, np.float32).items()}
    for name, array in _normals(shapes, 5, 1e-4, np.float32).items():
        array *= array
        state[f"nu.{name}"] = array
    return state


def _many(size: Size) -> dict:
    import numpy as np

    parts = ["query", "key", "value", "output", "gate", "up", "down", "input_norm", "output_norm", "bias"]
    shapes = {f"params.layer_{index // len(parts)}.{parts[index % len(parts)]}": (8,) for index in range(size.many)}
    return _normals(shapes, 6, 1, np.float32)


def _write_model(size: Size, seed: int, folder: Path) -> None:
    import torch
    import transformers
    from safetensors.numpy import save_file

    heads = size.width // 128
    config = transformers.LlamaConfig(
        vocab_size=size.vocabulary, hidden_size=size.width, intermediate_size=size.inner, num_hidden_layers=size.layers,
        num_attention_heads=heads, num_key_value_heads=heads, tie_word_embeddings=False,
    )  # fmt: skip
    config.architectures, config.dtype = ["LlamaForCausalLM"], torch.bfloat16
    folder.mkdir()
    config.save_pretrained(folder)
    save_file(_model(size, seed), folder / "model.safetensors", metadata={"format": "pt"})


def _write_orbax(arrays: dict, path: Path, **options) -> None:
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    import jax.numpy as jnp
    from orbax.checkpoint import v1 as ocp

    from comparison.peers.orbax import nested, saving

    with saving(options):
        ocp.save(path, jax.tree.map(jnp.asarray, nested(arrays)))


def _write_torch(source: Path, path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(source), path)


def main() -> None:
    folder, size, name = Path(sys.argv[1]).resolve(), SIZES[sys.argv[2]], sys.argv[3]
    staged = folder / f"unfinished-{name}"
    _remove(staged)
    import ml_dtypes  # noqa: F401  (tells NumPy of bfloat16)
    from safetensors.numpy import load_file, save_file

    model_a, model_b, state = folder / "model-a/model.safetensors", folder / "model-b/model.safetensors", folder / "state.safetensors"
    match name:
        case "model-a":
            _write_model(size, 1, staged)
        case "model-b":
            _write_model(size, 2, staged)
        case "model.pt":
            _write_torch(model_a, staged)
        case "model-zstd":
            _write_orbax(load_file(model_a), staged)
        case "model-b-zstd":
            _write_orbax(load_file(model_b), staged)
        case "model-plain":
            _write_orbax(load_file(model_a), staged, use_compression=False)
        case "state.safetensors":
            save_file(_state(size), staged)
        case "state-zstd":
            _write_orbax(load_file(state), staged)
        case "state.pt":
            _write_torch(state, staged)
        case "many.safetensors":
            save_file(_many(size), staged)
        case "many-zstd":
            _write_orbax(load_file(folder / "many.safetensors"), staged)
        case "graft-zstd" | "graft-plain":
            compression = {"graft-zstd": "zstd", "graft-plain": "none"}[name]
            words = [sys.argv[4], "convert", model_a, staged, "--compression", compression, "--quiet"]
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    staged.rename(folder / name)


if __name__ == "__main__":
    main()

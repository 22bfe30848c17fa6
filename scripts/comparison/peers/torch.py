"""PyTorch: its own files, and safetensors into its tensors, which are views of the mapped file until somebody copies them."""

from __future__ import annotations

import json
import os

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from comparison import parts
from comparison.peers import prepared, sync_file

torch.set_num_threads(os.cpu_count() or 1)


def load(path: str, mmap: bool):
    """`torch.load` of a file that `torch.save` wrote; mapped, its tensors are read when they are touched."""
    return torch.load(path, mmap=mmap, weights_only=True)


def load_and_copy(path: str):
    """`torch.load` of a mapping, of which every tensor is then copied."""
    return {name: tensor.clone() for name, tensor in torch.load(path, mmap=True, weights_only=True).items()}


def load_safetensors(path: str, backend: str):
    """`load_file`; mapped, its tensors are read when they are touched."""
    return load_file(path, backend=backend)


def load_safetensors_and_copy(path: str):
    """`load_file` of a mapping, of which every tensor is then copied: what a program has to do that wants the model in memory."""
    return {name: tensor.clone() for name, tensor in load_file(path).items()}


@prepared
def load_into_kept(path: str, of: str):
    """Copies the mapped tensors into memory that is kept from one load to the next, as `load_state_dict` does."""
    mapped = load_file if of == "safetensors" else lambda path: torch.load(path, mmap=True, weights_only=True)
    kept = {name: torch.zeros_like(tensor) for name, tensor in mapped(path).items()}

    def run():
        for name, tensor in mapped(path).items():
            kept[name].copy_(tensor)
        return kept

    return run


def parameters(path: str, of: str):
    """The parameters alone of a training state, copied out of the mapping."""
    if of == "torch":
        state = torch.load(path, mmap=True, weights_only=True)
        return {name: tensor.clone() for name, tensor in state.items() if parts.is_parameter(name)}
    with safe_open(path, "pt") as opened:
        return {name: opened.get_tensor(name).clone() for name in opened.keys() if parts.is_parameter(name)}


def slices(path: str, of: str):
    """This process's part of each matrix, copied out of the mapping."""
    if of == "torch":
        model = torch.load(path, mmap=True, weights_only=True)
        return {name: tensor[parts.of_tensor(name, tensor.shape)].clone(memory_format=torch.contiguous_format) for name, tensor in model.items()}
    found = {}
    with safe_open(path, "pt") as opened:
        for name in opened.keys():
            part = opened.get_slice(name)
            found[name] = part[parts.of_tensor(name, part.get_shape())].clone(memory_format=torch.contiguous_format)
    return found


def stack(path: str):
    """`torch.stack` of mapped layers, which copies each once, on all processors."""
    tensors = load_file(path)
    return {
        name: torch.stack([tensors[layer] for layer in layers]) if layers != [name] else tensors[name].clone()
        for name, layers in parts.stacked(tensors).items()}  # fmt: skip


def cast(path: str):
    """Mapped tensors made float32, on all processors."""
    return {name: tensor.to(torch.float32) for name, tensor in load_file(path).items()}


def mean(a: str, b: str, weights: list[float], path: str) -> None:
    """The weighted mean in float32 as mergekit's `linear` takes it, tensor by tensor out of both mappings, and `save_file`."""
    merged = {}
    total = torch.tensor(weights, dtype=torch.float32).sum()
    with safe_open(a, "pt") as first, safe_open(b, "pt") as second:
        for name in first.keys():
            x, y = (opened.get_tensor(name).to(torch.float32) for opened in (first, second))
            merged[name] = ((x * weights[0] + y * weights[1]) / total).to(torch.bfloat16)
    save_file(merged, path, metadata={"format": "pt"})
    sync_file(path)


@prepared
def save(source: str, path: str, of: str):
    """`torch.save` or safetensors' `save_file` of tensors that are in memory, until they are on stable storage."""
    tensors = load_safetensors_and_copy(source)

    def run() -> None:
        torch.save(tensors, path) if of == "torch" else save_file(tensors, path)
        sync_file(path)

    return run

"""Run:ai's model streamer, into PyTorch's tensors. RUNAI_STREAMER_CONCURRENCY and RUNAI_STREAMER_MEMORY_LIMIT are its settings."""

from __future__ import annotations

import torch
from runai_model_streamer import SafetensorsStreamer
from safetensors import safe_open

from comparison import parts
from comparison.peers import prepared


def load(path: str):
    """Every tensor, to be kept."""
    with SafetensorsStreamer() as streamer:
        streamer.stream_file(path)
        return dict(streamer.get_tensors())


@prepared
def load_into_kept(path: str):
    """Copies each tensor, while the next are read, into memory that is kept from one load to the next; the streamer reuses its buffers."""
    with safe_open(path, "pt") as opened:
        kept = {name: torch.zeros_like(opened.get_tensor(name)) for name in opened.keys()}

    def run():
        with SafetensorsStreamer() as streamer:
            streamer.stream_file(path, owned=False)
            for name, tensor in streamer.get_tensors():
                kept[name].copy_(tensor)
        return kept

    return run


def parameters(path: str):
    """The parameters alone of a training state."""
    with safe_open(path, "pt") as opened:
        names = [name for name in opened.keys() if parts.is_parameter(name)]
    with SafetensorsStreamer() as streamer:
        streamer.stream_file(path, tensor_names=names)
        return dict(streamer.get_tensors())

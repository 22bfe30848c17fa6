"""fastsafetensors on the processor, without GPUDirect Storage, into PyTorch's tensors."""

from __future__ import annotations

import torch  # noqa: F401  (it would be imported by the first load otherwise)
from fastsafetensors import SafeTensorsFileLoader

from comparison import parts


def _load(path: str, threads: int, buffer_kib: int, wanted=None):
    loader = SafeTensorsFileLoader(pg=None, device="cpu", nogds=True, max_threads=threads, bbuf_size_kb=buffer_kib)
    loader.set_tensor_filter(wanted)
    loader.add_filenames({0: [path]})
    buffers = loader.copy_files_to_device()
    # Tensors share the buffer, and keep it when it is closed.
    tensors = {name: buffers.get_tensor(name) for name in loader.get_keys()}
    buffers.close()
    loader.close()
    return tensors


def load(path: str, threads: int, buffer_kib: int):
    return _load(path, threads, buffer_kib)


def parameters(path: str, threads: int, buffer_kib: int):
    """The parameters alone of a training state, by a filter of names."""
    return _load(path, threads, buffer_kib, parts.is_parameter)

"""mergekit's `linear` on the processor."""

from __future__ import annotations

import os

import torch
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions

from comparison.peers import prepared, sync_folder

torch.set_num_threads(os.cpu_count() or 1)


@prepared
def mean(a: str, b: str, weights: list[float], path: str, options: dict):
    """`run_merge`, until what it wrote is on stable storage, as what Graft writes is."""
    config = MergeConfiguration.model_validate({
        "merge_method": "linear", "dtype": "bfloat16",
        "models": [{"model": model, "parameters": {"weight": weight}} for model, weight in zip((a, b), weights)],
    })  # fmt: skip
    merging = MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True, lazy_unpickle=True, **options)

    def run() -> None:
        run_merge(config, path, merging)
        sync_folder(path)

    return run

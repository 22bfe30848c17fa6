"""Whole checkpoints into memory, out of the page cache and from the disk; and mapped, which reads nothing yet."""

from __future__ import annotations

from comparison.jobs import Setting
from comparison.turns import Job

FIRST_LOAD = (
    "It is memory that decides a first load, not reading: a virtual machine whose host has taken free memory back gives it slowly, and huge pages "
    "of it most slowly, so that Graft times both while it populates its result. The row *small pages* is the same load with huge pages switched off for "
    "the process; later loads, which reuse the memory, are alike.")

FIRST_COLD_LOAD = (
    "Both are at the pace of the disk, from which plain loops of direct reads get no more either (`graft-benchmark tune` measures them).")

SMALL_PAGES = "without huge pages, by `prctl`; no setting of Graft's"


# What PyTorch and glibc document for memory in huge pages; NumPy asks for them by itself.
PYTORCH_HUGE_PAGES = {"THP_MEM_ALLOC_ENABLE": "1"}
GLIBC_HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


def _safetensors(setting: Setting, times: int) -> list:
    path, peer = setting.model, setting.peer
    return [
        setting.load("Graft", path, times=times),
        peer("safetensors, mmap", "safetensors", "load", path=path, backend="mmap", times=times),
        peer("safetensors, pread", "safetensors", "load", path=path, backend="pread", times=times),
        peer("safetensors for PyTorch, pread", "torch", "load_safetensors", path=path, backend="pread", times=times),
        peer("torch.load", "torch", "load", path=setting.data("model.pt"), mmap=False, times=times, note="of a file of its own"),
        peer("Run:ai", "runai", "load", path=path, times=times, note="its defaults"),
        peer("fastsafetensors", "fastsafetensors", "load", path=path, threads=16, buffer_kib=16384, times=times, note="its defaults without GDS"),
        peer("Orbax", "orbax", "load_safetensors", path=path.parent, times=times, note="its reader of safetensors"),
    ]  # fmt: skip


def load_warm(setting: Setting) -> Job:
    path, peer, times = setting.model, setting.peer, setting.times
    return Job(
        "load-warm", "Load safetensors, warm",
        "All of a model in one safetensors file, which is in the page cache, into memory that the caller may change. The rows with *kept tensors* "
        "copy into memory that was there before, as Graft's later loads do.",
        [
            setting.without_huge_pages(setting.load("Graft, small pages", path, times=times, note=SMALL_PAGES)),
            *_safetensors(setting, times),
            peer(
                "safetensors for PyTorch, mmap, kept tensors", "torch", "load_into_kept", path=path, of="safetensors", times=times),
            peer("torch.load, mmap, kept tensors", "torch", "load_into_kept", path=setting.data("model.pt"), of="torch", times=times),
            peer("Run:ai, kept tensors", "runai", "load_into_kept", path=path, times=times, note="its buffers are reused too"),
        ],
        baseline="Graft", reference=setting.digest("safetensors", path), inputs=[path, setting.data("model.pt")],
        byte_count=setting.size.model_bytes, repeats=True, why=FIRST_LOAD,
    )  # fmt: skip


def load_settings(setting: Setting) -> Job:
    path, model, peer, times = setting.model, setting.data("model-zstd"), setting.peer, setting.times
    return Job(
        "load-settings", "Other settings of the peers",
        "The warm loads of safetensors and of Orbax with other settings that the peers document: sizes, numbers of threads, huge pages. One round, "
        "to show that no setting is withheld.",
        [
            setting.load("Graft", path, times=times, note="safetensors"),
            peer(
                "safetensors for PyTorch, pread, huge pages", "torch", "load_safetensors", path=path, backend="pread", times=times,
                environment=PYTORCH_HUGE_PAGES),
            peer("Run:ai, huge pages", "runai", "load", path=path, times=times, environment=PYTORCH_HUGE_PAGES | GLIBC_HUGE_PAGES),
            peer(
                "Run:ai, 2 at a time, no limit", "runai", "load", path=path, times=times,
                environment={"RUNAI_STREAMER_CONCURRENCY": "2", "RUNAI_STREAMER_MEMORY_LIMIT": "-1"}),
            peer("fastsafetensors, 2 threads, 1 MiB", "fastsafetensors", "load", path=path, threads=2, buffer_kib=1024, times=times),
            setting.load("Graft, of Orbax", model, times=times),
            peer("Orbax, huge pages", "orbax", "load", path=model, times=times, environment=GLIBC_HUGE_PAGES),
            peer("TensorStore, huge pages", "tensorstore", "load", path=model, times=times, environment=GLIBC_HUGE_PAGES),
            peer("TensorStore, 16 at a time", "tensorstore", "load", path=model, concurrency=16, times=times),
        ],
        baseline="Graft", reference=setting.digest("safetensors", path), inputs=[path, model],
        beside={name: "Graft, of Orbax" for name in ("Orbax, huge pages", "TensorStore, huge pages", "TensorStore, 16 at a time")},
        byte_count=setting.size.model_bytes, repeats=True, rounds=1, why=FIRST_LOAD,
    )  # fmt: skip


def load_cold(setting: Setting) -> Job:
    return Job(
        "load-cold", "Load safetensors, cold",
        "The same file, of which nothing is in the page cache, in a process that loads once. What the host of a virtual machine has "
        "in its own cache is not known.",
        _safetensors(setting, 1),
        baseline="Graft", reference=setting.digest("safetensors", setting.model), inputs=[setting.model, setting.data("model.pt")],
        byte_count=setting.size.model_bytes, is_cold=True, rounds=2, why=FIRST_COLD_LOAD,
    )  # fmt: skip


def load_mapped(setting: Setting) -> Job:
    path, peer, times = setting.model, setting.peer, setting.times
    return Job(
        "load-mapped", "Map safetensors",
        "The same file opened so that every tensor can be used; its pages are read when they are touched.",
        [
            setting.load("Graft, mapped", path, times=times, options=["--into", "mapped"]),
            peer("safetensors for PyTorch, mmap", "torch", "load_safetensors", path=path, backend="mmap", times=times),
            peer("torch.load, mmap", "torch", "load", path=setting.data("model.pt"), mmap=True, times=times, note="of a file of its own"),
        ],
        baseline="Graft, mapped", reference=setting.digest("safetensors", path), inputs=[path, setting.data("model.pt")], repeats=True,
        remarks=["NumPy's arrays are always copies in version 0.8 of safetensors, so that it has no row here."],
    )  # fmt: skip


def _orbax(setting: Setting, data: str, times: int) -> list:
    path, peer = setting.data(data), setting.peer
    return [
        setting.load("Graft", path, times=times),
        peer("Orbax", "orbax", "load", path=path, times=times, note="`ocp.load`, which limits nothing by default"),
        peer("TensorStore", "tensorstore", "load", path=path, times=times, note="one batch, as many threads as processors"),
    ]


def _kept_arrays(setting: Setting, data: str):
    return setting.peer("TensorStore, kept arrays", "tensorstore", "load_into_kept", path=setting.data(data), times=setting.times)


def load_orbax(setting: Setting) -> Job:
    path, times = setting.data("model-zstd"), setting.times
    return Job(
        "load-orbax", "Load Orbax, warm",
        "All of a model as Orbax saves it by default, in one zstd frame for each leaf, from the page cache.",
        [
            *_orbax(setting, "model-zstd", times),
            setting.without_huge_pages(setting.load("Graft, small pages", path, times=times, note=SMALL_PAGES)),
            _kept_arrays(setting, "model-zstd"),
        ],
        baseline="Graft", reference=setting.digest("safetensors", setting.model), inputs=[setting.data("model-zstd")],
        byte_count=setting.size.model_bytes, repeats=True, why=FIRST_LOAD,
    )  # fmt: skip


def load_orbax_plain(setting: Setting) -> Job:
    return Job(
        "load-orbax-plain", "Load uncompressed Orbax, warm",
        "The same, saved with `use_compression=False`.",
        [*_orbax(setting, "model-plain", setting.times), _kept_arrays(setting, "model-plain")],
        baseline="Graft", reference=setting.digest("safetensors", setting.model), inputs=[setting.data("model-plain")],
        byte_count=setting.size.model_bytes, repeats=True, rounds=2, why=FIRST_LOAD,
    )  # fmt: skip


def load_orbax_cold(setting: Setting) -> Job:
    return Job(
        "load-orbax-cold", "Load Orbax, cold",
        "The compressed one, of which nothing is in the page cache, in a process that loads once.",
        _orbax(setting, "model-zstd", 1),
        baseline="Graft", reference=setting.digest("safetensors", setting.model), inputs=[setting.data("model-zstd")],
        byte_count=setting.size.model_bytes, is_cold=True, rounds=2, why=FIRST_LOAD,
    )  # fmt: skip

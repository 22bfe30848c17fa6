"""A part of a checkpoint: the parameters of a training state, and one process's share of every matrix."""

from __future__ import annotations

from comparison import parts
from comparison.jobs import Setting
from comparison.jobs.loads import FIRST_LOAD
from comparison.turns import Job


def parameters_orbax(setting: Setting) -> Job:
    path, peer, times = setting.data("state-zstd"), setting.peer, setting.times
    return Job(
        "parameters-orbax", "Parameters alone, of Orbax",
        "The bfloat16 parameters of a training state that holds Adam's float32 moments too, five times as many bytes in all, as Orbax saves it by "
        "default; warm.",
        [
            setting.load("Graft", path, select="params/**", times=times),
            peer("Orbax", "orbax", "parameters", path=path, times=times, note="placeholders for everything else"),
            peer("TensorStore", "tensorstore", "parameters", path=path, times=times, note="opens the parameters' arrays alone"),
        ],
        baseline="Graft", reference=setting.peer("", "safetensors", "parameters", path=setting.data("state.safetensors"), backend="pread").check,
        inputs=[path], byte_count=setting.size.state_parameter_bytes, repeats=True, why=FIRST_LOAD,
    )  # fmt: skip


def parameters_safetensors(setting: Setting) -> Job:
    path, peer, times = setting.data("state.safetensors"), setting.peer, setting.times
    return Job(
        "parameters-safetensors", "Parameters alone, of safetensors",
        "The same state in one safetensors file, warm.",
        [
            setting.load("Graft", path, select="params/**", times=times),
            peer("safetensors, mmap", "safetensors", "parameters", path=path, backend="mmap", times=times),
            peer("safetensors, pread", "safetensors", "parameters", path=path, backend="pread", times=times),
            peer("safetensors for PyTorch, mmap, copied", "torch", "parameters", path=path, of="safetensors", times=times),
            peer(
                "torch.load, mmap, copied", "torch", "parameters", path=setting.data("state.pt"), of="torch", times=times,
                note="of a file of its own"),
            peer("Run:ai", "runai", "parameters", path=path, times=times, note="`tensor_names`"),
            peer(
                "fastsafetensors", "fastsafetensors", "parameters", path=path, threads=16, buffer_kib=16384, times=times,
                note="`set_tensor_filter`"),
        ],
        baseline="Graft", reference=setting.peer("", "safetensors", "parameters", path=path, backend="pread").check,
        inputs=[path, setting.data("state.pt")], byte_count=setting.size.state_parameter_bytes, repeats=True, why=FIRST_LOAD,
    )  # fmt: skip


def _slices(setting: Setting) -> tuple[list[dict], int]:
    """The steps of a recipe that keep a process's part of each leaf, and the bytes of the result."""
    steps: list[dict] = [{"take": {"from": "model"}}]
    by_slice: dict[str, list[str]] = {}
    byte_count = 0
    for name, shape in setting.size.shapes(setting.size.layers).items():
        part = parts.of_tensor(name, shape)
        count = 1
        for extent, piece in zip(shape, part):
            count *= len(range(extent)[piece])
        byte_count += 2 * count
        if len(shape) > 1:
            words = ", ".join(":" if piece == slice(None) else f"{piece.start}:{piece.stop}" for piece in part)
            by_slice.setdefault(words, []).append(name.replace(".", "/"))
    for words, paths in by_slice.items():
        steps.append({"slice": {"select": "{" + ",".join(paths) + "}", "slice": words}})
    return steps, byte_count


def slices_safetensors(setting: Setting) -> Job:
    path, peer, times = setting.model, setting.peer, setting.times
    steps, byte_count = _slices(setting)
    return Job(
        "slices-safetensors", "One process's slices, of safetensors",
        "What the second of four processes has of a model under tensor parallelism: a quarter of the columns of the matrices that end a block, a "
        "quarter of the rows of all others; warm.",
        [
            setting.surgery("Graft", {"model": path}, steps, times=times),
            peer("safetensors, mmap", "safetensors", "slices", path=path, backend="mmap", times=times, note="`get_slice`"),
            peer("safetensors, pread", "safetensors", "slices", path=path, backend="pread", times=times, note="`get_slice`"),
            peer("safetensors for PyTorch, mmap", "torch", "slices", path=path, of="safetensors", times=times, note="`get_slice`, copied"),
            peer(
                "torch.load, mmap", "torch", "slices", path=setting.data("model.pt"), of="torch", times=times,
                note="sliced and copied, of a file of its own"),
        ],
        baseline="Graft", reference=setting.peer("", "safetensors", "slices", path=path, backend="pread").check,
        inputs=[path, setting.data("model.pt")], byte_count=byte_count, repeats=True, why=FIRST_LOAD,
    )  # fmt: skip


def slices_orbax(setting: Setting) -> Job:
    path, times = setting.data("model-zstd"), setting.times
    steps, byte_count = _slices(setting)
    return Job(
        "slices-orbax", "One process's slices, of Orbax",
        "The same of the model as Orbax saves it by default: each leaf is one frame, which has to be decoded from its beginning.",
        [
            setting.surgery("Graft", {"model": path}, steps, times=times),
            setting.peer("TensorStore", "tensorstore", "slices", path=path, times=times, note="which decodes whole frames"),
        ],
        baseline="Graft", reference=setting.peer("", "safetensors", "slices", path=setting.model, backend="pread").check,
        inputs=[path], byte_count=byte_count, repeats=True,
        remarks=["Orbax itself gives a process its slices by shardings over devices, of which one process on a processor has one."],
    )  # fmt: skip

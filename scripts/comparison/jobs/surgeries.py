"""Loads that change what is loaded: layers stacked, another dtype, the mean of two models, two checkpoints made one."""

from __future__ import annotations

from comparison.jobs import Setting
from comparison.jobs.loads import FIRST_LOAD
from comparison.turns import Job

STACK = [{"take": {"from": "model"}}, {"stack": {"pattern": r"model/layers/(\d+)/(.*)", "to": r"model/layers/\2"}}]
CAST = [{"take": {"from": "model"}}, {"cast": {"select": "**", "dtype": "float32"}}]
WEIGHTS = [0.7, 0.5]


def stack_orbax(setting: Setting) -> Job:
    path, times = setting.data("model-zstd"), setting.times
    return Job(
        "stack-orbax", "Load and stack, of Orbax",
        "All layers of a model, as Orbax saves it by default, stacked along a new first axis; warm.",
        [
            setting.surgery("Graft", {"model": path}, STACK, times=times),
            setting.peer("Orbax and jnp.stack", "orbax", "stack", path=path, times=times),
            setting.peer(
                "TensorStore into place", "tensorstore", "stack", path=path, times=times, note="each layer is read into its part of the stack"),
        ],
        baseline="Graft", reference=setting.peer("", "safetensors", "stack", path=setting.model, backend="pread").check, inputs=[path],
        byte_count=setting.size.model_bytes, repeats=True, why=FIRST_LOAD,
    )  # fmt: skip


def stack_safetensors(setting: Setting) -> Job:
    path, times = setting.model, setting.times
    return Job(
        "stack-safetensors", "Load and stack, of safetensors",
        "The same of the model in safetensors.",
        [
            setting.surgery("Graft", {"model": path}, STACK, times=times),
            setting.peer("safetensors, mmap, into place", "safetensors", "stack", path=path, backend="mmap", times=times),
            setting.peer("safetensors, pread, into place", "safetensors", "stack", path=path, backend="pread", times=times),
            setting.peer("safetensors and torch.stack", "torch", "stack", path=path, times=times, note="of mapped tensors: each is copied once"),
        ],
        baseline="Graft", reference=setting.peer("", "safetensors", "stack", path=path, backend="pread").check, inputs=[path],
        byte_count=setting.size.model_bytes, repeats=True, why=FIRST_LOAD,
    )  # fmt: skip


def cast_safetensors(setting: Setting) -> Job:
    path, times = setting.model, setting.times
    return Job(
        "cast-safetensors", "Load as float32, of safetensors",
        "A bfloat16 model, loaded as float32; warm. Rates count the bytes of the result.",
        [
            setting.surgery("Graft", {"model": path}, CAST, times=times),
            setting.peer("safetensors and astype", "safetensors", "cast", path=path, backend="mmap", times=times),
            setting.peer("safetensors and Tensor.to", "torch", "cast", path=path, times=times, note="of mapped tensors, on all processors"),
        ],
        baseline="Graft", reference=setting.peer("", "safetensors", "cast", path=path, backend="pread").check, inputs=[path],
        byte_count=2 * setting.size.model_bytes, repeats=True, why=FIRST_LOAD,
    )  # fmt: skip


def cast_orbax(setting: Setting) -> Job:
    path, times = setting.data("model-zstd"), setting.times
    return Job(
        "cast-orbax", "Load as float32, of Orbax",
        "The same of the model as Orbax saves it by default.",
        [
            setting.surgery("Graft", {"model": path}, CAST, times=times),
            setting.peer("Orbax", "orbax", "cast", path=path, times=times, note="a target of float32"),
            setting.peer("TensorStore", "tensorstore", "cast", path=path, times=times, note="`ts.cast`"),
        ],
        baseline="Graft", reference=setting.peer("", "safetensors", "cast", path=setting.model, backend="pread").check, inputs=[path],
        byte_count=2 * setting.size.model_bytes, repeats=True, why=FIRST_LOAD,
    )  # fmt: skip


def mean(setting: Setting) -> Job:
    a, b = setting.data("model-a"), setting.data("model-b")
    files = {name: path / "model.safetensors" for name, path in (("a", a), ("b", b))}
    recipe = setting.recipe(files, [{"average": {"of": ["a", "b"], "weights": WEIGHTS}}])
    one, many = setting.folder / "out.safetensors", setting.out

    def mergekit(name: str, note: str = "", **options):
        return setting.peer(name, "mergekit", "mean", made=many, note=note, a=a, b=b, weights=WEIGHTS, path=many, options=options)

    return Job(
        "mean", "Weighted mean of two models",
        f"Two models averaged by the weights {WEIGHTS[0]} and {WEIGHTS[1]}, from safetensors in the page cache into safetensors on stable "
        "storage. Graft's time is that of the whole process; the others' is without the interpreter's start and imports.",
        [
            setting.tool("Graft", ["merge", recipe, one], made=one, is_whole_process=True),
            mergekit("mergekit", "`linear`, its defaults"),
            mergekit("mergekit, async_write", "two `write_threads`", async_write=True, write_threads=2),
            mergekit("mergekit, small shards", "of 50 million parameters", out_shard_size=50_000_000),
            setting.peer(
                "PyTorch by hand", "torch", "mean", made=one, a=files["a"], b=files["b"], weights=WEIGHTS, path=one,
                note="tensor by tensor, then `save_file`"),
        ],
        baseline="Graft", reference=None, expected="mergekit", inputs=[a, b], byte_count=setting.size.model_bytes, rounds=2,
    )  # fmt: skip


def link(setting: Setting) -> Job:
    a, b, out = setting.data("model-zstd"), setting.data("model-b-zstd"), setting.out
    steps = [{"take": {"from": name, "to": f"{name}/**"}} for name in ("a", "b")]
    recipe = setting.recipe({"a": a, "b": b}, steps)
    return Job(
        "link", "Two checkpoints made one",
        "Two models, as Orbax saves them by default, under one name each in a new checkpoint on stable storage.",
        [
            setting.tool("Graft, linked", ["merge", recipe, out, "--link"], made=out, kind="orbax", note="moves no tensor bytes"),
            setting.tool("Graft, rewritten", ["merge", recipe, out], made=out, kind="orbax", note="decodes and encodes anew"),
            setting.peer("Orbax", "orbax", "merge", made=out, kind="orbax", a=a, b=b, path=out, options={}, note="loads and saves"),
            setting.peer(
                "Orbax, uncompressed", "orbax", "merge", made=out, kind="orbax", a=a, b=b, path=out, options={"use_compression": False}),
            setting.peer(
                "TensorStore", "tensorstore", "merge", made=out, kind="tensorstore", a=a, b=b, path=out,
                note="copies stored chunks; makes no Orbax metadata"),
        ],
        baseline="Graft, linked",
        reference=setting.digest("merged", *(f"{name}={setting.data(f'model-{name}/model.safetensors')}" for name in "ab")),
        inputs=[a, b], byte_count=2 * setting.size.model_bytes, rounds=2,
    )  # fmt: skip

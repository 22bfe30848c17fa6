"""Takes turns averaging two models, by mergekit and by Graft; scripts/compare-mergekit runs it."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

WEIGHTS = (0.7, 0.5)
WIDTH, INNER, LAYERS, VOCABULARY = 2048, 5632, 10, 8192
# mergekit's settings: its defaults, and those that it offers for speed or memory where there is no GPU. Without the last, one file
# of up to 5 billion parameters comes together in memory before it is written.
SETTINGS = {
    "mergekit": {},
    "mergekit, async_write": {"async_write": True, "write_threads": 2},
    "mergekit, shards of 50M": {"out_shard_size": 50_000_000},
}


def make(folder: Path) -> None:
    """Two Llamas in bfloat16, noise of the size that trained weights have."""
    import torch
    import transformers
    from safetensors.torch import save_file

    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=INNER, num_hidden_layers=LAYERS,
        num_attention_heads=16, num_key_value_heads=16, tie_word_embeddings=False,
    )  # fmt: skip
    config.architectures, config.dtype = ["LlamaForCausalLM"], torch.bfloat16
    with torch.device("meta"):
        shapes = {name: tuple(p.shape) for name, p in transformers.LlamaForCausalLM(config).named_parameters()}
    for seed, name in enumerate(("a", "b")):
        generator = torch.Generator().manual_seed(seed)
        tensors = {leaf: torch.randn(shape, generator=generator, dtype=torch.bfloat16) * 0.02 for leaf, shape in shapes.items()}
        (folder / name).mkdir(parents=True)
        config.save_pretrained(folder / name)
        save_file(tensors, folder / name / "model.safetensors", metadata={"format": "pt"})
    recipe = {
        "sources": {name: name for name in ("a", "b")},
        "steps": [{"average": {"of": ["a", "b"], "weights": WEIGHTS}}],
    }
    (folder / "recipe.json").write_text(json.dumps(recipe), encoding="utf-8")


def merge_by_mergekit(folder: Path, out: Path, settings: dict) -> None:
    """Merges, and prints the seconds and the MiB that were resident before."""
    import logging
    import warnings

    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    import torch
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    torch.set_num_threads(os.cpu_count() or 1)
    config = MergeConfiguration.model_validate({
        "merge_method": "linear", "dtype": "bfloat16",
        "models": [{"model": str(folder / name), "parameters": {"weight": weight}} for name, weight in zip("ab", WEIGHTS)],
    })  # fmt: skip
    options = MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True, lazy_unpickle=True, **settings)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    before = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024
    start = time.perf_counter()
    run_merge(config, str(out), options)
    # Until it is on stable storage, as what Graft writes is.
    for file in out.rglob("*.safetensors"):
        with open(file, "rb+") as stream:
            os.fsync(stream.fileno())
    print(json.dumps({"seconds": time.perf_counter() - start, "before": before}))


def run(command: list[str]) -> tuple[dict, float, float]:
    """What a process prints, how long it took, and its peak of resident memory in MiB."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, errors = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command} failed:\n{errors.decode(errors='replace')[-4000:]}")
    return json.loads(output.decode().splitlines()[-1]), seconds, usage.ru_maxrss / 1024


def tensors(path: Path):
    """The names of a model's tensors, each with a function that reads it."""
    from safetensors import safe_open

    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    for file in files:
        with safe_open(file, "pt") as opened:
            for name in opened.keys():
                yield name, opened.get_tensor(name)


def check(mine: Path, theirs: Path) -> None:
    """Prints how many elements both computed alike; fails where they are further apart than neighbours in bfloat16."""
    import torch

    expected = dict(tensors(theirs))
    equal = total = 0
    for name, values in tensors(mine):
        other = expected.pop(name)
        assert values.dtype == other.dtype == torch.bfloat16 and values.shape == other.shape, name
        # As integers whose order is that of the numbers, neighbours are 1 apart.
        a, b = (bits.view(torch.int16).int() for bits in (values, other))
        a, b = (torch.where(bits < 0, -(bits & 0x7FFF), bits) for bits in (a, b))
        assert (a - b).abs().max() <= 1, f"{name} differs by more than a rounding"
        equal += int((a == b).sum())
        total += a.numel()
    assert not expected, f"only mergekit wrote {sorted(expected)}"
    rest = "" if equal == total else ", the others are neighbours in bfloat16"
    print(f"{equal} of {total} elements have the same bits{rest}", flush=True)


def warm(folder: Path) -> None:
    for file in sorted(folder.rglob("*.safetensors")):
        with open(file, "rb", buffering=0) as stream:
            while stream.read(1 << 24):
                pass


def remove(*paths: Path) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def spread(values: list[float], digits: int = 2) -> str:
    return f"{statistics.median(values):8.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def processor_ticks() -> tuple[int, int]:
    """Ticks of all processors since the start of the machine: those that somebody used, and all."""
    fields = [int(field) for field in Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]]
    return sum(fields) - fields[3] - fields[4], sum(fields)


def main() -> None:
    if sys.argv[1] == "--mergekit":
        return merge_by_mergekit(Path(sys.argv[2]), Path(sys.argv[3]), json.loads(sys.argv[4]))
    if sys.argv[1] == "--make":
        return make(Path(sys.argv[2]))
    if sys.argv[1] == "--check":
        return check(Path(sys.argv[2]), Path(sys.argv[3]))
    graft, folder, rounds = sys.argv[1], Path(sys.argv[2]).resolve(), int(sys.argv[3])
    if not (folder / "recipe.json").exists():
        print(f"making {folder}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        # In a process of its own, as the check is: a process that is started counts the peak of who starts it as its own.
        subprocess.run([sys.executable, __file__, "--make", folder], check=True)
    mine = folder / "merged.safetensors"
    out = {name: folder / f"out-{index}" for index, name in enumerate(SETTINGS)}
    sides = {"graft": [graft, "merge", str(folder / "recipe.json"), str(mine), "--json", "--quiet", "--overwrite"]}
    for name, settings in SETTINGS.items():
        sides[name] = [sys.executable, __file__, "--mergekit", str(folder), str(out[name]), json.dumps(settings)]
    remove(mine, *out.values())
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    peak: dict[str, list[float]] = {name: [] for name in sides}
    before: list[float] = []
    inner: list[float] = []
    ticks = processor_ticks()
    used = os.times()
    for number in range(rounds):
        for name in sorted(sides, reverse=bool(number % 2)):
            for name_of_input in "ab":
                warm(folder / name_of_input)
            # What the others have written is gone, so that nobody pays for its way to the disk, nor has less page cache for it.
            if number > 0:
                remove(mine, *out.values())
            answer, wall, memory = run(sides[name])
            if name == "graft":
                inner.append(answer["seconds"])
            else:
                before.append(answer["before"])
            seconds[name].append(wall if name == "graft" else answer["seconds"])
            peak[name].append(memory)
            print(f"round {number + 1}: {name}, {seconds[name][-1]:.2f} s, {memory:.0f} MiB", flush=True)
        if number == 0:
            subprocess.run([sys.executable, __file__, "--check", mine, out["mergekit"]], check=True)
    busy, total = (after - earlier for after, earlier in zip(processor_ticks(), ticks))
    now = os.times()
    own = sum(now[:4]) - sum(used[:4])
    own_ticks = own * os.sysconf("SC_CLK_TCK")
    print(f"{rounds} rounds in turns, inputs in the page cache; others had {100 * (busy - own_ticks) / total:.0f} % of the processors")
    print("  seconds")
    for name, values in seconds.items():
        print(f"    {name:<28}{spread(values)}")
    print(f"    {'graft, as it says itself':<28}{spread(inner)}")
    print("  how many times as long as Graft")
    for name in SETTINGS:
        print(f"    {name:<28}{spread([a / b for a, b in zip(seconds[name], seconds['graft'])])}")
    print("  peak of resident memory, MiB")
    for name, values in peak.items():
        print(f"    {name:<28}{spread(values, 0)}")
    print(f"    {'of which imports had':<28}{spread(before, 0)}")
    remove(mine, *out.values())


if __name__ == "__main__":
    main()

"""docs/performance.md out of the journal: the same page whenever it is rendered, so that a job can be measured again alone."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Iterable
from typing import Any, NamedTuple

from comparison.figures import Spread, digits, ratios, shown
from comparison.journal import Journal
from comparison.turns import Contestant, Job

FIRST, LATER = "first", "later"

INTRODUCTION = """\
# Performance: Graft beside its peers

`scripts/compare` wrote this page from what it measured; change it there, in `scripts/comparison`. What was measured of Graft alone, and why its
defaults are what they are, stands in [measurements.md](measurements.md).

All contestants take turns on the same data, each turn a process of its own, and each round begins with another one. A figure is the median of
the rounds, with the smallest and the largest in brackets; a ratio is that of turns of the same round. Before a job is measured, every
contestant's result is held against what the safetensors library and NumPy give, bit for bit.
"""

READING = """\
## How to read the tables

- **Times** are those of the call alone. Interpreters' starts and imports are left out for the peers, which takes from one to several seconds
  each time; where Graft's row has the start of its process in it, the job says so.
- **First** is the first time in a process, into memory that nobody touched before. **Later** is the median of the times that follow in the
  same process: Graft reuses its memory then, Python's libraries mostly allocate anew, and rows with *kept tensors* or *kept arrays* reuse
  theirs too; those have no first time.
- **Times Graft's** is a row's time by Graft's in the same round: 2 is twice as long as Graft, 0.5 half as long.
- **Memory** is the peak of a process's resident memory, then of its anonymous memory alone, as sampled every 10 ms (mapped files are not in
  it), then what was resident before the call, which for the peers is the interpreter, their libraries and, in saves, the state. In MiB, medians.
- **Huge pages** are what PyTorch and glibc have settings for (`THP_MEM_ALLOC_ENABLE`, `glibc.malloc.hugetlb`); NumPy and Graft ask for them by
  themselves.
- **Warm** has the files in the page cache, and **cold** none of them, which is checked. Whatever is written is synced, by everybody.
"""

COMMANDS = """\
## Which command gives which figure

Every figure that Graft promises or is held to is printed by one of these. `graft-benchmark` stands for `swift run -c release graft-benchmark`.

| figure | command |
| --- | --- |
| loads beside the raw reads of the same file, warm and cold, mapped | `graft-benchmark load`; any checkpoint: `graft load PATH --repeat 11` |
| loads of Orbax beside the bare decoding of its frames | `scripts/orbax-checkpoints`, `graft-benchmark orbax` |
| loads beside safetensors, PyTorch, Run:ai, fastsafetensors, Orbax, TensorStore | `scripts/compare load-warm load-cold load-mapped load-orbax load-orbax-plain load-orbax-cold load-settings` |
| parts of a checkpoint | `graft-benchmark partial`, `scripts/compare parameters-orbax parameters-safetensors slices-safetensors slices-orbax` |
| load and stack beside the plain load: requests, bytes and time; transposes; casts beside the load without one | `graft-benchmark surgery` |
| stacks along inner axes beside a copy | `graft-benchmark stacks` |
| load and stack beside Orbax and `jnp.stack`, and beside safetensors: time and peak memory | `scripts/compare stack-orbax stack-safetensors` |
| casts beside the peers | `scripts/compare cast-safetensors cast-orbax` |
| weighted mean of two models beside mergekit: time and peak memory | `scripts/compare mean` |
| planning a transform of 100,000 leaves, with up to three rules | `graft-benchmark plan` |
| surgeries on a leaf of 2 GiB in a budget of 128 MiB: peak memory | `graft-benchmark surgery-memory`; as a test: `scripts/test` |
| saves beside bare zstd and the disk | `graft-benchmark save`, `graft-benchmark encode` |
| saves beside `ocp.save`, `save_file` and `torch.save`, all synced | `scripts/compare save-orbax save-safetensors` |
| linked merges and stacks of 1 and 5 GiB, and of 100,000 leaves | `graft-benchmark link` |
| a linked merge beside loading and saving | `scripts/compare link` |
| what verifying checksums costs a warm load, compressed and not | `scripts/compare verify-zstd verify-plain` |
| opening many leaves | `graft-benchmark open`, `scripts/compare metadata-orbax metadata-safetensors` |
| memory that loads and conversions take beyond their result | `graft-benchmark memory` |
"""


class Measured(NamedTuple):
    """A contestant's figures of one kind, by their rounds."""

    seconds: dict[int, float]

    @property
    def spread(self) -> Spread:
        return Spread.of(self.seconds.values())


class Ratio(NamedTuple):
    """A peer's time by that of the contestant of Graft's that it is compared with."""

    job: Job
    peer: Contestant
    graft: Contestant
    kind: str
    spread: Spread


def measured(journal: Journal, job: Job, contestant: str, kind: str = FIRST) -> Measured | None:
    """A contestant's first times, or the medians of the later ones; None where nothing was measured, or no time is a first one."""
    seconds = {}
    if kind == FIRST and any(other.name == contestant and other.has_kept_memory for other in job.contestants):
        return None
    for number, turn in journal.turns(job.name, contestant).items():
        values = turn["seconds"]
        if kind == FIRST:
            seconds[number] = values[0]
        elif len(values) > 1:
            seconds[number] = statistics.median(values[1:])
    return Measured(seconds) if seconds else None


def compared(journal: Journal, job: Job, contestant: str, with_contestant: str, kind: str) -> Spread | None:
    """How many times as long one takes as the other, round by round."""
    one, other = measured(journal, job, contestant, kind), measured(journal, job, with_contestant, kind)
    return ratios(one.seconds, other.seconds) if one and other else None


def kinds(job: Job) -> list[str]:
    return [FIRST, LATER] if job.repeats else [FIRST]


def peer_ratios(journal: Journal, job: Job) -> list[Ratio]:
    """Each peer beside Graft, in each kind."""
    by_name = {contestant.name: contestant for contestant in job.contestants}
    found = []
    for contestant in job.contestants:
        if contestant.is_graft:
            continue
        graft = job.beside.get(contestant.name, job.baseline)
        for kind in kinds(job):
            spread = compared(journal, job, contestant.name, graft, kind)
            if spread:
                found.append(Ratio(job, contestant, by_name[graft], kind, spread))
    return found


def memory(journal: Journal, job: Job, contestant: str, member: str) -> float | None:
    values = [turn[member] for turn in journal.turns(job.name, contestant).values() if member in turn]
    return statistics.median(values) if values else None


# ---- tables ----------------------------------------------------------------------------------------------------------------------


def table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    return ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1), *("| " + " | ".join(row) + " |" for row in rows)]


def _times(spread: Spread | None) -> str:
    return "" if spread is None else shown(spread, 2)


def _unit(journal: Journal, job: Job) -> tuple[str, float]:
    """Milliseconds where most times are short, else seconds."""
    figures = [measured(journal, job, contestant.name, kind) for contestant in job.contestants for kind in kinds(job)]
    medians = [figure.spread.median for figure in figures if figure]
    return ("ms", 1000) if medians and statistics.median(medians) < 0.1 else ("s", 1)


def section(journal: Journal, job: Job) -> list[str]:
    """A job: what is done, a table, and what to know."""
    lines = [f"### {job.title}", "", *wrapped(f"`scripts/compare {job.name}`. {job.description}"), ""]
    taken = [contestant for contestant in job.contestants if journal.turns(job.name, contestant.name)]
    if not taken:
        return [*lines, "Not measured.", ""]
    unit, scale = _unit(journal, job)
    head = [""]
    for kind in kinds(job):
        name = {FIRST: "first, ", LATER: "later, "}[kind] if job.repeats else ""
        head += [f"{name}{unit}", f"{name}times Graft's"]
    head += ["GiB/s"] if job.byte_count else []
    head += [f"{job.main_peer}'s time / this"] if job.main_peer else []
    head += ["memory, MiB"]
    rows = []
    for contestant in taken:
        row = [_label(contestant)]
        for kind in kinds(job):
            figure = measured(journal, job, contestant.name, kind)
            row.append(shown(figure.spread, 3, scale) if figure else "")
            graft = job.baseline if contestant.is_graft else job.beside.get(contestant.name, job.baseline)
            row.append("" if contestant.name == graft else _times(compared(journal, job, contestant.name, graft, kind)))
        if job.byte_count:
            rates = [measured(journal, job, contestant.name, kind) for kind in kinds(job)]
            row.append(", ".join(digits(job.byte_count / (1 << 30) / rate.spread.median, 2) for rate in rates if rate))
        if job.main_peer:
            same = contestant.name == job.main_peer
            row.append("" if same else _times(compared(journal, job, job.main_peer, contestant.name, FIRST)))
        parts = [memory(journal, job, contestant.name, member) for member in ("peak_mib", "anonymous_mib", "before_mib")]
        row.append(" / ".join("–" if part is None else f"{part:,.0f}" for part in parts))
        rows.append(row)
    lines += [*table(head, rows), ""]
    rounds = len(journal.turns(job.name, job.baseline))
    others = [turn["others"] for turn in journal.of("turn", job.name)]
    found = {line["contestant"]: line["found"] for line in journal.of("check", job.name)}
    checked = _checked(job, found)
    how = f"{rounds} round{'s' if rounds != 1 else ''}; others took {100 * statistics.median(others):.0f} % of the processors (median)."
    lines += [*wrapped(f"{how} {checked}"), ""]
    for remark in job.remarks:
        lines += [*wrapped(remark), ""]
    return lines


def _label(contestant: Contestant) -> str:
    name = f"**{contestant.name}**" if contestant.is_graft else contestant.name
    return f"{name}, {contestant.note}" if contestant.note else name


def _checked(job: Job, found: dict[str, str]) -> str:
    if not found:
        return "**Results were not compared.**"
    if set(found.values()) == {"equal, bit for bit"}:
        beside = "of all" if len(found) >= len(job.contestants) else f"of {len(found)} contestants"
        return f"The results {beside} are equal to the reference, bit for bit." if job.reference else f"The results {beside} are equal, bit for bit."
    parts = [f"{name}: {what}" for name, what in found.items() if name != job.expected]
    return f"Beside {job.expected}'s result, " + "; ".join(parts) + "."


def summary(journal: Journal, jobs: list[Job]) -> list[str]:
    """One row a job: Graft, the peer that comes nearest, and how they compare."""
    rows = []
    for job in jobs:
        found = peer_ratios(journal, job)
        if not found:
            continue
        row = [f"[{job.title}](#{anchor(job.title)})"]
        for kind in (FIRST, LATER):
            of_kind = [ratio for ratio in found if ratio.kind == kind]
            if not of_kind:
                row += ["", ""]
                continue
            nearest = min(of_kind, key=lambda ratio: ratio.spread.median)
            row += [f"{shown(nearest.spread, 2)}", nearest.peer.name]
        least = _least_memory(journal, job)
        row.append("" if least is None else f"{least[0]:.2f}, {least[1]}")
        rows.append(row)
    head = ["job", "nearest peer's time / Graft's", "which", "the same, later", "which", "Graft's peak memory / the least of a peer"]
    return [*table(head, rows), ""]


def _least_memory(journal: Journal, job: Job) -> tuple[float, str] | None:
    """Graft's peak of resident memory by the smallest of a peer's, and whose that is."""
    graft = memory(journal, job, job.baseline, "peak_mib")
    peers = [(memory(journal, job, contestant.name, "peak_mib"), contestant.name) for contestant in job.contestants if not contestant.is_graft]
    peers = [(value, name) for value, name in peers if value]
    return (graft / min(peers)[0], min(peers)[1]) if graft and peers else None


def losses(journal: Journal, jobs: list[Job]) -> list[str]:
    """The peers that were faster than Graft, by the medians, job by job, and those that took less memory."""
    lines: list[str] = []
    explained: set[str] = set()
    for job in jobs:
        sentences = []
        for kind in kinds(job):
            slower = [ratio for ratio in peer_ratios(journal, job) if ratio.kind == kind and ratio.spread.median < 1]
            if slower:
                what = {FIRST: "first time", LATER: "later times"}[kind] if job.repeats else "time"
                peers = [
                    f"{ratio.peer.name} {shown(ratio.spread, 2)}" + (f" (of {ratio.graft.name})" if ratio.graft.name != job.baseline else "")
                    for ratio in slower]  # fmt: skip
                sentences.append(f"Of {job.baseline}'s {what}: {'; '.join(peers)}.")
        if sentences and job.why:
            sentences.append("Likely for the reason given above." if job.why in explained else job.why)
            explained.add(job.why)
        least = _least_memory(journal, job)
        if least is not None and least[0] > 1.005:
            sentences.append(f"{least[1]} took {1 / least[0]:.2f} of the memory.")
        if sentences:
            lines += wrapped(f"- **[{job.title}](#{anchor(job.title)})**: {' '.join(sentences)}", "  ")
    return lines or ["- Nowhere, by the medians."]


def wrapped(text: str, hanging: str = "") -> list[str]:
    """A paragraph in lines of at most 140 characters; links and code stay whole."""
    return textwrap.wrap(text, 140, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False)


def anchor(title: str) -> str:
    kept = "".join(c for c in title.lower() if c.isalnum() or c in "-_ ")
    return kept.replace(" ", "-")


def minutes(lines: list[dict[str, Any]]) -> float:
    return sum(line.get("wall", 0) for line in lines) / 60


# ---- the page --------------------------------------------------------------------------------------------------------------------


def machine(journal: Journal) -> list[str]:
    lines = journal.of("machine")
    if not lines:
        return []
    facts, versions = lines[-1]["facts"], lines[-1]["versions"]
    commits = list(dict.fromkeys(turn["graft"] for turn in journal.of("turn") if "graft" in turn))
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    place = ", ".join([facts["processors"], facts["memory"], f"kernel {facts['kernel']}", facts["system"], facts["storage"]])
    graft = f"Graft at {', '.join(commits) or facts['graft']}, release build."
    took = f"All turns that stand here took {minutes(journal.of('turn')):.0f} minutes together, without what comes between them."
    return [
        *wrapped(f"{place}. {graft} {packages}. No GPU; PyTorch's wheel is the one for CUDA, used on the processor."), "",
        *wrapped(took), "",
    ]  # fmt: skip


def text(journal: Journal, jobs: list[Job], charts: dict[str, str], size: str) -> str:
    """The page; `charts` are the titles of charts by the names of their files."""
    images = [f"![{title}]({name})" for name, title in charts.items()]
    first, rest = images[:1], images[1:]
    lines = [INTRODUCTION, "## At a glance", ""]
    lines += [
        *wrapped(
            "Of each job, the peer and setting that came nearest to Graft, or was faster: above 1 Graft is faster. *Later* is explained below. In the last "
            "column, below 1 Graft takes less."), "",
        *summary(journal, jobs), *first, "" if first else "",
        "## Where Graft loses", "", *losses(journal, jobs), "",
        "## The machine", "", *machine(journal), READING,
        "## How to take it again", "",
        "```sh",
        "scripts/compare                    # all of it, and this page: the peers' environment takes 7 GB under .build, the data 10 GB",
        "scripts/compare load-warm mean     # these jobs alone; what was measured of others stays on the page",
        "scripts/compare --again mean       # forgets what was measured of a job, and measures it again",
        "scripts/compare --for 170          # stops before a round that would not end within 170 s; call it again to go on",
        "scripts/compare --render           # the page from what was measured, without measuring",
        "scripts/compare --quick            # small data and one round, to see that everything runs",
        "scripts/compare --large            # models of 5 GiB; its page stays under .build",
        "```", "",
        *_data(size), "",
        "## The jobs", "",
    ]  # fmt: skip
    for job in jobs:
        lines += section(journal, job)
    for image in rest:
        lines += [image, ""]
    lines.append(COMMANDS)
    return "\n".join(lines).rstrip() + "\n"


def _data(size: str) -> list[str]:
    return wrapped(
        f"Models are Llamas {size}. Values are as trained ones are: normally distributed, with every bit of a mantissa random, so that zstd "
        "takes bfloat16 to 0.78 of its size and float32 to 0.93.")  # fmt: skip

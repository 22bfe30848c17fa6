"""The page's charts, as small SVG files with text as text."""

from __future__ import annotations

from pathlib import Path

from comparison import page
from comparison.journal import Journal
from comparison.turns import Job

GRAFT, PEER, PALE_GRAFT, PALE_PEER = "#c2410c", "#475569", "#fdba74", "#cbd5e1"
#: What a chart of a page may take.
BYTE_LIMIT = 60 << 10


def draw(journal: Journal, jobs: list[Job], folder: Path) -> dict[str, str]:
    """Draws what there are figures for; the titles by the files' names."""
    import matplotlib

    matplotlib.use("svg")
    # Text stays text, and two renderings of the same journal are the same file.
    matplotlib.rcParams.update({
        "svg.fonttype": "none", "svg.hashsalt": "graft", "font.family": "sans-serif", "font.size": 9, "axes.spines.top": False,
        "axes.spines.right": False, "savefig.facecolor": "white",
    })  # fmt: skip
    by_name = {job.name: job for job in jobs}
    drawn = {}
    for name, title, make in [
        ("performance-summary.svg", "The nearest peer's time by Graft's, job by job", lambda: _summary(journal, jobs)),
        ("performance-loads.svg", "Loads of a model in safetensors, warm, in GiB/s", lambda: _rates(journal, by_name.get("load-warm"))),
        ("performance-saves.svg", "Saves of a training state as Orbax, synced, in GiB/s", lambda: _rates(journal, by_name.get("save-orbax"))),
        ("performance-memory.svg", "Peaks of resident memory, in MiB", lambda: _memory(journal, jobs)),
    ]:
        figure = make()
        if figure is None:
            continue
        figure.axes[0].set_title(title, loc="left", fontsize=10)
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / name, metadata={"Date": None, "Creator": None})
        size = (folder / name).stat().st_size
        if size > BYTE_LIMIT:
            raise ValueError(f"{name} has {size} bytes, which is more than a page should have to load")
        drawn[name] = title
    return drawn


def _figure(rows: int):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.3 + 0.3 * rows), layout="constrained")
    return figure, figure.add_subplot()


def _bars(axes, labels: list[str], series: list[tuple[list[float | None], list[str]]], start: float = 0) -> None:
    """Horizontal bars from the top, one a series below each other, with their values at their ends."""
    height = 0.8 / len(series)
    for index, (values, colors) in enumerate(series):
        for row, (value, color) in enumerate(zip(values, colors)):
            if value is None:
                continue
            place = row + (index - (len(series) - 1) / 2) * height
            axes.barh(place, value - start, height * 0.9, left=start, color=color)
            side = {"xytext": (3, 0), "ha": "left"} if value >= start else {"xytext": (-3, 0), "ha": "right"}
            axes.annotate(page.digits(value, 2), (value, place), textcoords="offset points", va="center", fontsize=7, **side)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.margins(x=0.08)


def _legend(axes, names: list[tuple[str, str]]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=color, label=name) for name, color in names]
    axes.figure.legend(handles=handles, frameon=False, fontsize=8, loc="outside lower center", ncols=len(names))


def _summary(journal: Journal, jobs: list[Job]):
    labels, first, later = [], [], []
    for job in jobs:
        found = page.peer_ratios(journal, job)
        if not found:
            continue
        nearest = {
            kind: min((ratio.spread.median for ratio in found if ratio.kind == kind), default=None) for kind in (page.FIRST, page.LATER)}
        labels.append(job.title)
        first.append(nearest[page.FIRST])
        later.append(nearest[page.LATER])
    if not labels:
        return None
    figure, axes = _figure(len(labels) * 1.3)
    axes.set_xscale("log")

    def colors(values: list[float | None], graft: str, peer: str) -> list[str]:
        return [graft if value is None or value >= 1 else peer for value in values]

    series = [(first, colors(first, GRAFT, PEER)), (later, colors(later, PALE_GRAFT, PALE_PEER))]
    _bars(axes, labels, series, start=1)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("the nearest peer's time by Graft's: to the right Graft is faster, to the left the peer")
    _legend(axes, [("first or only time", GRAFT), ("later times in the same process", PALE_GRAFT), ("the peer is faster", PEER)])
    return figure


def _rates(journal: Journal, job: Job | None):
    if job is None:
        return None
    taken = [contestant for contestant in job.contestants if journal.turns(job.name, contestant.name)]
    if not taken:
        return None
    figure, axes = _figure(len(taken) * (1.3 if job.repeats else 1))
    series = []
    for kind in page.kinds(job):
        figures = [page.measured(journal, job, contestant.name, kind) for contestant in taken]
        values = [job.byte_count / (1 << 30) / figure.spread.median if figure else None for figure in figures]
        graft, peer = (GRAFT, PEER) if kind == page.FIRST else (PALE_GRAFT, PALE_PEER)
        series.append((values, [graft if contestant.is_graft else peer for contestant in taken]))
    _bars(axes, [contestant.name for contestant in taken], series)
    axes.set_xlabel("GiB/s of tensors")
    if job.repeats:
        _legend(axes, [("first load of a process", PEER), ("later loads", PALE_PEER), ("Graft's", GRAFT)])
    return figure


def _memory(journal: Journal, jobs: list[Job]):
    labels, graft, least, most = [], [], [], []
    for job in jobs:
        own = page.memory(journal, job, job.baseline, "peak_mib")
        peers = [page.memory(journal, job, contestant.name, "peak_mib") for contestant in job.contestants if not contestant.is_graft]
        peers = [value for value in peers if value]
        if not own or not peers or not job.byte_count:
            continue
        labels.append(job.title)
        graft.append(own)
        least.append(min(peers))
        most.append(max(peers))
    if not labels:
        return None
    figure, axes = _figure(len(labels) * 1.6)
    count = len(labels)
    _bars(axes, labels, [(graft, [GRAFT] * count), (least, [PALE_PEER] * count), (most, [PEER] * count)])
    axes.set_xlabel("MiB")
    _legend(axes, [("Graft", GRAFT), ("the peer that takes least", PALE_PEER), ("the peer that takes most", PEER)])
    return figure

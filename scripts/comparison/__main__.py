"""What scripts/compare runs: makes the data, holds the results against each other, measures, and writes the page."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from comparison import charts, data, machine, page, turns
from comparison.jobs import Setting
from comparison.jobs.every import jobs as every_job
from comparison.journal import Journal

ROOT = Path(__file__).resolve().parents[2]
#: The status when the time that was given did not suffice: call it again to go on.
UNFINISHED = 75


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/compare", description="Compares Graft with its peers, and writes docs/performance.md.")
    parser.add_argument("jobs", nargs="*", metavar="JOB", help="the jobs to measure; all unless given")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="size", action="store_const", const="quick", help="small data and one round")
    size.add_argument("--large", dest="size", action="store_const", const="large", help="models of 5 GiB")
    parser.add_argument("--rounds", type=int, help="so many rounds of each job")
    parser.add_argument("--again", action="store_true", help="forget what was measured of these jobs first")
    parser.add_argument("--for", dest="seconds", type=float, help="stop before a round that would not end in so many seconds")
    parser.add_argument("--check", action="store_true", help="make the data and hold the results against each other, and measure nothing")
    parser.add_argument("--render", action="store_true", help="write the page from what was measured before, and measure nothing")
    parser.add_argument("--list", action="store_true", help="list the jobs and their contestants")
    parser.add_argument("--products", type=Path, help=argparse.SUPPRESS)
    parser.set_defaults(size="usual")
    options = parser.parse_args()
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds is at least 1")
    return options


def main() -> int:
    options = arguments()
    available = turns.Time(options.seconds)
    folder = ROOT / ".build/compare" / options.size
    setting = Setting(python=sys.executable, products=options.products or Path(), folder=folder, size=data.SIZES[options.size])
    jobs = every_job(setting)
    unknown = set(options.jobs) - {job.name for job in jobs}
    if unknown:
        sys.exit(f"error: there is no job {', '.join(sorted(unknown))}; there are {', '.join(job.name for job in jobs)}")
    chosen = [job for job in jobs if not options.jobs or job.name in options.jobs]
    if options.list:
        for job in chosen:
            print(f"{job.name}: {job.title}")
            for contestant in job.contestants:
                print(f"    {contestant.name}{', ' + contestant.note if contestant.note else ''}")
        return 0
    journal = Journal(folder / "journal.jsonl")
    status = 0
    if not options.render:
        os.environ["COMPARISON_FOLDER"] = str(folder)
        status = measure(options, chosen, journal, setting, available)
    render(journal, jobs, options.size, setting)
    return status


def measure(options: argparse.Namespace, jobs: list[turns.Job], journal: Journal, setting: Setting, available: turns.Time) -> int:
    data.make_missing(setting.python, str(setting.products / "graft"), setting.folder, options.size)
    lines = {"facts": machine.facts(ROOT, setting.folder), "versions": machine.versions()}
    known = journal.of("machine")
    if not known or {key: known[-1][key] for key in lines} != lines:
        journal.add("machine", **lines)
    for job in jobs:
        if options.again:
            journal.forget(job.name)
        print(f"{job.name}: {job.title}", flush=True)
        try:
            turns.check(job, setting.python, journal)
            if options.check:
                continue
            rounds = options.rounds or (1 if options.size == "quick" else job.rounds)
            turns.compare(job, journal, rounds, available, graft=lines["facts"]["graft"])
        except turns.OutOfTime:
            print("not finished: call it again to go on")
            return UNFINISHED
        except turns.ContestantFailed as failure:
            sys.exit(f"error: {job.name}: {failure}")
    return 0


def render(journal: Journal, jobs: list[turns.Job], size: str, setting: Setting) -> None:
    """The page in docs for the usual size, and beside the data for the others."""
    folder = ROOT / "docs" if size == "usual" else setting.folder
    if not journal.of("turn"):
        print("nothing was measured yet, so the page is left as it is")
        return
    words = (
        f"of {setting.size.model_bytes / (1 << 30):.2f} GiB in bfloat16, "
        f"{len(setting.size.shapes(setting.size.layers))} tensors; the training state has "
        f"{setting.size.state_bytes / (1 << 30):.2f} GiB in {3 * len(setting.size.shapes(setting.size.state_layers))}")
    drawn = charts.draw(journal, jobs, folder)
    path = folder / "performance.md"
    path.write_text(page.text(journal, jobs, drawn, words), encoding="utf-8")
    print(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(main())

"""Rounds of turns: every contestant in every round, each turn a process of its own.

A process of its own means that its peak of memory is its own, and that its first load meets memory that it never touched. The order turns by one in
every round, because memory that another process has just given back is faster to get. What a turn needs is brought about before it: its
inputs are in the page cache, or out of it, and what it writes is not there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comparison import machine
from comparison.journal import Journal


@dataclass(frozen=True)
class Contestant:
    """Somebody who takes part in a job, in one way."""

    #: What the page calls it; `Graft` alone or with a comma behind it is Graft.
    name: str
    #: The process of a turn, which prints a JSON object of which `seconds` is a number or a list.
    command: Sequence[str | Path]
    #: The process that prints `digests` of the result; where something is made, of that, after `command`.
    check: Sequence[str | Path] = ()
    #: What it writes, removed before and after.
    made: Path | None = None
    #: Settings for the process's environment.
    environment: dict[str, str] = field(default_factory=dict)
    #: Whether its time is that of the whole process, its start included.
    is_whole_process: bool = False
    #: Whether the memory that it fills is there before its first time, so that no time is a first one.
    has_kept_memory: bool = False
    #: What a reader should know to judge the row.
    note: str = ""

    @property
    def is_graft(self) -> bool:
        return self.name == "Graft" or self.name.startswith("Graft,")


@dataclass(frozen=True)
class Job:
    """Something to be done by all contestants."""

    name: str
    title: str
    #: What is done, with which data, for the page.
    description: str
    contestants: list[Contestant]
    #: Graft's contestant that the others are compared with.
    baseline: str
    #: The process that prints `digests` of what has to come out; None where what contestants made is compared by `neighbours`.
    reference: Sequence[str | Path] | None
    #: What is read.
    inputs: list[Path]
    #: The bytes that the job is about, for rates; 0 where a rate means nothing.
    byte_count: int = 0
    rounds: int = 3
    #: Whether the inputs are dropped from the page cache before each turn.
    is_cold: bool = False
    #: Whether turns have later times in the same process, beside the first.
    repeats: bool = False
    #: The contestant whose result others have to be neighbours of, where there is no `reference`.
    expected: str = ""
    #: Graft's contestants that peers are compared with, where that is not `baseline`.
    beside: dict[str, str] = field(default_factory=dict)
    #: A peer that all rows are compared with, too.
    main_peer: str = ""
    #: Sentences for the page: what else to know.
    remarks: Sequence[str] = ()
    #: Why Graft is slower than a peer in this job, where it is.
    why: str = ""


class ContestantFailed(RuntimeError):
    """A contestant's process failed."""


def run(contestant: Contestant, command: Sequence[str | Path]) -> dict[str, Any]:
    """Runs a process, and gives what it printed with its time, its peaks of memory and the processors' time that it took."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **contestant.environment})
    sampler = _AnonymousMemory(process.pid)
    errors: list[bytes] = []
    reader = threading.Thread(target=lambda: errors.append(process.stderr.read()))
    reader.start()
    output = process.stdout.read()
    reader.join()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    process.stderr.close()
    anonymous = sampler.stop()
    if process.returncode != 0:
        text = errors[0].decode(errors="replace").strip()
        raise ContestantFailed(f"{contestant.name} ended with status {process.returncode}: {text[-4000:]}")
    # Libraries print what they like before; the answer is the last line.
    lines = output.decode().strip().splitlines()
    answer = json.loads(lines[-1]) if lines else {}
    answer["wall"], answer["peak_mib"], answer["anonymous_mib"] = wall, usage.ru_maxrss / 1024, anonymous
    answer["processor"] = usage.ru_utime + usage.ru_stime
    return answer


class _AnonymousMemory:
    """The largest anonymous memory of a process that was seen in samples: pages of files that are mapped do not count."""

    def __init__(self, process: int):
        self._path = f"/proc/{process}/status"
        self._peak, self._ends = 0, threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        # Twenty microseconds for each sample, a hundred times a second.
        while not self._ends.wait(0.01):
            try:
                with open(self._path, encoding="ascii") as file:
                    for line in file:
                        if line.startswith("RssAnon:"):
                            self._peak = max(self._peak, int(line.split()[1]))
            except (OSError, ValueError):
                return

    def stop(self) -> float:
        self._ends.set()
        self._thread.join()
        return self._peak / 1024


def remove(path: Path | None) -> None:
    if path is None:
        return
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _prepare(job: Job, contestant: Contestant) -> None:
    for other in job.contestants:
        remove(other.made)
    machine.sync()
    (machine.evict if job.is_cold else machine.warm)(job.inputs)


def take_turn(job: Job, contestant: Contestant) -> dict[str, Any]:
    _prepare(job, contestant)
    share = machine.busy_share()
    answer = run(contestant, contestant.command)
    others = share(answer["processor"])
    remove(contestant.made)
    seconds = [answer["wall"]] if contestant.is_whole_process else answer["seconds"]
    kept = {key: answer[key] for key in ("wall", "peak_mib", "anonymous_mib", "processor", "before_mib", "bytes_written") if key in answer}
    return {"seconds": seconds if isinstance(seconds, list) else [seconds], "others": others, **kept}


def check(job: Job, python: str, journal: Journal) -> None:
    """Holds every contestant's result against what has to come out; ends everything where one differs."""
    done = {line["contestant"] for line in journal.of("check", job.name)}
    missing = [contestant for contestant in job.contestants if contestant.name not in done]
    if not missing:
        return
    if job.reference is None:
        _check_neighbours(job, python, journal)
        return
    # What a load with the same arguments gave in another job was held against the same reference there.
    equal = {line["key"] for line in journal.of("check") if "key" in line}
    for contestant in missing:
        if _key(job, contestant) in equal:
            journal.add("check", job=job.name, contestant=contestant.name, found="equal, bit for bit")
    missing = [contestant for contestant in missing if _key(job, contestant) not in equal]
    if not missing:
        return
    oracle = Contestant("the reference", job.reference)
    expected = run(oracle, oracle.command)["digests"]
    for contestant in missing:
        print(f"  checking {contestant.name}", flush=True)
        started = time.perf_counter()
        if contestant.made is not None:
            remove(contestant.made)
            run(contestant, contestant.command)
        difference = differences(expected, run(contestant, contestant.check)["digests"])
        remove(contestant.made)
        if difference:
            sys.exit(f"error: {job.name}: the result of {contestant.name} is wrong: {difference}")
        journal.add(
            "check", job=job.name, contestant=contestant.name, found="equal, bit for bit", leaves=len(expected), wall=time.perf_counter() - started,
            key=_key(job, contestant))


def _key(job: Job, contestant: Contestant) -> str:
    """What a check of a load depends on; of what is written, a key that no other has."""
    written = None if contestant.made is None else [job.name, contestant.name]
    words = [[str(part) for part in contestant.check], [str(part) for part in job.reference or ()], sorted(contestant.environment.items()), written]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:16]


def _check_neighbours(job: Job, python: str, journal: Journal) -> None:
    kept: dict[str, Path] = {}
    for number, contestant in enumerate(job.contestants):
        print(f"  checking {contestant.name}", flush=True)
        remove(contestant.made)
        run(contestant, contestant.command)
        # Out of the way of others that write to the same name.
        kept[contestant.name] = contestant.made.with_name(f"checked-{number}{contestant.made.suffix}")
        remove(kept[contestant.name])
        contestant.made.rename(kept[contestant.name])
    for contestant in job.contestants:
        words = [python, "-m", "comparison.neighbours", kept[job.expected], kept[contestant.name]]
        journal.add("check", job=job.name, contestant=contestant.name, found=run(contestant, words)["found"])
    for path in kept.values():
        remove(path)


def differences(expected: dict[str, Any], found: dict[str, Any]) -> str:
    """What is different between the digests of two results, in a sentence; empty where nothing is."""
    missing, unexpected = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or unexpected:
        return f"it lacks {len(missing)} leaves {missing[:3]} and has {len(unexpected)} others {unexpected[:3]}"
    if not expected:
        return "there are no leaves"
    other = [name for name in sorted(expected) if expected[name] != found[name]]
    if other:
        return f"{len(other)} leaves differ, the first is {other[0]}: {found[other[0]]}, expected {expected[other[0]]}"
    return ""


class OutOfTime(Exception):
    """The time that was given does not suffice for another round."""


class Time:
    """How much time there is, where somebody said so."""

    #: What a turn is taken to last of which nothing is known yet.
    TURN_SECONDS = 7.0

    def __init__(self, seconds: float | None = None):
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._is_begun = False

    def begin(self, seconds: float) -> None:
        """Says that so much is begun; fails where it may not fit, unless it is the first, so that every call gets on."""
        if self._deadline is not None:
            now = time.monotonic()
            if now > self._deadline or (self._is_begun and now + seconds > self._deadline):
                raise OutOfTime
        self._is_begun = True


def compare(job: Job, journal: Journal, rounds: int, available: Time, **noted: Any) -> None:
    """Takes the rounds that are missing. Turns of a round follow each other, so one that might not fit into the time is not begun."""
    names = [contestant.name for contestant in job.contestants]
    for number in range(journal.rounds(job.name, names), rounds):
        earlier = [line for line in journal.of("turn", job.name) if line["round"] == number - 1]
        # Half a second for what is prepared, beside the processes' own times.
        available.begin(sum(line["wall"] + 0.5 for line in earlier) * 1.15 if earlier else Time.TURN_SECONDS * len(names))
        turned = job.contestants[number % len(names) :] + job.contestants[: number % len(names)]
        for contestant in turned:
            turn = take_turn(job, contestant)
            journal.add("turn", job=job.name, contestant=contestant.name, round=number, **turn, **noted)
            seconds = ", ".join(f"{value:.3f}" for value in turn["seconds"])
            print(f"  round {number + 1}: {contestant.name}: {seconds} s, {turn['peak_mib']:.0f} MiB", flush=True)

"""What was measured, as a file of JSON lines, to which every turn is added when it has ended.

Three kinds of lines: `machine` (where and with what versions the lines that follow were taken), `check` (a contestant's result was equal
to the reference's, or why it took no part), and `turn` (one contestant, one round). A line that a killed process left unfinished is dropped. Turns of
a round that was not finished are left out and taken again, so that a ratio is always of turns that followed each other.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class Journal:
    """The lines of a file, and the file."""

    def __init__(self, path: Path):
        self.path = path
        self.lines: list[dict[str, Any]] = []
        if path.exists():
            text = path.read_bytes()
            whole = text[: text.rfind(b"\n") + 1]
            self.lines = [json.loads(line) for line in whole.splitlines()]
            if whole != text:
                self._rewrite()

    def add(self, kind: str, **members: Any) -> None:
        line = {"kind": kind, **members}
        self.lines.append(line)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def of(self, kind: str, job: str | None = None) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["kind"] == kind and (job is None or line.get("job") == job)]

    def forget(self, job: str) -> None:
        """Drops all that is known of a job, so that it is done again."""
        self.lines = [line for line in self.lines if line.get("job") != job]
        self._rewrite()

    def rounds(self, job: str, contestants: list[str]) -> int:
        """How many rounds are finished, counted from the first; turns of the one that is not are dropped."""
        taken: dict[int, set[str]] = {}
        for line in self.of("turn", job):
            taken.setdefault(line["round"], set()).add(line["contestant"])
        count = 0
        while taken.get(count, set()) >= set(contestants):
            count += 1
        unfinished = [line for line in self.of("turn", job) if line["round"] >= count]
        if unfinished:
            self.lines = [line for line in self.lines if line not in unfinished]
            self._rewrite()
        return count

    def turns(self, job: str, contestant: str) -> dict[int, dict[str, Any]]:
        """A contestant's turns by their rounds."""
        return {line["round"]: line for line in self.of("turn", job) if line["contestant"] == contestant}

    def _rewrite(self) -> None:
        staged = self.path.with_suffix(".unfinished")
        staged.write_text("".join(json.dumps(line) + "\n" for line in self.lines), encoding="utf-8")
        os.replace(staged, self.path)

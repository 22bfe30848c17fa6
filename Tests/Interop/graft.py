"""Runs the tool and reads what it answers."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import NamedTuple

# Far more than any test needs: it turns a hang into a failure.
TIMEOUT_SECONDS = 120

ERROR = 2
USAGE = 64


class Result(NamedTuple):
    status: int
    output: str
    diagnostics: str

    def __str__(self) -> str:
        output = self.output if len(self.output) <= 2000 else self.output[:2000] + "…\n"
        return f"status {self.status}\n--- output\n{output}--- diagnostics\n{self.diagnostics}"


class Graft:
    def __init__(self, tool: Path, user: str | None = None):
        self.tool = tool
        self.user = user  # who runs it, if not who runs the tests

    def run(self, *arguments: object, cwd: Path | None = None) -> Result:
        """Runs the tool and gives what came out, whatever the status; a hang fails the test."""
        finished = subprocess.run(
            [self.tool, *map(str, arguments)], capture_output=True, timeout=TIMEOUT_SECONDS, cwd=cwd,
            stdin=subprocess.DEVNULL, user=self.user)
        return Result(finished.returncode, finished.stdout.decode("utf-8"), finished.stderr.decode("utf-8"))

    def json(self, *arguments: object) -> dict:
        """Runs a command that must succeed with --json; its output must be one JSON object and nothing else."""
        result = self.run(*arguments, "--json", "--quiet")
        assert result.status == 0, result
        assert result.diagnostics == "", result
        value = json.loads(result.output)
        assert isinstance(value, dict)
        return value

    def error(self, *arguments: object) -> str:
        """Runs a command that must fail; gives its one paragraph, having checked that it is one."""
        result = self.run(*arguments, "--quiet")
        assert result.status == ERROR, result
        assert result.output == "", result
        paragraph = result.diagnostics.strip()
        assert paragraph and "\n" not in paragraph, result
        # What a trap prints, and what an error printed by default rather than by its description looks like.
        for mark in ("Fatal error", "Backtrace", "GraftError(", "Optional("):
            assert mark not in paragraph, result
        return paragraph

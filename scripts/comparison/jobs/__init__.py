"""One file a subject, each with a function of that name for every job in it; ALL has them in the order of the page.

A job is made of a `Setting`, which knows where the data, the tools and the interpreter are, and makes the contestants' commands.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from comparison.data import Size
from comparison.turns import Contestant


@dataclass(frozen=True)
class Setting:
    """Where everything is, and how large."""

    python: str
    #: The folder of the built products.
    products: Path
    #: Where the data are, and what contestants write.
    folder: Path
    size: Size

    #: How often a process loads where later loads count too.
    times: int = 3

    def data(self, name: str) -> Path:
        return self.folder / name

    @property
    def model(self) -> Path:
        return self.data("model-a/model.safetensors")

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def digest(self, kind: str, *arguments: str | Path) -> list[str | Path]:
        return [self.python, "-m", "comparison.digests", kind, *arguments]

    def peer(
        self, name: str, peer: str, call: str, *, times: int = 1, made: Path | None = None, kind: str = "", note: str = "",
        environment: dict[str, str] | None = None, **arguments: Any,
    ) -> Contestant:  # fmt: skip
        """A library in Python: a function of its file in peers/, with arguments; `kind` says how what it made is read again."""
        words = json.dumps({key: str(value) if isinstance(value, Path) else value for key, value in arguments.items()})
        command = [self.python, "-m", "comparison.worker", peer, call, words]
        # What is written without a kind is held against what another wrote, not against digests.
        check = [*command, "--check"] if made is None else self.digest(kind, made) if kind else ()
        return Contestant(
            name, [*command, "--times", str(times)], check=check, made=made, environment=environment or {}, note=note,
            has_kept_memory=call == "load_into_kept")

    def load(self, name: str, path: Path, *, select: str = "**", times: int = 1, options: Sequence[str] = (), note: str = "") -> Contestant:
        """`graft load` of a part of a checkpoint, which the driver loads, too, to have its digests taken."""
        command = [
            self.products / "graft", "load", path, "--select", select, "--repeat", str(times), "--no-ceiling", "--json", "--quiet",
            *options,
        ]  # fmt: skip
        return Contestant(name, command, check=self.digest("raw", self._driver, "load", path, select, "1"), note=note)

    def without_huge_pages(self, contestant: Contestant) -> Contestant:
        """The same in a process to which the kernel gives none."""
        return replace(contestant, command=[self.python, "-m", "comparison.small_pages", *contestant.command])

    def surgery(self, name: str, sources: dict[str, Path], steps: list[dict], *, times: int = 1, note: str = "") -> Contestant:
        """A recipe that the driver does in memory."""
        command = [self._driver, "surgery", self.recipe(sources, steps)]
        return Contestant(name, [*command, str(times)], check=self.digest("raw", *command, "1"), note=note)

    def open(self, name: str, path: Path, *, times: int = 1, note: str = "") -> Contestant:
        """Opening in a process that runs, and all that a tree says; what it says is what `graft inspect` prints of it."""
        command = [self._driver, "open", path, str(times)]
        return Contestant(name, command, check=self.inspect("", path).check, note=note)

    def inspect(self, name: str, path: Path, note: str = "") -> Contestant:
        command = [self.products / "graft", "inspect", path, "--json", "--quiet"]
        return Contestant(name, command, check=self.digest("inspect", *command), is_whole_process=True, note=note)

    def tool(
        self, name: str, words: Sequence[str | Path], *, made: Path, kind: str = "", is_whole_process: bool = False, note: str = "",
    ) -> Contestant:  # fmt: skip
        """A verb of the tool that writes something."""
        command = [self.products / "graft", *words, "--json", "--quiet"]
        check = self.digest(kind, made) if kind else ()
        return Contestant(name, command, check=check, made=made, is_whole_process=is_whole_process, note=note)

    def convert(self, name: str, source: Path, made: Path, *options: str, kind: str, note: str = "") -> Contestant:
        """`graft convert` in a budget of 128 MiB."""
        command = [self.products / "graft", "convert", source, made, "--budget", "128MiB", "--json", "--quiet", *options]
        return Contestant(name, command, check=self.digest(kind, made), made=made, note=note)

    def save(self, name: str, source: Path, made: Path, compression: str, *, kind: str, note: str = "") -> Contestant:
        """A save by the driver of what it has in memory."""
        command = [self._driver, "save", source, made, compression]
        return Contestant(name, command, check=self.digest(kind, made), made=made, note=note)

    def recipe(self, sources: dict[str, Path], steps: list[dict]) -> Path:
        """Writes a recipe to a file of its own."""
        text = json.dumps({"sources": {key: str(value) for key, value in sources.items()}, "steps": steps})
        path = self.folder / "recipes" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    @property
    def _driver(self) -> Path:
        return self.products / "graft-comparison-driver"

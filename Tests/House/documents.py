#!/usr/bin/env python3
"""Holds the documents to the tree: links lead somewhere, and what is named exists.

    Tests/House/documents.py [FOLDER]     checks the Markdown files of the package in FOLDER, this one by default

- A relative link leads to a file that is there, and its #fragment to a heading of that file.
- A path in backticks that begins with a folder of the package (`Sources/…`, `scripts/…`) exists.
- A fenced block of Swift in README.md stands, line by line, in a Swift file under Tests, so the compiler has seen it.
- The cases that docs/partial-loading.md promises are the cases of PartialLoadingTests.swift, no more and no fewer.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from pathlib import Path
from typing import Iterator

LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
PATH = re.compile(r"`(?P<path>(?:Sources|CSources|Tests|Benchmarks|Examples|scripts|docs|\.ci)/[\w./+@-]*)`")
FENCE = re.compile(r"^```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#{1,6}\s+(?P<title>.+?)\s*$", re.MULTILINE)
SKIPPED = {".build", ".git", "node_modules"}


def documents(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*.md")):
        parts = path.relative_to(root).parts
        if not any(part.startswith(".build") or part in SKIPPED for part in parts):
            yield path


def anchor(title: str) -> str:
    """The fragment that a heading gets where Markdown is shown."""
    title = re.sub(r"`|\*|\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()
    kept = (c for c in title if c in "-_ " or unicodedata.category(c)[0] in "LN")
    return "".join(kept).replace(" ", "-")


def broken_links(root: Path, path: Path, text: str) -> Iterator[str]:
    for match in LINK.finditer(FENCE.sub("", text)):
        target = match["target"]
        if re.match(r"[a-z]+:", target):
            continue
        name, _, fragment = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.exists():
            yield f"the link {target} leads nowhere"
        elif fragment and file.suffix == ".md":
            headings = {anchor(m["title"]) for m in HEADING.finditer(FENCE.sub("", file.read_text(encoding="utf-8")))}
            if fragment not in headings:
                yield f"the link {target} leads to no heading"


def missing_paths(root: Path, text: str) -> Iterator[str]:
    for match in PATH.finditer(text):
        if not (root / match["path"]).exists():
            yield f"there is no {match['path']}"


def uncompiled_swift(root: Path, text: str) -> Iterator[str]:
    blocks = [m["text"] for m in FENCE.finditer(text) if m["language"] == "swift"]
    if not blocks:
        return
    compiled = [_lines(file.read_text(encoding="utf-8")) for file in (root / "Tests").rglob("*.swift")]
    for block in blocks:
        # Imports stand at the top of the test's file, and a dependency's declaration in a manifest.
        wanted = [line for line in _lines(block) if not line.startswith(("import ", ".package(", ".product("))]
        if not any(_stands_in(wanted, lines) for lines in compiled):
            yield f"no test compiles the Swift that begins with `{wanted[0] if wanted else block.strip()}`"


def _lines(text: str) -> list[str]:
    stripped = (re.sub(r"\s*//.*$", "", line).strip() for line in text.splitlines())
    return [line for line in stripped if line]


def _stands_in(wanted: list[str], lines: list[str]) -> bool:
    return any(lines[start : start + len(wanted)] == wanted for start in range(len(lines) - len(wanted) + 1))


def untested_cases(root: Path, text: str) -> Iterator[str]:
    """Rows of the tables of structure and properties that no test has by that name, and tests that no row tells of."""
    tests = root / "Tests/GraftCoreTests/PartialLoadingTests.swift"
    tested = re.findall(r'Row\(\s*name: "([^"]+)"', tests.read_text(encoding="utf-8"))
    promised = []
    for section in re.split(r"^## ", text, flags=re.MULTILINE):
        if section.startswith(("Structure", "Properties")):
            promised += [match.strip() for match in re.findall(r"^\| ([^|]+)\|", section, re.MULTILINE)]
    promised = [case for case in promised if case != "case" and not case.startswith("---")]
    yield from (f"no test holds the case `{case}`" for case in promised if case not in tested)
    yield from (f"the tested case `{case}` is missing" for case in dict.fromkeys(tested) if case not in promised)


def problems(root: Path) -> list[str]:
    found = []
    for path in documents(root):
        text = path.read_text(encoding="utf-8")
        messages = [*broken_links(root, path, text), *missing_paths(root, text)]
        if path == root / "README.md":
            messages += uncompiled_swift(root, text)
        if path == root / "docs/partial-loading.md":
            messages += untested_cases(root, text)
        found += [f"{path.relative_to(root)}: {message}" for message in messages]
    return found


def main() -> int:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parents[2]).resolve()
    found = problems(root)
    for problem in found:
        print(problem)
    print(f"documents: {len(found)} problems" if found else "documents: every link and path leads somewhere")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

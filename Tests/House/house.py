#!/usr/bin/env python3
"""Holds the directions of the house: which module may import which, and what stays inside one room.

    Tests/House/house.py [FOLDER]     checks the package in FOLDER (this one by default), exits 1 where a rule is broken

The order of the modules is docs/ARCHITECTURE.md's; a module imports only modules that stand before it. The check reads the
sources' text, with comments and string literals taken out, and needs nothing but Python, so it runs before any build.
test_house.py plants each kind of violation and expects it to be found.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Iterator, NamedTuple

# From the ground up. A module that is in no list here is a violation: whoever adds one decides where it stands.
ORDER = [
    "CGraftSystem",
    "CGraftRing",
    "CGraftCodec",
    "CGraftKernels",
    "CGraftDevice",
    "CDLPack",
    "CGraftMeasure",
    "GraftCore",
    "GraftIO",
    "GraftCodec",
    "GraftFormats",
    "GraftExecute",
    "Graft",
    "GraftRecipes",
    "GraftMeasure",
    "GraftCommands",
    "graft",
]

# Modules of ours that only the named modules import, although more would stand high enough.
ONLY_IMPORTED_BY = {
    "CGraftSystem": {"GraftIO"},
    "CGraftRing": {"GraftIO"},
    "CGraftCodec": {"GraftCodec"},
    "CGraftMeasure": {"GraftMeasure"},
}

# All that a module may import of ours, where that is less than what stands before it.
ONLY_IMPORTS = {
    "GraftCore": {"CGraftKernels"},
}

# Foundation is large and slow to start; it stays where users and terminals are.
FOUNDATION = {"Foundation", "FoundationEssentials", "FoundationInternationalization", "FoundationNetworking"}
MAY_IMPORT_FOUNDATION = {"Graft", "GraftCommands", "graft"}

# Headers of system libraries, and the C targets whose .c files (never their public headers) include them: one, and for a library
# whose bare speed is a ceiling the one that measures it.
# Named without `.h`, so that liburing/io_uring.h is one of liburing's too.
SYSTEM_HEADERS = {
    "liburing": ("CGraftRing",),
    "zstd": ("CGraftCodec", "CGraftMeasure"),
    "blosc": ("CGraftCodec",),
}

# Folders of GraftFormats that are formats, and the formats that each may refer to. Orbax alone composes others.
FORMATS = {
    "Safetensors": set(),
    "OCDBT": set(),
    "Zarr": set(),
    "Orbax": {"OCDBT", "Zarr"},
    "Archive": set(),
}


class Violation(NamedTuple):
    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


# ---- reading Swift and C ---------------------------------------------------------------------------------------------

_TOKENS = re.compile(
    r"""
    (?P<line>//[^\n]*)
  | (?P<block>/\*)
  | (?P<string>(?P<hashes>\#*)(?P<quotes>\"\"\"|\"))
    """,
    re.VERBOSE,
)


def without_comments_and_strings(text: str) -> str:
    """The source with comments and string literals replaced by spaces, every line break kept."""
    result: list[str] = []
    position = 0

    def blank(upto: int) -> None:
        nonlocal position
        result.append(re.sub(r"[^\n]", " ", text[position:upto]))
        position = upto

    while match := _TOKENS.search(text, position):
        result.append(text[position : match.start()])
        position = match.start()
        if match["line"]:
            blank(match.end())
        elif match["block"]:
            blank(_end_of_comment(text, match.end()))
        else:
            blank(_end_of_string(text, match.end(), match["quotes"], match["hashes"]))
    result.append(text[position:])
    return "".join(result)


def _end_of_comment(text: str, position: int) -> int:
    depth = 1  # Swift's comments nest; C's do not, but none of ours hold an opening mark.
    for match in re.compile(r"/\*|\*/").finditer(text, position):
        depth += 1 if match[0] == "/*" else -1
        if depth == 0:
            return match.end()
    return len(text)


def _end_of_string(text: str, position: int, quotes: str, hashes: str) -> int:
    # A literal inside an interpolation ends this one too early and begins another; both have ended where the line does.
    escape = re.escape("\\" + hashes)
    closing = re.escape(quotes + hashes)
    stop = "" if len(quotes) == 3 else r"|\n"
    for match in re.compile(rf"{escape}.|(?P<end>{closing}){stop}", re.DOTALL).finditer(text, position):
        if match["end"] or match[0] == "\n":
            return match.end() if match["end"] else match.start()
    return len(text)


_IMPORT = re.compile(
    r"(?:^|;)[ \t]*(?:@\w+(?:\([^)]*\))?\s+)*"
    r"(?:(?:public|package|internal|fileprivate|private)\s+)?"
    r"import\s+(?:(?:struct|class|enum|protocol|typealias|func|var|let|actor)\s+)?`?(?P<module>\w+)`?",
    re.MULTILINE,
)
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*[<"](?P<header>[^>"\n]+)[>"]', re.MULTILINE)
_TYPE = re.compile(r"\b(?:struct|class|enum|actor|protocol|typealias)\s+`?(?P<name>[A-Z]\w*)")
_WORD = re.compile(r"\b[A-Z]\w*")


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _swift_files(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(folder.rglob("*.swift")):
        yield path, without_comments_and_strings(path.read_text(encoding="utf-8"))


# ---- the rules -------------------------------------------------------------------------------------------------------


def import_violations(root: Path) -> Iterator[Violation]:
    """Imports that point up or sideways, and Foundation below the façade."""
    sources = root / "Sources"
    for folder in sorted(path for path in sources.iterdir() if path.is_dir()):
        module = folder.name
        if module not in ORDER:
            yield Violation(f"Sources/{module}", 0, f"the module {module} has no place in the order of the house")
            continue
        before = set(ORDER[: ORDER.index(module)])
        for path, text in _swift_files(folder):
            name = str(path.relative_to(root))
            for match in _IMPORT.finditer(text):
                imported, line = match["module"], _line(text, match.start("module"))
                if imported in FOUNDATION and module not in MAY_IMPORT_FOUNDATION:
                    yield Violation(name, line, f"{module} imports {imported}, which stays at the façade and the commands")
                if imported not in ORDER:
                    continue
                if imported not in before:
                    yield Violation(name, line, f"{module} imports {imported}, which does not stand before it")
                elif module not in ONLY_IMPORTED_BY.get(imported, {module}):
                    only = ", ".join(sorted(ONLY_IMPORTED_BY[imported]))
                    yield Violation(name, line, f"{module} imports {imported}, which only {only} does")
                elif module in ONLY_IMPORTS and imported not in ONLY_IMPORTS[module]:
                    yield Violation(name, line, f"{module} imports {imported}; it stands on the ground and imports none of ours")


def include_violations(root: Path) -> Iterator[Violation]:
    """System libraries' headers outside the .c files of their one target, and C targets that include each other."""
    sources = root / "CSources"
    for folder in sorted(path for path in sources.iterdir() if path.is_dir()):
        module = folder.name
        if module not in ORDER:
            yield Violation(f"CSources/{module}", 0, f"the module {module} has no place in the order of the house")
        for path in sorted([*folder.rglob("*.c"), *folder.rglob("*.h")]):
            # Only comments go: the header's name stands between the marks of a string.
            text = re.sub(r"/\*.*?\*/|//[^\n]*", lambda m: re.sub(r"[^\n]", " ", m[0]), path.read_text(), flags=re.DOTALL)
            for match in _INCLUDE.finditer(text):
                header = match["header"]
                owners = SYSTEM_HEADERS.get(header.split("/")[0].removesuffix(".h"))
                if owners and (module not in owners or path.suffix != ".c"):
                    yield Violation(
                        str(path.relative_to(root)), _line(text, match.start()),
                        f"{header} is included only by .c files of {' and '.join(owners)}")


def sibling_violations(root: Path) -> Iterator[Violation]:
    """Formats that refer to types of a sibling format, as far as names tell."""
    formats = root / "Sources" / "GraftFormats"
    if not formats.is_dir():
        return
    declared: dict[str, str] = {}
    texts: list[tuple[str, Path, str]] = []
    for folder in sorted(path for path in formats.iterdir() if path.is_dir()):
        if folder.name not in FORMATS:
            continue
        for path, text in _swift_files(folder):
            texts.append((folder.name, path, text))
            # Only what stands in the first column: a nested `Index` of one format says nothing about another's.
            for line in text.splitlines():
                if not line.startswith((" ", "\t")) and not line.startswith("extension") and (match := _TYPE.search(line)):
                    if " private " not in f" {line}" and "fileprivate " not in line:
                        declared[match["name"]] = folder.name
    for own, path, text in texts:
        for match in _WORD.finditer(text):
            other = declared.get(match[0], own)
            if other != own and other not in FORMATS[own]:
                yield Violation(
                    str(path.relative_to(root)), _line(text, match.start()),
                    f"the format {own} refers to {match[0]}, a type of its sibling {other}")


def test_violations(root: Path) -> Iterator[Violation]:
    """Tests that look behind the seam between modules, which is `package` access."""
    for path, text in _swift_files(root / "Tests"):
        for match in re.finditer(r"@testable\b", text):
            yield Violation(str(path.relative_to(root)), _line(text, match.start()), "@testable: use package access instead")


RULES = [import_violations, include_violations, sibling_violations, test_violations]


def violations(root: Path) -> list[Violation]:
    """Everything that breaks a rule in the package at `root`."""
    return [violation for rule in RULES for violation in rule(root)]


def main() -> int:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parents[2])
    found = violations(root)
    for violation in found:
        print(violation)
    print(f"house: {len(found)} violations" if found else "house: every import points down")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

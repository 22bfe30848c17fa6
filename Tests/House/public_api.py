#!/usr/bin/env python3
"""Holds what a public declaration may show: no C type, no errno, no raw pointer.

    Tests/House/public_api.py FOLDER     checks the symbol graphs in FOLDER, which `swift package dump-symbol-graph` writes

Exceptions stand in public-api-exceptions.txt beside this file, each with its reason; one that no longer applies is an error.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Iterator, NamedTuple

# Types of Swift's standard library that are C's or bare memory; spans are what a public declaration lends instead.
FORBIDDEN = re.compile(
    r"\b(Unsafe(Mutable)?(Raw)?(Buffer)?Pointer|AutoreleasingUnsafeMutablePointer|OpaquePointer|Unmanaged"
    r"|CVaListPointer|C(Bool|Char|SignedChar|UnsignedChar|Short|UnsignedShort|Int|UnsignedInt|Long|UnsignedLong|LongLong"
    r"|UnsignedLongLong|Float|Double|WideChar)|Errno|errno)\b"
)


class Violation(NamedTuple):
    symbol: str
    location: str
    message: str

    def __str__(self) -> str:
        return f"{self.location}: {self.symbol}: {self.message}"


def violations(graphs: list[dict], exceptions: dict[str, str]) -> Iterator[Violation]:
    """What the public declarations of these symbol graphs should not show; an unused exception is a violation too."""
    used: set[str] = set()
    for graph in graphs:
        module = graph["module"]["name"]
        for symbol in graph["symbols"]:
            name = ".".join([module, *symbol["pathComponents"]])
            for message in _shown(symbol):
                if name in exceptions:
                    used.add(name)
                else:
                    yield Violation(name, _location(symbol), message)
    for name in sorted(exceptions.keys() - used):
        yield Violation(name, "public-api-exceptions.txt", "is excepted, but needs no exception")


def _shown(symbol: dict) -> Iterator[str]:
    declaration = symbol.get("declarationFragments", [])
    text = "".join(fragment["spelling"] for fragment in declaration)
    seen = set()
    for match in FORBIDDEN.finditer(text):
        # Within an attribute's or parameter's name the word is only a word.
        if match[0] not in seen and any(
            match[0] in fragment["spelling"] and fragment["kind"] == "typeIdentifier" for fragment in declaration
        ):
            seen.add(match[0])
            yield f"shows {match[0]} in `{' '.join(text.split())}`"
    for fragment in declaration:
        # Clang gives what C declares an identifier that begins so, whatever Swift calls it.
        if fragment.get("preciseIdentifier", "").startswith("c:") and fragment["spelling"] not in seen:
            seen.add(fragment["spelling"])
            yield f"shows the C type {fragment['spelling']} in `{' '.join(text.split())}`"


def _location(symbol: dict) -> str:
    location = symbol.get("location")
    if not location:
        return "?"
    path = location["uri"].removeprefix("file://")
    # From the last Sources on: the path of the checkout says nothing.
    marker = path.rfind("/Sources/")
    return f"{path[marker + 1 :] if marker >= 0 else path}:{location['position']['line'] + 1}"


def read_exceptions(text: str) -> dict[str, str]:
    """The excepted symbols with their reasons: lines of `symbol: reason`."""
    result = {}
    for line in text.splitlines():
        line = line.strip()
        if line and not line.startswith("#"):
            name, separator, reason = line.partition(": ")
            if not separator or not reason.strip():
                raise SystemExit(f"public-api-exceptions.txt: `{line}` gives no reason")
            result[name] = reason
    return result


def main() -> int:
    folder = Path(sys.argv[1])
    paths = sorted(path for path in folder.glob("*.symbols.json") if re.match(r"Graft(?!Test)", path.name))
    if not paths:
        print(f"public API: no symbol graph in {folder}")
        return 1
    exceptions = read_exceptions(Path(__file__).with_name("public-api-exceptions.txt").read_text(encoding="utf-8"))
    found = list(violations([json.loads(path.read_bytes()) for path in paths], exceptions))
    for violation in found:
        print(violation)
    print(f"public API: {len(found)} declarations show what they should not" if found else "public API: clean")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

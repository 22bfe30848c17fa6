"""Puts GraftCore's public symbols under Graft's name, since Graft hands them on: its documentation is of both as one module.

    scripts/lib/facade_symbols.py FROM TO     reads the symbol graphs in FROM, writes those of the façade to TO
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    source, destination = Path(sys.argv[1]), Path(sys.argv[2])
    destination.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("Graft*.symbols.json")):
        # Extensions of another module's types have files of their own, `GraftCore@Swift.symbols.json`.
        module, _, extended = path.name.removesuffix(".symbols.json").partition("@")
        if module not in ("Graft", "GraftCore") or extended == "GraftCore":
            continue
        graph = json.loads(path.read_bytes())
        graph["module"]["name"] = "Graft"
        name = f"Graft@{extended}" if extended else "Graft"
        # Several files may be of one module, in folders of their own.
        target = destination / module / f"{name}.symbols.json"
        target.parent.mkdir(exist_ok=True)
        target.write_text(json.dumps(graph), encoding="utf-8")


if __name__ == "__main__":
    main()

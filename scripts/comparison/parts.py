"""What the jobs ask for, by the leaves' names: the same questions for every contestant."""

from __future__ import annotations

import re
from collections.abc import Iterable

# The part that the second of four processes has of each matrix, as tensor parallelism cuts them: the matrices that end a block
# along their columns, all others along their rows. Norms are whole.
PROCESS, PROCESSES = 1, 4
BY_COLUMNS = re.compile(r"\.(o_proj|down_proj)\.weight$")
LAYER = re.compile(r"^(model\.layers)\.(\d+)\.(.*)$")


def is_parameter(name: str) -> bool:
    """Whether a leaf of a training state is a parameter."""
    return name.startswith("params.")


def of_tensor(name: str, shape: Iterable[int]) -> tuple[slice, ...]:
    """The part that is wanted of a tensor."""
    shape = tuple(shape)
    if len(shape) < 2:
        return tuple(slice(None) for _ in shape)
    axis = 1 if BY_COLUMNS.search(name) else 0
    extent = shape[axis] // PROCESSES
    part = slice(PROCESS * extent, (PROCESS + 1) * extent)
    return (slice(None), part) if axis == 1 else (part, slice(None))


def stacked(names: Iterable[str]) -> dict[str, list[str]]:
    """What the leaves are called when layers are stacked, and which leaves each is made of, in the order of the layers."""
    groups: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        match = LAYER.match(name)
        if match:
            groups.setdefault(f"{match[1]}.{match[3]}", []).append((int(match[2]), name))
        else:
            groups.setdefault(name, []).append((0, name))
    return {name: [layer for _, layer in sorted(layers)] for name, layers in groups.items()}

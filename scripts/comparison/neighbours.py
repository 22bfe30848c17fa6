"""Says how far apart two models in bfloat16 are; fails where an element is further from the other than the next number.

    python -m comparison.neighbours EXPECTED FOUND    safetensors files, or folders of them

Libraries that add and divide in float32 in another order may round to neighbours, and to nothing else.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import safe_open


def tensors(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    for file in [path] if path.is_file() else sorted(path.glob("*.safetensors")):
        with safe_open(file, "pt") as opened:
            for name in opened.keys():
                yield name, opened.get_tensor(name)


def main() -> None:
    expected = dict(tensors(Path(sys.argv[1])))
    equal = total = 0
    for name, values in tensors(Path(sys.argv[2])):
        other = expected.pop(name)
        if not (values.dtype == other.dtype == torch.bfloat16 and values.shape == other.shape):
            sys.exit(f"{name} is {values.dtype} {tuple(values.shape)}, expected {other.dtype} {tuple(other.shape)}")
        # As integers whose order is that of the numbers, neighbours are 1 apart.
        a, b = (bits.reshape(-1).view(torch.int16).int() for bits in (values, other))
        a, b = (torch.where(bits < 0, -(bits & 0x7FFF), bits) for bits in (a, b))
        if (a - b).abs().max() > 1:
            sys.exit(f"{name} differs by more than a rounding")
        equal += int((a == b).sum())
        total += a.numel()
    if expected:
        sys.exit(f"these are missing: {sorted(expected)}")
    rest = "equal, bit for bit" if equal == total else f"{equal:,} of {total:,} elements equal, the others neighbours in bfloat16"
    print(json.dumps({"found": rest}))


if __name__ == "__main__":
    main()

"""Values as the tool prints them in JSON, compared with NumPy's element by element."""

from __future__ import annotations

import math

import numpy as np


def flattened(values: object) -> list:
    """What stands in a nested or flat list of values."""
    return [inner for value in values for inner in flattened(value)] if isinstance(values, list) else [values]


def same_values(found: list, expected: np.ndarray) -> bool:
    """Whether JSON's values are NumPy's, element by element."""
    # The fewest digits that give the element back are enough, so they are read at the precision of the element.
    real = np.float64 if expected.dtype == np.float64 else np.float32
    return len(found) == expected.size and all(same_value(a, b, real) for a, b in zip(found, expected.ravel().tolist()))


def same_value(found: object, expected: object, real: type) -> bool:
    if isinstance(expected, complex):
        return same_value(found["re"], expected.real, real) and same_value(found["im"], expected.imag, real)
    if isinstance(expected, (bool, int)):
        return type(found) is type(expected) and found == expected  # exact, past 2^53 too
    if not math.isfinite(expected):  # for which JSON has no number
        text = "nan" if math.isnan(expected) else "inf" if expected > 0 else "-inf"
        return isinstance(found, str) and found.lower().replace("infinity", "inf").lstrip("+") == text
    return isinstance(found, (int, float)) and real(found) == real(expected)

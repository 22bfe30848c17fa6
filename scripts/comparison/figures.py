"""Medians with their spread, and ratios of turns of the same round."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Spread(NamedTuple):
    """The median of some values, and the smallest and largest of them."""

    median: float
    smallest: float
    largest: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        values = list(values)
        return cls(statistics.median(values), min(values), max(values))


def ratios(numerators: Mapping[int, float], denominators: Mapping[int, float]) -> Spread | None:
    """The spread of the ratios of the rounds that both took part in; None where there is none."""
    rounds = [number for number in numerators if number in denominators]
    return Spread.of(numerators[number] / denominators[number] for number in rounds) if rounds else None


def digits(value: float, significant: int = 3) -> str:
    """A number with so many significant digits, never in scientific notation, and no zeros for digits that it does not have."""
    if value == 0:
        return "0"
    magnitude = len(str(int(abs(value)))) if abs(value) >= 1 else -_leading_zeros(abs(value))
    decimals = max(0, significant - magnitude)
    return f"{value:,.{decimals}f}"


def _leading_zeros(value: float) -> int:
    count = 0
    while value < 0.1:
        value *= 10
        count += 1
    return count


def shown(spread: Spread, significant: int = 3, scale: float = 1) -> str:
    """`1.23 (1.10–1.40)`; the median alone where nothing is spread."""
    median, smallest, largest = (digits(value * scale, significant) for value in spread)
    return median if smallest == largest == median else f"{median} ({smallest}–{largest})"

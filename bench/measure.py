"""What a measure gives."""

import os
from collections.abc import Callable
from typing import Literal

import msgspec


class Result(msgspec.Struct, frozen=True):
    """One row of the table. ``ratio`` is value / reference_value; ``goal`` is the least (or most) it should be."""

    name: str
    value: float
    unit: str
    reference: str
    reference_value: float
    ratio: float
    goal: float
    met: bool
    command: str


class Measure(msgspec.Struct, frozen=True):
    """One measure: its name and the function that takes it, reference included; nothing where it cannot be taken."""

    name: str
    take: Callable[[], Result | None]


def result(
    *,
    name: str,
    value: float,
    unit: str,
    reference: str,
    reference_value: float,
    goal: float,
    better: Literal["higher", "lower"] = "higher",
) -> Result:
    """Compare a value with its reference."""
    ratio = value / reference_value
    met = ratio >= goal if better == "higher" else ratio <= goal
    return Result(
        name=name,
        value=round(value, 3),
        unit=unit,
        reference=reference,
        reference_value=round(reference_value, 3),
        ratio=round(ratio, 3),
        goal=goal,
        met=met,
        command=" ".join([*_settings(), f"make bench only={name}"]),
    )


def _settings() -> list[str]:
    """Name the settings that the measure was taken with, where they are not the defaults."""
    return [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith("TALLY_BENCH_")]

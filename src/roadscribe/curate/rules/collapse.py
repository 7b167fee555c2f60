"""The rule over the whole dataset: a measured value that stands far more often than a measurement can.

Signature: ``(parameter, counts: Mapping[value, count], measured: Sequence[float]) -> list[Collapse]``. It
runs between the rules of evidence and those of consistency; a value that evidence was there for is not
touched.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from roadscribe.curate.rules.rule import Rule, rule

MEASURED = ("closest_vehicle_distance", "ego_vehicle_speed")
"""Parameters that are measurements: their values spread, unless they were not measured."""
MIN_ROWS = 30
MAX_SHARE = 0.2
"""Without evidence: one distance or speed in more than a fifth of the answers was not measured. Real heaps,
such as round speeds, stay below (the commonest speed of the 200 real answers holds 18 %)."""


@dataclass(frozen=True)
class Collapse:
    """One value that stands too often."""

    parameter: str
    value: int
    share: float
    allowed: float
    rows: int
    written: str = ""
    """The way the teacher wrote it most often."""


def wilson_low(count: int, total: int, z: float = 1.96) -> float:
    """Lower end of the 95 % Wilson interval of a share."""
    share = count / total
    centre = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return (centre - spread) / (1 + z * z / total)


def allowed_share(value: int, measured: Sequence[float]) -> float:
    """The largest share of a value that evidence allows: thrice that of measurements within 10 % of it."""
    if len(measured) < MIN_ROWS:
        return MAX_SHARE
    near = sum(abs(other - value) <= max(1.0, 0.1 * value) for other in measured)
    return min(1.0, max(MAX_SHARE / 2, 3 * near / len(measured)))


@rule(
    reason='"50 feet" stood in half of a real teacher\'s answers: a habit of the teacher, not a measurement.',
    source="counts over the dataset, against measurements where there are any; 0 km/h (standing) is exempt",
    severity="error",
    action="null",
    parameters=MEASURED,
)
def collapse(parameter: str, counts: Mapping[int, int], measured: Sequence[float]) -> list[Collapse]:
    """No single distance or speed stands in far more answers than measurements would allow."""
    total = sum(counts.values())
    if total < MIN_ROWS:
        return []
    found = []
    for value, count in counts.items():
        if parameter == "ego_vehicle_speed" and value == 0:
            continue
        allowed = allowed_share(value, measured)
        if wilson_low(count, total) > allowed:
            found.append(Collapse(parameter, value, count / total, allowed, count))
    return sorted(found, key=lambda item: -item.share)


DatasetCheck = Callable[[str, Mapping[int, int], Sequence[float]], list[Collapse]]

DATASET_RULES: tuple[Rule[DatasetCheck], ...] = (collapse,)

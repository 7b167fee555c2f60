"""Speeds, distances and lane counts as people write them: units, ranges, bounds and numbers in words.

`canonical` stands on this. A text gives a number only where it states one: "slow" and "close" are no numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache

from roadscribe.answers.vocabulary import ABSENT, Phrases, Understood, plain, tokens, unit_names, vocabulary
from roadscribe.report import RANGES

_KINDS = {
    "ego_vehicle_speed": ("speed", "km/h"),
    "closest_vehicle_distance": ("distance", "m"),
    "lane_count": ("lanes", "lanes"),
}
_UNIT_WORDS = {"km/h": "km/h", "m": "metres", "lanes": "lanes"}
_FRACTIONS = frozenset((("1", "2"), ("1", "3"), ("2", "3"), ("1", "4"), ("3", "4")))
"""What counts as a fraction; "20/30" is two numbers."""
_UNDERSTOOD_AS_ONE = 0.1
"""Two statements ("20 mph (30 km/h)") agree when they differ by no more than this share, or by 2."""


@dataclass(frozen=True)
class Quantity:
    """One number, or a range of numbers, with the unit that stands behind it."""

    low: float
    high: float
    unit: str | None
    kind: str | None
    """speed, distance, other, or None where no unit stands there."""
    factor: float = 1.0
    bound: str | None = None
    """`upper` for "less than 10", `lower` for "50+"."""

    @property
    def is_range(self) -> bool:
        return self.low != self.high

    @property
    def value(self) -> float:
        """The number, or the middle of the range, in km/h or metres."""
        return (self.low + self.high) / 2 * self.factor

    def __str__(self) -> str:
        numbers = f"{self.low:g}-{self.high:g}" if self.is_range else f"{self.low:g}"
        return f"{numbers} {self.unit}" if self.unit else numbers


def read_number(parameter: str, number: int | float, unit: str | None = None) -> Understood:
    """The canonical value of a JSON number; without a ``unit`` it is in the schema's own."""
    kind, own_unit = _KINDS[parameter]
    if isinstance(number, float) and not math.isfinite(number):
        return Understood(None, f"limits.{parameter}", "is not a finite number")
    low, high = RANGES[parameter]
    factor = 1.0 if unit is None else vocabulary()["units"].get(kind, {}).get(unit, {}).get("factor")
    if factor is None:
        return Understood(None, f"units.{kind}", f"{unit} is no unit of {kind}")
    if abs(number) > 1_000_000:  # before any arithmetic: an integer may be too large for a float
        return Understood(None, f"limits.{parameter}", f"lies outside {low}..{high} {own_unit}")
    value = number * factor
    if parameter == "lane_count" and value != int(value):
        return Understood(None, f"limits.{parameter}", "is not a whole number")
    rounded = _round(value)
    if not low <= rounded <= high or value < 0:
        return Understood(None, f"limits.{parameter}", f"lies outside {low}..{high} {own_unit}")
    if unit not in (None, own_unit):
        return Understood(rounded, f"units.{kind}", f"{number:g} {unit} is {rounded} {own_unit}")
    if rounded != value:
        return Understood(rounded, f"units.{kind}", f"is rounded to {rounded} {own_unit}")
    return Understood(rounded)


def read_quantity(parameter: str, text: str, unit: str | None = None) -> Understood:
    """The speed in km/h or the distance in metres that a text states, or None and why there is none.

    Args:
        parameter: `ego_vehicle_speed` or `closest_vehicle_distance`.
        text: the value as it was written.
        unit: the unit that the key carried, for numbers that carry none themselves.
    """
    kind, own_unit = _KINDS[parameter]
    statement = _Statement(plain(text), parameter)
    not_understood = f"vocabulary.{parameter}"
    if statement.has("@hedge"):
        return Understood(None, not_understood, "is not sure of itself, and a guess is not taken over")
    if not statement.quantities or statement.has("@no vehicle"):
        return _without_number(parameter, statement)
    if statement.has("@not now"):
        return Understood(None, not_understood, f"does not state the {kind} of this moment")
    if statement.has("@no"):
        return Understood(None, not_understood, "says what it is not")
    if kind == "distance" and statement.behind_ego:
        return Understood(None, not_understood, "speaks of a vehicle behind, not of one ahead")
    if statement.shares_a_unit:
        return Understood(
            None, f"conflict.{parameter}", f"states {_listed(statement.quantities)}, which differ"
        )
    stated = [quantity for quantity in statement.quantities if quantity.kind == kind]
    assumed = ""
    if not stated:
        others = [quantity for quantity in statement.quantities if quantity.kind]
        if others:
            return Understood(None, f"units.{kind}", f"{others[0]} is no {kind}")
        if statement.unplaced:
            why = f"holds a number without a unit beside {statement.unplaced[0]!r}"
            return Understood(None, not_understood, why)
        assumed = "" if unit else f"no unit is written, so {own_unit} is assumed"
        unit = unit or own_unit
        factor = vocabulary()["units"][kind].get(unit, {}).get("factor")
        if factor is None:
            return Understood(None, f"units.{kind}", f"{unit} is no unit of {kind}")
        stated = [replace(each, unit=unit, kind=kind, factor=factor) for each in statement.quantities]
    quantity = _agreed(stated, own_unit)
    if quantity is None:
        return Understood(None, f"conflict.{parameter}", f"states {_listed(stated)}, which differ")
    return _settled(parameter, quantity, statement, assumed, several=len(statement.quantities) > 1)


def _settled(
    parameter: str, quantity: Quantity, statement: _Statement, assumed: str, *, several: bool
) -> Understood:
    """The canonical value of one quantity, with everything said that its reading left out."""
    kind, own_unit = _KINDS[parameter]
    low, high = RANGES[parameter]
    if quantity.low > quantity.high:
        return Understood(None, f"conflict.{parameter}", f"{quantity} runs backwards: a change, not a range")
    if quantity.low < 0:
        return Understood(None, f"limits.{parameter}", f"{quantity} is negative")
    value = quantity.value
    if value > high + 0.5:
        shown = "" if quantity.unit == own_unit else f" is {value:,.0f} {own_unit} and"
        return Understood(
            None, f"limits.{parameter}", f"{quantity}{shown} lies outside {low}..{high} {own_unit}"
        )
    rounded = min(_round(value), high)
    notes = [assumed] if assumed and rounded != 0 else []
    rule = f"assumed.{kind}" if notes else None
    if statement.unplaced or several:
        notes.append(f"taken from {quantity}, the rest is left out")
        rule = f"vocabulary.{parameter}"
    elif statement.has("@about"):
        notes.append("given as approximate")
        rule = rule or f"approximate.{kind}"
    if quantity.unit == "car lengths":
        notes.append("a car length is assumed to be 4.5 m")
    if quantity.bound:
        notes.append(
            f"only {'an upper' if quantity.bound == 'upper' else 'a lower'} bound is given and taken"
        )
        rule = f"bound.{kind}"
    if quantity.is_range:
        notes.append(f"the middle of {quantity} is taken")
        rule = f"range.{kind}"
    if quantity.unit != own_unit:
        middle = f"{(quantity.low + quantity.high) / 2:g} {quantity.unit}"
        notes.append(f"{middle} is {rounded} {own_unit}")
        rule = rule if rule and rule.startswith(("range", "bound")) else f"units.{kind}"
    elif rounded != value:
        notes.append(f"rounded to {rounded} {own_unit}")
        rule = rule or f"units.{kind}"
    return Understood(rounded, rule, "; ".join(notes))


def _without_number(parameter: str, statement: _Statement) -> Understood:
    kind, own_unit = _KINDS[parameter]
    if kind == "distance" and statement.has("@no vehicle"):
        return Understood(None, f"absent.{parameter}", "names no vehicle, so there is no distance to one")
    if kind == "speed" and statement.has("@zero") and statement.only_says_zero:
        return Understood(0, f"vocabulary.{parameter}", f"a vehicle that does not move has 0 {own_unit}")
    if statement.has(ABSENT):
        return Understood(None, f"absent.{parameter}", "says that it cannot be told")
    return Understood(None, f"vocabulary.{parameter}", f"is no number of {_UNIT_WORDS[own_unit]}")


def _agreed(stated: list[Quantity], own_unit: str) -> Quantity | None:
    """The one quantity that all statements mean, best in the schema's own unit; None if they differ."""
    first = stated[0]
    for other in stated[1:]:
        if abs(other.value - first.value) > max(
            2.0, _UNDERSTOOD_AS_ONE * max(abs(first.value), abs(other.value))
        ):
            return None
    return next((quantity for quantity in stated if quantity.unit == own_unit), first)


def _listed(stated: list[Quantity]) -> str:
    return " and ".join(str(quantity) for quantity in stated[:4])


def _round(value: float) -> int:
    return math.floor(value + 0.5)


@cache
def _phrases(parameter: str) -> Phrases:
    general, own, lanes = vocabulary()["general"], vocabulary()["quantities"], vocabulary()["lanes"]
    zero = parameter == "ego_vehicle_speed"
    counts = parameter == "lane_count"
    return Phrases(
        ("@filler", lanes["filler"] if counts else own["filler"]),
        ("@hedge", general["hedges"]),
        ("@no", general["negators"]),
        (ABSENT, general["absent"]),
        ("@about", own["about"]),
        ("@upper", own["upper"]),
        ("@lower", own["lower"]),
        ("@not now", own["not_now"]),
        ("@zero", own["zero_speed"] if zero else ()),
        ("@no vehicle", () if zero or counts else own["no_vehicle"]),
        ("@one", lanes["one"] if counts else ()),
        ("@directions", lanes["directions"] if counts else ()),
    )


class _Statement:
    """A text cut into quantities and what is said around them."""

    def __init__(self, text: str, parameter: str) -> None:
        self.sequence = tuple(_with_digits(tokens(text)))
        self.quantities: list[Quantity] = []
        self.unplaced: list[str] = []
        self.shares_a_unit = False
        """Whether several numbers stand before one unit: "20,30 mph", "30 +/- 5 mph"."""
        self._meanings: set[str] = set()
        self._phrases = _phrases(parameter)
        bound: str | None = None
        at = 0
        while at < len(self.sequence):
            found = self._quantity(at)
            if found is not None:
                quantity, at = found
                after = self._phrases.at(self.sequence, at)
                if (
                    after
                    and after[0] in ("@upper", "@lower")
                    and not _number(self.sequence, at + after[1])[1]
                ):
                    bound = after[0][1:]
                    at += after[1]
                self.quantities.append(replace(quantity, bound=quantity.bound or bound))
                bound = None
                self.shares_a_unit |= self._joined_to_next(at) and quantity.kind is None
                continue
            known = self._phrases.at(self.sequence, at)
            meaning, length = known or ("", 1)
            if meaning in ("@upper", "@lower"):
                bound = meaning[1:]
            elif meaning == "":
                bound = None
                if self.sequence[at][0].isalpha():
                    self.unplaced.append(self.sequence[at])
            self._meanings.add(meaning)
            at += length

    def has(self, meaning: str) -> bool:
        return meaning in self._meanings

    @property
    def behind_ego(self) -> bool:
        """ "20 m behind (us)" rather than "20 m behind the bus"."""
        if "behind" not in self.sequence:
            return False
        after = self.sequence[self.sequence.index("behind") + 1 :]
        return not after or after[0] in (".", ",", ")", "us", "ego", "me")

    @property
    def only_says_zero(self) -> bool:
        """Whether nothing but a standstill of the ego vehicle is spoken of."""
        allowed = set(vocabulary()["quantities"]["zero_speed_filler"])
        return (
            not self.has("@about") and not self.has("@no") and all(word in allowed for word in self.unplaced)
        )

    def _joined_to_next(self, at: int) -> bool:
        """Whether nothing but signs, "and" or "or" stands between here and the next number, or nothing at all."""
        while at < len(self.sequence) and (
            not self.sequence[at][0].isalnum() or self.sequence[at] in ("and", "or")
        ):
            at += 1
        return at < len(self.sequence) and self.sequence[at][0].isdigit()

    def _quantity(self, at: int) -> tuple[Quantity, int] | None:
        """(the quantity that begins here, where it ends), or None."""
        start = at
        low, length = _number(self.sequence, at)
        if not length:
            return None
        at += length
        bound = None
        if self.sequence[at : at + 1] == ("+",):
            bound, at = "lower", at + 1
        unit, at = self._unit(at)
        high = low
        between = start > 0 and self.sequence[start - 1] == "between"
        connectors = ("-", "to", "and") if between else ("-", "to")
        if at < len(self.sequence) and self.sequence[at] in connectors:
            second, length = _number(self.sequence, at + 1)
            if length:
                second_unit, end = self._unit(at + 1 + length)
                if unit is None or second_unit is None or unit == second_unit:
                    high, at, unit = second, end, second_unit or unit
        if start > 0 and self.sequence[start - 1] == "minus":
            low = high = -low
        name, kind, factor = (unit[1], unit[0], unit[2]) if unit else (None, None, 1.0)
        return Quantity(low, high, name, kind, factor, bound), at

    def _unit(self, at: int) -> tuple[tuple[str, str, float] | None, int]:
        """(the unit that stands here, where it ends); "-", "a", "of" may come before it ("half a mile")."""
        start = at
        while (
            start < len(self.sequence) and start < at + 2 and self.sequence[start] in ("-", "a", "an", "of")
        ):
            start += 1
        for length in range(4, 0, -1):
            unit = unit_names().get(self.sequence[start : start + length])
            if unit is not None:
                return unit, start + length
        return None, at


def _number(sequence: tuple[str, ...], at: int) -> tuple[float, int]:
    """(the number that stands here, its length in tokens); the length is 0 where none stands.

    Reads 20, 3.5, 1,000, 1/2 and 1 1/2.
    """
    if at >= len(sequence) or not sequence[at][-1].isdigit():
        return 0.0, 0
    digits = sequence[at].replace(",", "")
    if len(digits) > 15:
        return 1e15, 1
    fraction = _fraction(sequence, at)
    if fraction is not None:
        return float(fraction), 3
    if digits.isdigit():
        mixed = _fraction(sequence, at + 1)
        if mixed is not None:
            return float(int(digits) + mixed), 4
    return float(digits), 1


def _fraction(sequence: tuple[str, ...], at: int) -> Fraction | None:
    upper, slash, lower = (*sequence[at : at + 3], "", "", "")[:3]
    if slash == "/" and (upper, lower) in _FRACTIONS:
        return Fraction(int(upper), int(lower))
    return None


def _with_digits(sequence: list[str]) -> list[str]:
    """Number words as digits: "twenty five" is 25, "a hundred" 100, "half" 0.5."""
    values: dict[str, int] = vocabulary()["numbers"]
    result: list[str] = []
    at = 0
    while at < len(sequence):
        word = sequence[at]
        if word in ("half", "quarter"):
            result.append("0.5" if word == "half" else "0.25")
        elif word in values:
            value = values[word]
            following = sequence[at + 1] if at + 1 < len(sequence) else ""
            if following == "-" and at + 2 < len(sequence) and 20 <= value <= 90:
                following = sequence[at + 2]  # "twenty-five"
                skipped = 1
            else:
                skipped = 0
            if value in range(20, 100, 10) and 1 <= values.get(following, 0) <= 9:
                value += values[following]
                at += 1 + skipped
            elif value in range(1, 10) and following == "hundred":
                value *= 100
                at += 1
            result.append(str(value))
        else:
            result.append(word)
        at += 1
    return result


def read_lane_count(text: str) -> Understood:
    """The number of lanes that a text states, or None: "several" is no number, 2-3 lanes have no middle."""
    statement = _Statement(plain(text), "lane_count")
    low, high = RANGES["lane_count"]
    if not statement.quantities:
        if statement.has("@one") and not (
            statement.unplaced or statement.has("@no") or statement.has("@hedge")
        ):
            return Understood(1, "vocabulary.lane_count", "is read as 1 lane")
        if statement.has(ABSENT):
            return Understood(None, "absent.lane_count", "says that it cannot be told")
        return Understood(None, "vocabulary.lane_count", "is no number of lanes")
    if statement.has("@hedge") or statement.has("@no"):
        return Understood(
            None, "vocabulary.lane_count", "is not sure of itself, and a guess is not taken over"
        )
    counts = list(dict.fromkeys(quantity.low for quantity in statement.quantities))
    first = statement.quantities[0]
    if statement.has("@directions"):
        if len(counts) == 2 and counts[0] == 2 * counts[1] and low <= counts[0] <= high:
            why = f"{counts[1]:g} in each direction make {counts[0]:g}"
            return Understood(int(counts[0]), "vocabulary.lane_count", why)
        return Understood(None, "conflict.lane_count", "does not say whether the two directions are divided")
    if any(quantity.bound for quantity in statement.quantities):
        return Understood(None, "bound.lane_count", "gives only a bound, and lanes are counted")
    if len(counts) > 1 or first.is_range:
        return Understood(
            None, "conflict.lane_count", f"states {_listed(statement.quantities)}, which is no one number"
        )
    if first.kind not in (None, "lanes") or (first.kind is None and statement.unplaced):
        return Understood(None, "vocabulary.lane_count", "is no number of lanes")
    if not low <= first.low <= high or first.low != int(first.low):
        return Understood(None, "limits.lane_count", f"is not a whole number from {low} to {high}")
    if statement.unplaced:
        return Understood(
            int(first.low), "vocabulary.lane_count", f"taken from {first}, the rest is left out"
        )
    if statement.has("@about"):
        return Understood(int(first.low), "approximate.lane_count", "given as approximate")
    return Understood(int(first.low))

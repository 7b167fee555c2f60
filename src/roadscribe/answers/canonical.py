"""One value of an answer, as it was written, to its canonical value and a finding that says what was done.

`report_text` calls `canonical` for each of the twelve parameters. Words are read by `vocabulary`, numbers
by `quantities`; here stand the kinds of values, nested values, pedestrians and curvature. Nothing is guessed:
what is not understood becomes None or "unknown" with a finding.
"""

from __future__ import annotations

import math
from typing import Any

from roadscribe.answers.quantities import read_lane_count, read_number, read_quantity
from roadscribe.answers.vocabulary import (
    MAX_VALUE_CHARS,
    Understood,
    name_and_unit,
    parameter_of_key,
    plain,
    read_word,
    scan,
    tokens,
    unit_names,
    vocabulary,
    words,
)
from roadscribe.report import PARAMETERS, RANGES, VOCABULARY, Finding

Value = str | int | bool | None
_MAX_NESTING = 4
_MAX_PARTS = 40


def canonical(parameter: str, raw: Any, unit: str | None = None) -> tuple[Value, Finding | None]:
    """The canonical value of what an answer says about a parameter.

    A value that is canonical, or differs only in spelling, has no finding. A converted unit, a word read as
    another, a range, a bound, anything left out has one; so has every None and "unknown", saying why.

    Args:
        parameter: one of PARAMETERS.
        raw: the value as it was written: any JSON value (or anything else, which is not understood).
        unit: the unit that the key carried ("speed_mph"), for numbers that carry none.

    Returns:
        A word of VOCABULARY[parameter], a number within RANGES[parameter], a bool, or None where it is not
        known (`risk_factor`, which has no word "unknown", becomes None, too).
    """
    if parameter not in PARAMETERS:
        raise KeyError(parameter)
    understood = _read(parameter, raw, unit, depth=0)
    if understood.rule is None:
        return understood.value, None
    finding = Finding(
        rule=understood.rule,
        parameter=parameter,
        before=json_value(raw),
        after=understood.value,
        message=f"{shown(raw)}: {understood.why}",
    )
    return understood.value, finding


def unknown_value(parameter: str) -> Value:
    """What stands for "cannot be told": "unknown" where the parameter has that word, else None."""
    return "unknown" if "unknown" in VOCABULARY.get(parameter, ()) else None


def shown(raw: Any) -> str:
    """A value as a message quotes it, at most about 80 characters long."""
    if isinstance(raw, int) and not isinstance(raw, bool) and abs(raw) >= 10**30:
        return f"an integer of {raw.bit_length()} bits"
    text = repr(raw) if not isinstance(raw, dict | list) else repr(json_value(raw))
    return text if len(text) <= 80 else f"{text[:77]}..."


def json_value(raw: Any) -> Any:
    """The value if JSON can hold it, else text that says what it was; nesting is cut at a depth of 8."""
    return _json_value(raw, 8)


def _json_value(raw: Any, depth: int) -> Any:
    if raw is None or isinstance(raw, bool):
        return raw
    if isinstance(raw, str):
        return raw.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate cannot be written to a file
    if isinstance(raw, int):
        return raw if abs(raw) < 10**30 else shown(raw)
    if isinstance(raw, float):
        return raw if math.isfinite(raw) else repr(raw)
    if depth > 0 and isinstance(raw, dict):
        return {str(_json_value(key, 0)): _json_value(value, depth - 1) for key, value in raw.items()}
    if depth > 0 and isinstance(raw, list | tuple):
        return [_json_value(value, depth - 1) for value in raw]
    return f"<{type(raw).__name__}>"


def _read(parameter: str, raw: Any, unit: str | None, depth: int) -> Understood:
    unknown = unknown_value(parameter)
    if raw is None:
        return Understood(unknown, f"absent.{parameter}", "says that it cannot be told")
    if isinstance(raw, bool):
        if parameter == "pedestrian_on_road":
            return Understood(raw)
        return Understood(unknown, f"vocabulary.{parameter}", "is true or false, which is no answer here")
    if isinstance(raw, int | float):
        return _read_number(parameter, raw, unit)
    if isinstance(raw, str):
        return _read_text(parameter, raw, unit)
    if depth >= _MAX_NESTING or not isinstance(raw, dict | list | tuple):
        return Understood(unknown, f"collapsed.{parameter}", "is not understood")
    if isinstance(raw, dict):
        return _read_dict(parameter, raw, unit, depth)
    return _read_list(parameter, list(raw), unit, depth)


def _read_number(parameter: str, number: int | float, unit: str | None) -> Understood:
    if parameter in RANGES:
        return read_number(parameter, number, unit)
    if parameter == "pedestrian_on_road" and math.isfinite(number) and number >= 0 and number == int(number):
        if number == 0:
            return Understood(False)
        return Understood(True, f"vocabulary.{parameter}", "is a count of people, so somebody is on the road")
    if parameter == "pedestrian_on_road":
        return Understood(None, f"vocabulary.{parameter}", "is no count of people")
    return Understood(
        unknown_value(parameter), f"vocabulary.{parameter}", "is a number, and a word is needed"
    )


def _read_text(parameter: str, raw: str, unit: str | None) -> Understood:
    unknown = unknown_value(parameter)
    if len(raw) > MAX_VALUE_CHARS:
        return Understood(unknown, f"vocabulary.{parameter}", "is longer than any value")
    text = raw.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'`":
        text = text[1:-1].strip()
    if not words(text):
        return Understood(unknown, f"absent.{parameter}", "says nothing")
    if parameter == "lane_count":
        return read_lane_count(text)
    if parameter in RANGES:
        return read_quantity(parameter, text, unit)
    if parameter == "pedestrian_on_road":
        return _read_pedestrians(text)
    if parameter == "road_curvature":
        return _read_curvature(text)
    return read_word(parameter, text)


def _read_dict(parameter: str, raw: dict[Any, Any], unit: str | None, depth: int) -> Understood:
    """A nested value: what it says of the ego now, the value beside a unit, or what its parts agree on."""
    rule = f"collapsed.{parameter}"
    nested = vocabulary()["nested"]
    if not raw or len(raw) > _MAX_PARTS:
        return Understood(unknown_value(parameter), rule, "holds no value that could be taken")
    if parameter == "pedestrian_on_road":
        return _part(rule, None, _read_pedestrians(_as_clauses(raw)))
    named = {key: name_and_unit(str(key)) for key in raw}
    by_name = {" ".join(name): key for key, (name, _) in named.items()}
    for name in nested["unit"]:
        written = raw.get(by_name.get(name))
        if isinstance(written, str):
            known = unit_names().get(tuple(tokens(plain(written))))
            unit = known[1] if known else written[:40]
    own = [] if parameter == "lane_count" else [key for key in raw if set(named[key][0]) & set(nested["own"])]
    values = nested["total"] if parameter == "lane_count" else nested["value"]
    wanted = [by_name[name] for name in (*values, parameter.replace("_", " "), "") if name in by_name]
    for key in (*own, *wanted):
        return _part(rule, key, _read(parameter, raw[key], named[key][1] or unit, depth + 1))
    if {"min", "max"} <= set(by_name) and parameter in RANGES:
        text = f"{raw[by_name['min']]} - {raw[by_name['max']]}"[:MAX_VALUE_CHARS]
        return _part(rule, None, _read(parameter, text, named[by_name["max"]][1] or unit, depth + 1))
    if parameter == "lane_count":
        return Understood(None, "conflict.lane_count", "holds no total of the lanes")
    if all(isinstance(value, bool) for value in raw.values()):
        said = [str(key) for key, value in raw.items() if value]
        if len(said) != 1:
            why = f"says yes to {len(said)} of {len(raw)} things"
            return Understood(unknown_value(parameter), f"conflict.{parameter}", why)
        return _part(rule, said[0], _read(parameter, said[0], unit, depth + 1))
    if parameter == "traffic_light_state":
        return _read_lights(raw, depth)
    return _read_list(parameter, list(raw.values()), unit, depth)


def _read_lights(raw: dict[Any, Any], depth: int) -> Understood:
    """Several lights by their places: the state of all that are there, else unknown; the ego's is not named."""
    states = [_read("traffic_light_state", value, None, depth + 1).value for value in raw.values()]
    there = {state for state in states if state != "none"} or {"none"}
    if len(there) == 1 and there != {"unknown"}:
        return Understood(there.pop(), "collapsed.traffic_light_state", "names several lights that agree")
    told = ", ".join(f"{key}: {state}" for key, state in zip(raw, states, strict=True))[:120]
    why = f"names several lights ({told}) and does not say which one holds for the ego vehicle"
    return Understood("unknown", "conflict.traffic_light_state", why)


def _part(rule: str, key: Any, understood: Understood) -> Understood:
    where = "read as one value" if key is None else f"taken from {shown(key)}"
    return Understood(understood.value, rule, f"{where}; {understood.why}" if understood.why else where)


def _read_list(parameter: str, raw: list[Any], unit: str | None, depth: int) -> Understood:
    """Several values: the one they all agree on, or none."""
    unknown = unknown_value(parameter)
    if not raw:
        return Understood(unknown, f"absent.{parameter}", "holds nothing")
    read = [_read(parameter, value, unit, depth + 1) for value in raw[:_MAX_PARTS]]
    values = {understood.value for understood in read}
    if values == {unknown} or len(raw) > _MAX_PARTS:
        return Understood(unknown, f"collapsed.{parameter}", "holds no value that could be taken")
    if len(values) == 1:
        agree = read[0].why if len(raw) == 1 else "holds several values that agree"
        return Understood(read[0].value, f"collapsed.{parameter}", agree or "holds one value")
    return Understood(
        unknown, f"conflict.{parameter}", "holds several values and does not say which one counts"
    )


def _as_clauses(raw: dict[Any, Any]) -> str:
    """A nested value about pedestrians as text: {"count": 1, "on_road": false} is "yes; no on_road"."""
    clauses: list[str] = []
    nested = vocabulary()["nested"]
    for key, value in raw.items():
        name = str(key)[:40]
        # A confidence is no count of people, and "value" is no thing that is there.
        is_answer = " ".join(words(name)) in (*nested["value"], *nested["total"]) or parameter_of_key(name)
        if isinstance(value, bool) and is_answer:
            clauses.append("yes" if value else "no")
        elif isinstance(value, bool):
            clauses.append(name if value else f"no {name}")
        elif isinstance(value, int | float) and (
            is_answer or {"people", *nested["total"]} & set(words(name))
        ):
            clauses.append("yes" if value > 0 else "none")
        elif isinstance(value, int | float):
            continue
        elif isinstance(value, str):
            clauses.append(value if parameter_of_key(name) else f"{name} {value}")
        elif value is not None:
            clauses.append("unknown")
    return "; ".join(clauses)[:MAX_VALUE_CHARS]


def _read_pedestrians(text: str) -> Understood:
    """True for somebody on the carriageway or a crossing, False for nobody or only off it, else None."""
    rule, conflict = "vocabulary.pedestrian_on_road", "conflict.pedestrian_on_road"
    spelled = tuple(word for word in words(text) if word.isalnum())
    if len(spelled) == 1 and spelled[0].isdigit() and len(spelled[0]) < 9:
        return _read_number("pedestrian_on_road", int(spelled[0]), None)
    seen = scan("pedestrian_on_road", text)
    if seen.hedged:
        return Understood(None, rule, "is not sure of itself, and a guess is not taken over")
    said = {word for word, _ in seen.said()}
    if "present" in said and "people" not in said:
        said.add("yes")
    on_road = any("on_road" in clause.said and "none" not in clause.said for clause in seen.clauses)
    denied = [set(clause.denied) for clause in seen.clauses]
    not_on_road = any("on_road" in each for each in denied)
    # "no pedestrians on the sidewalk" denies people, but not those on the road.
    elsewhere = {"off_road", "crossing_place"}
    nobody = any(each & {"people", "yes", "present"} and not each & elsewhere for each in denied)
    bare_no = any(clause.negated and not clause.denied and not clause.unplaced for clause in seen.clauses)
    nobody = nobody or not_on_road or bare_no or "none" in said
    if on_road and nobody:
        return Understood(None, conflict, "says both that somebody is on the road and that nobody is")
    if on_road:
        return Understood(True, rule, "places somebody on the carriageway or a crossing")
    if nobody and "yes" in said and not not_on_road:
        return Understood(None, conflict, "says both yes and no")
    if nobody:
        spelling = spelled in (("no",), ("false",))
        return Understood(False, None if spelling else rule, "says that nobody is on the road")
    if "off_road" in said and "crossing_place" not in said:
        return Understood(False, rule, "places people off the carriageway only")
    if "yes" in said and "off_road" not in said:
        return Understood(True, None if spelled in (("yes",), ("true",)) else rule, "says yes")
    if seen.says_it_does_not_know():
        return Understood(None, "absent.pedestrian_on_road", "says that it cannot be told")
    if any(each & elsewhere for each in denied):
        return Understood(None, rule, "speaks only of one place")
    if said & {"people", "yes", "off_road"}:
        return Understood(None, rule, "says that people are there, but not whether they are on the road")
    return Understood(None, rule, "does not say whether somebody is on the road")


def _read_curvature(text: str) -> Understood:
    """Straight, or a bend of a side and a degree; "curved" where one of the two is not said."""
    rule = "vocabulary.road_curvature"
    seen = scan("road_curvature", text)
    said = [word for word, _ in seen.said()]
    found = set(said)
    denied = {word for clause in seen.clauses for word in clause.denied}
    unplaced = [word for clause in seen.clauses if clause.said for word in clause.unplaced]
    if seen.hedged:
        return Understood("unknown", rule, "is not sure of itself, and a guess is not taken over")
    if not found and not denied and any(clause.absent for clause in seen.clauses):
        if words(text) == ("none",):
            return Understood("straight", rule, "says that there is no curve")
        return Understood("unknown", "absent.road_curvature", "says that it cannot be told")
    if not found and denied == {"curve"}:
        return Understood("straight", rule, "says that there is no curve")
    if not found:
        return Understood("unknown", rule, "holds no word of the vocabulary")
    if unplaced:
        return Understood("unknown", rule, f"what {unplaced[0]!r} says about it is not understood")
    if "straight" in found and found != {"straight"}:
        return Understood("unknown", "conflict.road_curvature", "names both a straight road and a curve")
    if "turn" in found and not any(word.startswith(("slight", "sharp")) for word in found):
        return Understood("unknown", rule, "speaks of a turn, which may be a junction")
    value, why = ("straight", "") if "straight" in found else _bend(found)
    filler = {*vocabulary()["words"]["road_curvature"]["filler"], "curve", "curved", *value.split("_")}
    if not why and {word for word in words(text) if word.isalnum()} <= filler:
        return Understood(value)
    return Understood(value, rule, why or f"is read as {value!r}")


def _bend(found: set[str]) -> tuple[str, str]:
    """(the canonical bend that has these features, what is not said of it)."""
    parts = {part for word in found for part in word.split("_")}
    sides = parts & {"left", "right"}
    degrees = parts & {"slight", "sharp", "moderate"}
    if len(sides) > 1:
        return "curved", "names curves to both sides"
    if not sides:
        return "curved", "is read as 'curved'; no side is named" if degrees else ""
    if len(degrees) != 1 or "moderate" in degrees:
        return "curved", "names a side, but neither a slight nor a sharp curve"
    return f"{degrees.pop()}_{sides.pop()}", ""

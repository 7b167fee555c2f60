"""Rules that keep the two prose sections in agreement with the JSON, sentence by sentence.

Signature: ``(sentence: str, report: DrivingParameters, now: Now) -> str | None``: the sentence as it may
stand (the same, or mended), or None to drop it. They run last, when the parameters are settled. A sentence is
mended only where one word or number carries the claim; where a consequence hangs on it ("..., allowing
vehicles to proceed") that part is cut off, and where that cannot be done safely the sentence is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from roadscribe.curate.now import VEHICLES, Now
from roadscribe.curate.rules.medium import without_medium
from roadscribe.curate.rules.rule import Rule, rule
from roadscribe.curate.rules.sentence import CONDITION, claimed, replaced, replaced_word
from roadscribe.report import DrivingParameters

ProseCheck = Callable[[str, DrivingParameters, Now], str | None]

_I = re.IGNORECASE

# --- traffic lights ----------------------------------------------------------------------------------------

_COLOUR = r"(?P<colour>red|green|yellow|amber)"
_COLOURED_LIGHT = (
    re.compile(rf"\b{_COLOUR}\s+(?:traffic\s+|stop\s?)?(?:light|signal)\b", _I),
    re.compile(
        r"\b(?:traffic\s+(?:light|signal)s?|(?<!brake )(?<!tail )(?<!street )(?<!head)(?<!street)(?<!tail)"
        r"lights?|signals?)\b"
        r"[^.;,:]{0,45}?(?:, which)?\s+(?:is|are|shows?|showing|displays?|displaying|remains?|being|at|currently|"
        r"(?:turn|change|switche?)(?:s|d|ed)?(?: from \w+ to| to)?)\s+"
        rf"(?:(?:a|an|the|currently|now|also|on|showing|still)\s+)*{_COLOUR}\b",
        _I,
    ),
    re.compile(rf"\bTraffic (?:Light|Signal)s?(?: State)?:\s*(?:the\s+)?{_COLOUR}\b", _I),
)
_ANY_LIGHT = re.compile(r"\b(?:traffic\s+(?:light|signal)s?|stop\s?lights?)\b", _I)
_NO_LIGHT = re.compile(
    r"\b(?:no|not|without|absence of|lack of|there (?:are|is) no|n't)\b[^.;,]{0,30}?"
    r"\b(?:traffic\s+)?(?:light|signal)s?\b|"
    r"\b(?:light|signal)s?\b[^.;]{0,25}?\b(?:not|n't|cannot|no)\b[^.;]{0,15}"
    r"\b(?:visible|seen|present|in view|applicable|made out)\b",
    _I,
)
_SIMPLE_LIGHT = re.compile(
    r"\b(?:the|a|one)\s+traffic\s+light(?:\s+ahead)?\s+(?:is|shows|appears)\s+(?:red|green|yellow|amber|off)\b",
    _I,
)
_LIGHT_OFF = re.compile(r"\btraffic\s+(?:light|signal)s?\b[^.;,]{0,25}?\b(?:is|are)\s+(?P<colour>off)\b", _I)


@rule(
    reason="A model that reads red and writes green has learnt to contradict itself.",
    source="traffic_light_state of the same report",
    severity="error",
    action="mend",
    parameters=("traffic_light_state",),
)
def prose_light(sentence: str, report: DrivingParameters, now: Now) -> str | None:
    """No sentence gives a light another colour than the JSON, invents one, or denies one."""
    state = report.traffic_light_state
    if state == "unknown" and not any(claimed(m) for p in _COLOURED_LIGHT for m in p.finditer(sentence)):
        return sentence
    if (
        state in ("red", "yellow", "green", "off")
        and _NO_LIGHT.search(sentence)
        and _ANY_LIGHT.search(sentence)
    ):
        simple = re.search(r"\bno traffic light is in view\b", sentence, _I)
        return replaced(sentence, simple, 0, f"the traffic light is {state}") if simple else None
    if state == "none" and _NO_LIGHT.search(sentence):
        return sentence
    for pattern in (*_COLOURED_LIGHT, _LIGHT_OFF):
        for match in pattern.finditer(sentence):
            colour = match["colour"].lower().replace("amber", "yellow")
            if not claimed(match) or colour == state:
                continue
            simple = _SIMPLE_LIGHT.search(sentence)
            if state == "none":
                return replaced(sentence, simple, 0, "no traffic light is in view") if simple else None
            if state == "unknown":
                return (
                    replaced(sentence, simple, 0, "the traffic light cannot be made out") if simple else None
                )
            if len(re.findall(r"\b(?:red|green|yellow|amber)\b", sentence, _I)) > 1 or (
                state == "off" and not simple
            ):
                return None
            mended = replaced(sentence, match, "colour", state)
            return (
                None
                if re.search(
                    r"\b(?:proceed|stop(?:ped|s)?|halt|yield|wait(?:ing)?|lets?|allows?)\b", mended, _I
                )
                else mended
            )
    if state == "none" and any(claimed(match) for match in _ANY_LIGHT.finditer(sentence)):
        return None
    return sentence


# --- people ------------------------------------------------------------------------------------------------

_PEOPLE = r"(?:pedestrians?|persons?|people|m[ae]n|wom[ae]n|child(?:ren)?|kids?|boys?|girls?|jaywalkers?)"
_NOBODY = re.compile(
    rf"\b(?:no|zero|without(?: any)?|absence of|not any|free of)\s+(?:\w+\s+){{0,3}}?{_PEOPLE}\b|"
    rf"\b{_PEOPLE}\s+(?:are|is)\s+(?:not|absent)\b|"
    r"\b(?:no one|nobody)\b[^.;]{0,25}?\b(?:cross(?:es|ing)|walk(?:s|ing)|visible|present|on the)\b",
    _I,
)
_SOMEBODY = re.compile(
    rf"\b{_PEOPLE}\b[^.;]{{0,30}}?\b(?:cross(?:es|ing)?|walk(?:s|ing)? (?:across|on) the (?:road|street)|"
    r"jaywalking|(?:is|are|stand(?:s|ing)?) (?:\w+ )?(?:on|in) the "
    r"(?:road|street|roadway|carriageway|crosswalk|crossing))\b",
    _I,
)
_CROSSING_OBJECT = re.compile(
    rf"\b{_PEOPLE}[ -](?:crossings?|signs?|signals?|lights?|lanes?|zones?|areas?|safety)\b", _I
)
_SIMPLE_SOMEBODY = re.compile(r"\ba person is on the road\b", _I)
_SIMPLE_NOBODY = re.compile(r"\bno person is on the road\b", _I)


@rule(
    reason="A person who is in one section and not in the other cannot be learnt.",
    source="pedestrian_on_road of the same report",
    severity="error",
    action="mend",
    parameters=("pedestrian_on_road",),
)
def prose_people(sentence: str, report: DrivingParameters, now: Now) -> str | None:
    """No sentence puts a person on the road, or denies one, against the JSON; beside the road is free."""
    on_road = report.pedestrian_on_road
    if on_road is None:
        return sentence
    nobody = _NOBODY.search(sentence)
    somebody = [match for match in _SOMEBODY.finditer(sentence) if not nobody or match.start() > nobody.end()]
    if on_road and nobody and claimed(nobody) and not somebody:
        simple = _SIMPLE_NOBODY.search(sentence)
        return replaced(sentence, simple, 0, "a person is on the road") if simple else None
    if not on_road and not nobody:
        for match in _SOMEBODY.finditer(sentence):
            if (
                claimed(match)
                and not CONDITION.search(match[0])
                and not _CROSSING_OBJECT.match(sentence, match.start())
            ):
                simple = _SIMPLE_SOMEBODY.search(sentence)
                return replaced(sentence, simple, 0, "no person is on the road") if simple else None
    return sentence


# --- weather -----------------------------------------------------------------------------------------------

_SKY = r"(?:sky|skies|weather(?: conditions)?|conditions)"
_WEATHER_CLAIMS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b(?P<word>rain(?:s|y|ing|fall|drops)?|drizzl(?:e|es|y|ing)|downpour)\b", _I), "rainy"),
    (
        # Snow that lies beside the road is no weather.
        re.compile(
            r"\b(?:(?P<word>snowing|snows|snowfall)|snowy (?:day|night|weather|sky|conditions)|"
            r"(?:in|heavy|light|falling) snow(?! (?:banks?|piles?|covered))|snow is falling)\b|"
            rf"\b{_SKY}\b[^.;,:]{{0,20}}\bsnowy\b",
            _I,
        ),
        "snowy",
    ),
    (re.compile(r"\b(?P<word>fog(?:gy)?|mist(?:y)?)\b", _I), "foggy"),
    (re.compile(r"\b(?P<word>partly cloudy)\b", _I), "partly_cloudy"),
    (re.compile(r"(?<!partly )\b(?P<word>overcast|cloudy)\b", _I), "overcast"),
    (re.compile(r"\b(?P<word>sunny|sunshine)\b|\bsun (?:is )?(?:brightly )?shin(?:es|ing)\b", _I), "clear"),
    (re.compile(r"\bblue (?:sky|skies)\b|\b(?:sky|skies) (?:is|are) (?:\w+ )?(?P<word>blue)\b", _I), "clear"),
    (
        re.compile(
            r"\b(?P<word>clear)(?: and (?:sunny|blue|dry))? (?:sky|skies|weather|day|night sky|blue sky)\b",
            _I,
        ),
        "clear",
    ),
    (
        re.compile(
            rf"\b{_SKY}\b[^.;,:]{{0,12}}?\b(?:is|are|appears?(?: to be)?|seems?(?: to be)?|looks?|"
            r"remains?)\s+"
            rf"(?:\w+ly\s+)?(?P<word>clear)\b(?! with)",
            _I,
        ),
        "clear",
    ),
)
_NEGATED = re.compile(
    r"\b(?:no|not|without|free of|absence of|lack of)\b[^.;,]{0,30}$|"
    r"\b(?:recent|earlier|past|melted|leftover)\s+$|"
    r"\bsuch as\b[^.;]{0,30}$",
    _I,
)
_AGREES: dict[str, tuple[str, ...]] = {
    "clear": ("clear", "partly_cloudy"),
    "partly_cloudy": ("clear", "partly_cloudy", "overcast"),
    "overcast": ("overcast", "partly_cloudy"),
    "rainy": ("rainy", "overcast", "foggy"),
    "snowy": ("snowy", "overcast", "foggy"),
    "foggy": ("foggy", "overcast"),
}
"""What the prose may say for each weather of the JSON: rain falls from an overcast sky."""
_WEATHER_PHRASE = re.compile(
    r"\bin (?P<word>clear weather|partly cloudy weather|overcast weather|rain|snow|fog)(?=[ .,;])", _I
)
WEATHER_WORDS = {
    "clear": "clear weather",
    "partly_cloudy": "partly cloudy weather",
    "overcast": "overcast weather",
    "rainy": "rain",
    "snowy": "snow",
    "foggy": "fog",
}
_WEATHER_ADJECTIVE = {"partly_cloudy": "partly cloudy"}


@rule(
    reason="Sunshine in the prose and rain in the JSON cannot both be seen.",
    source="weather of the same report; neighbouring words for one sky agree",
    severity="error",
    action="mend",
    parameters=("weather",),
)
def prose_weather(sentence: str, report: DrivingParameters, now: Now) -> str | None:
    """No sentence speaks of other weather than the JSON."""
    weather = report.weather
    if weather == "unknown":
        return sentence
    phrase = _WEATHER_PHRASE.search(sentence)
    if phrase and claimed(phrase) and phrase["word"].lower() != WEATHER_WORDS[weather]:
        return replaced(sentence, phrase, "word", WEATHER_WORDS[weather])
    for pattern, meaning in _WEATHER_CLAIMS:
        for match in pattern.finditer(sentence):
            if (
                meaning in _AGREES[weather]
                or not claimed(match)
                or _NEGATED.search(sentence[: match.start()])
            ):
                continue
            start = match.start("word") if match["word"] else match.start()
            is_state = re.search(rf"\b{_SKY}\b[^.;,:]{{0,25}}$", sentence[:start], _I)
            rest = sentence[match.end() :]
            if is_state and re.fullmatch(r"\s*(?:\.|,.*)?", rest):
                return f"The weather is {_WEATHER_ADJECTIVE.get(weather, weather)}."
            return None
    return sentence


# --- lanes -------------------------------------------------------------------------------------------------

_EGO_LANE = re.compile(
    r"\bego[ -](?:vehicle|car)\b[^.;]{0,40}?\b"
    r"(?P<word>in the (?P<lane>left|right|middle|cent(?:er|re)|only)(?:most)? lane)\b",
    _I,
)
_LANES = {
    "left": "left",
    "right": "right",
    "middle": "middle",
    "center": "middle",
    "centre": "middle",
    "only": "single",
}
_IN_LANE = {
    "left": "in the left lane",
    "middle": "in the middle lane",
    "right": "in the right lane",
    "single": "in the only lane",
    "unknown": "on the road",
}


@rule(
    reason="A lane that the JSON rules out should not be spoken of.",
    source="ego_lane_position of the same report",
    severity="error",
    action="mend",
    parameters=("ego_lane_position",),
)
def prose_lane(sentence: str, report: DrivingParameters, now: Now) -> str | None:
    """The ego vehicle is in the lane the JSON names."""
    match = _EGO_LANE.search(sentence)
    position = report.ego_lane_position
    if match is None or not claimed(match) or _LANES[match["lane"].lower()] == position:
        return sentence
    return replaced_word(sentence, match, "word", _IN_LANE[position]) if position in _IN_LANE else None


# --- numbers -----------------------------------------------------------------------------------------------

_ONE_NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d{1,7})(?:\.\d+)?"
# Never the end of a longer number: "1,000 feet" is not 0 feet.
_NUMBER = rf"(?<![\d.,])(?P<low>{_ONE_NUMBER})(?:\s*(?:-|to|and)\s*(?P<high>{_ONE_NUMBER}))?"
_MPH = re.compile(rf"{_NUMBER}\s*(?:mph|miles per hour|miles an hour)\b", _I)
_KMH = re.compile(rf"{_NUMBER}\s*(?:km/h|kmh|kph|kilomet(?:er|re)s per hour)(?![\w/])", _I)
_FEET = re.compile(rf"{_NUMBER}[\s-]*(?:feet|foot|ft)\b(?!\s+per\b)", _I)
_YARDS = re.compile(rf"{_NUMBER}[\s-]*(?:yards?|yds?)\b", _I)
_METRES = re.compile(rf"{_NUMBER}[\s-]*(?:met(?:er|re)s?|m)\b(?!/|\s+per\b)", _I)
_UNITS = (
    (_MPH, 1.609344, "km/h"),
    (_KMH, 1.0, "km/h"),
    (_FEET, 0.3048, "meters"),
    (_YARDS, 0.9144, "meters"),
    (_METRES, 1.0, "meters"),
)
_SAID_TWICE = re.compile(
    r"(?P<once>\b\d+(?: to \d+)? (?:km/h|meters)) \((?:about |approximately |around )?(?P=once)\)"
)


def _range(match: re.Match[str], per_unit: float = 1.0) -> tuple[int, int]:
    low, high = (match[name].replace(",", "") if match[name] else None for name in ("low", "high"))
    lower = round(float(low or 0) * per_unit)
    return lower, round(float(high) * per_unit) if high else lower


def _written(low: int, high: int, unit: str) -> str:
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


@rule(
    reason="One unit for one quantity: the JSON is in km/h and metres.",
    source="1 mile = 1.609344 km, 1 foot = 0.3048 m, 1 yard = 0.9144 m",
    severity="info",
    action="mend",
    parameters=("ego_vehicle_speed", "closest_vehicle_distance"),
)
def prose_units(sentence: str, report: DrivingParameters, now: Now) -> str | None:
    """Speeds are written in km/h and lengths in meters."""
    for pattern, per_unit, unit in _UNITS:
        sentence = pattern.sub(lambda m, k=per_unit, u=unit: _written(*_range(m, k), u), sentence)  # type: ignore[misc]
    return _SAID_TWICE.sub(r"\g<once>", sentence)


_LIMIT = re.compile(r"\b(?:limit|zone|sign|posted|recommended|maximum|advisory)\b", _I)
_EGO = re.compile(r"\b(?:ego|own|our|we|driver)\b", _I)
_OTHER = re.compile(r"\b(?:oncoming|other|ahead|in front|leading|it is|nearest|closest|surrounding)\b", _I)
_STANDING = re.compile(
    r"\b(?:ego[ -](?:vehicle|car)|our (?:vehicle|car)|we)\b[^.;,]{0,20}?\b(?:is|are|remains?)\s+(?:\w+ly\s+)?"
    r"(?P<word>stopped|stationary|at a standstill|standing still|parked|at a complete stop)\b",
    _I,
)
_DRIVING = re.compile(
    r"\b(?:ego[ -](?:vehicle|car)|our (?:vehicle|car)|we)\b[^.;,]{0,20}?\b(?:drives|(?:is|are) (?:currently )?"
    r"(?:driving|moving|travel+ing|cruising|proceeding))\b",
    _I,
)


@rule(
    reason="Two numbers for one speed are noise, and a car that drives does not stand.",
    source="ego_vehicle_speed of the same report",
    severity="error",
    action="mend",
    parameters=("ego_vehicle_speed",),
)
def prose_speed(sentence: str, report: DrivingParameters, now: Now) -> str | None:
    """The ego speed is the JSON's; above 5 km/h the car is not said to stand, at 0 not to drive."""
    speed = report.ego_vehicle_speed
    if speed is not None:
        standing, driving = _STANDING.search(sentence), _DRIVING.search(sentence)
        if speed > 5 and standing and claimed(standing):
            simple = re.search(r"\bis stopped(?P<lane> (?:in|on) [\w ]+)\.$", sentence)
            return (
                sentence[: simple.start()] + f"drives{simple['lane']} at about {speed} km/h."
                if simple
                else None
            )
        if speed == 0 and driving and claimed(driving):
            simple = re.search(r"\bdrives(?P<lane> (?:in|on) [\w ]+?) at about \d+ km/h\.$", sentence)
            return sentence[: simple.start()] + f"is stopped{simple['lane']}." if simple else None
    for match in reversed(list(_KMH.finditer(sentence))):
        clause = re.split(r"[;:]|,\s", sentence[: match.start()])[-1]
        about_ego = bool(_EGO.search(clause)) or not _OTHER.search(clause)
        beside = clause + re.split(r"[;,:.]", sentence[match.end() :])[0]
        if _LIMIT.search(beside) or not about_ego or not claimed(match):
            continue
        low, high = _range(match)
        if speed is None:
            return None
        if not (low <= speed <= high):
            sentence = f"{sentence[: match.start()]}{speed} km/h{sentence[match.end() :]}"
    return sentence


_GAP = re.compile(
    r"\b(?:nearest|closest) (?:vehicle|car)|\bdistance\b|"
    r"\b(?:vehicle|car|truck|bus|van|suv|sedan|taxi)s?\b[^.;]{0,40}\b(?:away|ahead)\b",
    _I,
)
_NO_GAP = re.compile(
    r"\b(?P<word>the lanes? ahead (?:are|is) free|there (?:is|are) no (?:vehicles?|cars?) ahead)\b", _I
)


@rule(
    reason="Two numbers for one distance are noise.",
    source="closest_vehicle_distance of the same report",
    severity="error",
    action="mend",
    parameters=("closest_vehicle_distance",),
)
def prose_distance(sentence: str, report: DrivingParameters, now: Now) -> str | None:
    """The distance of the nearest vehicle is the JSON's."""
    metres = report.closest_vehicle_distance
    free = _NO_GAP.search(sentence)
    if metres is not None and free:
        return replaced(sentence, free, "word", f"the nearest vehicle is about {metres} meters ahead")
    if not _GAP.search(sentence):
        return sentence
    for match in reversed(list(_METRES.finditer(sentence))):
        if not claimed(match):
            continue
        low, high = _range(match)
        if metres is None:
            simple = _SIMPLE_GAP.search(sentence)
            return (
                replaced(sentence, simple, "word", "the lanes ahead are free")
                if simple and free_ahead(now)
                else None
            )
        if not (low <= metres <= high):
            sentence = f"{sentence[: match.start()]}{metres} meters{sentence[match.end() :]}"
    return sentence


_SIMPLE_GAP = re.compile(r"\b(?P<word>the nearest vehicle is about \d+ (?:meters|feet) ahead)\b", _I)


def free_ahead(now: Now) -> bool:
    """Whether all objects were labelled and no vehicle is among them."""
    return now.boxes_known and not now.boxes(VEHICLES)


# --- risk --------------------------------------------------------------------------------------------------

_LEVEL = r"(?P<word>low|medium|moderate|high)"
_RISK = (
    re.compile(
        r"\b(?:overall )?risk(?: factor| level| assessment)?\s+(?:here )?"
        r"(?:is|remains|appears to be|appears|seems|can be considered|should be)\s+"
        r"(?:(?:considered|assessed as|rated|to be|relatively|currently|overall|deemed|estimated as|"
        rf"estimated to be|at a|a|as)\s+)*{_LEVEL}\b",
        _I,
    ),
    re.compile(
        rf"^(?:Overall )?Risk(?: (?:Factor|Level|Rating|Assessment))?(?: \(\w+\))?:\s*(?:the\s+)?{_LEVEL}\b",
        _I,
    ),
    re.compile(
        rf"\b(?:a|an|overall|indicates?|suggests?|presents?)\s+(?:\w+ly\s+)?{_LEVEL}[ -](?:overall )?risk"
        r"(?: factor| level| driving| situation| environment)?\b",
        _I,
    ),
)


@rule(
    reason="The last line of the assessment is the one that is read first.",
    source="risk_factor of the same report",
    severity="error",
    action="mend",
    parameters=("risk_factor",),
)
def prose_risk(sentence: str, report: DrivingParameters, now: Now) -> str | None:
    """The overall risk in the prose is the JSON's; its reasons go when the level changes."""
    level = report.risk_factor
    for pattern in _RISK:
        for match in pattern.finditer(sentence):
            word = match["word"].lower().replace("moderate", "medium")
            if word == level or not claimed(match):
                continue
            if len(re.findall(r"\brisk\b", sentence, _I)) > 2 or re.search(
                r"\bso (?:the|an?) $", sentence[: match.start()]
            ):
                return None
            mended = replaced(sentence, match, "word", level)
            return (
                mended if len(mended) - match.end() < 25 else mended[: match.start("word") + len(level)] + "."
            )
    return sentence


# --- time of day, turning, the medium ----------------------------------------------------------------------

_DAY = re.compile(r"\b(?:by day|daytime|sunny|in daylight|during the day)\b", _I)
_NIGHT = re.compile(r"\b(?:at night|night ?time|night drive|late at night)\b", _I)
_TIME_PHRASE = re.compile(r"\b(?P<word>by day|at night|at dusk)\b", _I)
_TIME_WORDS = {"daytime": "by day", "night": "at night", "dawn/dusk": "at dusk"}


@rule(
    reason="Day and night are labelled by people; dusk goes with either.",
    source="timeofday attribute of the labelled frame (BDD100K's words)",
    severity="error",
    action="mend",
)
def prose_time_of_day(sentence: str, report: DrivingParameters, now: Now) -> str | None:
    """No sentence calls a labelled night day, or a labelled day night."""
    labelled = now.labels.time_of_day if now.labels else None
    wrong = {"daytime": _NIGHT, "night": _DAY}.get(labelled or "")
    if wrong is None or not (match := wrong.search(sentence)) or not claimed(match):
        return sentence
    simple = _TIME_PHRASE.search(sentence)
    return replaced(sentence, simple, "word", _TIME_WORDS[labelled or ""]) if simple else None


_TURNING = re.compile(
    r"\bego[ -](?:vehicle|car)\b[^.;,]{0,25}?\b(?:is turning|turns|is making a) (?P<side>left|right)\b", _I
)
STEADY_DEG = 3.0


@rule(
    reason="Left and right are easily swapped, and the course of the car tells them apart.",
    source="change of GPS course over the last two seconds",
    severity="error",
    action="mend",
)
def prose_turning(sentence: str, report: DrivingParameters, now: Now) -> str | None:
    """No sentence has the ego vehicle turn to a side to which its course does not turn."""
    change = now.course_change_deg
    match = _TURNING.search(sentence)
    if match is None or change is None or not claimed(match):
        return sentence
    to_side = change if match["side"].lower() == "right" else -change
    return sentence if to_side > STEADY_DEG else None


@rule(
    reason="The reader looks through a windscreen, not at a video; the instruction forbids the words.",
    source="the instruction (prompts.py)",
    severity="info",
    action="mend",
)
def prose_medium(sentence: str, report: DrivingParameters, now: Now) -> str | None:
    """No sentence speaks of a video, footage, an image, a frame or the camera."""
    return without_medium(sentence)


MIN_SCENE_WORDS = 6


@rule(
    reason="A scene of fewer words describes nothing.",
    source="what the other rules of this theme leave",
    severity="error",
    action="quarantine",
)
def prose_empty(scene: str) -> str | None:
    """Six words of the scene are left. Where no risk point is left, the overall risk is said instead."""
    few = len(scene.split()) < MIN_SCENE_WORDS
    return "nothing of the scene description agrees with the parameters" if few else None


PROSE_RULES: tuple[Rule[ProseCheck], ...] = (
    prose_medium,
    prose_light,
    prose_people,
    prose_weather,
    prose_lane,
    prose_units,
    prose_speed,
    prose_distance,
    prose_risk,
    prose_time_of_day,
    prose_turning,
)

"""The phrases in which prose gives a value to a parameter, as tables; `reader` decides where they are asserted.

Patterns see a sentence in `clauses.plain` form. The group ``v`` marks the word that carries the value; the mood of
its clause is the claim's. A gap is a stretch of words between subject and verb in which no other subject stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from roadscribe.answers.claims.measures import measure_pattern
from roadscribe.answers.vocabulary import vocabulary

Value = str | bool | int | None


@dataclass(frozen=True)
class Phrase:
    """One way to state a value of one topic."""

    topic: str
    pattern: str
    value: Value | Mapping[str, Value] = field(hash=False)
    """The value, or the values by the words of the group ``v``."""
    unless: str = ""
    """Not a claim where this is found in the clause: part of the scene, another object, a comparison."""
    not_after: str = ""
    """Not a claim where this ends just before the match."""
    denies: bool = False
    """Whether the pattern itself holds a denial."""
    presupposes: bool = False
    """Whether the value is meant even in an advice: "stop at the red light"."""
    measure: str = ""
    """The unit of a measured value (`measures.read_measure`)."""
    bound: bool = False
    """Whether the measure is only an upper bound: one car ahead need not be the nearest."""


def _words(values: Mapping[str, Value]) -> str:
    return "|".join(sorted((word.replace(" ", r"\s+") for word in values), key=len, reverse=True))


EGO = r"\b(?:(?:the )?ego (?:vehicle|car)|(?:our|my|own) (?:own )?(?:vehicle|car)|we)\b"
_OTHER_VEHICLE = r"(?:vehicles?|cars?|trucks?|bus(?:es)?|vans?|suvs?|sedans?|taxis?|cabs?|motorcycles?|motorbikes?|lorr(?:y|ies)|pickups?|trailers?)"
VEHICLE = rf"(?:{_OTHER_VEHICLE})"
_SEEM = r"(?:is|are|was|were|remains?|appears?|seems?|looks?|stays?|feels?)(?: to be)?"
_DEGREE = (
    r"(?:(?:currently|now|still|also|both|all|just|relatively|mostly|mainly|very|fairly|quite|rather|overall|slightly|"
    r"generally|largely|clearly|considered|deemed|rated|assessed|estimated|classified|judged|as|at|to be|a|an|the|only|being)\s+)*"
)
# At most sixty characters to the verb, without a comma and without another subject.
_STRANGER = rf"(?:and|or|but|with|some|one|other|others|another|brake|signs?|that|which|{_OTHER_VEHICLE}|people|pedestrians?)\b"
_GAP = rf"(?:[ ~]+(?!{_STRANGER})[\w'/~]+){{0,9}}?"
_PREPOSITION = r"\b(?:at|near|by|beside|under|behind|before|past|from|to|for|through|beyond|towards?|with|on)(?: (?:the|a|an|this|that|its))?(?: \w+)?\s*$"

# --- traffic lights ----------------------------------------------------------------------------------------

_COLOURS = {"red": "red", "green": "green", "yellow": "yellow", "amber": "yellow"}
_C = rf"(?P<v>{_words(_COLOURS)})\b"
_LIGHT = r"\b(?:traffic |stop )?(?:light|signal)s?(?: (?:state|status|colou?r|phase))?\b"
_TRAFFIC_LIGHT = r"\btraffic (?:light|signal)s?\b"
_OTHER_LIGHTS = (
    r"\b(?:some|one|others?|another|next|second|third|various|different|several|each|every|both|left|right|middle|"
    r"oncoming|opposite|opposing|cross|turn|turning|arrow|pedestrians? signal|distant|intersections|junctions|"
    r"brake|police|siren|ambulance|reflect\w*|neon|dashboard|sign)\b"
)
_NOT_LIGHT = rf"(?! (?:{_OTHER_VEHICLE}|arrow|brick|building|sign|or\b|and (?:{_words(_COLOURS)})))"
_SHOW = (
    r"(?:is|are|shows?|displays?|glows?|remains?|stays?|appears?|seems?|turns|turned|(?:has|have) (?:just )?(?:turned|changed|switched)|"
    r"changed|switched)"
)
_SHOWN = r"(?:being|showing|displaying)"
_FILL = r"(?:(?:from \w+ to|to|be|a|an|the|in|currently|now|still|also|just|on|showing|illuminated|lit|solid|steady|clearly|bright|displaying)\s+)*"

_LIGHTS = (
    Phrase(
        "traffic_light_state",
        rf"{_LIGHT}{_GAP} {_SHOW} {_FILL}{_C}{_NOT_LIGHT}",
        _COLOURS,
        _OTHER_LIGHTS,
        _PREPOSITION,
    ),
    Phrase(
        "traffic_light_state",
        rf"{_LIGHT}{_GAP} (?:(?:which|that) {_SHOW}|{_SHOWN}) {_FILL}{_C}{_NOT_LIGHT}",
        _COLOURS,
        _OTHER_LIGHTS,
    ),
    Phrase(
        "traffic_light_state",
        rf"{_LIGHT} was \w+,? (?:(?:and|but|it) )*(?:is |has )?now (?:turns |is |turned |shows )?{_C}",
        _COLOURS,
        _OTHER_LIGHTS,
    ),
    Phrase(
        "traffic_light_state",
        rf"{_LIGHT}, (?:which|that|currently) (?:{_SHOW} )?{_FILL}{_C}{_NOT_LIGHT}",
        _COLOURS,
        _OTHER_LIGHTS,
    ),
    Phrase(
        "traffic_light_state",
        rf"(?:\b(?:a|an|the|this) (?:\w+ )?|^\s*){_C} (?:traffic |stop )?(?:light|signal)\b(?! (?:camera|district))",
        _COLOURS,
        rf"{_OTHER_LIGHTS}|\b(?:wait(?:s|ing)? (?:for|until)|runs?|running|green with)\b",
    ),
    Phrase(
        "traffic_light_state",
        r"\b(?:at|for|by|approach(?:es|ing)?) the (?P<v>red) (?:traffic )?(?:light|signal)\b",
        "red",
        _OTHER_LIGHTS,
        presupposes=True,
    ),
    Phrase(
        "traffic_light_state",
        rf"{_TRAFFIC_LIGHT}(?:[ ~]+(?!{_STRANGER})[\w']+|[^.;]{{0,50}}? but (?:they|it))??{_GAP} (?:is|are|appears?|seems?)(?: to be)?(?: currently| completely| all)?"
        r" (?P<v>off\b(?! (?:to|in|the)\b)|not (?:currently )?(?:illuminated|active|lit|working|functioning|operating)\b|"
        r"out of order|switched off|turned off|inactive|unlit)",
        "off",
        r"\b(?:some|one|others?|another|properly|correctly)\b",
        denies=True,
    ),
    Phrase(
        "traffic_light_state",
        r"\bno (?:(?:visible|other|active|\w+ (?:or|and)) )*(?P<v>traffic (?:light|signal)s?|stop ?lights?)(?: (?:or|and) (?!the|there)[\w ]{2,25}?)?"
        r"(?= (?:is |are )?(?:currently |clearly )?(?:visible|present|in view|in sight|seen|ahead|detected|in the scene)|\s*(?:$|[.;,:])| and (?:the|no|a|there)| but )",
        "none",
        r"\b(?:immediate|vicinity|nearby|left|right|directly|immediately|near|at (?:this|the) intersection|violations?|issues?|problems?|changes?)\b",
        denies=True,
    ),
    Phrase(
        "traffic_light_state",
        rf"{_TRAFFIC_LIGHT} (?:is|are) (?:currently )?(?P<v>not (?:currently )?(?:visible|present|in view|in sight|seen)|absent)\b",
        "none",
        r"\b(?:some|one|others?|left|right|immediate|vicinity)\b",
        denies=True,
    ),
    Phrase(
        "traffic_light_state",
        rf"{_TRAFFIC_LIGHT}(?: ahead)? (?:cannot|can not|can't) be (?P<v>made out|read|recognised|recognized)\b",
        "unknown",
        denies=True,
    ),
    Phrase(
        "traffic_light_state",
        r"\bthere (?:is|are) (?:also )?(?:(?:a|several|multiple|two|three|four|some|various|many|visible)\s)*(?P<v>traffic (?:light|signal)s?)\b(?! (?:ahead )?(?:\w+ )?(?:violation|rule|issue|change))",
        "present",
    ),
    Phrase(
        "traffic_light_state",
        r"(?P<v>\btraffic (?:light|signal)s?)(?: and [\w ]{1,25}?)? (?:is|are|can be) (?:clearly |also )?(?:visible|present|seen)\b",
        "present",
    ),
)

# --- people ------------------------------------------------------------------------------------------------

_PEOPLE = r"\b(?:pedestrians?|persons?|people|m[ae]n|wom[ae]n|child(?:ren)?|kids?|boys?|girls?|jaywalkers?)\b"
_ROAD = r"(?:road|street|roadway|carriageway|highway|crosswalks?|zebra crossing|pedestrian crossing|lane|driving lane|intersection)(?! (?:sides?|shoulder|edge|signs?|markings?))"
_ACROSS = (
    r"(?:(?:is|are|can be|was|were|being) )?(?:(?:visible|seen|observed|present|currently|now|also|slowly|actively|quickly|safely) )*"
    rf"(?P<v>cross(?:es|ing)?\b(?! (?:side|guard|signs?|signals?|areas?|points?|is|are|at an?\b))|jaywalking|(?:walk(?:s|ing)?|runs?|running|stepp?(?:s|ing)) (?:across|onto|into|in the middle of) (?:the )?{_ROAD}|"
    rf"(?:(?:is|are|stands?|standing|walks?|walking|visible|present|seen) )?(?:currently )?(?:on|in) the (?:middle of the )?(?:road|roadway|carriageway|crosswalks?|crossing|driving lane|ego lane)\b(?! (?:sides?|shoulder|edge|signs?))|"
    r"(?:using|on) (?:the|a) crosswalk)"
)
_ELSEWHERE = (
    r"\b(?:side ?walks?|pavements?|footpaths?|curbs?|kerbs?|shoulders?|medians?|side streets?|side of|sides of|edge of|bridge|overpass|parking lot|bus stop|"
    r"behind|storefronts?|intersecting|rid(?:es|ing)|cycl\w+|bicycles?|bikes?|motorcycl\w+|driving a|waiting|signs?|or cross\w*|to cross|in cars)\b"
)
_NOBODY_OFF = (
    r"\b(?:side ?walks?|pavements?|footpaths?|curbs?|kerbs?|shoulders?|side of|sides of|immediate|immediately|directly|near(?:by)?|close|vicinity|in front|"
    r"proximity|prominent\w*|clear(?:ly)? visible|path|left|right|such as|approaching|hazards?|threats?|risks?)\b"
)
_PERSONS = (
    Phrase(
        "pedestrian_on_road",
        rf"{_PEOPLE}{{gap}}[ ,]+(?!to ){_ACROSS}".replace(
            "{gap}", r"(?: (?!and\b|or\b|but\b|if\b|who\b)[\w']+){0,4}?"
        ),
        True,
        _ELSEWHERE,
    ),
    Phrase(
        "pedestrian_on_road",
        rf"{_PEOPLE}[^.;]{{0,60}}?\b(?:some|others?|a few|many|several|one|two)(?: of (?:them|whom))? (?:are |is |of whom are )?(?P<v>crossing)\b",
        True,
        r"\b(?:side streets?|bridge|cyclists?)\b",
    ),
    Phrase(
        "pedestrian_on_road",
        rf"{_PEOPLE}(?: who| that) (?:is|are) (?:\w+ )?(?P<v>crossing (?:the )?{_ROAD}|on the road)",
        True,
        _ELSEWHERE,
    ),
    Phrase(
        "pedestrian_on_road",
        rf"\b(?:no|zero|without|not any|free of|clear of|absence of|devoid of)(?: (?!{_PEOPLE}|signs?\b)[\w/]+,?){{0,4}}? (?P<v>{_PEOPLE[2:-2]})\b"
        r"(?! (?:accidents?|risks?|interaction|related|activity|crossings?|signals?|signs?))",
        False,
        _NOBODY_OFF,
        denies=True,
    ),
    Phrase(
        "pedestrian_on_road",
        rf"{_PEOPLE} (?:is|are) (?:currently )?(?P<v>not (?:currently )?(?:visible|present|seen|on the road|crossing|in sight|in view)|absent)\b",
        False,
        _NOBODY_OFF,
        denies=True,
    ),
    Phrase(
        "pedestrian_on_road",
        r"\b(?:no one|nobody)(?: else)? (?:is |are )?(?P<v>cross\w*|walk\w*|visible|present|on the (?:road|street)|in sight|in view|jaywalking)\b",
        False,
        _NOBODY_OFF,
        denies=True,
    ),
)

# --- weather and time of day -------------------------------------------------------------------------------

_RAIN = {
    "rain": "rainy",
    "rains": "rainy",
    "raining": "rainy",
    "rainy": "rainy",
    "rainfall": "rainy",
    "raindrops": "rainy",
    "drizzle": "rainy",
    "drizzles": "rainy",
    "drizzly": "rainy",
    "drizzling": "rainy",
    "downpour": "rainy",
    "rainstorm": "rainy",
}
_SNOW = {
    "snowing": "snowy",
    "snows": "snowy",
    "snowfall": "snowy",
    "snowstorm": "snowy",
    "snowflakes": "snowy",
    "blizzard": "snowy",
}
_FOG = {"fog": "foggy", "foggy": "foggy", "misty": "foggy"}
_CLOUDS = {
    "overcast": "overcast",
    "cloudy": "overcast",
    "mostly cloudy": "overcast",
    "partly cloudy": "partly_cloudy",
    "partially cloudy": "partly_cloudy",
    "partly sunny": "partly_cloudy",
    "a few clouds": "partly_cloudy",
    "some clouds": "partly_cloudy",
    "scattered clouds": "partly_cloudy",
    "few clouds": "partly_cloudy",
}
_SUN = {
    "sunny": "clear",
    "sunshine": "clear",
    "cloudless": "clear",
    "blue sky": "clear",
    "blue skies": "clear",
}
_SKY = {**_RAIN, **_SNOW, **_FOG, **_CLOUDS, **_SUN}
_SKY_WORDS = {**_SKY, "clear": "clear", "snow": "snowy", "snowy": "snowy", "mist": "foggy"}
_DRY_SKY = r"(?:sky|skies|weather(?: conditions)?(?: and [\w ]{1,15}?)?|weather and visibility)"
_NOT_WEATHER = r"\b(?:snow|rain|fog) (?:covered|soaked|banks?|piles?|lights?|lamps?|gear|boots|gutters?|jackets?|coats?|clouds?|tires|tyres)\b|\bwet (?:from|due to|because of|after)\b|\bumbrellas?\b"
_WEATHER = (
    Phrase("weather", rf"\b(?P<v>{_words(_SKY)})\b", _SKY, _NOT_WEATHER),
    Phrase(
        "weather",
        r"\b(?P<v>snowy (?:day|night|evening|morning|weather|sky|conditions)|(?:in|heavy|light|falling) snow\b(?! (?:banks?|piles?|covered))|snow (?:is )?(?:falling|falls))",
        "snowy",
    ),
    Phrase("weather", rf"\b{_DRY_SKY} {_SEEM} {_DEGREE}(?P<v>snowy)\b", "snowy"),
    Phrase(
        "weather",
        r"\b(?P<v>clear)(?:,? (?:and )?(?:sunny|blue|dry|bright))? (?:sky|skies|weather|day|night sky|night|evening|morning|blue sky)\b",
        "clear",
    ),
    Phrase(
        "weather",
        rf"\b{_DRY_SKY} {_SEEM} {_DEGREE}(?P<v>clear|blue)\b(?! (?:with (?:\w+ ){{0,3}}clouds|up\b|of (?!clouds)))",
        "clear",
    ),
    Phrase("weather", r"\bsun (?:is )?(?:brightly )?(?P<v>shin(?:es|ing))\b", "clear"),
)
_TIMES = {
    "at night": "night",
    "by night": "night",
    "nighttime": "night",
    "night time": "night",
    "night drive": "night",
    "night scene": "night",
    "night sky": "night",
    "late night": "night",
    "rainy night": "night",
    "clear night": "night",
    "city night": "night",
    "snowy night": "night",
    "foggy night": "night",
    "dark night": "night",
    "by day": "day",
    "daytime": "day",
    "day time": "day",
    "in daylight": "day",
    "daylight hours": "day",
    "broad daylight": "day",
    "sunny day": "day",
    "during the day": "day",
    "at dusk": "dawn_dusk",
    "during dusk": "dawn_dusk",
    "at dawn": "dawn_dusk",
    "at twilight": "dawn_dusk",
    "at sunset": "dawn_dusk",
    "at sunrise": "dawn_dusk",
    "during sunset": "dawn_dusk",
    "during sunrise": "dawn_dusk",
}
_TIME = (
    Phrase(
        "time_of_day",
        rf"\b(?P<v>{_words(_TIMES)})\b",
        _TIMES,
        r"\b(?:transition\w*|clubs?|or (?:night|early|day))\b",
    ),
)

# --- lanes and roads ---------------------------------------------------------------------------------------

_LANES = {
    "left": "left",
    "leftmost": "left",
    "left most": "left",
    "far left": "left",
    "left hand": "left",
    "right": "right",
    "rightmost": "right",
    "right most": "right",
    "far right": "right",
    "right hand": "right",
    "middle": "middle",
    "center": "middle",
    "centre": "middle",
    "central": "middle",
    "only": "single",
    "single": "single",
    "left turn": "turn_left",
    "left turning": "turn_left",
    "left turn only": "turn_left",
    "right turn": "turn_right",
    "right turning": "turn_right",
    "right turn only": "turn_right",
}
_OWN_MOTION = (
    r"(?:(?:is|are|remains?|stays?|drives|moves|travels|currently|now|also|still|positioned|located|situated|placed|driving|moving|travell?ing|cruising|"
    r"proceeding|stopped|stationary|waiting|steadily|slowly|straight|at|about|around|approximately|[\d.]+ (?:km/h|mph)|a (?:steady|moderate|slow|high|low) (?:speed|pace)) ?)+"
)
_COUNTS = {
    **{str(n): n for n in range(1, 13)},
    **{w: n for w, n in vocabulary()["numbers"].items() if 1 <= n <= 12},
}
_ROAD_WORD = r"(?:road|street|highway|freeway|motorway|expressway|avenue|boulevard|carriageway)"
_LANE = (
    Phrase(
        "ego_lane_position",
        rf"{EGO},? {_OWN_MOTION}(?:in|on|within|along) (?P<v>(?:the|its|a) (?:{_words(_LANES)}) lane)\b(?! (?:markings?|lines?|divider|boundary))",
        _LANES,
        r"\b(?:from|between|changing|merging|moving into|oncoming)\b",
    ),
    Phrase(
        "lane_count",
        rf"\b(?:with|has|have|having|of|into|are|is|features?|there are) (?:only |just |exactly |a total of )?(?P<v>{_words(_COUNTS)})(?: (?:visible|marked|clear|clearly marked|traffic|driving|wide|travel))* lanes?\b"
        r"(?! (?:in (?:each|both|either|every)|per|each|on (?:each|either|both|the)|to (?:the|its)|away|over|across|ahead|is|are|closed|merge|markings?|change|for|going|heading|that|which|and an?|plus|one way))",
        _COUNTS,
        r"\b(?:each|per direction|oncoming|opposite|turn|turning|bus|bike|bicycle|parking|closed|at least|more than|up to|or (?:more|two|three|four|five|six))\b",
    ),
    Phrase(
        "lane_count",
        rf"\b(?P<v>{_words(_COUNTS)}) lane {_ROAD_WORD}\b",
        _COUNTS,
        r"\b(?:each|ahead|another|onto|towards|sign)\b",
    ),
)
_ROADS = {
    "highway": "highway",
    "freeway": "highway",
    "motorway": "highway",
    "expressway": "highway",
    "interstate": "highway",
    "urban": "urban",
    "city": "urban",
    "downtown": "urban",
    "suburban": "suburban",
    "residential": "residential",
    "rural": "rural",
    "country road": "rural",
    "tunnel": "tunnel",
    "parking lot": "parking_lot",
    "gas station": "gas_station",
}
_KIND = (
    r"(?P<v>(?:urban|city|downtown|suburban|residential|rural) (?:road|street|area|environment|setting|scene|intersection|neighbou?rhood|avenue|driving environment)|"
    r"highway|freeway|motorway|expressway|interstate|country road|tunnel|parking lot|gas station)\b(?! (?:sign|exit|ramp|entrance|overpass|bridge|scene with|or\b|in an? (?:urban|city)|that|area))"
)
_QUALITY = r"(?:(?!(?:under|near|towards?|beside|approaching|entrance|exit|with|and|of|sign|overpass)\b)[\w']+ ){0,4}?"
_ROAD_TYPE = (
    Phrase(
        "road_type",
        rf"\bscene (?:depicts|shows|is|presents|features|captures|takes place)(?: set)?(?: (?:on|in|at))?(?: at night (?:on|in))? (?:a|an|the) {_QUALITY}{_KIND}",
        _ROADS,
    ),
    Phrase(
        "road_type",
        rf"{EGO} (?:is |drives? |moves? |travels? |currently |driving |travell?ing |moving |stopped )+(?:on|in|through|along|down) (?:a|an|the) {_QUALITY}{_KIND}",
        _ROADS,
    ),
    Phrase("road_type", rf"^\s*(?:a|an|the) {_QUALITY}{_KIND}(?= (?:with|by|at|in|during)\b|[.,])", _ROADS),
    Phrase(
        "road_type",
        rf"\b(?:road|street|it|this) (?:is|appears to be|seems to be) (?:a|an) {_QUALITY}{_KIND}",
        _ROADS,
    ),
)
_SIDE = r"(?P<side> (?:to|towards?) the (?:left|right)| left| right)"
_BENDS = {
    f"{degree} {side}": f"{name}_{side}"
    for name, degrees in (
        ("slight", "slight slightly gentle gently mild gradual gradually"),
        ("sharp", "sharp sharply tight tightly hard"),
    )
    for degree in degrees.split()
    for side in ("left", "right")
}
_BEND_WORD = r"(?:slight|slightly|gentle|gently|mild|gradual|gradually|sharp|sharply|tight|tightly|hard)"
_CURVE = (
    Phrase(
        "road_curvature",
        rf"\b(?:road|street|highway|carriageway|curvature)(?: (?:ahead|here|section|curvature))? (?:is|are|appears?|seems?|remains?|goes|runs|continues|looks)(?: to be)? {_DEGREE}(?:(?:well \w+|flat|dry|wide|level|wet|clear)(?: and|,) )?(?P<v>straight)\b(?! (?:but|until|then|and then))",
        "straight",
        r"\bcurv(?:es|ed|ing)|\bbends?\b|\bslight curves?\b",
    ),
    Phrase(
        "road_curvature",
        rf"\b(?:on|along|down|of) (?:a|the) (?:\w+ )?(?P<v>straight) (?:\w+ )?{_ROAD_WORD}\b",
        "straight",
    ),
    Phrase(
        "road_curvature",
        rf"\b(?:road|street|highway)(?: ahead)? (?:curves|bends|is (?:curving|bending)|turns|is curved) (?:ahead )?(?P<v>{_BEND_WORD} (?:to the |toward(?:s)? the )?(?:left|right))\b",
        _BENDS,
    ),
    Phrase(
        "road_curvature",
        rf"\b(?:road|street|highway)(?: ahead)? (?:curves|bends) (?:to the |toward(?:s)? the )?(?P<v>(?:left|right) {_BEND_WORD})\b",
        {" ".join(reversed(key.split())): value for key, value in _BENDS.items()},
    ),
    Phrase(
        "road_curvature",
        rf"\b(?:road|street|highway|there)(?: ahead)? (?:has|is|makes|takes|forms) (?:a |an )?(?P<v>{_BEND_WORD} (?:(?:curve|bend|turn) (?:to the )?)?(?:left|right))(?: (?:curve|bend))?\b",
        _BENDS,
    ),
    Phrase(
        "road_curvature",
        r"\b(?:road|street|highway)(?: ahead)? (?:(?:is|appears|seems)(?: to be)? (?:slightly |sharply |gently )?(?P<v>curved|winding|curving)\b)",
        "curved",
        r"\bstraight\b",
    ),
)

# --- visibility, traffic, risk -----------------------------------------------------------------------------

_VIEW = {
    "good": "good",
    "excellent": "good",
    "great": "good",
    "clear": "good",
    "very good": "good",
    "unobstructed": "good",
    "moderate": "moderate",
    "fair": "moderate",
    "medium": "moderate",
    "poor": "poor",
    "low": "poor",
    "bad": "poor",
    "very poor": "poor",
    "very low": "poor",
}
_TO_OTHER = r"(?! (?:to|or) (?:\w+ )?(?:low|moderate|medium|high|heavy|light|poor|good|fair|dense|clear)\b)"
_VISIBILITY = (
    Phrase(
        "visibility",
        rf"\bvisibility(?: (?:conditions?|level|ahead|here))? {_SEEM} {_DEGREE}(?P<v>{_words(_VIEW)})\b{_TO_OTHER}",
        _VIEW,
        r"\b(?:rear|of the (?:sign|lane|mark))\b",
    ),
    Phrase(
        "visibility",
        rf"\b(?P<v>{_words(_VIEW)}) visibility\b(?! (?:vests?|jackets?|clothing|of (?:the )?(?:sign|lane|mark|road mark)|zone))",
        _VIEW,
        rf"\b(?:to|or) (?:{_words(_VIEW)}) visibility|\b(?:accidents|collisions) due to\b",
    ),
)
_FLOW = {
    "low": "low",
    "light": "low",
    "sparse": "low",
    "minimal": "low",
    "very light": "low",
    "very low": "low",
    "moderate": "moderate",
    "medium": "moderate",
    "high": "high",
    "heavy": "high",
    "dense": "high",
    "congested": "high",
    "very high": "high",
    "very heavy": "high",
    "bumper to bumper": "high",
}
_NOT_TRAFFIC = r"(?! (?:lights?|signals?|signs?|laws?|rules?|cones?|control|areas?|jams?|zones?|hours?|period|accidents?))"
_DENSITY = (
    Phrase(
        "traffic_density",
        rf"\btraffic(?: (?:density|flow|volume|level|here|ahead))? {_SEEM} {_DEGREE}(?P<v>{_words(_FLOW)})\b{_TO_OTHER}(?! (?:speed|pace))",
        _FLOW,
        r"\b(?:oncoming|opposite|other direction|but not|either)\b",
    ),
    Phrase(
        "traffic_density",
        rf"(?<!to )(?<!or )\b(?P<v>{_words(_FLOW)}) traffic(?: (?:density|flow|volume))?\b{_NOT_TRAFFIC}",
        _FLOW,
        r"\b(?:oncoming|opposite|other direction|either|low to|light to)\b",
    ),
    Phrase(
        "traffic_density",
        r"\b(?:road|street|highway)(?: ahead)? (?:is|appears|seems)(?: to be)? (?:completely |entirely )?(?P<v>empty|deserted)\b(?! (?:of|except|apart))",
        "none",
    ),
)
_LEVELS = {"low": "low", "medium": "medium", "moderate": "medium", "high": "high"}
_LEVEL = rf"(?P<v>{_words(_LEVELS)})\b{_TO_OTHER}"
_OVERALL = r"(?:situation|scenario|scene|environment|conditions?|drive|assessment|parameters)"
_RISK = (
    Phrase(
        "risk_factor",
        rf"\b(?:(?:overall|total|general|current) (?:driving )?risk(?: (?:factor|level|assessment|rating))?|risk (?:factor|level|rating|assessment))(?: (?:here|(?:for|of|in) (?:this|the) (?:\w+ )?(?:scenario|scene|situation|drive|ego vehicle|driver)))? (?:{_SEEM}|can be|should be) {_DEGREE}{_LEVEL}(?! (?:visibility|traffic))",
        _LEVELS,
        r"\b(?:moderately|pedestrians? risk)\b",
        presupposes=True,
    ),
    Phrase(
        "risk_factor",
        rf"^\s*(?:overall, )?(?:the )?risk {_SEEM} {_DEGREE}{_LEVEL}(?! (?:visibility|traffic))",
        _LEVELS,
        r"\bmoderately\b",
    ),
    Phrase(
        "risk_factor",
        rf"\b(?:a|an|overall) (?:relatively |fairly )?{_LEVEL} (?:overall risk|risk (?:factor|level|situation|scenario|environment|driving)|level of risk)\b(?! (?:of|from|that|to)\b)",
        _LEVELS,
    ),
    Phrase("risk_factor", rf"^\s*the {_LEVEL} (?:overall )?risk (?:factor|level)\b", _LEVELS),
    Phrase(
        "risk_factor",
        rf"\b(?:this|the|overall|current|driving) (?:\w+ ){{0,2}}{_OVERALL} (?:is|appears|seems|presents|poses|carries|has|indicates?|suggests?)(?: to be)? (?:(?:a|an|relatively|of|considered|overall) )*{_LEVEL} risk\b(?! (?:of|from|that|to|for)\b)",
        _LEVELS,
    ),
)

# --- nearest vehicle and ego speed -------------------------------------------------------------------------

_M = measure_pattern("meters")
_KMH = measure_pattern("km/h")
_NOT_VEHICLE = r"\b(?:pedestrians?|persons?|people|intersections?|crosswalks?|crossing|lights?|signs?|buildings?|trees?|behind|oncoming|opposite|parked|curb|exit|limit|stop line|rear|wide|long|tall|high|every|following us|adjacent)\b"
_SO_FAR = rf"(?:[ ~]+(?!(?:and|but|pedestrians?|person|people|intersection|crosswalk|light|sign|behind|so|the (?:next|second))\b)[\w'/~]+){{0,9}}?[ ,(]+{_M}"
_GAP_WORDS = (
    Phrase(
        "closest_vehicle_distance",
        rf"\b(?:nearest|closest) (?:other |visible )?(?:{_OTHER_VEHICLE})(?: ahead)?(?: distance)?{_SO_FAR}",
        0,
        _NOT_VEHICLE,
        measure="meters",
    ),
    Phrase(
        "closest_vehicle_distance",
        rf"\b(?:nearest|closest) (?:{_OTHER_VEHICLE})[^.;]{{0,60}}?, (?:which|that|and it) is {_M}",
        0,
        _NOT_VEHICLE,
        measure="meters",
    ),
    Phrase(
        "closest_vehicle_distance",
        rf"\b(?:{_OTHER_VEHICLE}) (?:is|being) the (?:nearest|closest)(?: (?:{_OTHER_VEHICLE}))?[ ,]+(?:at |which is )?{_M}",
        0,
        _NOT_VEHICLE,
        measure="meters",
    ),
    Phrase(
        "closest_vehicle_distance",
        rf"\bdistance (?:to|from) the (?:nearest|closest) (?:{_OTHER_VEHICLE}){_SO_FAR}",
        0,
        _NOT_VEHICLE,
        measure="meters",
    ),
    Phrase(
        "closest_vehicle_distance",
        rf"\bdistance (?:to|from|between (?:the )?(?:ego (?:vehicle|car)|us|them) ?(?:and)?) ?(?:(?:the|a) (?:\w+ ){{0,3}}?(?:{_OTHER_VEHICLE})(?: (?:ahead|in front)(?: of (?:it|us))?)?)? ?(?:is|of) {_M}",
        0,
        _NOT_VEHICLE,
        measure="meters",
        bound=True,
    ),
    Phrase(
        "closest_vehicle_distance",
        rf"\b(?:{_OTHER_VEHICLE})(?: (?:is|are|drives|moves|travels))?(?: (?:driving|moving|stopped|located|positioned|directly))?(?: (?:ahead|in front)(?: of (?:us|the ego vehicle))?)?(?: (?:at a distance of|by))? {_M} (?:away|ahead|in front)\b",
        0,
        _NOT_VEHICLE,
        measure="meters",
        bound=True,
    ),
    Phrase(
        "closest_vehicle_distance",
        rf"\b(?:maintain(?:s|ing)?|keep(?:s|ing)?) a (?:safe )?(?:following )?distance of {_M}",
        0,
        _NOT_VEHICLE,
        measure="meters",
        bound=True,
    ),
    Phrase(
        "closest_vehicle_distance",
        r"\b(?:lanes?|lane and the lanes beside it) ahead (?:is|are) (?P<v>free)\b(?! (?:of (?!(?:traffic|vehicles)\b)|from))",
        None,
        r"\b(?:left|right|adjacent|oncoming|one)\b",
    ),
    Phrase(
        "closest_vehicle_distance",
        rf"\bno (?P<v>(?:visible )?(?:{_OTHER_VEHICLE})(?: or pedestrians)?)(?: (?:is|are))?(?: (?:visible|present|seen))? (?:ahead|in front|in sight|in view)\b",
        None,
        r"\b(?:immediate|immediately|directly|vicinity|near(?:by)?|close|left|right|oncoming|parked|other)\b",
        denies=True,
    ),
    Phrase(
        "closest_vehicle_distance",
        r"\b(?:road|lane|way) ahead (?:is|appears to be|seems) (?P<v>(?:free|clear|empty) of (?:vehicles|cars|traffic|other vehicles))\b",
        None,
        denies=True,
    ),
)
_SPEED_STRANGER = rf"(?:{_OTHER_VEHICLE}|limits?|signs?|zone|which|that|it|they|traffic|behind|following|other|pedestrians?|slow\w*|accelerat\w*|decelerat\w*|reduc\w*|increas\w*|drop\w*|brak\w*|from|but)\b"
_SPEED_GAP = rf"(?:[ ~,]+(?!{_SPEED_STRANGER})[\w'/~]+){{0,14}}?"
_NOT_SPEED = r"(?! (?:speed )?(?:limit|zone|sign)| faster| slower| (?:above|below|over|under))"
_LIMITS = r"\b(?:limit of|posted|recommended (?:speed )?of|maximum|advisory|zone of)\b"
_STOOD = r"(?:stopped|stationary|standing still|at a (?:complete )?(?:standstill|stop|halt)|at rest|parked|not moving|motionless|halted)"
_SPEED = (
    Phrase("ego_vehicle_speed", rf"{EGO}(?:'s)?{_SPEED_GAP} {_KMH}{_NOT_SPEED}", 0, _LIMITS, measure="km/h"),
    Phrase(
        "ego_vehicle_speed",
        rf"\b(?:ego|own|our)(?: vehicle)?(?:'s)? speed(?: of)?(?: (?:is|remains|stays|at|currently|estimated|be|to))* {_KMH}{_NOT_SPEED}",
        0,
        _LIMITS,
        measure="km/h",
    ),
    Phrase(
        "ego_vehicle_speed",
        rf"{EGO} (?:(?:is|are|remains?|appears? to be|seems? to be|stands?|has come to|comes to) )(?:(?:currently|now|also|still|completely|fully) )*(?P<v>{_STOOD}|a (?:complete )?(?:stop|standstill|halt))\b(?! (?:if|when|until))",
        0,
        denies=True,
    ),
    Phrase(
        "ego_vehicle_speed",
        rf"{EGO} (?:(?:is|are) (?:currently )?)(?P<v>(?:moving|driving|travell?ing|cruising|proceeding) (?:steadily|slowly|quickly|fast|smoothly|at a (?:\w+ ){{0,2}}(?:speed|pace))|in motion)\b",
        -1,
    ),
    Phrase(
        "ego_vehicle_speed",
        rf"{EGO} (?P<v>(?:drives|moves|travels) (?:slowly|quickly|steadily|smoothly|at a (?:\w+ ){{0,2}}(?:speed|pace)))\b",
        -1,
    ),
)

PHRASES: tuple[Phrase, ...] = (
    *_LIGHTS,
    *_PERSONS,
    *_WEATHER,
    *_TIME,
    *_LANE,
    *_ROAD_TYPE,
    *_CURVE,
    *_VISIBILITY,
    *_DENSITY,
    *_RISK,
    *_GAP_WORDS,
    *_SPEED,
)

# --- labels: "Traffic Light: red" --------------------------------------------------------------------------

LABELS: tuple[Phrase, ...] = (
    Phrase(
        "traffic_light_state",
        r"(?:traffic|stop) (?:light|signal)s?(?: state| status| colou?r)?",
        {
            **_COLOURS,
            "off": "off",
            "none": "none",
            "none visible": "none",
            "not visible": "none",
            "no": "none",
        },
    ),
    Phrase(
        "pedestrian_on_road",
        r"pedestrians?(?: (?:on|in) (?:the )?(?:road|street))?|people(?: on (?:the )?road)?",
        {"none": False, "no": False, "none visible": False, "none present": False, "false": False},
    ),
    Phrase(
        "pedestrian_on_road",
        r"(?:pedestrians?|people|persons?) (?:on|in) (?:the )?(?:road|street)",
        {"yes": True, "true": True, "present": True},
    ),
    Phrase("weather", r"weather(?: conditions?)?", _SKY_WORDS),
    Phrase("visibility", r"visibility", _VIEW),
    Phrase("traffic_density", r"traffic(?: density| conditions?| flow)?", _FLOW),
    Phrase("risk_factor", r"(?:overall )?risk(?: (?:factor|level|rating|assessment))?|overall risk", _LEVELS),
    Phrase("ego_lane_position", r"(?:ego )?lane position|ego lane", _LANES),
    Phrase("lane_count", r"lane count|(?:number of )?lanes", _COUNTS),
    Phrase("road_type", r"road type", _ROADS),
    Phrase(
        "road_curvature", r"road curvature|curvature", {"straight": "straight", "curved": "curved", **_BENDS}
    ),
    Phrase(
        "time_of_day",
        r"time(?: of day)?",
        {
            "day": "day",
            "daytime": "day",
            "night": "night",
            "nighttime": "night",
            "dusk": "dawn_dusk",
            "dawn": "dawn_dusk",
        },
    ),
    Phrase(
        "closest_vehicle_distance",
        r"(?:closest|nearest) (?:vehicle|car)(?: distance)?|distance to (?:the )?(?:closest|nearest) (?:vehicle|car)",
        0,
        measure="meters",
    ),
    Phrase("ego_vehicle_speed", r"(?:ego )?(?:vehicle )?speed", 0, measure="km/h"),
)
"""Headings whose body may begin with the value itself; ``pattern`` is the heading."""

# --- what only looks like it -------------------------------------------------------------------------------

MASKS: dict[str, str] = {
    "traffic_light_state": (
        r"\b(?:street|head|tail|brake|break|turn|indicator|hazard|warning|city|bright|low|interior|dashboard|parking|fog|reverse|rear|emergency|police|"
        r"sun|moon|natural|artificial|ambient|neon|pedestrian|crosswalk|walk|railroad|bus|lane|ramp|day|building|vehicle) ?(?:light|signal)(?:s|ing)?\b|"
        r"\blights? (?:traffic|rain|snow|snowfall|drizzle|fog|mist|vehicles?|trucks?|flow|conditions?|from|of (?:the )?(?:vehicles?|cars?|buildings?|sun))\b|"
        r"\b(?:is|are|appears?|seems?|remains?|very|relatively|fairly) light\b|\bin front of (?:the |our |us\b)?(?:ego )?(?:vehicle|car)?|\bfor (?:the |our )?(?:ego )?(?:vehicle|car)\b"
    ),
    "pedestrian_on_road": (
        r"\b(?:pedestrians?|child(?:ren)?)['s]* (?:crossings?|crosswalks?|cross walks?|signs?|signals?|lights?|lanes?|zones?|areas?|bridges?|overpass(?:es)?|paths?|walkways?|"
        r"activity|traffic|safety|accidents?|related|interactions?|presence|infrastructure|crossing signs?|movements?)\b|\bchildren crossing(?= (?:sign|area|zone))"
    ),
    "risk_factor": r"\brisk factors\b",
}
"""By topic: words that are blanked before its phrases are looked for."""

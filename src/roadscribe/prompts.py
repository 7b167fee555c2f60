"""The versioned ADAS instruction: what a teacher, the model in training and the model in use are all asked.

The list of keys is generated from the report's own vocabulary, so that question and answer cannot drift
apart. A change of wording is a new ``PROMPT_VERSION``: raw answers and adapters carry it.
"""

from __future__ import annotations

from typing import Any

from roadscribe.report import MAX_RISK_POINTS, PARAMETERS, RANGES, VOCABULARY

PROMPT_VERSION = "adas-1"

_MEANING: dict[str, str] = {
    "lane_count": "lanes of the own carriageway",
    "traffic_light_state": "none: no light in view",
    "pedestrian_on_road": "person on the carriageway or a crossing",
    "closest_vehicle_distance": "metres to the nearest vehicle ahead, own or next lane",
    "ego_vehicle_speed": "km/h",
}
"""What a key means where its name does not say it."""


def _describe(parameter: str) -> str:
    """One line of the key list, such as ``lane_count: 1-12 or null (lanes of the own carriageway)``."""
    if parameter in VOCABULARY:
        values = "|".join(VOCABULARY[parameter])
    elif parameter in RANGES:
        low, high = RANGES[parameter]
        values = f"{low}-{high} or null"
    else:
        values = "true|false|null"
    meaning = f" ({_MEANING[parameter]})" if parameter in _MEANING else ""
    return f"{parameter}: {values}{meaning}"


INSTRUCTION = f"""Assist this car's driver. The images look ahead, oldest first; the last one is now.

**Scene Description:** what matters for driving: road, traffic, people, lights, weather, hazards.
**Driving Parameters (JSON):** fenced json with these keys; they describe the last image, \
earlier ones only tell motion:
{chr(10).join(_describe(parameter) for parameter in PARAMETERS)}
**Risk Assessment:** at most {MAX_RISK_POINTS} bullet points: what could go wrong, what to do.

Keep these three headings. What cannot be seen is null or unknown. Speak of the road, \
never of video, footage or images."""
"""The question of prompt version ``adas-1``."""


def messages(frame_count: int) -> list[dict[str, Any]]:
    """One user turn with ``frame_count`` image places, oldest first, then the instruction.

    The form is that of ``processor.apply_chat_template`` in transformers and of TRL's
    ``prepare_multimodal_messages``, which puts the images into the places in order.

    Raises:
        ValueError: ``frame_count`` is not positive.
    """
    if frame_count < 1:
        raise ValueError(f"a question needs at least one frame, not {frame_count}")
    places: list[dict[str, Any]] = [{"type": "image"} for _ in range(frame_count)]
    return [{"role": "user", "content": [*places, {"type": "text", "text": INSTRUCTION}]}]

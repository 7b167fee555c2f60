"""A report in another script is told as such, with the script's name; Latin letters with foreign words in them pass."""

from __future__ import annotations

import json

import pytest

from roadscribe.answers.script import other_script
from roadscribe.curate.mend import judge
from roadscribe.curate.now import Now
from roadscribe.curate.rules.answer import RawAnswer

VALUES = {
    "road_type": "urban",
    "lane_count": 2,
    "ego_lane_position": "left",
    "traffic_light_state": "none",
    "pedestrian_on_road": False,
    "closest_vehicle_distance": 20,
    "ego_vehicle_speed": 30,
    "road_curvature": "straight",
    "weather": "clear",
    "visibility": "good",
    "traffic_density": "light",
    "risk_factor": "low",
}


def report(scene: str, risk: str) -> str:
    values = json.dumps(VALUES, indent=2)
    return (
        f"**Scene Description:**\n{scene}\n\n**Driving Parameters:**\n```json\n{values}\n```\n\n"
        f"**Risk Assessment:**\n- {risk}\n"
    )


@pytest.mark.parametrize(
    ("scene", "risk", "script"),
    [
        ("车辆行驶在城市道路上，天气晴朗，前方有一辆白色轿车。", "整体风险较低。", "Chinese"),
        ("Машина едет по городской улице, впереди белый автомобиль.", "Риск низкий.", "Cyrillic"),
        ("車は市街地の道路を走っています。", "リスクは低いです。", "Japanese"),
        ("차량이 도시 도로를 주행하고 있습니다.", "위험은 낮습니다.", "Korean"),
        ("السيارة تسير في شارع المدينة.", "الخطر منخفض.", "Arabic"),
    ],
)
def test_a_report_in_another_script_is_quarantined_with_the_true_reason(
    scene: str, risk: str, script: str
) -> None:
    row = judge(RawAnswer(0, "c", report(scene, risk)), Now())
    assert row.quarantine is not None and row.quarantine.rule == "foreign_script"
    assert f"of its letters are {script}" in row.quarantine.message
    assert "answers in English" in row.quarantine.message


def test_an_answer_to_another_question_may_be_in_any_script() -> None:
    row = judge(RawAnswer(0, "c", "前方有一辆白色轿车。", question="前面有什么？"), Now())
    assert row.quarantine is None and row.answer == "前方有一辆白色轿车。"


@pytest.mark.parametrize(
    "scene",
    [
        "The sign reads 东京 and the car goes straight on through a wide city street.",
        "Die Straße führt über die Brücke; señal à droite, naïve Überholer.",
        "The road is clear → the risk is low ✓",
    ],
)
def test_latin_letters_with_foreign_words_are_read(scene: str) -> None:
    assert other_script(report(scene, "The overall risk is low.")) is None

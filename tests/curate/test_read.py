"""Raw answers are read as they lie on disk; what is not of their form is refused by place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from roadscribe.artifacts import finish, open_output
from roadscribe.curate.read import AnswerList, open_log, read_original
from roadscribe.curate.rules.answer import ANSWER_RULES, RawAnswer
from roadscribe.errors import InputError
from roadscribe.prompts import INSTRUCTION


def write_log(folder: Path, *records: dict[str, Any]) -> Path:
    open_output(folder, "raw", {})
    (folder / "answers.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    finish(folder)
    return folder


def record(key: str, clip_id: str, text: str) -> dict[str, Any]:
    return {
        "key": key,
        "clip_id": clip_id,
        "text": text,
        "finish_reason": "stop",
        "usage": None,
        "error": None,
    }


def test_the_last_answer_of_a_key_counts(tmp_path: Path) -> None:
    log = open_log(
        write_log(
            tmp_path / "raw", record("k1", "a", "old"), record("k2", "b", "b"), record("k1", "a", "new")
        )
    )
    assert [answer.text for answer in log.answers("a")] == ["new"]
    assert len(log) == 2 and list(log.answers("c")) == []


def test_several_answers_to_one_clip_are_several_rows(tmp_path: Path) -> None:
    log = open_log(write_log(tmp_path / "raw", record("a|p|t1", "a", "one"), record("a|p|t2", "a", "two")))
    assert [(answer.row, answer.text) for answer in log.answers("a")] == [(0, "one"), (1, "two")]


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "raw", record("k1", "a", "x"))
    (folder / "answers.jsonl").write_text('{"key": "k1", "clip_id": "a"}\n{"text": 1}\n')
    with pytest.raises(InputError, match=r"answers.jsonl:2"):
        open_log(folder)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "not valid JSON"),
        ("[]", "no list of answers"),
        ('{"a": 1}', "no list of answers"),
        ('[{"video_id": "a", "QA": {"q": "x"}}]', "entry 0"),
        ('[{"video_id": "a", "QA": {"q": "x", "a": "y"}}, {"video_id": 3, "QA": {"a": "y"}}]', "entry 1"),
    ],
)
def test_another_form_of_the_original_is_refused(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "raw.json"
    path.write_text(content)
    with pytest.raises(InputError, match=problem):
        read_original(path)


def test_a_file_in_the_originals_layout_keeps_questions_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "raw.json"
    said = [
        ("a.mov", "Why?", "It must."),
        ("a.mov", "What next?", "It turns."),
        ("b.mov", INSTRUCTION, "A report."),
    ]
    path.write_text(json.dumps([{"video_id": v, "QA": {"q": q, "a": a}} for v, q, a in said]))
    assert [(answer.row, answer.clip_id, answer.question) for answer in read_original(path)] == [
        (0, "a.mov", "Why?"),
        (1, "a.mov", "What next?"),
        (2, "b.mov", None),
    ]


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read.*give the folder that `roadscribe annotate` wrote"):
        read_original(tmp_path / "nowhere.json")


def test_text_as_windows_likes_to_save_it_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "raw.json"
    path.write_text('[{"video_id": "a", "QA": {"q": "x", "a": "y"}}]', encoding="utf-16")
    with pytest.raises(InputError, match="save it as UTF-8"):
        read_original(path)


def test_original_answers_find_their_clip_by_the_videos_name(simulated_clips: list[Any]) -> None:
    clip = simulated_clips[0]
    video = Path(clip.provenance.path)
    for name in (video.name, video.stem, clip.clip_id):
        assert AnswerList([RawAnswer(0, name, "x")]).name_of(clip) == name


@pytest.mark.parametrize(
    ("rule", "text", "finish_reason"),
    [
        ("no_answer", "  \n", "stop"),
        ("refusal", "I'm sorry, but I can't help with that.", "stop"),
        ("refusal", "As an AI language model I have no access to the pictures.", "stop"),
        ("cut_off", "**Scene Description:** A road with", "length"),
        ("cut_off", "A busy street. " * 20 + "The ego vehicle should keep a safe distance and", "stop"),
        ("repetition", "- Keep a safe gap to it.\n" * 5, "stop"),
        ("repetition", "the car is red and " * 12, "stop"),
    ],
)
def test_what_is_no_whole_answer_is_noticed(rule: str, text: str, finish_reason: str) -> None:
    spoke = {check.id for check in ANSWER_RULES if check.check(RawAnswer(0, "a", text, finish_reason))}
    assert rule in spoke


def test_an_ordinary_answer_passes_every_rule_about_answers() -> None:
    text = (
        "**Scene Description:** The road is wet. I cannot see any pedestrians.\n\n```json\n"
        + json.dumps({"road_type": "urban", "lane_count": 2, "ego_lane_position": "left", "weather": "rainy",
                      "traffic_light_state": "red", "pedestrian_on_road": False, "visibility": "good"})
        + "\n```\n- The light is red.\n- The light is red.\n- Keep a safe distance."
    )  # fmt: skip
    assert [check.id for check in ANSWER_RULES if check.check(RawAnswer(0, "a", text))] == []

"""Through a whole run of curate: what a teacher wrote beside its answer is no target, and nothing goes silently."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import load_from_disk
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from roadscribe.artifacts import finish, open_output, read_json
from roadscribe.clip import Clip
from roadscribe.control_tokens import find_control_tokens
from roadscribe.curate.curate import curate
from roadscribe.prompts import own_version
from roadscribe.recipe import load_recipe

QUESTION = "Which colour has the light ahead?"
VALUES = {
    "road_type": "urban", "lane_count": 3, "ego_lane_position": "right", "traffic_light_state": "red",
    "pedestrian_on_road": False, "closest_vehicle_distance": 12, "ego_vehicle_speed": 30, "road_curvature": "straight",
    "weather": "clear", "visibility": "good", "traffic_density": "low", "risk_factor": "low",
}  # fmt: skip


def report(risk: str, scene: str) -> str:
    return (
        f"**Scene Description:**\n{scene}\n\n**Driving Parameters (JSON):**\n"
        f"{json.dumps({**VALUES, 'risk_factor': risk})}\n\n**Risk Assessment:**\n- Keep a safe distance."
    )


FINAL, DRAFT = (
    report("low", "A calm street is lined with shops and old trees on both sides."),
    report("high", "A zebra waits in front of the shops and the old trees here."),
)


def run(
    folder: Path, clips: Path, records: list[tuple[str, str | None, str, Any]]
) -> tuple[dict[int, dict[str, Any]], dict[int, dict[str, Any]]]:
    """Curate (clip, question, text, finish reason); returns the rows and the quarantined, by their number."""
    raw = folder / "raw"
    open_output(raw, "raw", {}, overwrite=True)
    with (raw / "answers.jsonl").open("w", encoding="utf-8") as file:
        for number, (clip_id, question, text, finish_reason) in enumerate(records):
            prompt = "adas-1" if question is None else own_version(question)
            record = {
                "key": f"{clip_id}|{prompt}|{number}", "clip_id": clip_id, "prompt": prompt, "question": question,
                "text": text, "finish_reason": finish_reason, "usage": None, "error": None,
            }  # fmt: skip
            file.write(json.dumps(record) + "\n")
    finish(raw)
    out = curate(load_recipe(), raw, clips, folder / "out", overwrite=True)
    kept = [
        row
        for split in load_from_disk(str(out / "dataset")).values()
        for row in split.remove_columns("images")
    ]
    left_out = [
        json.loads(line) for line in (out / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    quarantined = {record["row"]: record for record in left_out}
    rest = [number for number in range(len(records)) if number not in quarantined]
    by_clip = {clip: [n for n in rest if records[n][0] == clip] for clip, *_ in records}
    rows: dict[int, dict[str, Any]] = {}
    for row in kept:
        rows[by_clip[row["clip_id"]].pop(0)] = row
    assert (
        len(rows) + len(quarantined)
        == len(records)
        == read_json(out / "quality.json", "figures")["rows_read"]
    )
    return rows, quarantined


def said(row: dict[str, Any]) -> str:
    return str(row["completion"][0]["content"])


@pytest.fixture(scope="module")
def few_clips(
    tmp_path_factory: pytest.TempPathFactory,
    make_clips: Callable[[Path, Any], Path],
    simulated_clips: list[Clip],
) -> tuple[Path, list[str]]:
    some = simulated_clips[:12]
    folder = make_clips(tmp_path_factory.mktemp("few") / "clips", some)
    return folder, [clip.clip_id for clip in some]


def test_reports_and_own_answers_lose_reasoning_and_tokens_alike(
    tmp_path: Path, few_clips: tuple[Path, list[str]]
) -> None:
    clips, ids = few_clips
    rows, quarantined = run(
        tmp_path,
        clips,
        [
            (ids[0], None, f"[THINK]{DRAFT}[/THINK]{FINAL}<|im_end|>", "stop"),
            (
                ids[1],
                QUESTION,
                "<think>Green? A zebra.</think><|begin_of_box|>It is red.<|end_of_box|>",
                "stop",
            ),
            (ids[2], QUESTION, "It is <|image_pad|>red.<|im_end|>", None),
            (ids[3], f"<|vision_start|><|image_pad|><|vision_end|>{QUESTION}", "It is red.", "end_turn"),
            (ids[4], QUESTION, "The <thing>light</thing> is red.", "stop"),
            (ids[5], None, f"<think>{DRAFT}", "length"),
            (ids[6], QUESTION, "<think>Let me see", "length"),
            (ids[7], "<|im_start|>", "It is red.", "stop"),
        ],
    )
    assert "A calm street is lined with shops and old trees on both sides." in said(
        rows[0]
    ) and "zebra" not in said(rows[0])
    assert [said(rows[number]) for number in (1, 2, 3)] == ["It is red."] * 3
    assert rows[3]["prompt"][0]["content"] == QUESTION
    for row in rows.values():
        assert "form.markers" in {finding["rule"] for finding in json.loads(row["findings"])}
    assert {number: record["rule"] for number, record in quarantined.items()} == dict.fromkeys(
        (4, 5, 6, 7), "unclear"
    )


def test_answers_of_older_runs_are_judged_by_the_table_of_endings(
    tmp_path: Path, few_clips: tuple[Path, list[str]]
) -> None:
    clips, ids = few_clips
    text = "It is red. A cyclist is wai"
    endings = ["stop", "length", "MAX_TOKENS", "no idea", "content_filter", "SAFETY", "error", "tool_calls"]
    records = [(clip, QUESTION, text, ending) for clip, ending in zip(ids, endings, strict=False)]
    rows, quarantined = run(tmp_path, clips, [*records, (ids[9], None, f"{FINAL} And a bus mi", "no idea")])
    assert [said(rows[number]) for number in range(4)] == [text, "It is red.", "It is red.", "It is red."]
    assert {record["rule"] for record in quarantined.values()} == {"no_answer"} and set(quarantined) == {
        4,
        5,
        6,
        7,
    }
    assert "content_filter" in quarantined[4]["reason"]
    assert "bus" not in said(rows[8]) and "cut_off" in rows[8]["findings"]


def test_one_refusal_to_many_clips_is_kept_out_and_short_answers_stay(
    tmp_path: Path, few_clips: tuple[Path, list[str]]
) -> None:
    clips, ids = few_clips
    refusal = "Kuvaa ei ole näkyvissä tässä."
    records: list[tuple[str, str | None, str, Any]] = []
    for number, clip in enumerate(ids):
        records += [
            (clip, QUESTION, refusal if number % 2 else f"It is red, and car {number} waits.", "stop"),
            (clip, "Is it dry?", "Yes.", "stop"),
        ]
    rows, quarantined = run(tmp_path, clips, records)
    assert {record["rule"] for record in quarantined.values()} == {"same_answer"} and len(quarantined) == 6
    assert refusal in quarantined[2]["reason"]
    assert sum(said(row) == "Yes." for row in rows.values()) == 12


_PIECES = st.sampled_from(
    [
        *(
            "<think>",
            "</think>",
            "[THINK]",
            "[/THINK]",
            "<|im_end|>",
            "<|im_start|>user\n",
            "<|image_pad|>",
            "<|a|>",
        ),
        *(
            "<b1>",
            "</b1>",
            "◁x▷",
            "◁/x▷",
            "<answer>",
            "</answer>",
            "<|channel|>final<|message|>",
            "Thinking...\n",
        ),
        *(
            "```",
            "\n",
            "## Final Answer\n",
            " Wait, that is wrong. Corrected: ",
            '{"risk_factor": "high"}',
            "<|",
            "|>",
        ),
        *(
            FINAL,
            DRAFT,
            DRAFT[:90],
            " It is red. ",
            "<5 m>",
            "<tool_call>",
            "</tool_call>",
            "\x00",
            "[INST]",
            "é",
        ),
    ]
)
_TEXTS = st.lists(_PIECES | st.text(st.characters(exclude_categories=("Cs",)), max_size=5), max_size=9).map(
    "".join
)


@given(
    st.lists(st.tuples(_TEXTS, st.booleans(), st.sampled_from(["stop", "length", "?", "error"])), max_size=11)
)
@settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_whatever_teachers_write_no_target_holds_a_live_token(
    tmp_path: Path, few_clips: tuple[Path, list[str]], written: list[tuple[str, bool, str]]
) -> None:
    clips, ids = few_clips
    records: list[tuple[str, str | None, str, Any]] = [(ids[11], None, FINAL, "stop")]
    for clip, (text, own, ending) in zip(ids, written, strict=False):
        records.append((clip, (text[:200] or "?") if own else None, text, ending))
    rows, quarantined = run(tmp_path, clips, records)
    assert 0 in rows and all(record["reason"] for record in quarantined.values())
    for number, row in rows.items():
        text = said(row)
        assert not find_control_tokens(text) and "<|" not in text and "</" not in text
        if row["report"] is None:
            assert not find_control_tokens(row["prompt"][0]["content"])
            assert text == records[number][2].strip() or json.loads(row["findings"])

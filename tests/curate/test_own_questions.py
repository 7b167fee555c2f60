"""Questions of one's own go through curate beside the reports: their form is checked, nothing else is guessed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from datasets import DatasetDict, load_from_disk

from roadscribe.artifacts import finish, open_output, read_json
from roadscribe.clip import Clip
from roadscribe.curate.curate import curate
from roadscribe.curate.own import mended_answer, whole_sentences
from roadscribe.curate.rules.answer import ANSWER_RULES, RawAnswer
from roadscribe.curate.split import assign_splits
from roadscribe.errors import InputError
from roadscribe.evaluate.adapter import train_parameters
from roadscribe.prompts import INSTRUCTION, own_version
from roadscribe.recipe import load_recipe
from roadscribe.report import Finding

WHY = "Why is the car slowing down?"
SIGNS = "Which signs matter here?"
SPLIT = ["curate.test_share=0.25"]


def asked(clip_id: str, question: str, text: str, **more: Any) -> dict[str, Any]:
    version = own_version(question)
    record = {"key": f"{clip_id}|{version}|t", "clip_id": clip_id, "prompt": version, "question": question}
    return {
        **record,
        "teacher": "t",
        "text": text,
        "finish_reason": "stop",
        "usage": None,
        "error": None,
        **more,
    }


def write_raw(folder: Path, records: Iterable[dict[str, Any]]) -> Path:
    open_output(folder, "raw", {})
    (folder / "answers.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    finish(folder)
    return folder


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def own_records(simulated_clips: list[Clip]) -> list[dict[str, Any]]:
    ids = [clip.clip_id for clip in simulated_clips]
    said = [asked(name, WHY, f"The light ahead of car {number} is red.") for number, name in enumerate(ids)]
    said += [asked(name, SIGNS, "A stop sign.") for name in ids[:10]]
    said += [
        asked(ids[10], SIGNS, "I'm sorry, but I cannot help with that."),
        asked(ids[11], SIGNS, "  "),
        asked(ids[12], SIGNS, "", error="timed out"),
        asked(ids[13], SIGNS, "A yield sign. A speed limit of", finish_reason="length"),
        asked(ids[14], SIGNS, "A speed limit of", finish_reason="length"),
        asked(ids[15], SIGNS, "A stop sign is there. " * 5),
        asked(ids[16], SIGNS, "In the video, a stop sign can be seen. I cannot turn right there."),
        asked(ids[17], SIGNS, "The lower half of the image is covered."),
    ]
    return said


@pytest.fixture(scope="module")
def mixed(
    tmp_path_factory: pytest.TempPathFactory, raw: Path, clips: Path, own_records: list[dict[str, Any]]
) -> Path:
    """A report and up to two further answers a clip, curated."""
    folder = tmp_path_factory.mktemp("mixed")
    both = write_raw(folder / "raw", [*lines(raw / "answers.jsonl"), *own_records])
    return curate(load_recipe(None, SPLIT), both, clips, folder / "out")


@pytest.fixture(scope="module")
def own_rows(mixed: Path) -> list[dict[str, Any]]:
    rows = [row for split in load_dataset(mixed).values() for row in split.remove_columns("images")]
    return [row for row in rows if row["prompt"][0]["content"] != INSTRUCTION]


def load_dataset(out: Path) -> DatasetDict:
    return load_from_disk(str(out / "dataset"))


def answer_to(rows: list[dict[str, Any]], question: str, clip_id: str) -> str:
    (row,) = [r for r in rows if (r["prompt"][0]["content"], r["clip_id"]) == (question, clip_id)]
    return str(row["completion"][0]["content"])


def test_an_own_question_is_a_row_with_its_own_prompt_and_no_report(
    own_rows: list[dict[str, Any]], simulated_clips: list[Clip]
) -> None:
    assert len(own_rows) == 60 + 10 + 3
    assert {row["report"] for row in own_rows} == {None}
    assert answer_to(own_rows, WHY, simulated_clips[3].clip_id) == "The light ahead of car 3 is red."


def test_reports_come_out_as_without_the_other_questions(
    tmp_path: Path, mixed: Path, raw: Path, clips: Path
) -> None:
    alone = load_dataset(curate(load_recipe(None, SPLIT), raw, clips, tmp_path / "out"))
    said = {row["clip_id"]: row["completion"] for split in alone.values() for row in split}
    beside = [row for split in load_dataset(mixed).values() for row in split if row["report"]]
    assert {row["clip_id"]: row["completion"] for row in beside} == said


def test_answers_whose_form_is_broken_are_quarantined_with_their_rule(
    mixed: Path, own_records: list[dict[str, Any]], raw: Path
) -> None:
    reports = len(lines(raw / "answers.jsonl"))
    rules = {record["row"] - reports: record["rule"] for record in lines(mixed / "quarantine.jsonl")}
    own = {own_records[place]["clip_id"]: rule for place, rule in rules.items() if place >= 0}
    assert list(own.values()) == ["refusal", "no_answer", "no_answer", "cut_off", "repetition"]


def test_a_cut_off_answer_keeps_its_whole_sentences(
    own_rows: list[dict[str, Any]], simulated_clips: list[Clip]
) -> None:
    assert answer_to(own_rows, SIGNS, simulated_clips[13].clip_id) == "A yield sign."


def test_the_medium_is_mended_away_or_noted_never_dropped(
    own_rows: list[dict[str, Any]], simulated_clips: list[Clip]
) -> None:
    mended = answer_to(own_rows, SIGNS, simulated_clips[16].clip_id)
    assert mended == "A stop sign can be seen. I cannot turn right there."
    noted = simulated_clips[17].clip_id
    assert answer_to(own_rows, SIGNS, noted) == "The lower half of the image is covered."
    (row,) = [r for r in own_rows if (r["prompt"][0]["content"], r["clip_id"]) == (SIGNS, noted)]
    (finding,) = json.loads(row["findings"])
    assert finding["rule"] == "prose_medium" and "kept" in finding["message"]


def test_all_rows_of_a_drive_lie_in_one_split(mixed: Path) -> None:
    drives = [set(split["drive_id"]) for split in load_dataset(mixed).values()]
    assert len(drives) == 2 and not drives[0] & drives[1]


def test_the_counts_tell_own_questions_apart(mixed: Path, own_rows: list[dict[str, Any]]) -> None:
    quality = read_json(mixed / "quality.json", "figures")
    assert quality["own_questions"] == {"read": 78, "kept": 73, "quarantined": 5, "clips": 60}
    reports = quality["rows_kept"] - 73
    assert sum(quality["values"].values()) == 12 * reports
    for split in quality["splits"].values():
        assert split["rows"] == sum(split["risk"].values()) + split["own_questions"]
    assert sum(split["own_questions"] for split in quality["splits"].values()) == 73


def test_the_page_and_the_card_speak_of_own_questions(mixed: Path) -> None:
    page, card = (mixed / "quality.html").read_text(), (mixed / "dataset" / "README.md").read_text()
    assert "73 kept on 60 clips, 5 quarantined" in page and WHY in page
    assert "73 rows on 60 clips ask a question of their own" in card


def test_a_dataset_of_own_questions_alone_is_whole(
    tmp_path: Path, own_records: list[dict[str, Any]], clips: Path
) -> None:
    raw = write_raw(tmp_path / "raw", own_records)
    out = curate(load_recipe(None, SPLIT), raw, clips, tmp_path / "out")
    dataset = load_dataset(out)
    assert len(dataset["train"]) + len(dataset["test"]) == 73 and len(dataset["test"]) >= 12
    assert "Distribution of each parameter" not in (out / "quality.html").read_text()
    with pytest.raises(InputError, match="none of its rows holds a report"):
        train_parameters(out)


def test_the_majority_is_counted_over_reports_alone(mixed: Path) -> None:
    reports = [row for row in load_dataset(mixed)["train"].select_columns("report") if row["report"]]
    assert len(train_parameters(mixed)) == len(reports)


def test_trl_takes_rows_with_and_without_a_report_alike(mixed: Path) -> None:
    from trl.data_utils import is_conversational, prepare_multimodal_messages

    rows = load_dataset(mixed)["train"]
    own = next(row for row in rows if row["report"] is None)
    assert is_conversational(own) and set(rows.features) >= {"images", "prompt", "completion"}
    (turn,) = prepare_multimodal_messages(own["prompt"], images=own["images"])
    assert [part["type"] for part in turn["content"]] == ["image", "image", "text"]
    assert turn["content"][-1]["text"] == own["prompt"][0]["content"]


def test_a_question_that_is_no_text_names_its_line(
    tmp_path: Path, clips: Path, simulated_clips: list[Clip]
) -> None:
    record = {**asked(simulated_clips[0].clip_id, WHY, "x"), "question": ["a", "b"]}
    with pytest.raises(InputError, match=r"answers.jsonl:1: .*question is no text"):
        curate(load_recipe(), write_raw(tmp_path / "raw", [record]), clips, tmp_path / "out")


def test_answers_without_clips_cannot_be_mistaken_for_lost_ones(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw", [asked("a", WHY, "Because.")])
    (raw / "drives.jsonl").write_text('{"video": "a.mp4", "clip_id": "a"}\n')
    with pytest.raises(InputError, match=r"imported; .*roadscribe collect .*drives.jsonl.*--clips"):
        curate(load_recipe(), raw, None, tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "declines"),
    [
        ("I cannot turn because the light is red.", False),
        ("I am unable to move, traffic is stopped.", False),
        ("No, I can't see any pedestrians.", False),
        ("I'm sorry, I can't assist with that.", True),
        ("As an AI language model, I do not drive.", True),
        ("I am unable to view the images.", True),
    ],
)
def test_a_driver_who_cannot_turn_does_not_refuse(text: str, declines: bool) -> None:
    answer = RawAnswer(0, "a", text, question=WHY)
    assert [check.id for check in ANSWER_RULES if check.check(answer)] == (["refusal"] if declines else [])


def test_a_question_about_an_image_may_be_answered_in_its_words() -> None:
    findings: list[Finding] = []
    said = "The image shows a bus."
    assert mended_answer(said, "What does the image show?", findings) == said and not findings
    assert mended_answer(said, "What is ahead?", findings) == "The scene shows a bus." and len(findings) == 1


def test_lines_of_an_answer_stay_lines() -> None:
    findings: list[Finding] = []
    text = "1. A bus.\n  - It stops in the video.\n\n2. A car."
    assert mended_answer(text, WHY, findings) == "1. A bus.\n  - It stops.\n\n2. A car."


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("One. Two", "One."),
        ("One.", "One."),
        ("no end", ""),
        ("About 3.5 m. It is", "About 3.5 m."),
        ("", ""),
    ],
)
def test_whole_sentences(text: str, kept: str) -> None:
    assert whole_sentences(text) == kept


def test_drives_without_reports_are_shared_out_beside_the_others() -> None:
    rows = [(f"r{n}", risk) for n in range(20) for risk in ("low", None)] + [
        (f"o{n}", None) for n in range(40)
    ]
    drives = {drive: drive for drive, _ in rows}
    splits = assign_splits(rows, drives, {"test": 0.25}, seed=1)
    assert set(splits) == set(drives)
    for kind, count in (("r", 20), ("o", 40)):
        test = sum(split == "test" for drive, split in splits.items() if drive.startswith(kind))
        assert abs(test - count / 4) <= 1

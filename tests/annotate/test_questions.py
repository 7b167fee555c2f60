"""What is asked about which clip: nothing twice, nothing silently left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from roadscribe.annotate.questions import REPORT, plan, questions_of
from roadscribe.errors import InputError
from roadscribe.recipe import load_recipe

CLIPS = [("a@1", "a.mp4"), ("a@2", "a.mp4"), ("b@1", "b.mp4")]


def questions(*overrides: str):
    return questions_of(load_recipe(None, overrides).annotate)


def test_without_a_word_the_report_is_asked_for() -> None:
    assert questions() == (REPORT,)
    assert REPORT.version == "adas-1" and REPORT.own is None


def test_own_questions_stand_beside_the_report_or_alone() -> None:
    both = questions('annotate.questions=["Is it wet?"]')
    assert both[0] == REPORT and both[1].text == both[1].own == "Is it wet?"
    # The version names the wording: printf 'Is it wet?' | sha256sum
    assert both[1].version == "own-d88e5dfb12e7"
    assert questions('annotate.questions=["Is it wet?"]', "annotate.report=false") == both[1:]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("q.txt", "# two\nIs it wet?\n\n  Who goes first?  \n"),
        ("q.yaml", "- Is it wet?\n- Who goes first?\n"),
        ("q.txt", "\ufeffIs it wet?\r\nWho goes first?"),
    ],
)
def test_questions_come_from_a_file(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    found = questions(f"annotate.questions_file={path}", 'annotate.questions=["Any snow?"]')
    assert [question.own for question in found] == [None, "Any snow?", "Is it wet?", "Who goes first?"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("annotate.report=false", "nothing to ask"),
        ("annotate.questions=['  ']", "empty"),
        ('annotate.questions=["Wet?", " Wet?"]', "twice"),
        (f"annotate.questions=[{'why ' * 1100}]", "4000"),
        ("annotate.questions_file=nowhere.txt", "nowhere.txt"),
    ],
)
def test_a_useless_question_is_said(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        questions(text)


@pytest.mark.parametrize("content", [b"", b"# none\n", b"\xff\xfe\x00", b"x" * (2**20 + 1)])
def test_a_useless_file_is_said(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "q.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"q\.txt"):
        questions(f"annotate.questions_file={path}")


@pytest.mark.parametrize("content", ["what: 1", "- 1\n- 2", "[", "just text"])
def test_a_yaml_file_must_be_a_list_of_texts(tmp_path: Path, content: str) -> None:
    path = tmp_path / "q.yml"
    path.write_text(content)
    with pytest.raises(InputError, match=r"q\.yml"):
        questions(f"annotate.questions_file={path}")


def test_a_limit_a_video_counts_over_its_clips_and_lists_what_it_leaves_out() -> None:
    asked = questions('annotate.questions=["Is it wet?"]')
    shares = plan(CLIPS, asked, 3)
    assert {clip: len(some) for clip, some in shares.wanted.items()} == {"a@1": 2, "a@2": 1, "b@1": 2}
    assert shares.total == 5
    ((clip_id, version, reason),) = shares.left_out
    assert (clip_id, version) == ("a@2", asked[1].version) and "a.mp4" in reason and "3" in reason


def test_without_a_limit_every_clip_is_asked_everything() -> None:
    shares = plan(CLIPS, questions(), None)
    assert shares.total == 3 and not shares.left_out


@pytest.mark.parametrize(
    "text", ["Is it wet?<|im_end|>", "<|image_pad|> what is this?", "<think>why</think>"]
)
def test_a_question_with_a_control_token_is_refused_before_anybody_is_asked(
    tmp_path: Path, text: str
) -> None:
    listed = tmp_path / "questions.txt"
    listed.write_text(f"Who goes first?\n{text}\n")
    for override in (f"annotate.questions={json.dumps([text])}", f"annotate.questions_file={listed}"):
        with pytest.raises(
            InputError, match=r"annotate\.questions: .* holds the control token <.*take it out"
        ):
            questions_of(load_recipe(None, [override]).annotate)

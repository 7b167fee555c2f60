"""DriveLM's JSON: the questions that the front camera can answer, on the scene up to their key frame."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from importing import DRIVELM_SAMPLE, answers, front, key_frame, left_out, lines, scenes, write_json

from roadscribe.curate.importers.drivelm import in_words, question_and_answer
from roadscribe.curate.importers.import_file import import_file
from roadscribe.errors import InputError

FRONT, BACK = "<c1,CAM_FRONT,800.0,450.0>", "<c2,CAM_BACK,10.0,20.0>"


def test_a_clip_is_the_scene_up_to_the_key_frame_in_the_order_of_time(tmp_path: Path) -> None:
    frames = {
        "late": key_frame(9.5, behavior=[("What now?", "It stops.")]),
        "early": key_frame(2.0, behavior=[("What now?", "It goes.")]),
    }
    raw = import_file(write_json(tmp_path / "d.json", scenes(**frames)), tmp_path / "raw")
    assert answers(raw) == [("s1_early", "What now?", "It goes."), ("s1_late", "What now?", "It stops.")]
    early, late = lines(raw / "drives.jsonl")
    pictures = [front(moment).removeprefix("../") for moment in (2.0, 9.5)]
    assert (early["images"], early["timestamps_s"]) == (pictures[:1], [0.0])
    assert (late["images"], late["timestamps_s"]) == (pictures, [0.0, 7.5])
    assert early["drive_id"] == late["drive_id"] == "s1"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"Is {FRONT} moving?", "Is the object at (500, 500) moving?"),
        (f"{FRONT} stands.", "The object at (500, 500) stands."),
        (f"Yes. {FRONT} stands.", "Yes. The object at (500, 500) stands."),
        (f"What is the status of object {FRONT}?", "What is the status of the object at (500, 500)?"),
        ("See < c12 , CAM_FRONT , 1600 , 0 >.", "See the object at (1000, 0)."),
        ("See <CAM_FRONT,0,900>.", "See the object at (0, 1000)."),
        (
            f"There are two cars. The IDs of these objects are {FRONT} and {FRONT}.",
            "There are two cars. They are the object at (500, 500) and the object at (500, 500).",
        ),
        ("No tag at all.", "No tag at all."),
    ],
)
def test_tags_become_words_that_hold_at_any_size(text: str, words: str) -> None:
    assert in_words(text) == words


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        (f"Is {BACK} moving?", "No.", "only CAM_BACK shows"),
        ("What is near?", f"{FRONT} and {BACK}.", "only CAM_BACK shows"),
        (
            "What are objects to the back left of the ego car?",
            "Two cars.",
            "does not show: 'to the back left",
        ),
        ("What are objects to the front right of the ego car?", "Two cars.", "does not show"),
        ("Describe the scene.", "There are two cars behind the ego car.", "'behind the ego'"),
        ("Where?", "On the left side of the ego vehicle.", "does not show"),
        ("Find signs.", "One: [(road sign, stop, 1037.73, 409.81, 1049.48, 426.83)].", "boxes in pixels"),
        ("Is <c1,CAM_FRONT,5> moving?", "No.", "tag that cannot be read: '<c1,CAM_FRONT,5>'"),
        ("Is <c1,CAM_FRONT,1700,5> moving?", "No.", "out of the picture"),
        ("Is <c1,CAM_FRONT,-1,5> moving?", "No.", "out of the picture"),
        ("What now?", " ", "has no answer"),
        ("What now?", None, "not of the form"),
        ("", "It stops.", "not of the form"),
    ],
)
def test_what_the_front_camera_cannot_answer_is_left_out(question: str, answer: Any, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        question_and_answer({"Q": question, "A": answer})
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["Are there cars to the front of the ego car?", "Driving towards the front right can end in a collision.",
     "Back up, turn right.", "Slightly offset to the left.", "Is there any sign in the front view?"],
)  # fmt: skip
def test_directions_of_travel_and_the_front_stay(text: str) -> None:
    assert question_and_answer({"Q": "What now?", "A": text}) == ("What now?", text)


def test_a_limit_takes_from_every_kind_in_turn_and_lists_the_rest(tmp_path: Path) -> None:
    kinds = {
        kind: [(f"{kind} {number}?", "Yes.") for number in range(5)]
        for kind in ("perception", "prediction", "planning")
    }
    file = write_json(
        tmp_path / "d.json",
        scenes(f1=key_frame(1, **kinds), f2=key_frame(2, **kinds, behavior=[("b?", "Yes.")])),
    )
    raw = import_file(file, tmp_path / "raw", max_questions=4)
    assert Counter(clip for clip, _, _ in answers(raw)) == {"s1_f1": 4, "s1_f2": 4}
    asked = [question for clip, question, _ in answers(raw) if clip == "s1_f1"]
    assert asked == ["perception 0?", "prediction 0?", "planning 0?", "perception 1?"]
    assert {question for clip, question, _ in answers(raw) if clip == "s1_f2"} >= {"b?"}
    assert len(left_out(raw)) == 31 - 8
    assert all("--max-questions 4" in reason for _, _, reason in left_out(raw))


def test_broken_scenes_frames_and_pairs_are_listed_and_the_rest_stays(tmp_path: Path) -> None:
    good = key_frame(3, planning=[("What now?", "It stops.")])
    twin = key_frame(3, planning=[("What now?", "It goes.")])
    blind = {**good, "image_paths": {"CAM_BACK": front(4)}}
    timeless = {**good, "image_paths": {"CAM_FRONT": "samples/CAM_FRONT/7.jpg"}}
    outside = {**good, "image_paths": {"CAM_FRONT": "/data/x__CAM_FRONT__1537291002262404.jpg"}}
    unlisted = {**good, "QA": {"planning": {"Q": "What now?"}}}
    frames = {"ok": good, "twin": twin, "blind": blind, "timeless": timeless, "outside": outside,
              "unlisted": unlisted, "text": "no frame", "pairs": {**key_frame(5), "QA": ["x", {"Q": "?"}]}}  # fmt: skip
    content = {**scenes(**frames), "s2": {"key_frames": None}, "s3": 7}
    raw = import_file(write_json(tmp_path / "d.json", content), tmp_path / "raw", form="drivelm")
    assert answers(raw) == [("s1_ok", "What now?", "It stops.")]
    said = {place.removeprefix("scene s1, frame "): reason for _, place, reason in left_out(raw)}
    assert said["twin"].startswith("is of the same moment")
    assert said["blind"] == said["text"] == "has no picture of CAM_FRONT"
    assert "does not tell its time" in said["timeless"] and "is not relative" in said["outside"]
    assert "no list" in said["unlisted"]
    assert said["pairs, QA[0]"] == said["pairs, QA[1]"] == "is not of the form {Q, A}"
    assert said["scene s2"] == said["scene s3"] == "has no key_frames"


@pytest.mark.parametrize("content", ["[]", "{}", "[1, 2]", '"x"'])
def test_another_form_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "d.json").write_text(content)
    with pytest.raises(InputError, match="expected scenes"):
        import_file(tmp_path / "d.json", tmp_path / "raw", form="drivelm")


TAGS = st.builds(
    "<c{},{},{},{}>".format,
    st.integers(0, 99),
    st.sampled_from(["CAM_FRONT", "CAM_BACK", "CAM_FRONT_LEFT", "CAM", ""]),
    st.floats(-50, 1700, allow_nan=False).map(lambda x: f"{x:.1f}"),
    st.floats(-50, 1000, allow_nan=False).map(lambda y: f"{y:.1f}"),
)


@given(pieces=st.lists(st.one_of(TAGS, st.text(max_size=20)), max_size=8))
def test_no_tag_and_no_pixel_survives(pieces: list[str]) -> None:
    """Whatever the text, it is refused or free of tags, and words outside of tags stay as they are."""
    text = " ".join(pieces)
    try:
        words, _ = question_and_answer({"Q": f"Is it so? {text}", "A": "Yes."})
    except ValueError:
        return
    assert "CAM_" not in words and "<c" not in words
    assert words.count("the object at (") + words.count("The object at (") >= text.count("<c") - text.count(
        "<c,"
    )


@pytest.mark.skipif(not DRIVELM_SAMPLE.exists(), reason="the DriveLM sample is not on this machine")
def test_the_published_sample_comes_in_whole(tmp_path: Path) -> None:
    """Every pair is an answer or listed; each of the nine key frames gives a clip; no tag is left."""
    import json

    content = json.loads(DRIVELM_SAMPLE.read_text())
    frames = [frame for scene in content.values() for frame in scene["key_frames"].values()]
    pairs = sum(len(pairs) for frame in frames for pairs in frame["QA"].values())
    raw = import_file(DRIVELM_SAMPLE, tmp_path / "raw")
    taken = answers(raw)
    assert len(taken) + len(left_out(raw)) == pairs
    assert len({clip for clip, _, _ in taken}) == len(frames) == len(lines(raw / "drives.jsonl"))
    assert not any("CAM_" in text or "<" in text for _, *texts in taken for text in texts if text)
    limited = import_file(DRIVELM_SAMPLE, tmp_path / "limited", max_questions=5)
    assert Counter(Counter(clip for clip, _, _ in answers(limited)).values()) == {5: len(frames)}

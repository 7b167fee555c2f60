"""The simulated teacher is untidy in form, exact in content, and notes the mistakes it is told to make."""

from __future__ import annotations

from collections import Counter

import pytest

from roadscribe.annotate.mistakes import DRAFT_MISTAKES, MISTAKES, TEXT_MISTAKES, answer_clip
from roadscribe.clip import Clip, Evidence
from roadscribe.errors import InputError
from roadscribe.report import PARAMETERS
from roadscribe.report_text import parse_answer


def test_without_mistakes_every_answer_reads_back_as_the_truth(simulated_clips: list[Clip]) -> None:
    for clip in simulated_clips:
        report = parse_answer(answer_clip(clip, error_rate=0, seed=1).text).report()
        assert report is not None and clip.evidence.truth is not None
        truth, read = clip.evidence.truth.parameters.model_dump(), report.driving_parameters.model_dump()
        for parameter in PARAMETERS:
            if (
                parameter in ("closest_vehicle_distance", "ego_vehicle_speed")
                and truth[parameter] is not None
            ):
                # Whole miles an hour and whole feet cannot say every km/h and metre.
                assert abs(read[parameter] - truth[parameter]) <= 1, (clip.clip_id, parameter)
            else:
                assert read[parameter] == truth[parameter], (clip.clip_id, parameter)


def test_the_form_varies_as_real_answers_do(simulated_clips: list[Clip]) -> None:
    texts = [answer_clip(clip, error_rate=0, seed=1).text for clip in simulated_clips]
    for sign in (
        "### Scene",
        "**Scene",
        "mph",
        "km/h",
        " feet",
        " meters",
        "```json",
        "**Risk Factor:**",
        '"Yes"',
    ):
        assert 0 < sum(sign in text for text in texts) < len(texts), sign


def test_the_prose_is_short_and_its_vocabulary_small(simulated_clips: list[Clip]) -> None:
    scenes = [
        parse_answer(answer_clip(clip, error_rate=0, seed=1).text).scene_description
        for clip in simulated_clips
    ]
    lengths = [len(scene.split()) for scene in scenes]
    assert min(lengths) >= 25 and max(lengths) <= 60
    words = {word.strip(".,").lower() for scene in scenes for word in scene.split() if not word[0].isdigit()}
    assert len(words) < 100


def test_the_same_clip_and_seed_give_the_same_answer_and_another_seed_another(
    simulated_clips: list[Clip],
) -> None:
    clip = simulated_clips[0]
    assert answer_clip(clip, error_rate=0.5, seed=3) == answer_clip(clip, error_rate=0.5, seed=3)
    assert len({answer_clip(clip, error_rate=0.5, seed=seed).text for seed in range(8)}) > 3


def test_the_error_rate_is_the_share_of_answers_with_a_mistake(simulated_clips: list[Clip]) -> None:
    answers = [answer_clip(clip, error_rate=0.3, seed=seed) for clip in simulated_clips for seed in range(10)]
    share = sum(bool(answer.injected) for answer in answers) / len(answers)
    assert 0.25 < share < 0.35
    assert all(not answer_clip(clip, error_rate=0, seed=0).injected for clip in simulated_clips)


def test_every_kind_of_mistake_occurs_and_is_noted(simulated_clips: list[Clip]) -> None:
    kinds = Counter(
        note["kind"]
        for clip in simulated_clips
        for seed in range(12)
        for note in answer_clip(clip, error_rate=1, seed=seed).injected
    )
    assert set(kinds) == set(MISTAKES) == set(DRAFT_MISTAKES) | set(TEXT_MISTAKES)


def test_a_noted_value_stands_in_the_json(simulated_clips: list[Clip]) -> None:
    """The note is what detection is measured against, so it must say what was really written."""
    checked = 0
    for clip in simulated_clips:
        for seed in range(6):
            answer = answer_clip(clip, error_rate=1, seed=seed)
            (note,) = answer.injected
            if note["kind"] in TEXT_MISTAKES or note["kind"] == "prose_contradicts":
                continue
            report = parse_answer(answer.text).report()
            assert report is not None
            read = getattr(report.driving_parameters, note["parameter"])
            if isinstance(note["after"], int) and not isinstance(note["after"], bool):
                assert abs(read - note["after"]) <= 1
            else:
                assert read == note["after"]
            assert note["before"] != note["after"]
            checked += 1
    assert checked > 100


def test_real_footage_needs_a_real_teacher(simulated_clips: list[Clip]) -> None:
    bare = simulated_clips[0].model_copy(update={"evidence": Evidence()})
    with pytest.raises(InputError, match="only simulated drives"):
        answer_clip(bare, error_rate=0, seed=0)

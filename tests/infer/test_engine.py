"""The engine computes what the model computes, only in a better order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText

from roadscribe.errors import InputError
from roadscribe.infer.engine import FrameFeatures, GeneratedReport, ReportEngine, frame_digest
from roadscribe.infer.lru_cache import LRUCache
from roadscribe.prompts import messages
from roadscribe.qwen3_vl.merged_linears import wants_dense
from roadscribe.qwen3_vl.processor import Sample, encode
from roadscribe.report import holds_schema

Clip = list[Image.Image]
MakeClip = Callable[..., Clip]


class Listening(ReportEngine):
    """Keeps the logits behind every token that the model was asked for."""

    heard: dict[Any, list[tuple[int, torch.Tensor]]]

    def _sample(self, sequences: Any, logits: torch.Tensor) -> None:
        for sequence, row in zip(sequences, logits, strict=True):
            self.heard.setdefault(sequence.question.frames, []).append((len(sequence.tokens), row.clone()))
        super()._sample(sequences, logits)


@pytest.fixture(autouse=True, scope="module")
def short_prose() -> Iterator[None]:
    """Bounds of the prose that a model which never comes to an end reaches soon."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("roadscribe.infer.grammar.MAX_SCENE_CHARS", 30)
        patch.setattr("roadscribe.infer.grammar.MAX_RISK_CHARS", 12)
        patch.setattr("roadscribe.infer.grammar.MAX_RISK_POINTS", 2)
        yield


@pytest.fixture
def mixed_clips(make_clip: MakeClip) -> list[Clip]:
    """Clips of different lengths and frame sizes, so that prompts have different lengths."""
    return [make_clip(0), make_clip(1, 3), make_clip(2, 2, 96, 64), make_clip(3, 1), make_clip(4)]


@contextmanager
def calls_of(thing: Any, name: str) -> Iterator[list[Any]]:
    """Counts the calls of a method while the block lasts."""
    calls: list[Any] = []
    method = getattr(thing, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return method(*args, **kwargs)

    setattr(thing, name, counted)
    try:
        yield calls
    finally:
        delattr(thing, name)


def hf_answer(model: Any, processor: Any, clip: Clip, tokens: int) -> tuple[int, ...]:
    inputs = encode(processor, [Sample(clip, messages(len(clip)))])
    with torch.inference_mode():
        output = model.generate(**inputs, max_new_tokens=tokens, do_sample=False)
    return tuple(output[0, inputs["input_ids"].shape[1] :].tolist())


def test_logits_are_those_of_one_plain_forward_pass(
    model: Any, processor: Any, mixed_clips: list[Clip]
) -> None:
    engine = Listening(model, processor, batch_size=3, max_new_tokens=400)
    engine.heard = {}
    answers = engine.generate(mixed_clips)
    for clip, answer in zip(mixed_clips, answers, strict=True):
        steps = engine.heard[tuple(frame_digest(frame) for frame in clip)]
        inputs = encode(processor, [Sample(clip, messages(len(clip)))])
        prompt = inputs["input_ids"].shape[1]
        ids = torch.tensor([answer.token_ids])
        for key, more in (
            ("input_ids", ids),
            ("attention_mask", ids * 0 + 1),
            ("mm_token_type_ids", ids * 0),
        ):
            inputs[key] = torch.cat([inputs[key], more], dim=1)
        with torch.inference_mode():
            logits = model(**inputs).logits[0]
        assert len(steps) == answer.tokens - answer.forced_tokens
        for place, row in steps:
            expected = logits[prompt + place - 1]
            assert torch.allclose(row, expected, atol=1e-4), (place, (row - expected).abs().max())


def test_without_the_grammar_the_text_is_that_of_plain_greedy_generation(
    model: Any, processor: Any, mixed_clips: list[Clip]
) -> None:
    answers = ReportEngine(model, processor, batch_size=2, max_new_tokens=40).generate(
        mixed_clips, grammar=False
    )
    for clip, answer in zip(mixed_clips, answers, strict=True):
        expected = hf_answer(model, processor, clip, 40)
        assert answer.token_ids == expected
        assert len(set(expected)) > 5, "a model that repeats itself proves nothing"
        assert answer.text == processor.tokenizer.decode(expected, skip_special_tokens=True)
        assert (answer.tokens, answer.forced_tokens) == (len(expected), 0)


@pytest.fixture(scope="module")
def grammar_answers(
    short_prose: None, model: Any, processor: Any, make_clip: MakeClip
) -> list[GeneratedReport]:
    clips = [make_clip(0), make_clip(1, 3), make_clip(2, 2, 96, 64), make_clip(3, 1), make_clip(4)]
    return ReportEngine(model, processor, batch_size=3, max_new_tokens=400).generate(clips)


def test_under_the_grammar_every_report_holds_the_schema(grammar_answers: list[GeneratedReport]) -> None:
    for answer in grammar_answers:
        assert answer.finished
        assert holds_schema(answer.text)
        assert answer.forced_tokens > 60
        assert answer.tokens == len(answer.token_ids)
    assert len({answer.text for answer in grammar_answers}) == len(grammar_answers)


def test_jumping_over_forced_text_changes_no_token(
    model: Any, processor: Any, mixed_clips: list[Clip], grammar_answers: list[GeneratedReport]
) -> None:
    engine = ReportEngine(model, processor, batch_size=3, max_new_tokens=400)
    slow = engine.generate(mixed_clips, jump_forward=False)
    assert [one.token_ids for one in slow] == [one.token_ids for one in grammar_answers]
    assert [one.forced_tokens for one in slow] == [one.forced_tokens for one in grammar_answers]


def test_an_answer_does_not_depend_on_its_neighbours(
    model: Any, processor: Any, mixed_clips: list[Clip], grammar_answers: list[GeneratedReport]
) -> None:
    alone = ReportEngine(model, processor, batch_size=1, max_new_tokens=400)
    assert [alone.generate([clip])[0].text for clip in mixed_clips] == [one.text for one in grammar_answers]
    backwards = ReportEngine(model, processor, batch_size=4, max_new_tokens=400).generate(mixed_clips[::-1])
    assert [one.text for one in backwards[::-1]] == [one.text for one in grammar_answers]


def test_a_frame_goes_through_the_vision_tower_once_and_the_texts_stay_the_same(
    model: Any, processor: Any, mixed_clips: list[Clip], grammar_answers: list[GeneratedReport]
) -> None:
    first = ReportEngine(model, processor, batch_size=3, max_new_tokens=2)
    first.generate(mixed_clips, grammar=False)
    second = ReportEngine(model, processor, batch_size=3, max_new_tokens=400, features=first.features)
    with calls_of(model.model, "get_image_features") as looks:
        again = second.generate(mixed_clips)
        second.generate([clip[::-1] for clip in mixed_clips], grammar=False)
    assert looks == []
    assert [one.text for one in again] == [one.text for one in grammar_answers]


def test_equal_questions_are_answered_once(model: Any, processor: Any, make_clip: MakeClip) -> None:
    black = [Image.new("RGB", (64, 64)) for _ in range(2)]
    engine = ReportEngine(model, processor, max_new_tokens=20)
    with calls_of(engine, "_prefill") as begun, calls_of(engine, "_read_prompt") as read:
        answers = engine.generate([black, make_clip(0), list(black)], grammar=False)
        answers += engine.generate([black], grammar=False)
        assert len(begun) == 2
        engine.generate([black], grammar=True)
    # The same frames under the grammar are another question, but the same prompt.
    assert len(begun) == 3
    assert len(read) == 2
    assert answers[0].token_ids == answers[2].token_ids == answers[3].token_ids != answers[1].token_ids


def test_what_is_not_to_be_remembered_is_computed_again(
    model: Any, processor: Any, make_clip: MakeClip
) -> None:
    engine = ReportEngine(model, processor, max_new_tokens=20)
    with calls_of(engine, "_read_prompt") as read:
        first = engine.generate([make_clip(0)], remember=False)
        second = engine.generate([make_clip(0)], remember=False)
    assert len(read) == 2
    assert first[0].token_ids == second[0].token_ids


@pytest.mark.parametrize("limit", [1, 3, 17, 60])
@pytest.mark.parametrize("grammar", [False, True])
def test_a_limit_of_new_tokens_cuts_the_answer_off_and_says_so(
    model: Any,
    processor: Any,
    make_clip: MakeClip,
    grammar_answers: list[GeneratedReport],
    limit: int,
    grammar: bool,
) -> None:
    engine = ReportEngine(model, processor, max_new_tokens=limit)
    (answer,) = engine.generate([make_clip(0)], grammar=grammar)
    assert (answer.finished, answer.tokens) == (False, limit)
    assert answer.text
    if grammar:
        assert grammar_answers[0].token_ids[:limit] == answer.token_ids


def test_no_clips_give_no_reports(model: Any, processor: Any) -> None:
    assert ReportEngine(model, processor).generate([]) == []


def test_base_and_adapter_answer_from_one_model(
    adapted: Any, processor: Any, mixed_clips: list[Clip]
) -> None:
    tuned = ReportEngine(adapted, processor, batch_size=3, max_new_tokens=12)
    base = tuned.without_adapter()
    mixed_clips = mixed_clips[:3]
    tuned_answers = tuned.generate(mixed_clips, grammar=False)
    with calls_of(adapted.get_base_model().model, "get_image_features") as looks:
        base_answers = base.generate(mixed_clips, grammar=False)
    assert looks == [], "the adapter does not touch the vision encoder"
    for clip, with_adapter, without in zip(mixed_clips, tuned_answers, base_answers, strict=True):
        assert with_adapter.token_ids == hf_answer(adapted, processor, clip, 12)
        with adapted.disable_adapter():
            assert without.token_ids == hf_answer(adapted, processor, clip, 12)
        assert with_adapter.token_ids != without.token_ids


@pytest.mark.parametrize("adapter", [True, False])
def test_dense_weights_compute_what_the_4_bit_model_computes(
    adapted: Any, processor: Any, mixed_clips: list[Clip], adapter: bool
) -> None:
    heard = []
    for dense in (True, False):
        engine = Listening(adapted, processor, batch_size=3, max_new_tokens=60, adapter=adapter, dense=dense)
        engine.heard = {}
        engine.generate(mixed_clips)
        heard.append([row for steps in engine.heard.values() for _, row in steps])
    assert len(heard[0]) == len(heard[1])
    for dense_row, row in zip(*heard, strict=True):
        assert torch.allclose(dense_row, row, atol=1e-3)


def test_dense_weights_are_for_4_bit_or_adapted_models_on_a_cpu(model: Any, adapted: Any) -> None:
    assert wants_dense(adapted.get_base_model().model.language_model)
    assert not wants_dense(model.model.language_model)


def test_a_stop_in_the_middle_leaves_the_model_as_it_was(
    adapted: Any, processor: Any, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = adapted.get_base_model()
    attention = base.model.language_model.config._attn_implementation
    before = hf_answer(adapted, processor, make_clip(0), 5)

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    engine = ReportEngine(adapted, processor, max_new_tokens=20)
    monkeypatch.setattr(engine, "_decode", interrupted)
    adapted.train()
    with pytest.raises(KeyboardInterrupt):
        engine.generate([make_clip(0)])
    assert adapted.training
    adapted.eval()
    assert base.model.language_model.config._attn_implementation == attention
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    assert hf_answer(adapted, processor, make_clip(0), 5) == before
    monkeypatch.undo()
    assert engine.generate([make_clip(0)], grammar=False)[0].token_ids[:5] == before


def test_half_precision_writes_whole_reports(
    lively_folder: Any, processor: Any, mixed_clips: list[Clip]
) -> None:
    half = AutoModelForImageTextToText.from_pretrained(lively_folder, dtype=torch.bfloat16).eval()
    answers = ReportEngine(half, processor, batch_size=5, max_new_tokens=400).generate(mixed_clips[:3])
    assert all(holds_schema(answer.text) for answer in answers)


def test_the_memory_keeps_what_was_asked_for_last() -> None:
    def feature() -> FrameFeatures:
        return FrameFeatures(torch.zeros(1, 1, 25))

    memory: LRUCache[FrameFeatures] = LRUCache(limit_bytes=250)
    memory.put("a", feature())
    memory.put("b", feature())
    assert memory.get("a") is not None
    memory.put("c", feature())
    assert memory.get("b") is None
    assert memory.get("a") is not None and memory.get("c") is not None
    memory.put("large", FrameFeatures(torch.zeros(1, 1, 1000)))
    assert memory.get("large") is None and len(memory) == 2


def test_seconds_are_each_answers_share(model: Any, processor: Any, make_clip: MakeClip) -> None:
    answers = ReportEngine(model, processor, max_new_tokens=5).generate([make_clip(0), make_clip(1)])
    assert answers[0].seconds == answers[1].seconds > 0


def test_a_given_beginning_is_continued_as_plain_greedy_generation_continues_it(
    model: Any, processor: Any, make_clip: MakeClip
) -> None:
    clips, beginnings = [make_clip(0), make_clip(1, 3), make_clip(0)], ["A red light", "Rain", ""]
    engine = ReportEngine(model, processor, batch_size=2)
    answers = engine.generate(clips, grammar=False, beginnings=beginnings, max_new_tokens=20)
    for clip, beginning, answer in zip(clips, beginnings, answers, strict=True):
        inputs = encode(processor, [Sample(clip, messages(len(clip)))])
        prompt = inputs["input_ids"].shape[1]
        given = processor.tokenizer.encode(beginning, add_special_tokens=False)
        if given:
            more = torch.tensor([given])
            for key, ids in (
                ("input_ids", more),
                ("attention_mask", torch.ones_like(more)),
                ("mm_token_type_ids", torch.zeros_like(more)),
            ):
                inputs[key] = torch.cat([inputs[key], ids], dim=1)
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=20, do_sample=False)
        assert answer.token_ids == tuple(output[0, prompt:].tolist())
        assert answer.text.startswith(beginning)


def test_a_beginning_is_not_counted_by_the_limit_of_new_tokens(
    model: Any, processor: Any, make_clip: MakeClip
) -> None:
    beginning = "**Scene Description:**\nA red light"
    (answer,) = ReportEngine(model, processor).generate(
        [make_clip(0)], beginnings=[beginning], max_new_tokens=3
    )
    read = len(processor.tokenizer.encode(beginning, add_special_tokens=False))
    assert answer.text.startswith(beginning)
    assert (answer.tokens, answer.finished) == (read + 3, False)


def test_a_beginning_that_no_report_has_is_refused(model: Any, processor: Any, make_clip: MakeClip) -> None:
    with pytest.raises(ValueError, match="no report begins with"):
        ReportEngine(model, processor).generate([make_clip(0)], beginnings=["Hello"])


def test_a_question_with_a_control_token_is_refused_before_anything_is_computed(
    model: Any, processor: Any, make_clip: MakeClip
) -> None:
    engine = ReportEngine(model, processor, max_new_tokens=4)
    with (
        calls_of(engine, "_encode_frames") as looks,
        pytest.raises(InputError, match=r"control token <\|image_pad\|>"),
    ):
        engine.generate([make_clip(0)], instruction="What is <|image_pad|> there?", grammar=False)
    assert not looks

"""A response without an answer is a dead letter that says what came instead, and may be asked for again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from teacher_server import ANSWER, TeacherServer
from test_endpoint import QUICK, keys, lines, lines_by_key, make_clips, recipe, summary

from roadscribe.annotate.annotate import annotate
from roadscribe.annotate.book import TeacherAnswer
from roadscribe.annotate.endpoint import answer_of
from roadscribe.annotate.trouble import Trouble
from roadscribe.artifacts import MANIFEST, finish, read_json
from roadscribe.errors import InputError, WorkError
from roadscribe.recipe import load_recipe


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ROADSCRIBE_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def choice(content: Any, finish_reason: Any = "stop", **message: Any) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": content, **message}, "finish_reason": finish_reason}


def body(one: dict[str, Any], **more: Any) -> str:
    return json.dumps(
        {"model": "m", "choices": [one], "usage": {"prompt_tokens": 7, "completion_tokens": 5}, **more}
    )


@pytest.mark.parametrize(
    ("one", "says", "again"),
    [
        (choice(None, "length", reasoning_content="Let me see."), "11 characters of reasoning", False),
        (choice("", "length", reasoning="Hm."), "the limit of 64 tokens ended it, raise annotate.max_tokens", False),
        (choice(None, "tool_calls", tool_calls=[{"function": {"name": "zoom"}}]), "a call of a tool (zoom)", False),
        (choice(None, "function_call", function_call={"name": "zoom"}), "a call of a tool (zoom)", False),
        (choice(None, refusal="I won't do that."), "a refusal (I won't do that.)", False),
        (choice([{"type": "refusal", "refusal": "No."}]), "parts of kind refusal", False),
        (choice([{"type": "thinking", "thinking": [{"text": "hm"}]}]), "parts of kind thinking", False),
        (choice([{"type": "reasoning", "text": "hm"}]), "parts of kind reasoning", False),
        (choice(""), "it holds no text", False),
        (choice(" \n<|im_end|>"), "beside its markers", False),
        (choice("<think>\nThe road", "length"), "ends inside its reasoning", False),
        (choice("[THINK]The road", "stop"), "ends inside its reasoning", False),
        (choice("Thinking...\nThe road", "MAX_TOKENS"), "raise annotate.max_tokens", False),
        (choice('<tool_call>{"name": "zoom"}</tool_call>'), "asks for a tool", False),
        (choice("A road wi", "content_filter"), "ended by 'content_filter'", False),
        (choice("A road wi", "SAFETY"), "ended by 'safety'", False),
        (choice("A road wi", "error"), "ended by 'error'", True),
        (choice("A road wi", "abort"), "ended by 'abort'", True),
        ({**choice("A road wi", "error"), "error": {"code": 502, "message": "upstream"}}, "way 502: upstream", True),
        ({**choice("", "error"), "error": {"code": 403, "message": "moderated"}}, "under way 403: moderated", False),
        ({**choice("A road wi"), "error": "gone"}, "gone", True),
    ],
)  # fmt: skip
def test_what_came_instead_of_an_answer_is_said(one: dict[str, Any], says: str, again: bool) -> None:
    for report in (True, False):
        with pytest.raises(Trouble) as caught:
            answer_of(body(one), report=report, max_tokens=64)
        assert says in caught.value.reason and caught.value.again is again and caught.value.textless
        assert caught.value.billed and caught.value.usage == {"prompt_tokens": 7, "completion_tokens": 5}


@pytest.mark.parametrize(
    ("one", "text", "finish_reason"),
    [
        (choice("A road."), "A road.", "stop"),
        (choice("A road.", None), "A road.", "stop"),
        (choice("A road wi", "length"), "A road wi", "length"),
        (choice("A road wi", "out of luck"), "A road wi", "out of luck"),
        (choice("<think>hm</think>A road."), "<think>hm</think>A road.", "stop"),
        (
            choice([{"type": "thinking", "text": "hm"}, {"type": "text", "text": "A road."}]),
            "A road.",
            "stop",
        ),
        (choice("A road.", reasoning_content="hm"), "A road.", "stop"),
    ],
)
def test_an_answer_is_kept_as_it_came(one: dict[str, Any], text: str, finish_reason: str) -> None:
    answer = answer_of(body(one), report=False)
    assert (answer.text, answer.finish_reason) == (text, finish_reason)


THOUGHT = choice(None, "length", reasoning_content="The road bends and bends.")


def test_a_run_in_which_every_answer_is_empty_stops_early_and_goes_on_with_more_tokens(
    tmp_path: Path,
) -> None:
    clips, out = make_clips(tmp_path / "clips", 60), tmp_path / "raw"
    with TeacherServer(lambda name, before: "thought", choices={"thought": THOUGHT}) as server:
        with pytest.raises(
            WorkError, match=r"first 5 questions came back without an answer.*raise annotate.max_tokens"
        ):
            annotate(recipe(server, "annotate.concurrency=2"), clips, out)
        assert len(server.requests) <= 7
        used = [record["tokens"] for record in lines_by_key(out / "requests.jsonl").values()]
        assert used == [[1000, 100]] * len(used), "what an empty response cost is counted, not bounded"
        server.behaviour = lambda name, before: "answer"
        more = recipe(server, "annotate.max_tokens=4096")
        annotate(more, clips, out, retry_dead=True)
        assert server.bodies[-1]["max_tokens"] == 4096
    assert summary(out)["answers"] == 60 and not (out / "dead_letters.jsonl").exists()
    assert read_json(out / MANIFEST, "m")["recipe"]["annotate"]["max_tokens"] == 4096


def test_a_smaller_limit_or_another_model_is_another_recipe_still(tmp_path: Path) -> None:
    clips, out = make_clips(tmp_path / "clips", 2), tmp_path / "raw"
    with TeacherServer() as server:
        annotate(recipe(server), clips, out)
        for options in (("annotate.max_tokens=100",), ("annotate.max_tokens=4096", "annotate.model=another")):
            with pytest.raises(InputError, match="made by another recipe"):
                annotate(recipe(server, *options), clips, out, resume=True)
        assert read_json(out / MANIFEST, "m")["recipe"]["annotate"]["max_tokens"] == 1024
        annotate(recipe(server, "annotate.max_tokens=4096"), clips, out, resume=True)
        assert len(server.requests) == 2


def test_dead_letters_among_answers_do_not_stop_a_run_and_are_asked_again(tmp_path: Path) -> None:
    clips, out = make_clips(tmp_path / "clips", 40), tmp_path / "raw"
    filtered = choice("A road wi", "content_filter")

    def behaviour(name: str, before: int) -> str:
        return "filtered" if int(name.partition("-")[2]) % 4 == 3 else "answer"

    with TeacherServer(behaviour, choices={"filtered": filtered}) as server:
        annotate(recipe(server, "annotate.concurrency=4"), clips, out)
        letters = lines(out / "dead_letters.jsonl")
        assert len(letters) == 10 and {letter["requests"] for letter in letters} == {1}
        assert {letter["reason"] for letter in letters} == {"no answer: it was ended by 'content_filter'"}
        server.behaviour = lambda name, before: "answer"
        annotate(recipe(server), clips, out, retry_dead=True)
    assert len(keys(out / "answers.jsonl")) == 40 and summary(out)["dead_letters"] == 0


def test_a_model_that_fails_under_way_is_asked_again_at_once(tmp_path: Path) -> None:
    failed = {**choice("A road", "error"), "error": {"code": 502, "message": "upstream"}}
    behave = lambda name, before: "failed" if before < 2 else "answer"  # noqa: E731
    with TeacherServer(behave, choices={"failed": failed}) as server:
        out = annotate(recipe(server), make_clips(tmp_path / "clips", 6), tmp_path / "raw")
    assert len(keys(out / "answers.jsonl")) == 6 and len(server.requests) == 18


def test_empty_answers_that_an_older_run_kept_are_asked_again(tmp_path: Path) -> None:
    clips, out = make_clips(tmp_path / "clips", 4), tmp_path / "raw"
    with TeacherServer() as server:
        annotate(recipe(server), clips, out)
        records = lines(out / "answers.jsonl")
        records[1]["text"], records[2]["finish_reason"] = "", "content_filter"
        (out / "answers.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        finish(out)
        annotate(recipe(server), clips, out, retry_dead=True)
        assert len(server.requests) == 6
    assert summary(out)["answers"] == 4
    last = lines_by_key(out / "answers.jsonl")
    assert all(record["text"] == ANSWER and record["finish_reason"] == "stop" for record in last.values())


def test_a_local_teacher_without_answers_stops_early_too(tmp_path: Path) -> None:
    clips, out = make_clips(tmp_path / "clips", 30), tmp_path / "raw"
    asked = []

    def opened(*_: object) -> tuple[Any, int]:
        def teacher(asks: Any) -> list[TeacherAnswer]:
            asked.extend(asks)
            return [TeacherAnswer("<think>The road", "length") for _ in asks]

        return teacher, 2

    options = load_recipe(
        None, [option for option in QUICK if "model" not in option] + ["annotate.teacher=local"]
    )
    with pytest.raises(WorkError, match=r"first 5 questions .*inside its reasoning.*--retry-dead"):
        annotate(options, clips, out, open_local=opened)
    assert len(asked) == 6 and len(lines(out / "dead_letters.jsonl")) == 5

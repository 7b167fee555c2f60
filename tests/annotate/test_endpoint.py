"""A teacher over real HTTP: every question ends answered or as a dead letter, none is answered twice."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image
from teacher_server import ANSWER, FAULTS, TeacherServer, at_rate, frame

from roadscribe.annotate.annotate import annotate
from roadscribe.artifacts import MANIFEST, finish, open_output, read_json
from roadscribe.clip import Clip, Provenance, clips_to_table
from roadscribe.errors import InputError, WorkError
from roadscribe.prompts import INSTRUCTION
from roadscribe.recipe import Recipe, load_recipe
from roadscribe.report import report_json_schema
from roadscribe.report_text import parse_answer

QUICK = (
    "annotate.model=test-vl",
    "annotate.concurrency=16",
    "annotate.attempts=8",
    "annotate.backoff_s=0.01",
    "annotate.backoff_max_s=0.02",
    "annotate.timeout_s=30",
)
PRICED = ("annotate.price_input=10", "annotate.price_output=100")  # an answer of the server costs 0.02


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ROADSCRIBE_API_KEY", "OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)


def make_clips(folder: Path, count: int, frames: Sequence[bytes] | None = None) -> Path:
    def clip(name: str) -> Clip:
        shown = tuple(frames) if frames else (frame(name),)
        return Clip(
            clip_id=name,
            drive_id=name,
            source="test",
            frames=shown,
            timestamps_s=tuple(map(float, range(len(shown)))),
            width=32,
            height=32,
            provenance=Provenance(path=f"{name}.mp4", size_bytes=1, sha256="0" * 64),
        )

    open_output(folder, "clips", {})
    clips = (clip(f"clip-{number}") for number in range(count))
    pq.write_table(clips_to_table(clips), folder / "shard-00000.parquet")
    finish(folder)
    return folder


def recipe(server: TeacherServer, *overrides: str) -> Recipe:
    return load_recipe(None, [*QUICK, f"annotate.teacher={server.url}", *overrides])


def lines(path: Path) -> list[dict[str, Any]]:
    return (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    )


def keys(path: Path) -> list[str]:
    return [record["key"] for record in lines(path)]


def summary(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(out / MANIFEST, "manifest")["summary"]
    return found


# ------------------------------------------------------------------------------------------ many requests


def test_2000_questions_at_20_percent_faults_all_end_and_none_is_answered_twice(tmp_path: Path) -> None:
    """Two hopeless clips beside them end as dead letters; the rest is answered, cut-off answers included."""
    usual = at_rate(0.2, cut_off=0.05)
    never = {"clip-3": "400", "clip-7": "500"}

    def behaviour(name: str, before: int) -> str:
        hangs = before == 0 and name in ("clip-11", "clip-111", "clip-222", "clip-333")
        return "hang" if hangs else never.get(name) or usual(name, before)

    clips = make_clips(tmp_path / "clips", 2000)
    with TeacherServer(behaviour) as server:
        out = annotate(recipe(server, "annotate.timeout_s=6"), clips, tmp_path / "raw")
    answered, dead = keys(out / "answers.jsonl"), keys(out / "dead_letters.jsonl")
    everyone = {f"clip-{number}|adas-1|test-vl" for number in range(2000)}
    assert len(answered) == len(set(answered)) and len(dead) == len(set(dead)) == 2
    assert set(answered) | set(dead) == everyone and not set(answered) & set(dead)
    # On a machine that is busy with other things an answer may come after the client's timeout.
    too_late = Counter(
        request["question"].partition("|")[0]
        for request in lines_by_key(out / "requests.jsonl").values()
        if request["outcome"] == "timeout"
    )
    too_late -= Counter(name for (name, _), outcomes in server.outcomes.items() if "hang" in outcomes)
    for (name, _), times in server.answered().items():
        assert times - too_late[name] == (0 if name in never else 1)
    assert {name for (name, _), times in server.answered().items() if not times} == {"clip-3", "clip-7"}
    reasons = {
        letter["clip_id"]: (letter["reason"], letter["requests"])
        for letter in lines(out / "dead_letters.jsonl")
    }
    assert reasons["clip-3"] == ("HTTP 400: this is 400", 1)
    assert reasons["clip-7"] == ("HTTP 500: this is 500", 8)
    assert {outcome for outcomes in server.outcomes.values() for outcome in outcomes} > {*FAULTS, "hang"}
    facts = summary(out)
    assert facts["requests"] == len(server.requests) > 2400
    assert (facts["answers"], facts["dead_letters"], facts["questions"]) == (1998, 2, 2000)
    cut_off = [record for record in lines(out / "answers.jsonl") if record["finish_reason"] == "length"]
    assert facts["cut_off"] == len(cut_off) > 50
    assert (facts["input_tokens"], facts["output_tokens"]) == (1998 * 1000, 1998 * 100)


def test_as_many_requests_at_once_as_the_recipe_allows_and_no_more(tmp_path: Path) -> None:
    """Faults included, but no timeouts: what a client gave up the server may still have in hand."""
    clips = make_clips(tmp_path / "clips", 100)
    with TeacherServer(at_rate(0.2), seconds=0.05) as server:
        annotate(recipe(server, "annotate.concurrency=7"), clips, tmp_path / "raw")
    assert server.most_at_once == 7


def test_killed_at_random_moments_it_asks_for_nothing_that_is_on_disk(tmp_path: Path) -> None:
    clips, out = make_clips(tmp_path / "clips", 120), tmp_path / "raw"
    rng = random.Random(5)
    killed = 0
    with TeacherServer(at_rate(0.2), seconds=0.02) as server:
        options = [*QUICK, f"annotate.teacher={server.url}", "annotate.concurrency=4", "annotate.timeout_s=1"]
        command = [sys.executable, "-m", "roadscribe", "annotate", str(clips), "--out", str(out), "--resume"]
        command += [part for option in options for part in ("--set", option)]
        while True:
            on_disk, asked = set(keys_on_disk(out)), len(server.requests)
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            if killed < 4:
                stop_at = asked + rng.randint(1, 40)
                while len(server.requests) < stop_at and process.poll() is None:
                    time.sleep(0.002)
                process.kill()
                killed += 1
            _, stderr = process.communicate(timeout=60)
            later = {f"{name}|adas-1|test-vl" for name, _ in server.requests[asked:]}
            assert not later & on_disk
            if process.returncode == 0:
                break
            assert process.returncode == -signal.SIGKILL, stderr
    answered = keys(out / "answers.jsonl")
    assert sorted(answered) == sorted(f"clip-{number}|adas-1|test-vl" for number in range(120))
    assert summary(out)["requests"] == len(lines_by_key(out / "requests.jsonl")) >= len(server.requests)
    # Only what was under way at a kill can have been answered twice by the server.
    assert sum(times - 1 for times in server.answered().values()) <= 4 * killed


def keys_on_disk(out: Path) -> list[str]:
    """The keys of whole lines; a kill may have cut the last one."""
    path = out / "answers.jsonl"
    whole = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [json.loads(line)["key"] for line in whole]


def lines_by_key(path: Path) -> dict[str, dict[str, Any]]:
    return {record["key"]: record for record in lines(path)}


def wait_until(done: Callable[[], bool]) -> None:
    limit = time.monotonic() + 60
    while not done():
        assert time.monotonic() < limit
        time.sleep(0.002)


# --------------------------------------------------------------------------------------- what is sent


def test_frames_go_as_jpeg_data_urls_oldest_first_and_then_the_text(tmp_path: Path) -> None:
    frames = []
    for shade in (10, 120, 240):
        file = io.BytesIO()
        Image.new("L", (16, 16), shade).save(file, "JPEG")
        frames.append(file.getvalue())
    clips = make_clips(tmp_path / "clips", 1, frames)
    with TeacherServer() as server:
        out = annotate(recipe(server), clips, tmp_path / "raw")
        (body,) = server.bodies
    *shown, text = body["messages"][0]["content"]
    shades = []
    for part in shown:
        head, _, data = part["image_url"]["url"].partition(",")
        assert head == "data:image/jpeg;base64"
        shades.append(Image.open(io.BytesIO(base64.b64decode(data))).getpixel((0, 0)))
    assert [round(shade / 10) for shade in shades] == [1, 12, 24]
    assert text == {"type": "text", "text": INSTRUCTION}
    assert (body["model"], body["max_tokens"]) == ("test-vl", 1024)
    assert "temperature" not in body and "response_format" not in body
    (record,) = lines(out / "answers.jsonl")
    assert record == {
        "key": "clip-0|adas-1|test-vl",
        "clip_id": "clip-0",
        "prompt": "adas-1",
        "question": None,
        "teacher": "test-vl",
        "text": ANSWER,
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 1000, "completion_tokens": 100},
        "error": None,
        "model": "test-vl-2026",
    }


def test_own_questions_are_asked_in_their_words_and_only_the_report_by_its_schema(tmp_path: Path) -> None:
    clips = make_clips(tmp_path / "clips", 3)
    with TeacherServer() as server:
        options = (
            'annotate.questions=["Is it wet?", "Who goes first?"]',
            "annotate.json_schema=true",
            "annotate.temperature=0.5",
            "annotate.max_tokens=77",
            "annotate.max_tokens_key=max_completion_tokens",
        )
        out = annotate(recipe(server, *options), clips, tmp_path / "raw")
    assert {text for _, text in server.requests} == {INSTRUCTION, "Is it wet?", "Who goes first?"}
    for body, (_, text) in zip(server.bodies, server.requests, strict=True):
        assert (body["max_completion_tokens"], body["temperature"]) == (77, 0.5) and "max_tokens" not in body
        asked_for = body.get("response_format", {}).get("json_schema", {}).get("schema")
        assert asked_for == (report_json_schema() if text == INSTRUCTION else None)
    records = lines(out / "answers.jsonl")
    assert len(records) == 9
    own = {record["question"]: record["prompt"] for record in records}
    assert own[None] == "adas-1" and own["Is it wet?"] == "own-d88e5dfb12e7"
    assert all(record["key"] == f"{record['clip_id']}|{record['prompt']}|test-vl" for record in records)


def test_a_json_answer_is_kept_as_given_and_curation_can_read_it(tmp_path: Path) -> None:
    report = {
        "scene_description": "A wet road with two cars ahead.",
        "driving_parameters": {
            "road_type": "urban",
            "lane_count": 2,
            "ego_lane_position": "left",
            "traffic_light_state": "none",
            "pedestrian_on_road": False,
            "closest_vehicle_distance": 20,
            "ego_vehicle_speed": 30,
            "road_curvature": "straight",
            "weather": "rainy",
            "visibility": "moderate",
            "traffic_density": "low",
            "risk_factor": "medium",
        },
        "risk_assessment": ["The car ahead may brake.", "Keep more distance."],
    }
    answer = json.dumps(report)
    clips = make_clips(tmp_path / "clips", 1)
    with TeacherServer(answer=answer) as server:
        out = annotate(recipe(server, "annotate.json_schema=true"), clips, tmp_path / "raw")
    (record,) = lines(out / "answers.jsonl")
    assert record["text"] == answer
    read = parse_answer(record["text"])
    found = read.report()
    assert found is not None and found.model_dump(mode="json") == report and not read.findings


def test_the_key_is_sent_and_stands_in_no_file_and_no_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ROADSCRIBE_API_KEY", "sk-very-secret")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-another-host")
    clips = make_clips(tmp_path / "clips", 3)
    server = TeacherServer(lambda name, before: "401" if name == "clip-2" else "answer")
    with server, pytest.raises(InputError) as caught:
        annotate(recipe(server, "annotate.concurrency=1"), clips, tmp_path / "raw")
    assert server.headers[0]["authorization"] == "Bearer sk-very-secret"
    assert "openai-organization" not in server.headers[0]
    assert "ROADSCRIBE_API_KEY" in str(caught.value) and "no such key" in str(caught.value)
    written = "".join(path.read_text() for path in (tmp_path / "raw").iterdir())
    for text in (str(caught.value), written, *capfd.readouterr()):
        assert "sk-very-secret" not in text


def test_without_a_key_none_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin")
    with TeacherServer() as server:
        annotate(recipe(server), make_clips(tmp_path / "clips", 1), tmp_path / "raw")
    assert "authorization" not in server.headers[0]


# ------------------------------------------------------------------------------------------ what stops it


@pytest.mark.parametrize(
    ("outcome", "error", "says"),
    [
        ("404", InputError, "--model"),
        ("403", InputError, "ROADSCRIBE_API_KEY"),
        ("redirect", InputError, "127.0.0.1:9"),
        ("quota", WorkError, "cannot pay"),
        ("429 long", WorkError, "7200 s"),
    ],
)
def test_what_no_request_would_survive_stops_the_run_at_once(
    tmp_path: Path, outcome: str, error: type[Exception], says: str
) -> None:
    clips, out = make_clips(tmp_path / "clips", 50), tmp_path / "raw"
    with TeacherServer(lambda name, before: outcome) as server, pytest.raises(error, match=says):
        annotate(recipe(server, "annotate.concurrency=2"), clips, out)
    assert len(server.requests) <= 2
    assert not (out / "dead_letters.jsonl").exists() and not read_json(out / MANIFEST, "m")["complete"]


@pytest.mark.parametrize("outcome", ["huge", "packed"])
def test_a_response_that_could_fill_the_memory_is_not_read(tmp_path: Path, outcome: str) -> None:
    clips, out = make_clips(tmp_path / "clips", 2), tmp_path / "raw"
    with TeacherServer(lambda name, before: outcome if name == "clip-1" else "answer") as server:
        annotate(recipe(server), clips, out)
    (letter,) = lines(out / "dead_letters.jsonl")
    assert letter["clip_id"] == "clip-1" and ("8 MB" in letter["reason"] or "compressed" in letter["reason"])


def test_a_teacher_that_answers_nothing_is_given_up_and_may_be_asked_again(tmp_path: Path) -> None:
    clips, out = make_clips(tmp_path / "clips", 40), tmp_path / "raw"
    with TeacherServer(lambda name, before: "400") as server:
        options = recipe(server, "annotate.concurrency=2", "annotate.give_up_after=5")
        with pytest.raises(WorkError, match=r"5 questions in a row.*this is 400.*--retry-dead"):
            annotate(options, clips, out)
        assert len(server.requests) <= 6
        server.behaviour = lambda name, before: "400" if name == "clip-9" else "answer"
        buried = {name for name, _ in server.requests}
        # Dead letters rest until they are asked for.
        annotate(options, clips, out, resume=True)
        assert not buried & {name for name, _ in server.requests[len(buried) :]}
        annotate(options, clips, out, retry_dead=True)
        assert keys(out / "dead_letters.jsonl") == ["clip-9|adas-1|test-vl"]
        assert len(keys(out / "answers.jsonl")) == 39
        server.behaviour = lambda name, before: "answer"
        annotate(options, clips, out, retry_dead=True)
    assert not (out / "dead_letters.jsonl").exists()
    assert summary(out)["answers"] == 40 and summary(out)["dead_letters"] == 0


def test_nobody_at_the_address_is_said(tmp_path: Path) -> None:
    clips, out = make_clips(tmp_path / "clips", 2), tmp_path / "raw"
    options = load_recipe(None, [*QUICK, "annotate.teacher=http://127.0.0.1:9/v1", "annotate.attempts=2"])
    with pytest.raises(WorkError, match="none of 2 questions"):
        annotate(options, clips, out)
    reasons = {letter["reason"] for letter in lines(out / "dead_letters.jsonl")}
    assert all("cannot connect to http://127.0.0.1:9/v1" in reason for reason in reasons)


# --------------------------------------------------------------------------------------------- budgets


def test_a_budget_of_requests_is_kept_over_resumes(tmp_path: Path) -> None:
    clips, out = make_clips(tmp_path / "clips", 30), tmp_path / "raw"
    with TeacherServer(at_rate(0.3, faults=("500", "dropped"))) as server:
        with pytest.raises(WorkError, match=r"annotate.max_requests=10 is used up.*--resume"):
            annotate(recipe(server, "annotate.max_requests=10"), clips, out)
        assert len(server.requests) == 10
        assert not read_json(out / MANIFEST, "m")["complete"]
        with pytest.raises(WorkError, match="used up"):
            annotate(recipe(server, "annotate.max_requests=10"), clips, out, resume=True)
        assert len(server.requests) == 10
        # A larger budget and other workers are no other recipe.
        annotate(
            recipe(server, "annotate.max_requests=200", "annotate.concurrency=3"), clips, out, resume=True
        )
    assert len(keys(out / "answers.jsonl")) == 30 and set(server.answered().values()) == {1}


def test_a_budget_of_money_is_never_exceeded_and_well_used(tmp_path: Path) -> None:
    clips, out = make_clips(tmp_path / "clips", 40), tmp_path / "raw"
    with TeacherServer(seconds=0.01) as server:
        with pytest.raises(WorkError, match=r"annotate\.max_cost=0.5 is used up"):
            annotate(recipe(server, "annotate.max_cost=0.5", *PRICED), clips, out)
        answers = len(keys(out / "answers.jsonl"))
        # 0.02 an answer, and room for one upper bound (0.13) must be left for each request.
        assert answers * 0.02 <= 0.5 and answers >= (0.5 - 0.13) / 0.02 - 1
        annotate(recipe(server, "annotate.max_cost=5", *PRICED), clips, out, resume=True)
    assert summary(out)["cost"] == pytest.approx(40 * 0.02) and summary(out)["answers"] == 40


# ------------------------------------------------------------------------------------------- interrupts


def start(server: TeacherServer, clips: Path, out: Path) -> subprocess.Popen[str]:
    options = [*QUICK, "annotate.concurrency=3"]
    command = [sys.executable, "-m", "roadscribe", "annotate", str(clips), "--out", str(out)]
    command += ["--teacher", server.url, "--model", "1.5", "--max-requests", "400"]
    command += [part for option in options for part in ("--set", option)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_with_130_and_loses_no_answer(tmp_path: Path, number: int) -> None:
    clips, out = make_clips(tmp_path / "clips", 500), tmp_path / "raw"
    with TeacherServer(seconds=0.3) as server:
        process = start(server, clips, out)
        wait_until(lambda: len(server.requests) >= 5)
        os.kill(process.pid, number)
        _, stderr = process.communicate(timeout=30)
        assert process.returncode == 130 and "Traceback" not in stderr, stderr
        assert (
            stderr.splitlines()[-1] == "roadscribe: interrupted; run the same command with --resume to go on"
        )
        if number == signal.SIGINT:
            assert "3 answers are under way" in stderr
            # What was under way was waited for: every answer the server gave is there.
            assert len(keys(out / "answers.jsonl")) == len(server.requests)
        assert all(key.endswith("|adas-1|1.5") for key in keys(out / "answers.jsonl"))
        assert not read_json(out / MANIFEST, "m")["complete"]


def test_it_runs_where_an_event_loop_is_running_already(tmp_path: Path) -> None:
    """As in a notebook."""
    clips = make_clips(tmp_path / "clips", 3)

    async def cell() -> Path:
        return annotate(recipe(server), clips, tmp_path / "raw")

    with TeacherServer() as server:
        assert len(keys(asyncio.run(cell()) / "answers.jsonl")) == 3

"""Whatever byte of an artifact is damaged, every verb that reads it ends with one line or with all it has counted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from in_process import Ran, roadscribe
from roadscribe.artifacts import MANIFEST
from roadscribe.errors import InputError

EXAMPLES = 8
"""Per artifact and verb: the suite stays fast. Raise it after a change of what reads artifacts."""

bounded = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    # Damage is small already, and shrinking would take minutes.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(0, 3), max_size=2),
    st.dictionaries(st.sampled_from(["a", "key", "clip_id"]), st.integers(0, 3), max_size=2),
)


def places_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values in a JSON document, its root first."""
    inner: list[Any] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value[:3]))
    return [path, *(place for key, one in inner for place in places_in(one, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The document with another value at a path."""
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def damage_json(draw: st.DrawFn, content: bytes) -> bytes:
    """One value of a JSON document, or of one line of a JSONL file, is another or gone."""
    try:
        json.loads(content)
        lines = [content]
    except ValueError:
        lines = content.splitlines()
    number = draw(st.integers(0, len(lines) - 1))
    document = json.loads(lines[number])
    path = draw(st.sampled_from(places_in(document)))
    lines[number] = json.dumps(replaced(document, path, draw(VALUES))).encode()
    return b"\n".join(lines) + b"\n"


def damage_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """Some bytes are cut off, flipped, zeroed, gone or inserted."""
    place = draw(st.integers(0, max(0, len(content) - 1)))
    length = draw(st.integers(1, 64))
    some = draw(st.binary(min_size=1, max_size=8))
    how = draw(st.sampled_from(["cut", "flip", "zero", "remove", "insert", "empty"]))
    head, tail = content[:place], content[place:]
    match how:
        case "cut":
            return head
        case "flip":
            return head + bytes([tail[0] ^ (some[0] or 1)]) + tail[1:] if tail else some
        case "zero":
            return head + bytes(min(length, len(tail))) + tail[length:]
        case "remove":
            return head + tail[length:]
        case "insert":
            return head + some + tail
    return b""


@st.composite
def damages(draw: st.DrawFn, path: Path) -> bytes:
    """A damaged copy of a file's content."""
    content = path.read_bytes()
    is_json = path.suffix in (".json", ".jsonl")
    if is_json and draw(st.booleans()):
        return damage_json(draw, content)
    return damage_bytes(draw, content)


class Street(NamedTuple):
    """One small artifact of each kind."""

    drives: Path
    clips: Path
    raw: Path
    dataset: Path
    adapter: Path
    scorecard: Path


class Written(NamedTuple):
    text: str
    tokens: int = 7
    finished: bool = True
    seconds: float = 0.1


class Engine:
    """Writes the same text for every clip."""

    def generate(self, clips_frames: Sequence[Any], *, grammar: bool) -> list[Written]:
        return [Written("**Scene Description:** A road.") for _ in clips_frames]


FEW = ("--set", "evaluate.controls=[]", "--set", "evaluate.resamples=100", "--set", "infer.batch_size=3")


@pytest.fixture(scope="module")
def stand_ins() -> Any:
    """No model is loaded where only the reading of artifacts is tried."""

    class Engines(dict[str, Engine]):
        def __init__(self, recipe: Any, adapter: Path | None) -> None:
            super().__init__({"base": Engine()} | ({"tuned": Engine()} if adapter else {}))

    def stop(*_: Any) -> None:
        raise InputError("everything was read; stopped before a weight is changed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("roadscribe.evaluate.adapter._Engines", Engines)
        patch.setattr("roadscribe.export.export._export", stop)
        patch.setattr("roadscribe.train.train._train", stop)
        yield


@pytest.fixture(scope="module")
def street(small_run: Any, stand_ins: Any, tmp_path_factory: pytest.TempPathFactory) -> Street:
    folder = tmp_path_factory.mktemp("street")
    for kind in ("clips", "dataset", "adapter"):
        shutil.copytree(getattr(small_run, kind), folder / kind)
    shutil.copytree(small_run.clips.parent / "drives", folder / "drives")
    clips = folder / "clips"
    done = roadscribe("annotate", clips, "--out", folder / "raw")
    assert done.returncode == 0, done.stderr
    done = roadscribe("evaluate", clips, "--adapter", folder / "adapter", "--out", folder / "scorecard", *FEW)
    assert done.returncode == 0, done.stderr
    return Street(*(folder / name for name in Street._fields))


Command = Callable[[Street, Path], list[object]]
"""The arguments of a verb that reads a street and may write to a path."""


def collect(street: Street, out: Path) -> list[object]:
    small = ["--set", "footage.frames=2", "--set", "footage.max_pixels=6144"]
    return ["collect", street.drives / "drives.jsonl", "--out", out, *small]


def annotate(street: Street, out: Path) -> list[object]:
    return ["annotate", street.clips, "--out", out]


def annotate_again(street: Street, out: Path) -> list[object]:
    return ["annotate", street.clips, "--out", street.raw, "--resume"]


def curate(street: Street, out: Path) -> list[object]:
    return ["curate", street.raw, "--clips", street.clips, "--out", out]


def plan(street: Street, out: Path) -> list[object]:
    return ["plan", street.dataset, "--card", "t4"]


def train(street: Street, out: Path) -> list[object]:
    recipe = json.loads((street.adapter / "recipe.json").read_text())
    base = recipe["model"]["base"]
    small = ["--set", f"model.base={base}", "--set", "footage.frames=2", "--set", "footage.max_pixels=6144"]
    return ["train", street.dataset, "--out", out, *small]


def evaluate(street: Street, out: Path) -> list[object]:
    data = ["--train-dataset", street.dataset]
    return ["evaluate", street.clips, "--adapter", street.adapter, *data, "--out", out, *FEW]


def evaluate_again(street: Street, out: Path) -> list[object]:
    return [
        "evaluate", street.clips, "--adapter", street.adapter, "--out", street.scorecard, *FEW, "--resume",
    ]  # fmt: skip


def export(street: Street, out: Path) -> list[object]:
    given = ["--clips", street.clips, "--scorecard", street.scorecard, "--dataset", street.dataset]
    return ["export", street.adapter, *given, "--out", out]


def publish_dataset(street: Street, out: Path) -> list[object]:
    return ["publish", street.dataset, "--to", "anna/drives", "--dry-run", "--json"]


def publish_adapter(street: Street, out: Path) -> list[object]:
    given = ["--scorecard", street.scorecard, "--dataset", street.dataset]
    return ["publish", street.adapter, *given, "--to", "anna/adapter", "--dry-run", "--json"]


READERS: list[tuple[str, list[Command]]] = [
    ("drives/drives.jsonl", [collect]),
    ("clips/clips-00000.parquet", [annotate, curate, evaluate, export]),
    ("clips/artifact.json", [annotate, curate, evaluate, export]),
    ("raw/answers.jsonl", [curate, annotate_again]),
    ("raw/artifact.json", [curate, annotate_again]),
    ("dataset/artifact.json", [plan, train, evaluate, export, publish_dataset]),
    ("dataset/quality.json", [export, publish_adapter]),
    ("dataset/dataset/README.md", [publish_dataset, export]),
    ("dataset/dataset/dataset_dict.json", [plan, publish_dataset]),
    ("dataset/dataset/train/state.json", [plan, train, evaluate, publish_dataset]),
    ("dataset/dataset/train/dataset_info.json", [plan, evaluate, publish_dataset]),
    ("dataset/dataset/train/data-00000-of-00001.arrow", [plan, train, evaluate, publish_dataset]),
    ("adapter/artifact.json", [evaluate, export, publish_adapter]),
    ("adapter/contract.json", [evaluate, export, publish_adapter]),
    ("adapter/adapter_config.json", [export, publish_adapter]),
    ("adapter/adapter_model.safetensors", [evaluate, export, publish_adapter]),
    ("adapter/train_log.jsonl", [export, publish_adapter]),
    ("adapter/recipe.json", [publish_adapter]),
    ("scorecard/artifact.json", [export, publish_adapter, evaluate_again]),
    ("scorecard/scorecard.json", [export, publish_adapter, evaluate_again]),
    ("scorecard/answers.jsonl", [evaluate_again]),
]


def in_copy(street: Street, folder: Path) -> Street:
    """A copy of the street in another folder."""
    shutil.copytree(street.clips.parent, folder)
    return Street(*(folder / name for name in Street._fields))


def require_honest(ran: Ran, command: Sequence[object]) -> None:
    """One line for a failure, no traceback, and a count of what a finished stage does not hold."""
    assert ran.returncode in (0, 1, 2), ran.stderr
    assert "Traceback" not in ran.stderr
    lines = [line for line in ran.stderr.splitlines() if line.startswith("roadscribe: ")]
    assert len(lines) == (1 if ran.returncode else 0), ran.stderr
    if ran.returncode:
        assert len(lines[0]) < 1500, lines[0]


def require_counted(verb: str, out: Path, before: int) -> None:
    """Of ``before`` rows each is in the artifact or counted as left out."""
    summary = json.loads((out / MANIFEST).read_text())["summary"]
    there = {"curate": "rows_kept", "annotate": "answers"}.get(verb, "clips")
    assert summary[there] + summary["left_out"] >= before, summary


CASES = [(path, reader) for path, readers in READERS for reader in readers]


@pytest.mark.parametrize(("path", "command"), CASES, ids=lambda case: getattr(case, "__name__", case))
def test_a_damaged_artifact_is_one_line_or_everything_is_counted(
    street: Street, path: str, command: Command, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = street.clips.parent / path

    @bounded
    @given(content=damages(whole))
    def holds(content: bytes) -> None:
        folder = tmp_path_factory.mktemp("damaged")
        try:
            copy = in_copy(street, folder / "street")
            (folder / "street" / path).write_bytes(content)
            arguments = command(copy, folder / "out")
            ran = roadscribe(*arguments)
            require_honest(ran, arguments)
            if ran.returncode == 0 and "--out" in arguments:
                out = Path(str(arguments[arguments.index("--out") + 1]))
                if out / MANIFEST != copy.clips.parent / path:
                    require_counted(str(arguments[0]), out, 8)
        finally:
            shutil.rmtree(folder)

    holds()


def test_one_flipped_bit_in_a_frame_is_found(street: Street, tmp_path: Path) -> None:
    copy = in_copy(street, tmp_path / "street")
    shard = copy.clips / "clips-00000.parquet"
    content = bytearray(shard.read_bytes())
    content[content.index(b"\xff\xd8\xff") + 500] ^= 1
    shard.write_bytes(content)
    ran = roadscribe(*evaluate(copy, tmp_path / "out"))
    assert ran.returncode == 2
    assert "clips-00000.parquet: not a shard of clips" in ran.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", [annotate, curate, evaluate])
def test_a_folder_that_lost_clips_does_not_pass_for_whole(
    street: Street, command: Command, tmp_path: Path
) -> None:
    copy = in_copy(street, tmp_path / "street")
    shard = copy.clips / "clips-00000.parquet"
    pq.write_table(pq.read_table(shard).slice(0, 6), shard)
    ran = roadscribe(*command(copy, tmp_path / "out"))
    assert ran.returncode == 2
    assert "holds 6 clips, and 8 were collected" in ran.stderr


def test_answers_cut_off_at_the_end_of_a_line_do_not_pass_for_whole(street: Street, tmp_path: Path) -> None:
    copy = in_copy(street, tmp_path / "street")
    answers = copy.raw / "answers.jsonl"
    answers.write_bytes(b"".join(answers.read_bytes().splitlines(keepends=True)[:5]))
    ran = roadscribe(*curate(copy, tmp_path / "out"))
    assert ran.returncode == 2
    assert "holds 5 answers, and 8 were written" in ran.stderr


def test_a_dataset_that_lost_a_split_is_not_published(street: Street, tmp_path: Path) -> None:
    copy = in_copy(street, tmp_path / "street")
    (copy.dataset / "dataset" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    ran = roadscribe(*publish_dataset(copy, tmp_path / "out"))
    assert ran.returncode == 2
    assert "its list of splits does not name test, which is there" in ran.stderr

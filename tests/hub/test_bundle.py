"""What may leave this machine, and what a version tag may do: the decisions, without a network."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from roadscribe.curate.dataset import FEATURES
from roadscribe.errors import InputError
from roadscribe.hub.bundle import CardInputs, make_bundle
from roadscribe.hub.publish import Decision, FileId, Remote, decide, next_tag
from roadscribe.hub.scrub import leak_pattern, leaks, without_paths
from roadscribe.hub.shards import check_rows

PATTERN = leak_pattern((Path("/srv/anna"),), token="the-own-token")
ONE, TWO = FileId("1" * 64, "1" * 40), FileId("2" * 64, "2" * 40)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("hf_" + "x1" * 17, "a Hugging Face token"),
        ("key=sk-" + "a" * 30, "an API key"),
        ("AKIA" + "A" * 16, "an AWS key"),
        ("-----BEGIN RSA PRIVATE KEY-----", "a private key"),
        ("send the-own-token", "your own token"),
        ("see /srv/anna/clips/1.mp4", "a path of this machine"),
        ("see /home/bob/clips", "a path of this machine"),
        (r"see C:\Users\bob\clips", "a path of this machine"),
    ],
)
def test_secrets_and_paths_are_found_and_not_shown(text: str, what: str) -> None:
    (leak,) = leaks(text, PATTERN)
    assert leak.what == what
    if "path" not in what:
        assert len(leak.shown) == 6


@pytest.mark.parametrize(
    "text",
    [
        "and/or 3/4 lanes",
        "the home straight /home",
        "https://example.org/home/x",
        "cars at 10 m/s",
        "/srv/anna",
    ],
)
def test_words_that_only_look_like_paths_are_left_alone(text: str) -> None:
    assert not list(leaks(text, PATTERN))


def test_paths_in_json_are_cut_to_their_last_part() -> None:
    value = {"base": "/srv/models/qwen", "list": ["~/x/y.json", "owner/name", 3], "w": "D:\\models\\q"}
    assert without_paths(value) == (
        {"base": "qwen", "list": ["y.json", "owner/name", 3], "w": "q"},
        ["/srv/models/qwen", "~/x/y.json", "D:\\models\\q"],
    )


def test_a_teachers_address_stays_at_home() -> None:
    value = {"annotate": {"teacher": "https://me:secret@llm.intern:8000/v1", "model": "big"}}
    cut = ["https://llm.intern:8000/v1"]
    assert without_paths(value) == ({"annotate": {"teacher": "an endpoint", "model": "big"}}, cut)


def remote(
    files: dict[str, FileId], tags: dict[str, str], kind: str | None = "dataset", head: str = "c2"
) -> Remote:
    return Remote(head, {".gitattributes": ONE, **files}, tags, kind)


LOCAL = {"README.md": ONE, "data": TWO}


@pytest.mark.parametrize(
    ("there", "tag", "wanted"),
    [
        (remote({}, {}, None), None, Decision("v1", True, True, ())),
        (remote({}, {}, None), "first", Decision("first", True, True, ())),
        (remote(LOCAL, {"v1": "c1", "v2": "c2"}), None, Decision("v2", False, False, ())),
        (remote(LOCAL, {"v1": "c2"}), "v1", Decision("v1", False, False, ())),
        (remote(LOCAL, {"v1": "c2"}), "v5", Decision("v5", False, True, ())),
        (remote(LOCAL, {}), None, Decision("v1", False, True, ())),
        (
            remote({**LOCAL, "old": ONE}, {"v9": "c2", "v10": "c1"}),
            None,
            Decision("v11", True, True, ("old",)),
        ),
        (remote({"README.md": TWO, "data": TWO}, {"v1": "c2"}), None, Decision("v2", True, True, ())),
    ],
    ids=[
        "empty",
        "own name",
        "same",
        "same tag",
        "second name",
        "untagged",
        "more and fewer files",
        "changed",
    ],
)
def test_what_there_is_to_do(there: Remote, tag: str | None, wanted: Decision) -> None:
    assert decide("anna/x", "dataset", LOCAL, there, tag, overwrite=False) == wanted


@pytest.mark.parametrize(
    ("there", "tag", "overwrite", "says"),
    [
        (remote({"data": ONE}, {"v1": "c2"}), "v1", True, "v1 is there and stands for other content"),
        (remote(LOCAL, {"v1": "c1"}), "v1", True, "v1 is there"),
        (remote({"data": ONE}, {"v1": "c1"}), None, False, "no tag keeps that"),
        (remote({"data": ONE}, {"v1": "c2"}, "adapter"), None, False, "holds an artifact of kind 'adapter'"),
        (remote({"README.md": TWO}, {}, None), None, False, "did not publish"),
    ],
    ids=["tag taken", "tag elsewhere", "edited since", "another kind", "foreign"],
)
def test_nothing_is_overwritten_silently(there: Remote, tag: str | None, overwrite: bool, says: str) -> None:
    with pytest.raises(InputError, match=says):
        decide("anna/x", "dataset", LOCAL, there, tag, overwrite)
    if tag is None:
        assert decide("anna/x", "dataset", LOCAL, there, tag, overwrite=True).commit


def test_versions_count_on_past_nine() -> None:
    assert next_tag({}) == "v1" and next_tag({"v9": "a", "v10": "b", "vx": "c", "v2-draft": "d"}) == "v11"


def rows(text: str = "a road", exif: bool = False, inside: bool = True) -> datasets.Dataset:
    file = io.BytesIO()
    marks = Image.Exif()
    marks[0x010E] = "the garage at home"
    Image.new("RGB", (32, 32)).save(file, "JPEG", **({"exif": marks} if exif else {}))
    image = {"bytes": file.getvalue() if inside else None, "path": None if inside else "x.jpg"}
    plain = Image.new("RGB", (32, 32))
    row: dict[str, Any] = {
        "images": [plain, image],
        "prompt": [{"role": "user", "content": "?"}],
        "completion": [{"role": "assistant", "content": text}],
        **{key: key for key in ("clip_id", "drive_id", "report", "findings")},
    }
    return datasets.Dataset.from_list([row], features=FEATURES)


def test_rows_are_looked_through_before_they_leave() -> None:
    check_rows("train", rows(), PATTERN)
    with pytest.raises(InputError, match=r"train, clip clip_id: holds an API key \(sk-\.\.\.\)"):
        check_rows("train", rows("my key is sk-" + "k" * 40), PATTERN)
    with pytest.raises(InputError, match=r"clip clip_id: a frame carries camera metadata"):
        check_rows("train", rows(exif=True), PATTERN)
    with pytest.raises(InputError, match="point to image files"):
        check_rows("train", rows(inside=False), PATTERN)


@pytest.fixture
def merged(tmp_path: Path) -> Path:
    """A folder as `export` leaves it, with things in it that must not go."""
    folder = tmp_path / "model"
    folder.mkdir()
    manifest = {"kind": "model", "complete": True, "recipe": {"licence": "apache-2.0"}, "summary": {}}
    (folder / "artifact.json").write_text(json.dumps(manifest))
    (folder / "config.json").write_text(json.dumps({"_name_or_path": "/srv/anna/base"}))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\nhf download OWNER/NAME\n")
    save_file({"x": torch.ones(1)}, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "notes.txt").write_text("call Bob")
    return folder


def test_of_a_merged_model_only_known_files_go(merged: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exported without a scorecard"):
        make_bundle(merged, "anna/x", tmp_path, CardInputs(), PATTERN)
    bundle = make_bundle(merged, "anna/x", tmp_path, CardInputs(without_scorecard=True), PATTERN)
    content = {file.path: file.content for file in bundle.files}
    assert list(content) == ["README.md", "artifact.json", "config.json", "model.safetensors"]
    assert bundle.stays == ["notes.txt"] and bundle.cut == ["/srv/anna/base"]
    assert b"hf download anna/x" in content["README.md"] and b'"base"' in content["config.json"]  # type: ignore[operator]
    with pytest.raises(InputError, match="give --scorecard, --dataset and --license to `roadscribe export`"):
        make_bundle(merged, "anna/x", tmp_path, CardInputs(licence="mit"), PATTERN)


def test_a_card_or_a_weight_file_with_a_path_of_this_machine_stops_the_publish(
    merged: Path, tmp_path: Path
) -> None:
    inputs = CardInputs(without_scorecard=True)
    save_file({"x": torch.ones(1)}, merged / "model.safetensors", metadata={"from": "/srv/anna/base/x"})
    with pytest.raises(InputError, match=r"model\.safetensors: holds a path of this machine"):
        make_bundle(merged, "anna/x", tmp_path, inputs, PATTERN)
    save_file({"x": torch.ones(1)}, merged / "model.safetensors")
    (merged / "README.md").write_text("made from /srv/anna/clips\n")
    with pytest.raises(InputError, match=r"README\.md: holds a path of this machine"):
        make_bundle(merged, "anna/x", tmp_path, inputs, PATTERN)

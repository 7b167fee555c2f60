"""Publishing against a stand-in hub over real HTTP: what arrives, how often, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from hub_commands import CommandLine
from hub_standin import TOKEN, Hub
from safetensors.torch import load_file

from roadscribe.artifacts import MANIFEST
from roadscribe.model.adapter import WEIGHTS, load_adapter

ROWS = """
import datasets, hashlib, json
loaded = datasets.load_dataset({repo!r}, revision={revision!r})
def row(one):
    pixels = [hashlib.sha256(image.convert("RGB").tobytes()).hexdigest() for image in one["images"]]
    return dict(one, images=pixels)
print(json.dumps({{split: [row(one) for one in rows] for split, rows in loaded.items()}}))
"""


def stored_rows(dataset: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of a dataset on disk, frames as digests of their pixels, as ``ROWS`` prints them."""
    import hashlib

    def row(one: dict[str, Any]) -> dict[str, Any]:
        images = [hashlib.sha256(image.convert("RGB").tobytes()).hexdigest() for image in one["images"]]
        return {**one, "images": images}

    loaded = datasets.load_from_disk(str(dataset / "dataset"))
    return {split: [row(one) for one in rows] for split, rows in loaded.items()}


def test_a_published_dataset_is_read_back_by_version_with_its_images(
    roadscribe: CommandLine, hub: Hub, dataset: Path
) -> None:
    sent = roadscribe.published(dataset, "--to", "anna/drives")
    assert (sent["state"], sent["tag"], sent["private"]) == ("published", "v1", True)
    repo = hub.repo("anna/drives")
    assert repo.private and len(repo.commits) == 2 and repo.tags == {"v1": repo.head}
    assert set(repo.commits[repo.head]) == {
        ".gitattributes", "README.md", "artifact.json",
        "data/test-00000-of-00001.parquet", "data/train-00000-of-00001.parquet",
    }  # fmt: skip
    assert {"quarantine.jsonl", "quality.html", "quality.json"} <= set(sent["stays"])
    assert roadscribe.python(ROWS.format(repo="anna/drives", revision="v1")) == stored_rows(dataset)


def test_the_published_card_keeps_what_curate_wrote_and_adds_how_to_load_it(
    roadscribe: CommandLine, hub: Hub, dataset: Path
) -> None:
    roadscribe.published(dataset, "--to", "anna/card", "--license", "cc-by-4.0")
    repo = hub.repo("anna/card")
    text = repo.commits[repo.head]["README.md"].decode()
    header = yaml.safe_load(text.split("---\n")[1])
    assert header["license"] == "cc-by-4.0" and header["task_categories"] == ["image-text-to-text"]
    assert header["configs"][0]["data_files"] == [
        {"split": "train", "path": "data/train-*"},
        {"split": "test", "path": "data/test-*"},
    ]
    splits = {split["name"]: split["num_examples"] for split in header["dataset_info"]["splits"]}
    assert splits == {"train": 6, "test": 2}
    assert (
        text.split("---\n", 2)[2].strip()
        == (dataset / "dataset/README.md").read_text().split("---\n", 2)[2].strip()
    )


def test_the_same_content_again_is_nothing_to_do(roadscribe: CommandLine, hub: Hub, dataset: Path) -> None:
    roadscribe.published(dataset, "--to", "anna/twice")
    before = dict(hub.repo("anna/twice").commits)
    hub.uploads.clear()
    for more in ((), ("--tag", "v1")):
        assert roadscribe.published(dataset, "--to", "anna/twice", *more)["state"] == "nothing to do"
    assert hub.repo("anna/twice").commits == before and not hub.uploads
    assert roadscribe.published(dataset, "--to", "anna/twice", "--tag", "paper")["state"] == "tagged"
    assert hub.repo("anna/twice").tags.keys() == {"v1", "paper"} and not hub.uploads


def test_new_content_is_the_next_version_and_the_old_one_stays_as_it_was(
    roadscribe: CommandLine, hub: Hub, dataset: Path
) -> None:
    roadscribe.published(dataset, "--to", "anna/grows")
    old = stored_rows(dataset)
    shutil.rmtree(dataset / "dataset/test")
    (dataset / "dataset/dataset_dict.json").write_text('{"splits": ["train"]}')
    refused = roadscribe("publish", dataset, "--to", "anna/grows", "--tag", "v1")
    assert refused.code == 2 and "v1 is there and stands for other content" in refused.mistake
    sent = roadscribe.published(dataset, "--to", "anna/grows", "--message", "Without the test split")
    repo = hub.repo("anna/grows")
    assert sent["tag"] == "v2" and repo.messages[-1] == "Without the test split"
    assert "data/test-00000-of-00001.parquet" not in repo.commits[repo.head]
    assert roadscribe.python(ROWS.format(repo="anna/grows", revision="v1")) == old
    assert roadscribe.python(ROWS.format(repo="anna/grows", revision="v2")) == stored_rows(dataset)


def test_what_others_put_there_is_not_replaced_unless_told_to(
    roadscribe: CommandLine, hub: Hub, dataset: Path
) -> None:
    roadscribe.published(dataset, "--to", "anna/edited")
    repo = hub.repo("anna/edited")
    repo.commit({**repo.commits[repo.head], "README.md": b"edited by hand"}, "edit")
    refused = roadscribe("publish", dataset, "--to", "anna/edited")
    assert refused.code == 2 and "no tag keeps that" in refused.mistake
    assert roadscribe.published(dataset, "--to", "anna/edited", "--overwrite")["tag"] == "v2"
    del repo.commits[repo.head]["artifact.json"]
    refused = roadscribe("publish", dataset, "--to", "anna/edited")
    assert refused.code == 2 and "something that roadscribe did not publish" in refused.mistake


def test_private_data_does_not_go_to_a_public_repository(
    roadscribe: CommandLine, hub: Hub, dataset: Path
) -> None:
    roadscribe.published(dataset, "--to", "anna/open", "--public")
    assert not hub.repo("anna/open").private
    refused = roadscribe("publish", dataset, "--to", "anna/open", "--license", "mit")
    assert refused.code == 2 and "is public; say --public" in refused.mistake
    card = dataset / "dataset/README.md"
    card.write_text(card.read_text().replace("license: apache-2.0", "license: other"))
    hub.requests.clear()
    refused = roadscribe("publish", dataset, "--to", "anna/open", "--public")
    assert refused.code == 2 and "its card states no licence" in refused.mistake
    assert not hub.requests


def test_a_dry_run_lists_every_file_and_asks_no_network(
    roadscribe: CommandLine, hub: Hub, dataset: Path
) -> None:
    hub.requests.clear()
    ran = roadscribe("publish", dataset, "--to", "anna/dry", "--dry-run", "--tag", "v7")
    assert ran.code == 0 and not hub.requests
    for shown in (
        "anna/dry",
        "v7",
        "data/train-00000-of-00001.parquet",
        "README.md",
        "4 files",
        "quarantine.jsonl",
    ):
        assert shown in ran.out
    assert ran.out.rstrip().endswith("nothing was sent (--dry-run)")
    assert roadscribe("publish", dataset, "--to", "anna/dry", "--dry-run", token="").code == 0


@pytest.mark.parametrize("broken", ["commit", "tag"])
def test_a_publish_that_broke_off_goes_on_where_it_stopped(
    roadscribe: CommandLine, hub: Hub, dataset: Path, broken: str
) -> None:
    name = f"anna/broken-{broken}"
    # Other content than in the other tests, so that its shards are new to the hub.
    (dataset / "dataset/README.md").write_text((dataset / "dataset/README.md").read_text() + f"\n{broken}\n")
    hub.objects.clear()
    hub.trouble = lambda method, path: 503 if f"/{broken}/" in path else None
    failed = roadscribe("publish", dataset, "--to", name)
    assert failed.code == 1 and "the hub failed (status 503); run the same command again" in failed.mistake
    assert len(hub.uploads) == 2 and not hub.repo(name).tags
    hub.trouble = lambda method, path: None
    again = roadscribe.published(dataset, "--to", name)
    assert again["tag"] == "v1" and again["state"] == ("published" if broken == "commit" else "tagged")
    assert len(hub.uploads) == 2, "uploaded files are not sent again"
    assert len(hub.repo(name).commits) == 2


def test_a_hub_that_cannot_be_reached_is_one_line(roadscribe: CommandLine, hub: Hub, dataset: Path) -> None:
    hub.trouble = lambda method, path: 0
    failed = roadscribe("publish", dataset, "--to", "anna/nowhere")
    assert failed.code == 1 and "the hub could not be reached" in failed.mistake
    assert "run the same command again" in failed.mistake


def test_a_commit_by_someone_else_meanwhile_is_not_overwritten(
    roadscribe: CommandLine, hub: Hub, dataset: Path
) -> None:
    roadscribe.published(dataset, "--to", "anna/race")
    repo = hub.repo("anna/race")
    (dataset / "dataset/README.md").write_text((dataset / "dataset/README.md").read_text() + "\nmore\n")

    def meanwhile(method: str, path: str) -> None:
        if "/commit/" in path:
            repo.commit({**repo.commits[repo.head], "theirs.txt": b"theirs"}, "theirs")

    hub.trouble = meanwhile
    failed = roadscribe("publish", dataset, "--to", "anna/race")
    assert failed.code == 1 and "changed by someone else meanwhile" in failed.mistake
    assert "theirs.txt" in repo.commits[repo.head] and repo.tags.keys() == {"v1"}


def test_wrong_rights_are_one_line_that_says_what_to_do(
    roadscribe: CommandLine, hub: Hub, dataset: Path
) -> None:
    for token, to, says in (
        ("", "anna/x", "no token for the hub; log in with `hf auth login`"),
        ("hf_" + "wrong" * 7, "anna/x", "does not accept the token"),
        (TOKEN, "bob/x", "the token may not write there"),
        (TOKEN, "x", "write it as owner/name"),
        (TOKEN, "anna/x--y", "no name the hub takes"),
    ):
        refused = roadscribe("publish", dataset, "--to", to, token=token)
        assert refused.code == 2 and says in refused.mistake
        assert "wrongwrong" not in refused.err


def test_a_published_adapter_is_loaded_from_the_hub_and_holds_no_path_of_this_machine(
    roadscribe: CommandLine, hub: Hub, small_run: Any, tiny_folder: Path, tmp_path: Path
) -> None:
    refused = roadscribe("publish", small_run.adapter, "--to", "anna/lora")
    assert refused.code == 2 and "--scorecard DIR" in refused.mistake and not hub.requests
    sent = roadscribe.published(small_run.adapter, "--to", "anna/lora", "--without-scorecard")
    assert sent["cut"] == [str(tiny_folder)] and sent["license"] == "other"
    repo = hub.repo("anna/lora", "model")
    files = repo.commits[repo.tags["v1"]]
    for name, content in files.items():
        assert str(tiny_folder.parent).encode() not in content, name
    assert json.loads(files["contract.json"])["base"] == tiny_folder.name
    assert b"anna/lora" in files["README.md"] and b"OWNER/NAME" not in files["README.md"]
    get = "from huggingface_hub import snapshot_download\nimport json\n"
    get += f"print(json.dumps(snapshot_download('anna/lora', revision='v1', local_dir={str(tmp_path / 'got')!r})))"
    got = Path(roadscribe.python(get))
    loaded = load_adapter(got, base=str(tiny_folder))
    assert loaded.contract.base == tiny_folder.name
    stored = load_file(small_run.adapter / WEIGHTS)
    assert all((one == stored[name]).all() for name, one in load_file(got / WEIGHTS).items())
    wrong = roadscribe("publish", small_run.dataset, "--to", "anna/lora", "--scorecard", tmp_path)
    assert wrong.code == 2 and "a dataset has its own card" in wrong.mistake


def test_unfinished_and_foreign_folders_are_refused(
    roadscribe: CommandLine, dataset: Path, tmp_path: Path
) -> None:
    manifest = json.loads((dataset / MANIFEST).read_text())
    (dataset / MANIFEST).write_text(json.dumps({**manifest, "complete": False}))
    assert "is unfinished" in roadscribe("publish", dataset, "--to", "anna/x").mistake
    (dataset / MANIFEST).write_text(json.dumps({**manifest, "kind": "raw"}))
    assert "is of kind 'raw'" in roadscribe("publish", dataset, "--to", "anna/x").mistake
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "missing"):
        assert roadscribe("publish", folder, "--to", "anna/x").code == 2

"""What of an artifact goes to the hub: the files, under which names, and what stays at home.

Three kinds can be published: a dataset (as Parquet), an adapter (with a card made here) and a merged model
(with the card that export made). Everything here happens on this machine; no network is asked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from roadscribe.artifacts import MANIFEST, read_json, require_complete
from roadscribe.errors import InputError
from roadscribe.hub.scrub import leaks, without_paths

CARD = "README.md"
SCORECARD = "scorecard.json"
VERBS = {"dataset": "curate", "adapter": "train", "model": "export"}
"""The kinds that can be published, and who makes them."""
ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json", "contract.json", "recipe.json",
                 "train_log.jsonl", MANIFEST)  # fmt: skip
MODEL_FILES = ("config.json", "generation_config.json", "model.safetensors.index.json", "contract.json",
               "recipe.json", "comparison.json", SCORECARD, CARD, MANIFEST, "processor_config.json",
               "preprocessor_config.json", "video_preprocessor_config.json", "tokenizer.json",
               "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
               "merges.txt", "chat_template.jinja", "chat_template.json")  # fmt: skip
"""And every weight file. A list, so that nothing else that lies in the folder is sent by accident."""
OUR_JSON = (MANIFEST, "contract.json", "recipe.json", "adapter_config.json", "comparison.json", SCORECARD,
            "config.json")  # fmt: skip
"""Files in which an absolute path is a remark of where something lay, and is cut to its last part."""
NOT_OURS = ("tokenizer.json", "vocab.json", "merges.txt", "added_tokens.json")
"""Tables of pieces of words, as they came with the base: a piece such as a folder's name tells of nobody."""


class Outgoing(NamedTuple):
    """One file of a bundle."""

    path: str
    """In the repository."""
    content: Path | bytes

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


@dataclass(frozen=True)
class Bundle:
    """Everything that goes into one version of a repository."""

    kind: Literal["dataset", "adapter", "model"]
    licence: str
    """As the card states it."""
    files: list[Outgoing]
    stays: list[str]
    """What lies in the folder and is not sent, relative to it."""
    cut: list[str] = field(default_factory=list)
    """Paths and addresses that were cut out of Roadscribe's own JSON."""

    @property
    def repo_type(self) -> str:
        """In the hub's words."""
        return "dataset" if self.kind == "dataset" else "model"


@dataclass(frozen=True)
class CardInputs:
    """What the user gives for the card beside the artifact itself."""

    licence: str | None = None
    scorecard: Path | None = None
    dataset: Path | None = None
    without_scorecard: bool = False


def kind_of(folder: Path) -> str:
    """Which kind of whole artifact a folder holds.

    Raises:
        InputError: not an artifact, unfinished, or of a kind that is not published.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give what `curate`, `train` or `export` wrote")
    manifest = read_json(folder / MANIFEST, "an artifact of `curate`, `train` or `export`")
    kind = manifest.get("kind") if isinstance(manifest, dict) else None
    if kind not in VERBS:
        raise InputError(
            f"{folder}: is of kind {kind!r}; datasets, adapters and merged models can be published"
        )
    require_complete(folder, kind, VERBS[kind])
    return str(kind)


def make_bundle(
    folder: Path, repo_id: str, staging: Path, inputs: CardInputs, pattern: re.Pattern[str]
) -> Bundle:
    """Gather what goes to the hub.

    Args:
        folder: a finished artifact.
        repo_id: where it will be, for the card.
        staging: an empty folder for files that have to be written first.
        inputs: what the card shall say beside what the artifact knows.
        pattern: what must not be in any file (`scrub.leak_pattern`).

    Raises:
        InputError: not a finished artifact, no scorecard and not said that there is none, or a file holds
            what must not be published.
    """
    makers: dict[str, Callable[..., Bundle]] = {"dataset": _dataset, "adapter": _adapter, "model": _model}
    kind = kind_of(folder)
    made = makers[kind](folder, repo_id, staging, inputs, pattern)
    clean, cut = [], []
    for file in made.files:
        content, found = _cleaned(file)
        clean.append(Outgoing(file.path, content))
        cut += found
    for file in clean:
        _refuse_leaks(file, pattern)
    sent = {file.content for file in made.files if isinstance(file.content, Path)}
    stays = [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path not in sent and not path.is_relative_to(folder / "dataset")
    ]
    replaced = {file.path for file in clean}
    return Bundle(
        made.kind,
        made.licence,
        sorted(clean, key=lambda file: file.path),
        [name for name in stays if name not in replaced],
        list(dict.fromkeys(cut)),
    )


def _dataset(
    folder: Path, repo_id: str, staging: Path, inputs: CardInputs, pattern: re.Pattern[str]
) -> Bundle:
    from roadscribe.hub.shards import dataset_readme, write_shards

    if inputs.scorecard or inputs.dataset:
        raise InputError("--scorecard and --dataset are for adapters; a dataset has its own card")
    shards = write_shards(folder / "dataset", staging / "data", pattern)
    text, licence = dataset_readme(folder / "dataset" / CARD, shards.info, inputs.licence)
    files = [Outgoing(f"data/{path.name}", path) for path in shards.files]
    files += [Outgoing(CARD, text.encode()), Outgoing(MANIFEST, folder / MANIFEST)]
    return Bundle("dataset", licence, files, [])


def _adapter(
    folder: Path, repo_id: str, staging: Path, inputs: CardInputs, pattern: re.Pattern[str]
) -> Bundle:
    if inputs.scorecard is None and not inputs.without_scorecard:
        raise InputError(
            f"{folder}: an adapter is published with its scorecard; give it (--scorecard DIR, made with "
            "`roadscribe evaluate`), or say --without-scorecard"
        )
    from roadscribe.export.card import PLACE, model_card
    from roadscribe.export.facts import data_facts, default_licence, scorecard_of, training_facts

    facts = training_facts(folder)
    scorecard = scorecard_of(inputs.scorecard, facts) if inputs.scorecard else None
    data = data_facts(inputs.dataset, facts) if inputs.dataset else None
    licence = inputs.licence or default_licence(facts.contract)
    card = model_card("adapter", facts, licence=licence, data=data, scorecard=scorecard)
    files = [Outgoing(name, folder / name) for name in ADAPTER_FILES if (folder / name).is_file()]
    files.append(Outgoing(CARD, card.replace(PLACE, repo_id).encode()))
    if scorecard is not None and inputs.scorecard is not None:
        files.append(Outgoing(SCORECARD, inputs.scorecard / SCORECARD))
    return Bundle("adapter", licence, files, [])


def _model(folder: Path, repo_id: str, staging: Path, inputs: CardInputs, pattern: re.Pattern[str]) -> Bundle:
    from roadscribe.export.card import PLACE

    if inputs.scorecard or inputs.dataset or inputs.licence:
        raise InputError(
            f"{folder}: export made this model's card; give --scorecard, --dataset and --license to `roadscribe export`"
        )
    manifest = require_complete(folder, "model", "export")
    if not (folder / SCORECARD).is_file() and not inputs.without_scorecard:
        raise InputError(
            f"{folder}: was exported without a scorecard; export again with --scorecard DIR, "
            "or say --without-scorecard"
        )
    names = [*MODEL_FILES, *(path.name for path in folder.glob("*.safetensors"))]
    files = [Outgoing(name, folder / name) for name in names if name != CARD and (folder / name).is_file()]
    card = (folder / CARD).read_text(encoding="utf-8").replace(PLACE, repo_id)
    licence = manifest["recipe"].get("licence")
    if not isinstance(licence, str):
        raise InputError(f"{folder / MANIFEST}: is damaged (it names no licence); export again")
    return Bundle("model", licence, [*files, Outgoing(CARD, card.encode())], [])


def _cleaned(file: Outgoing) -> tuple[Path | bytes, list[str]]:
    """One of `OUR_JSON` without the paths in it, and which they were; any other file as it is."""
    if not isinstance(file.content, Path) or file.path not in OUR_JSON:
        return file.content, []
    value, cut = without_paths(read_json(file.content, "a file of an artifact"))
    if not cut:
        return file.content, []
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode(), cut


def _refuse_leaks(file: Outgoing, pattern: re.Pattern[str]) -> None:
    """Look through a text file, or a weight file's header; rows of a dataset are looked through when written."""
    if file.path.endswith(".parquet") or file.path in NOT_OURS:
        return
    text = _header(file.content) if file.path.endswith(".safetensors") else _text(file)
    for leak in leaks(text, pattern):
        raise InputError(f"{file.path}: holds {leak.what} ({leak.shown}); take it out, then publish again")


def _text(file: Outgoing) -> str:
    raw = file.content if isinstance(file.content, bytes) else file.content.read_bytes()
    return raw.decode("utf-8", errors="replace")


def _header(content: Path | bytes) -> str:
    """The JSON header of a safetensors file: names, shapes and metadata."""
    assert isinstance(content, Path)  # weights are never rewritten
    with content.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return file.read(min(length, 100 * 2**20)).decode("utf-8", errors="replace")


def as_json(bundle: Bundle) -> dict[str, Any]:
    """What goes and what stays, for programs."""
    return {
        "kind": bundle.kind,
        "license": bundle.licence,
        "files": [{"path": file.path, "bytes": file.size} for file in bundle.files],
        "bytes": sum(file.size for file in bundle.files),
        "stays": bundle.stays,
        "cut": bundle.cut,
    }

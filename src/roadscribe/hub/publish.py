"""The stage `publish`: a dataset, an adapter or a merged model goes to the hub as one commit with a version tag.

Nothing there is overwritten silently: a tag never moves, what no tag keeps is only replaced with
``overwrite``, and content that is there already is not sent again. Large files go up one by one before the
commit, so a publish that was broken off goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import huggingface_hub
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    disable_progress_bars,
    validate_repo_id,
)

from roadscribe.artifacts import MANIFEST, disk_errors, read_json
from roadscribe.errors import InputError, WorkError
from roadscribe.hub.bundle import Bundle, CardInputs, Outgoing, as_json, kind_of, make_bundle
from roadscribe.hub.scrub import leak_pattern, machine_places
from roadscribe.progress import progress, say

OPEN_LICENCES = ("other", "unknown")
"""What a card states where nobody has said under which terms others may have the content."""
HUB_OWN = (".gitattributes",)
"""What the hub itself puts into a repository."""
VERSION = re.compile(r"v(\d+)")
VERSION_HERE = importlib.metadata.version("roadscribe")


class FileId(NamedTuple):
    """What tells a file's content: the hub gives one of the two, by how it stores the file."""

    sha256: str | None
    git_sha1: str | None

    def same(self, other: FileId) -> bool:
        """Whether both are of the same content."""
        if self.sha256 and other.sha256:
            return self.sha256 == other.sha256
        return bool(self.git_sha1) and self.git_sha1 == other.git_sha1


@dataclass(frozen=True)
class Remote:
    """A repository as it is."""

    head: str
    """The commit of its main branch."""
    files: Mapping[str, FileId]
    tags: Mapping[str, str]
    """Each tag's commit."""
    kind: str | None
    """What was published there by Roadscribe; None where nothing was."""


@dataclass(frozen=True)
class Decision:
    """What there is to do."""

    tag: str
    commit: bool
    """Whether files have to go up; otherwise they are there."""
    create_tag: bool
    deletions: tuple[str, ...]
    """Files of the last version that this one does not have; their tag keeps them."""


def next_tag(tags: Mapping[str, str]) -> str:
    """The version after the highest: v1, v2, ..."""
    return f"v{max(map(_number, tags), default=0) + 1}"


def _number(tag: str) -> int:
    match = VERSION.fullmatch(tag)
    return int(match.group(1)) if match else 0


def decide(
    repo_id: str, kind: str, local: Mapping[str, FileId], remote: Remote, tag: str | None, overwrite: bool
) -> Decision:
    """What to send and which tag to set, so that nothing is lost.

    Raises:
        InputError: the tag stands for something else, or the repository holds what no tag keeps or what
            Roadscribe did not publish.
    """
    there = {path: one for path, one in remote.files.items() if path not in HUB_OWN}
    same = local.keys() == there.keys() and all(one.same(there[path]) for path, one in local.items())
    if same:
        ours = [name for name, commit in remote.tags.items() if commit == remote.head]
        if tag is None and ours:
            return Decision(max(ours, key=_number), commit=False, create_tag=False, deletions=())
        if tag in ours:
            return Decision(str(tag), commit=False, create_tag=False, deletions=())
    if tag is not None and tag in remote.tags:
        raise InputError(
            f"{repo_id}: {tag} is there and stands for other content; leave --tag out for the next version "
            f"({next_tag(remote.tags)}), or give another"
        )
    chosen = tag or next_tag(remote.tags)
    if same:
        return Decision(chosen, commit=False, create_tag=True, deletions=())
    if there and not overwrite:
        if remote.kind != kind:
            found = (
                f"an artifact of kind {remote.kind!r}"
                if remote.kind
                else "something that roadscribe did not publish"
            )
            raise InputError(f"{repo_id}: holds {found}; give another name, or --overwrite to replace it")
        if remote.head not in remote.tags.values():
            raise InputError(
                f"{repo_id}: was changed since its last version, and no tag keeps that; tag it on the hub, "
                "or say --overwrite"
            )
    return Decision(
        chosen, commit=True, create_tag=True, deletions=tuple(sorted(there.keys() - local.keys()))
    )


def publish(
    folder: Path,
    repo_id: str,
    *,
    private: bool = True,
    tag: str | None = None,
    message: str | None = None,
    inputs: CardInputs | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Send a finished artifact to the hub, or only say what would be sent.

    The token is the one that `hf auth login` stored, or ``HF_TOKEN``; the hub is the one of ``HF_ENDPOINT``.

    Args:
        folder: what `curate`, `train` or `export` wrote.
        repo_id: ``owner/name``; created when missing.
        private: who may see a repository that is created now.
        tag: the version's name; None takes the next of v1, v2, ...
        message: of the commit.
        inputs: for the card.
        overwrite: replace what is there and no tag keeps, or what Roadscribe did not publish.
        dry_run: ask no network and send nothing.

    Returns:
        What went (`bundle.as_json`) with ``repo``, ``tag``, ``private``, ``state`` ("dry run", "published",
        "tagged" or "nothing to do") and, unless it was a dry run, ``commit`` and ``url``.

    Raises:
        InputError: the folder, the name, the tag or the rights do not fit, or a file holds what must not be
            published.
        WorkError: the hub cannot be reached or failed; the same command goes on where it stopped.
    """
    _check_names(repo_id, tag)
    kind_of(folder)
    token = huggingface_hub.get_token()
    if token is None and not dry_run:
        raise InputError("no token for the hub; log in with `hf auth login`, or set HF_TOKEN")
    with tempfile.TemporaryDirectory(prefix="roadscribe-publish-") as staging, disk_errors(Path(staging)):
        pattern = leak_pattern(machine_places(), token)
        bundle = make_bundle(folder, repo_id, Path(staging), inputs or CardInputs(), pattern)
        if not private and bundle.licence in OPEN_LICENCES:
            raise InputError(
                f"{folder}: its card states no licence (`{bundle.licence}`), so others may not have it; say under "
                "which one you may pass it on (--license ID), or publish it privately"
            )
        result = {"repo": repo_id, "tag": tag, "private": private, **as_json(bundle)}
        if dry_run:
            return {**result, "state": "dry run"}
        disable_progress_bars()
        api = HfApi(library_name="roadscribe", library_version=VERSION_HERE)
        with hub_errors(repo_id):
            sent = _send(api, repo_id, bundle, private, tag, message, overwrite)
        return {**result, **sent}


def _check_names(repo_id: str, tag: str | None) -> None:
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise InputError(f"--to {repo_id}: no name the hub takes ({str(error).splitlines()[0]})") from error
    if repo_id.count("/") != 1:
        raise InputError(f"--to {repo_id}: write it as owner/name")
    if tag is not None and not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,99}", tag):
        raise InputError(f"--tag {tag}: use letters, digits, dots, dashes and underscores, such as v1")


def _send(
    api: HfApi,
    repo_id: str,
    bundle: Bundle,
    private: bool,
    tag: str | None,
    message: str | None,
    overwrite: bool,
) -> dict[str, Any]:
    remote, is_private = _look(api, repo_id, bundle, private)
    local = {file.path: file_id(file) for file in bundle.files}
    decision = decide(repo_id, bundle.kind, local, remote, tag, overwrite)
    commit = remote.head
    if decision.commit:
        title = message or f"{bundle.kind.capitalize()} {decision.tag} (roadscribe {VERSION_HERE})"
        commit = _commit(api, repo_id, bundle, decision, remote.head, title)
    if decision.create_tag:
        api.create_tag(repo_id, tag=decision.tag, revision=commit, repo_type=bundle.repo_type)
        _check_sent(api, repo_id, bundle, decision.tag, local)
    state = "published" if decision.commit else "tagged" if decision.create_tag else "nothing to do"
    place = f"{api.endpoint}/{'datasets/' if bundle.repo_type == 'dataset' else ''}{repo_id}"
    return {
        "tag": decision.tag,
        "private": is_private,
        "state": state,
        "commit": commit,
        "url": f"{place}/tree/{decision.tag}",
    }


def _look(api: HfApi, repo_id: str, bundle: Bundle, private: bool) -> tuple[Remote, bool]:
    """The repository as it is, created when it is not there, and whether it is private.

    Raises:
        InputError: it is public, but the artifact was not said to be.
    """
    repo_type = bundle.repo_type
    try:
        info = api.repo_info(repo_id, repo_type=repo_type)
    except RepositoryNotFoundError:
        api.create_repo(repo_id, repo_type=repo_type, private=private)
        info = api.repo_info(repo_id, repo_type=repo_type)
        say(f"{repo_id}: created, {'private' if private else 'public'}")
    if private and not info.private:
        raise InputError(f"{repo_id}: is public; say --public to publish there, or give another name")
    if not private and info.private:
        say(f"{repo_id}: is private and stays so; the hub's settings page makes it public")
    head = str(info.sha)
    files = _remote_files(api, repo_id, repo_type, head)
    refs = api.list_repo_refs(repo_id, repo_type=repo_type)
    tags = {tag.name: tag.target_commit for tag in refs.tags}
    return Remote(head, files, tags, _remote_kind(api, repo_id, repo_type, head, files)), bool(info.private)


def _remote_files(api: HfApi, repo_id: str, repo_type: str, revision: str) -> dict[str, FileId]:
    tree = api.list_repo_tree(repo_id, recursive=True, revision=revision, repo_type=repo_type)
    return {
        item.path: FileId(item.lfs.sha256 if item.lfs else None, None if item.lfs else item.blob_id)
        for item in tree
        if isinstance(item, RepoFile)
    }


def _remote_kind(
    api: HfApi, repo_id: str, repo_type: str, revision: str, files: Mapping[str, FileId]
) -> str | None:
    if MANIFEST not in files:
        return None
    with tempfile.TemporaryDirectory(prefix="roadscribe-") as folder:
        path = api.hf_hub_download(
            repo_id, MANIFEST, repo_type=repo_type, revision=revision, local_dir=folder
        )
        try:
            manifest = read_json(Path(path), "an artifact's manifest")
        except InputError:
            return None
    kind = manifest.get("kind") if isinstance(manifest, dict) else None
    return kind if isinstance(kind, str) else None


def _commit(api: HfApi, repo_id: str, bundle: Bundle, decision: Decision, parent: str, message: str) -> str:
    """Large files one by one, then all in one commit on top of ``parent``; returns the commit."""
    additions = []
    with progress(len(bundle.files), "uploading") as advance:
        for file in bundle.files:
            content = str(file.content) if isinstance(file.content, Path) else file.content
            addition = CommitOperationAdd(path_in_repo=file.path, path_or_fileobj=content)
            api.preupload_lfs_files(repo_id, additions=[addition], repo_type=bundle.repo_type)
            additions.append(addition)
            advance(note=file.path)
    deletions = [CommitOperationDelete(path_in_repo=path) for path in decision.deletions]
    info = api.create_commit(
        repo_id,
        operations=[*additions, *deletions],
        commit_message=message,
        repo_type=bundle.repo_type,
        # Somebody else's commit in between is an error, not overwritten.
        parent_commit=parent,
    )
    return str(info.oid)


def _check_sent(api: HfApi, repo_id: str, bundle: Bundle, tag: str, local: Mapping[str, FileId]) -> None:
    """Hold what the tag stands for against what was to be sent."""
    there = _remote_files(api, repo_id, bundle.repo_type, tag)
    odd = [path for path, one in local.items() if path not in there or not one.same(there[path])]
    odd += sorted(there.keys() - local.keys() - set(HUB_OWN))
    if odd:
        raise WorkError(
            f"{repo_id}: {tag} does not hold what was sent ({odd[0]} differs); delete the tag there and try again"
        )


def file_id(file: Outgoing) -> FileId:
    """Both digests of a file in one reading."""
    sha256, git = hashlib.sha256(), hashlib.sha1(usedforsecurity=False)
    # What git hashes: a header with the size, then the content.
    git.update(f"blob {file.size}\0".encode())
    if isinstance(file.content, bytes):
        sha256.update(file.content)
        git.update(file.content)
    else:
        with file.content.open("rb") as opened:
            while piece := opened.read(2**20):
                sha256.update(piece)
                git.update(piece)
    return FileId(sha256.hexdigest(), git.hexdigest())


@contextmanager
def hub_errors(repo_id: str) -> Iterator[None]:
    """Turn what the hub, the network and the client's libraries raise into one line."""
    try:
        yield
    except HfHubHTTPError as error:
        raise _explained(repo_id, error) from error
    except (httpx.HTTPError, ConnectionError, TimeoutError) as error:
        raise _unreachable(repo_id, error) from error
    except RuntimeError as error:
        # The client wraps what went wrong in an upload.
        cause = error.__cause__
        if isinstance(cause, HfHubHTTPError):
            raise _explained(repo_id, cause) from error
        raise _unreachable(repo_id, cause or error) from error
    except ValueError as error:
        raise InputError(
            f"{repo_id}: the hub refuses the content ({' '.join(str(error).split())[:300]})"
        ) from error


def _unreachable(repo_id: str, error: BaseException) -> WorkError:
    why = " ".join(str(error).split())[:200]
    return WorkError(
        f"{repo_id}: the hub could not be reached ({type(error).__name__}{': ' + why if why else ''}); "
        "run the same command again, what is uploaded is kept"
    )


def _explained(repo_id: str, error: HfHubHTTPError) -> InputError | WorkError:
    status = error.response.status_code
    if status == 401:
        return InputError(f"{repo_id}: the hub does not accept the token; log in with `hf auth login`")
    if status == 403:
        return InputError(f"{repo_id}: the token may not write there; use one that may, or another owner")
    if status == 404:
        return InputError(f"{repo_id}: the hub does not know it, or the token may not see it; check the name")
    if status in (409, 412):
        return WorkError(f"{repo_id}: was changed by someone else meanwhile; look at it, then run again")
    if status == 429:
        return WorkError(f"{repo_id}: the hub asks to wait; run the same command again later")
    return WorkError(
        f"{repo_id}: the hub failed (status {status}); run the same command again, what is uploaded is kept"
    )


def render(result: Mapping[str, Any]) -> str:
    """What was or would be published, for people."""
    dry = result["state"] == "dry run"
    tag = result["tag"] or "the next version (v1, v2, ...)"
    width = max(len(file["path"]) for file in result["files"])
    lines = [
        f"{result['repo']} ({result['kind']}, {'private' if result['private'] else 'public'}, "
        f"licence {result['license']}), {tag}: {result['state']}"
    ]
    lines += [f"  {file['path'].ljust(width)}  {_size(file['bytes']):>9}" for file in result["files"]]
    total = f"{len(result['files'])} files".ljust(width)
    lines.append(f"  {total}  {_size(result['bytes']):>9}")
    if result["stays"]:
        lines.append(f"stays here: {', '.join(result['stays'])}")
    if result["cut"]:
        lines.append(f"cut out of the JSON: {', '.join(result['cut'])}")
    lines.append("nothing was sent (--dry-run)" if dry else result["url"])
    return "\n".join(lines)


def _size(number: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} B"

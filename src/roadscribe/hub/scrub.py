"""Nothing of this machine, and nothing secret, leaves with an artifact: what is taken out, and what stops a publish.

Paths in Roadscribe's own JSON are cut to their last part, which is all that another machine can use, and
addresses of servers to a word. In words (cards, logs, the rows of a dataset) nothing is rewritten; a secret
or a path of this machine found there ends the publish before anything was sent.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

SECRETS = {
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}",
    "an API key": r"\bsk-[A-Za-z0-9_-]{20,}",
    "an AWS key": r"\bAKIA[0-9A-Z]{16}\b",
    "a GitHub token": r"\bgh[pousr]_[A-Za-z0-9]{30,}",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
}
"""What each pattern finds. The issuers document these prefixes so that they can be found."""
_HOMES = r"(?:/home/|/Users/|[A-Za-z]:\\+Users\\+)[^/\\\s\"']+"


ENDPOINT = "an endpoint"
"""Stands where an address was."""


class Leak(NamedTuple):
    """Something that must not be published; ``shown`` gives none of a secret away."""

    what: str
    shown: str


def machine_places() -> tuple[Path, ...]:
    """Folders whose names tell of this machine: home, where the command runs, temporary files."""
    places = (Path.home(), Path.cwd(), Path(tempfile.gettempdir()))
    return tuple(place for place in dict.fromkeys(places) if len(place.parts) > 1)


def leak_pattern(places: tuple[Path, ...], token: str | None = None) -> re.Pattern[str]:
    """One pattern for every kind of leak.

    Args:
        places: folders of this machine (`machine_places`).
        token: the user's own token, searched for as it stands.
    """
    named = {f"secret{number}": pattern for number, pattern in enumerate(SECRETS.values())}
    if token:
        named["token"] = re.escape(token)
    paths = [*(re.escape(str(place)) for place in places), _HOMES]
    named["path"] = rf"(?<![\w/.-])(?:{'|'.join(paths)})[/\\]+[^\s\"']+"
    return re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in named.items()))


def leaks(text: str, pattern: re.Pattern[str]) -> Iterator[Leak]:
    """What must not be published in a text, in order."""
    kinds = list(SECRETS)
    for match in pattern.finditer(text):
        name = match.lastgroup or ""
        if name == "path":
            yield Leak("a path of this machine", match.group())
        else:
            what = "your own token" if name == "token" else kinds[int(name.removeprefix("secret"))]
            yield Leak(what, f"{match.group()[:3]}...")


def without_paths(value: Any) -> tuple[Any, list[str]]:
    """JSON without what only means something here: absolute paths are cut to their last part, addresses of
    servers (a teacher's, say, which may be a company's own) to a word. Also returns what was cut.
    """
    cut: list[str] = []

    def visit(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: visit(inner) for key, inner in item.items()}
        if isinstance(item, list):
            return [visit(inner) for inner in item]
        if isinstance(item, str) and _is_path(item):
            cut.append(item)
            return _last_part(item)
        if isinstance(item, str) and re.match(r"https?://", item):
            # Without the user name and password that an address may carry.
            cut.append(re.sub(r"//[^/@]*@", "//", item))
            return ENDPOINT
        return item

    return visit(value), list(dict.fromkeys(cut))


def _is_path(text: str) -> bool:
    if "\n" in text:
        return False
    return text.startswith(("/", "~/", "~\\", "file:/")) or PureWindowsPath(text).is_absolute()


def _last_part(path: str) -> str:
    return PureWindowsPath(path).name

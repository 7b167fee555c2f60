"""Where a teacher's endpoint is and which key it is sent, checked before anything is read or sent."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from roadscribe.errors import InputError
from roadscribe.recipe import Annotate

KEYS = ("ROADSCRIBE_API_KEY", "OPENAI_API_KEY")
"""Environment variables that may hold the key; the first one that does counts."""


def is_address(teacher: str) -> bool:
    """Whether a teacher's name is the address of an endpoint."""
    return "://" in teacher


@dataclass(frozen=True)
class Address:
    """Where an endpoint is, and the key it is sent; the key shows in no text of this object."""

    url: str
    model: str
    local: bool
    """Whether the host is this machine."""
    key: str | None = field(default=None, repr=False)
    key_name: str | None = None
    """The environment variable that the key came from."""


def address_of(section: Annotate, environment: Mapping[str, str]) -> Address:
    """Check a recipe's endpoint before anything is read or sent.

    Raises:
        InputError: not an address, no model, secrets in the address, or a key that would go out unencrypted.
    """
    url = section.teacher.rstrip("/")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"--teacher {url}: is no address ({error})") from error
    if parts.username or parts.password or parts.query or parts.fragment:
        # The address is shown and kept; what stands there may be a secret, so it is not repeated.
        raise InputError(
            f"--teacher: give the plain address, without a user, `?` or `#`; the key goes into {KEYS[0]}"
        )
    if parts.scheme not in ("http", "https") or not host:
        raise InputError(f"--teacher {url}: write it as https://host/v1 or http://127.0.0.1:8000/v1")
    if parts.path.endswith("/completions"):
        raise InputError(f"--teacher {url}: leave out the end, /chat/completions is added")
    if section.model is None:
        raise InputError(f"--teacher {url}: which of its models? give --model NAME")
    name = next((name for name in KEYS if environment.get(name, "").strip()), None)
    key = environment[name].strip() if name else None
    if key is not None and not (key.isascii() and key.isprintable()):
        raise InputError(f"{name}: holds characters that no API key has; set it again")
    local = _is_this_machine(host)
    if name and parts.scheme == "http" and not local and not section.key_over_http:
        raise InputError(
            f"--teacher {url}: the key in {name} would go out unencrypted; use https://, unset {name}, or "
            "--set annotate.key_over_http=true"
        )
    return Address(url, section.model, local, key, name)


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")

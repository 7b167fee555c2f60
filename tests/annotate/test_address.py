"""Where footage and key go: only where they were meant to, and a secret is never shown."""

from __future__ import annotations

import pytest

from roadscribe.annotate.address import Address, address_of
from roadscribe.errors import InputError
from roadscribe.recipe import load_recipe

KEY = "sk-very-secret"


def address(url: str, *overrides: str, model: str = "m", **environment: str) -> Address:
    recipe = load_recipe(None, [f"annotate.teacher={url}", f"annotate.model={model}", *overrides])
    return address_of(recipe.annotate, environment)


def test_the_projects_own_key_comes_before_openais() -> None:
    both = {"ROADSCRIBE_API_KEY": KEY, "OPENAI_API_KEY": "other"}
    found = address("https://host/v1/", **both)
    assert (found.url, found.key, found.key_name) == ("https://host/v1", KEY, "ROADSCRIBE_API_KEY")
    assert address("https://host/v1", OPENAI_API_KEY=KEY).key_name == "OPENAI_API_KEY"
    assert address("https://host/v1", ROADSCRIBE_API_KEY=" ").key is None


def test_the_key_shows_in_no_text() -> None:
    assert KEY not in repr(address("https://host/v1", OPENAI_API_KEY=KEY))


@pytest.mark.parametrize(
    "url", ["http://teacher.example/v1", "http://192.168.0.7:8000/v1", "http://[2001:db8::1]/v1"]
)
def test_a_key_goes_to_another_machine_only_under_tls(url: str) -> None:
    with pytest.raises(InputError, match="unencrypted"):
        address(url, OPENAI_API_KEY=KEY)
    assert address(url).key is None
    assert address(url, "annotate.key_over_http=true", OPENAI_API_KEY=KEY).key == KEY


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "127.9.9.9"])
def test_this_machine_needs_no_tls(host: str) -> None:
    found = address(f"http://{host}/v1", OPENAI_API_KEY=KEY)
    assert found.local and found.key == KEY


@pytest.mark.parametrize("host", ["localhost.evil.example", "127.0.0.1.evil.example"])
def test_a_name_that_only_begins_like_this_machine_is_another(host: str) -> None:
    with pytest.raises(InputError, match="unencrypted"):
        address(f"http://{host}/v1", OPENAI_API_KEY=KEY)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://host/v1", "https://host/v1"),
        ("https://", "https://host/v1"),
        ("https://host:port/v1", "no address"),
        ("https://[::1/v1", "no address"),
        ("https://host/v1/chat/completions", "leave out the end"),
        (f"https://me:{KEY}@host/v1", "plain address"),
        (f"https://host/v1?key={KEY}", "plain address"),
    ],
)
def test_what_is_no_plain_address_is_said_without_its_secrets(url: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        address(url)
    assert KEY not in str(caught.value)


def test_a_model_must_be_named() -> None:
    with pytest.raises(InputError, match="--model"):
        address("https://host/v1", model="null")


@pytest.mark.parametrize("key", ["schlüssel", "two\nlines"])
def test_a_key_that_cannot_be_one_is_said_and_not_shown(key: str) -> None:
    with pytest.raises(InputError, match="OPENAI_API_KEY") as caught:
        address("https://host/v1", OPENAI_API_KEY=key)
    assert key not in str(caught.value)

"""A teacher behind an OpenAI-compatible endpoint, asked through the official client.

The runner decides when and how often; here is one request: what is sent and what is taken from the response.
Nothing a server sends is trusted to be small, quick or well-formed.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx2
import openai

from roadscribe.annotate.address import Address
from roadscribe.annotate.book import TeacherAnswer
from roadscribe.annotate.budget import Tokens, upper_bound
from roadscribe.annotate.no_text import is_no_answer, trouble_without_text
from roadscribe.annotate.questions import REPORT, Ask
from roadscribe.annotate.trouble import AGAIN, Trouble, error_of, shorten, trouble_of_status
from roadscribe.recipe import Annotate
from roadscribe.report import report_json_schema

MAX_RESPONSE_BYTES = 8 * 2**20
"""A chat completion is some kilobytes; no more than this is read of one."""
SHORTEST_SECRET = 8
"""Characters; no key that protects anything is shorter."""
CONNECT_S = 10.0
"""Longest wait for a connection, in seconds."""

RESPONSE_FORMAT: dict[str, Any] = {
    "type": "json_schema",
    "json_schema": {"name": "driving_report", "strict": True, "schema": report_json_schema()},
}
"""What asks for the report as JSON; the answer is kept as it comes."""


class Endpoint:
    """One model behind one address; use it as an async context manager."""

    def __init__(self, section: Annotate, address: Address) -> None:
        self._section = section
        self._address = address
        self._http = httpx2.AsyncClient(
            timeout=httpx2.Timeout(section.timeout_s, connect=min(CONNECT_S, section.timeout_s), pool=None),
            limits=httpx2.Limits(max_connections=section.concurrency),
            # A key and somebody's footage go to the named address and nowhere else.
            follow_redirects=False,
            # A proxy has nothing to do on the way to this machine.
            trust_env=not address.local,
            event_hooks={"response": [_bounded]},
        )
        self._client = openai.AsyncOpenAI(
            base_url=address.url,
            api_key=address.key or "none",
            # Named, so that the environment's own do not go to a foreign host.
            organization="",
            project="",
            # The runner retries: it keeps count, and its waits end when the run does.
            max_retries=0,
            http_client=self._http,
        )
        omitted = ["OpenAI-Organization", "OpenAI-Project", *([] if address.key else ["Authorization"])]
        # Unpacked, a small response could fill the memory.
        self._headers: dict[str, Any] = {"Accept-Encoding": "identity"} | dict.fromkeys(
            omitted, openai.Omit()
        )

    async def __aenter__(self) -> Endpoint:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    def bound(self, ask: Ask) -> Tokens:
        """Upper bound of the tokens of one request."""
        schema = len(json.dumps(RESPONSE_FORMAT)) if self._section.json_schema else 0
        return upper_bound(self._section, ask.question.text, len(ask.clip.frames), schema)

    async def ask(self, ask: Ask) -> TeacherAnswer:
        """Send one request and take the answer from the response.

        Raises:
            Trouble: there is no answer; it says whether to try again.
        """
        try:
            async with asyncio.timeout(self._section.timeout_s):
                # The client's own way past its typed layer, which doubles the work and hides malformed bodies.
                response = await self._client.post(
                    "/chat/completions",
                    body=request_of(ask, self._section, self._address.model),
                    cast_to=httpx2.Response,
                    options={"headers": self._headers},
                )
        except (TimeoutError, openai.APITimeoutError) as error:
            connecting = type(error.__cause__).__name__ in ("ConnectTimeout", "PoolTimeout")
            limit = CONNECT_S if connecting else self._section.timeout_s
            reason = f"no {'connection' if connecting else 'whole answer'} within {limit:g} s"
            raise Trouble("timeout", reason, again=True, billed=not connecting) from error
        except openai.APIConnectionError as error:
            raise self._of_connection(error) from error
        except openai.APIStatusError as error:
            trouble = trouble_of_status(
                error.status_code,
                error.response.headers,
                self._without_key(error.response.text),
                where=self._address.url,
                key_name=self._address.key_name,
                now=datetime.now(UTC),
            )
            raise trouble from error
        try:
            return answer_of(
                response.text, report=ask.question == REPORT, max_tokens=self._section.max_tokens
            )
        except Trouble as trouble:
            trouble.reason = self._without_key(trouble.reason)
            raise

    def _of_connection(self, error: Exception) -> Trouble:
        cause = error.__cause__
        why = self._without_key(shorten(str(cause or error))) or type(cause).__name__
        if isinstance(cause, httpx2.ConnectError | httpx2.ProxyError):
            reason = f"cannot connect to {self._address.url} ({why})"
            return Trouble("no connection", reason, again=True)
        return Trouble("connection lost", f"the connection broke off ({why})", again=True, billed=True)

    def _without_key(self, text: str) -> str:
        """A message without the key: servers repeat the one they refuse.

        A word such as "none", which local servers are given, is no secret and stands in many a message.
        """
        key = self._address.key
        return text.replace(key, "***") if key and len(key) >= SHORTEST_SECRET else text


def request_of(ask: Ask, section: Annotate, model: str) -> dict[str, Any]:
    """The body of a chat completion: the frames as data URLs, oldest first, then the question."""
    frames = [
        {
            "type": "image_url",
            "image_url": {"url": f"data:image/jpeg;base64,{base64.b64encode(frame).decode()}"},
        }
        for frame in ask.clip.frames
    ]
    content = [*frames, {"type": "text", "text": ask.question.text}]
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        section.max_tokens_key: section.max_tokens,
    }
    if section.temperature is not None:
        body["temperature"] = section.temperature
    if section.json_schema and ask.question == REPORT:
        body["response_format"] = RESPONSE_FORMAT
    return body


def answer_of(body: str, *, report: bool = True, max_tokens: int | None = None) -> TeacherAnswer:
    """The answer in a chat completion's JSON.

    Args:
        body: the response's text.
        report: whether the driving report was asked for.
        max_tokens: the limit that was sent, for advice where it ended the answer.

    Raises:
        Trouble: it is no such JSON, or it holds no answer; its reason says what came instead.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        reason = f"the response is no JSON: {shorten(body[:80]) + '...' if body else 'it is empty'}"
        raise Trouble("malformed response", reason, again=True, billed=True) from error
    try:
        choice = found["choices"][0]
        usage = _usage_of(found.get("usage"))
        if choice.get("error") or found.get("error"):
            raise _error_in_choice(choice.get("error") or found["error"], usage)
        message = choice["message"]
        text = _text_of(message)
        finish_reason = choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        _, told = error_of(body)
        reason = f"the response holds no answer: {told}"
        raise Trouble("malformed response", reason, again=True, billed=True) from error
    if why := is_no_answer(text, finish_reason, report=report):
        raise trouble_without_text(why, message, finish_reason, max_tokens=max_tokens, usage=usage)
    model = found.get("model")
    return TeacherAnswer(
        text=_storable(text),
        finish_reason="stop" if finish_reason in (None, "") else _storable(str(finish_reason))[:100],
        usage=usage,
        model=_storable(model)[:400] if isinstance(model, str) else None,
    )


def _error_in_choice(error: Any, usage: dict[str, int] | None) -> Trouble:
    """An error that stands in a response of status 200, as gateways report a model that failed under way.

    Its code is an HTTP status; the request is tried again where that status would be.
    """
    about = error if isinstance(error, dict) else {"message": str(error)}
    code = about.get("code")
    status = int(code) if isinstance(code, int) or (isinstance(code, str) and code.isdigit()) else None
    again = status is None or status in AGAIN or status >= 500
    _, told = error_of(json.dumps({"error": about}))
    label = f" {status}" if status is not None else ""
    reason = f"no answer: the model failed under way{label}: {told}"
    return Trouble("failed answer", reason, again=again, billed=True, usage=usage, textless=True)


def _text_of(message: dict[str, Any]) -> str:
    """What a message says: its content, whole or in parts, without parts that hold reasoning or a refusal."""
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(
            part.get("text") or "" for part in content if part.get("type", "text") in ("text", "output_text")
        )
    if content is None:
        return ""
    if not isinstance(content, str):
        raise TypeError(f"content of type {type(content).__name__}")
    return content


def _usage_of(usage: Any) -> dict[str, int] | None:
    if not isinstance(usage, dict):
        return None
    counts = {key: usage.get(key) for key in ("prompt_tokens", "completion_tokens")}
    whole = {key: value for key, value in counts.items() if type(value) is int and value >= 0}
    return whole or None


def _storable(text: str) -> str:
    """JSON may escape half a surrogate pair, which no UTF-8 file can hold."""
    return text.encode("utf-8", "replace").decode()


class _BoundedStream(httpx2.AsyncByteStream):
    """A response's body that breaks off where it gets too large."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > MAX_RESPONSE_BYTES:
                raise Trouble("response too large", f"a response of over {MAX_RESPONSE_BYTES >> 20} MB")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _bounded(response: httpx2.Response) -> None:
    """Bound what is read of a response (called by the client before it reads)."""
    if response.headers.get("content-encoding", "identity") != "identity":
        raise Trouble(
            "packed response", "the response is compressed, though that was not asked for", billed=True
        )
    assert isinstance(response.stream, httpx2.AsyncByteStream), "an asynchronous client has no other"
    response.stream = _BoundedStream(response.stream)

"""An OpenAI-compatible server that fails as real ones do, in a thread, over real sockets.

What it does with a request is decided by a function of the clip and of how often that clip was asked before;
what it did is written down, so that a test can count.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

Behaviour = Callable[[str, int], str]
"""(name in the first frame, how often it was asked before) -> "answer" or the name of a fault."""

FAULTS = ("429", "429 date", "500", "503 busy", "malformed", "no answer", "truncated", "dropped")
"""What passes when the request is sent again; "hang", which takes the client's whole timeout, stands beside."""

ANSWER = "**Scene Description:**\nA calm road.\n\n**Risk Assessment:**\n- None."


def at_rate(share: float, *, faults: tuple[str, ...] = FAULTS, cut_off: float = 0.0) -> Behaviour:
    """Faults in ``share`` of all requests, always the same ones; of the answers some are cut off."""

    def decide(name: str, before: int) -> str:
        digest = hashlib.sha256(f"{name}:{before}".encode()).digest()
        if int.from_bytes(digest[:4]) / 2**32 < share:
            return faults[digest[4] % len(faults)]
        return "cut off" if digest[5] / 256 < cut_off else "answer"

    return decide


def frame(name: str) -> bytes:
    """A frame that the server knows again."""
    return b"\xff\xd8" + name.encode()


@dataclass
class TeacherServer:
    """Use as a context manager; ``url`` is what --teacher takes."""

    behaviour: Behaviour = lambda name, before: "answer"
    seconds: float = 0.0
    """How long an answer takes."""
    answer: str = ANSWER
    usage: dict[str, int] | None = field(
        default_factory=lambda: {"prompt_tokens": 1000, "completion_tokens": 100}
    )
    choices: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Outcome -> the choice in its response, for behaviours of a test's own."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """(name in the first frame, question) of every request, in order."""
    outcomes: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    """What was done with each of them."""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    most_at_once: int = 0
    url: str = ""

    def answered(self) -> Counter[tuple[str, str]]:
        """How often each was given an answer."""
        return Counter(
            {
                key: sum(outcome in ("answer", "cut off") for outcome in outcomes)
                for key, outcomes in self.outcomes.items()
            }
        )

    def __enter__(self) -> TeacherServer:
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._at_once = 0

        async def start() -> None:
            self._stop = asyncio.Event()
            server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=2**24)
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            ready.set()
            await self._stop.wait()
            server.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(start(),), daemon=True)
        self._thread.start()
        assert ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its response; False when the connection ends with it."""
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        assert first.startswith("POST /v1/chat/completions ")
        content = body["messages"][0]["content"]
        name = base64.b64decode(content[0]["image_url"]["url"].partition(",")[2])[2:].decode("latin-1")
        key = (name, content[-1]["text"])
        outcome = self.behaviour(name, len(self.outcomes[key]))
        self.requests.append(key)
        self.outcomes[key].append(outcome)
        self.bodies.append(body)
        self.headers.append(headers)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await self._respond(outcome, body, reader, writer)
        finally:
            self._at_once -= 1

    async def _respond(
        self, outcome: str, body: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        if outcome == "dropped":
            return False
        if outcome == "hang":  # until the client goes
            await asyncio.wait_for(reader.read(), 60)
            return False
        await asyncio.sleep(self.seconds)
        whole = json.dumps(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "model": f"{body['model']}-2026",
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": self.answer},
                        "finish_reason": "length" if outcome == "cut off" else "stop",
                    }
                ],
                "usage": self.usage,
            }
        )
        own = json.dumps(
            {"model": body["model"], "choices": [self.choices.get(outcome)], "usage": self.usage}
        )
        error = json.dumps({"error": {"message": f"this is {outcome}", "code": None}})
        now = format_datetime(datetime.now(UTC), usegmt=True)
        status, extra, text = {
            "answer": (200, "", whole),
            "cut off": (200, "", whole),
            "malformed": (200, "", whole[:-40]),
            "no answer": (200, "", '{"choices": []}'),
            "truncated": (200, "", whole),
            "429": (429, "Retry-After: 0.02\r\n", error),
            "429 date": (429, f"Retry-After: {now}\r\n", error),
            "429 long": (429, "Retry-After: 7200\r\n", error),
            "503 busy": (503, "Retry-After: nonsense\r\n", "<html>busy</html>"),
            "quota": (429, "", json.dumps({"error": {"message": "pay", "code": "insufficient_quota"}})),
            "401": (401, "", json.dumps({"error": {"message": f"no such key: {self.headers[-1]}"}})),
            "redirect": (307, "Location: http://127.0.0.1:9/v1/chat/completions\r\n", ""),
            "packed": (200, "Content-Encoding: gzip\r\n", whole),
            "huge": (200, "", whole + " " * (9 * 2**20)),
            **dict.fromkeys(self.choices, (200, "", own)),
        }.get(outcome) or (int(outcome), "", error)
        missing = 10 if outcome == "truncated" else 0
        head = f"HTTP/1.1 {status} Told\r\nContent-Type: application/json\r\n{extra}"
        writer.write(f"{head}Content-Length: {len(text) + missing}\r\n\r\n{text}".encode())
        await writer.drain()
        return outcome != "truncated"

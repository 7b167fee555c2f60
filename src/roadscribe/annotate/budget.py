"""What an endpoint run may spend, and the log of every request, so that a killed run forgets none.

A request is written down before it is sent and again when it ended. One that has no end, or an end without an
answer that may have been billed, counts at its upper bound: the budget is kept, whatever happened.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from roadscribe.artifacts import KeyedLog
from roadscribe.errors import InputError
from roadscribe.recipe import Annotate

REQUESTS = "requests.jsonl"

MESSAGE_TOKENS = 64
"""Upper bound of what a chat template adds to a question."""


@dataclass(frozen=True)
class Tokens:
    """Tokens in and out of one request or many."""

    input: int = 0
    output: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.input + other.input, self.output + other.output)


def upper_bound(section: Annotate, text: str, frames: int, extra_bytes: int = 0) -> Tokens:
    """What a request can cost at most: no tokenizer makes more tokens of a text than it has bytes.

    What an image costs differs from teacher to teacher; ``annotate.image_tokens`` bounds it.
    """
    words = len(text.encode()) + extra_bytes + MESSAGE_TOKENS
    return Tokens(words + frames * section.image_tokens, section.max_tokens)


class Budget:
    """Requests and tokens so far, held against the recipe's limits; one log over all runs of an artifact."""

    def __init__(self, out: Path, section: Annotate) -> None:
        """
        Raises:
            InputError: ``max_cost`` is set without prices.
        """
        check_prices(section)
        self._section = section
        # A disk that is slow to confirm would hold up every request twice.
        self._log = KeyedLog(out / REQUESTS, durable=False)
        self._open: dict[str, Tokens] = {}
        self.counted = Tokens()
        """Tokens of the requests whose teacher counted them."""
        self._uncounted = Tokens()
        """Upper bounds of the requests that ended without a count and may have been billed."""
        self._excess = 1.0
        """How far, at most, a real count was above its bound; above 1 only where image_tokens is set too low."""
        self._measured = False
        for record in self._log.records.values():
            self._count(record)

    @property
    def requests(self) -> int:
        """Requests sent so far."""
        return len(self._log.records)

    @property
    def request_seconds(self) -> float:
        """How long all requests took together, in seconds."""
        return float(sum(record.get("seconds", 0.0) for record in self._log.records.values()))

    @property
    def cost(self) -> float | None:
        """What was spent so far, in the unit of the prices, at most; None without prices."""
        return self._cost_with(Tokens())

    def _cost_with(self, more: Tokens) -> float | None:
        """What was spent, what is under way and ``more``, each at its upper bound unless it was counted."""
        prices = self._section.price_input, self._section.price_output
        if prices[0] is None or prices[1] is None:
            return None
        bounds = sum(self._open.values(), self._uncounted + more)
        tokens_in = self.counted.input + bounds.input * self._excess
        tokens_out = self.counted.output + bounds.output * self._excess
        return (tokens_in * prices[0] + tokens_out * prices[1]) / 1e6

    def admits(self, bound: Tokens) -> Literal["yes", "later"] | str:
        """Whether one more request fits: "yes", "later" (when one under way has ended), or why it never will."""
        limits = self._section
        if limits.max_requests is not None and self.requests >= limits.max_requests:
            return f"annotate.max_requests={limits.max_requests} is used up"
        if limits.max_cost is None:
            return "yes"
        if not self._measured and self._open:
            # What a question really costs should be known before many are under way.
            return "later"
        spent, with_it = self.cost, self._cost_with(bound)
        assert spent is not None and with_it is not None, "the prices were checked"
        if with_it <= limits.max_cost:
            return "yes"
        if self._open:
            return "later"
        return (
            f"annotate.max_cost={limits.max_cost:g} is used up: {spent:.4g} is spent and the next request may cost "
            f"{with_it - spent:.4g}"
        )

    def begin(self, question: str, bound: Tokens) -> str:
        """Write a request down before it is sent; returns its number."""
        number = str(self.requests + 1)
        self._log.append(number, question=question, bound=[bound.input, bound.output])
        self._open[number] = bound
        return number

    def end(
        self, number: str, outcome: str, seconds: float, used: Tokens | None, *, billed: bool = True
    ) -> None:
        """Write down how a request ended.

        Args:
            number: what `begin` returned.
            outcome: "answered", or the kind of trouble.
            seconds: how long it took.
            used: its tokens, where the teacher said so.
            billed: False where the teacher certainly did no work.
        """
        begun = self._log.records[number]
        del self._open[number]
        tokens = used if used is not None else None if billed else Tokens()
        fields = {"question": begun["question"], "bound": begun["bound"]}
        self._log.append(
            number,
            **fields,
            outcome=outcome,
            seconds=round(seconds, 3),
            tokens=None if tokens is None else [tokens.input, tokens.output],
        )
        self._count(self._log.records[number])

    def _count(self, record: dict[str, Any]) -> None:
        bound = Tokens(*record["bound"])
        used = Tokens(*record["tokens"]) if record.get("tokens") else None
        if used is None:
            self._uncounted += bound
            return
        self.counted += used
        if used.input:
            self._measured = True
            self._excess = max(self._excess, used.input / bound.input, used.output / bound.output)

    def __enter__(self) -> Budget:
        return self

    def __exit__(self, *_: object) -> None:
        self._log.close()


def check_prices(section: Annotate) -> None:
    """A budget in money needs prices.

    Raises:
        InputError: ``max_cost`` is set and a price is not.
    """
    if section.max_cost is not None and (section.price_input is None or section.price_output is None):
        raise InputError(
            "annotate.max_cost: needs the teacher's prices a million tokens; "
            "set annotate.price_input and annotate.price_output"
        )

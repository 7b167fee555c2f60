"""The grammar of the report's text form, and the tokens that it leaves no choice about.

Both are built from `report`'s own constants and JSON schema, so that they cannot drift from what the model is
trained on and what `report.parse` reads. The engine asks the grammar twice a step: which tokens may follow,
and which stretch of text must follow whatever the model thinks.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any

import torch
import xgrammar

from roadscribe.report import (
    MAX_RISK_CHARS,
    MAX_RISK_POINTS,
    MAX_SCENE_CHARS,
    TEXT_BULLET,
    TEXT_HEAD,
    TEXT_JSON_TO_RISK,
    TEXT_SCENE_TO_JSON,
    parameters_json_schema,
    prose_pattern,
)


def report_grammar() -> xgrammar.Grammar:
    """The text form of `report.render` as one grammar: it admits nothing else, and ends after a whole one."""
    head = (
        f"root ::= {_literal(TEXT_HEAD)} prose {_literal(TEXT_SCENE_TO_JSON)}\n"
        f"prose ::= {prose_pattern(MAX_SCENE_CHARS)}"
    )
    parameters = xgrammar.Grammar.from_json_schema(parameters_json_schema(), any_whitespace=False, indent=2)
    tail = (
        f'root ::= {_literal(TEXT_JSON_TO_RISK)} point ("\\n" point){{0,{MAX_RISK_POINTS - 1}}}\n'
        f"point ::= {_literal(TEXT_BULLET)} prose\n"
        f"prose ::= {prose_pattern(MAX_RISK_CHARS)}"
    )
    return xgrammar.Grammar.concat(
        xgrammar.Grammar.from_ebnf(head), parameters, xgrammar.Grammar.from_ebnf(tail)
    )


def _literal(text: str) -> str:
    """A text as an EBNF string, whose escapes are those of JSON."""
    return json.dumps(text)


class ReportGrammar:
    """The report's grammar compiled for one tokenizer.

    Compiling takes about 0.05 s for a vocabulary of 1,000 tokens; keep the object for every report.
    """

    def __init__(self, tokenizer: Any, vocab_size: int, stop_tokens: Sequence[int]) -> None:
        """``vocab_size``: columns of the model's logits, which may be more than the tokenizer has entries."""
        info = xgrammar.TokenizerInfo.from_huggingface(
            tokenizer, vocab_size=vocab_size, stop_token_ids=list(stop_tokens)
        )
        self.vocab_size = vocab_size
        self._tokenizer = tokenizer.backend_tokenizer
        self._token_text = [tokenizer.convert_ids_to_tokens(token) for token in range(len(tokenizer))]
        self._compiled = xgrammar.GrammarCompiler(info).compile_grammar(report_grammar())
        self._characters = {
            token: character
            for character in ["\n", *map(chr, range(0x20, 0x7F))]
            for token in tokenizer.encode(character, add_special_tokens=False)
        }
        self._scratch = self.allocate_bitmask(1)
        self._aligned = functools.lru_cache(maxsize=4096)(self._align)

    def start(self) -> ReportState:
        """The state before the first token of a report."""
        return ReportState(self, xgrammar.GrammarMatcher(self._compiled))

    def admits(self, text: str) -> bool:
        """Whether a text is a whole report to the grammar."""
        matcher = xgrammar.GrammarMatcher(self._compiled)
        return bool(matcher.accept_string(text) and matcher.is_completed())

    def allocate_bitmask(self, rows: int) -> torch.Tensor:
        """A mask of (rows, ceil(vocab_size / 32)) int32 words for `ReportState.fill_bitmask`."""
        bitmask: torch.Tensor = xgrammar.allocate_token_bitmask(rows, self.vocab_size)
        return bitmask

    def _align(self, tail: tuple[int, ...], forced: str, following: str) -> tuple[int, ...]:
        """The tokens of the forced text that the tokenizer would write there, whatever follows it.

        Args:
            tail: tokens since the last place where a word of the tokenizer is known to begin.
            forced: the text that must come after them.
            following: the characters of which one comes after the forced text.

        A byte-level tokenizer first splits a text into words by a regular expression, then each word into
        tokens. So tokens are sure where the end of their word is sure, and that is tried with each following
        character. When the tail ends inside a word, its tokens there must be the beginning of that word's
        tokens; otherwise nothing is sure and the result is empty.
        """
        written = "".join(self._token_text[token] for token in tail)
        start = len(written)
        tail_text = self._tokenizer.decode(list(tail), skip_special_tokens=False)
        if len(tail_text) != start:
            return ()  # other than ASCII: characters and bytes no longer agree
        text = tail_text + forced
        ends = [self._word_ends(text + character) for character in following]
        sure = [end for end in set.intersection(*ends) if end <= len(text)] if ends else [len(text)]
        end = max(sure, default=0)
        if end <= start:
            return ()
        word = max((place for place in sure if place <= start), default=0)
        encoding = self._tokenizer.encode(text + following[:1], add_special_tokens=False)
        place = start
        begun: list[int] = []
        for token in reversed(tail):
            if place <= word:
                break
            place -= len(self._token_text[token])
            begun.insert(0, token)
        of_word = [
            token
            for token, (begin, stop) in zip(encoding.ids, encoding.offsets, strict=True)
            if word <= begin and stop <= end
        ]
        if place != word or of_word[: len(begun)] != begun:
            return ()
        return tuple(of_word[len(begun) :])

    def admitted_characters(self, matcher: xgrammar.GrammarMatcher) -> str:
        """The characters that may come next, read off the mask of the tokens that are one character."""
        matcher.fill_next_token_bitmask(self._scratch)
        words = self._scratch[0].tolist()
        return "".join(c for token, c in self._characters.items() if words[token // 32] >> (token % 32) & 1)

    def _word_ends(self, text: str) -> set[int]:
        return {span[1] for _, span in self._tokenizer.pre_tokenizer.pre_tokenize_str(text)}

    def aligned(self, tail: tuple[int, ...], forced: str, following: str) -> tuple[int, ...]:
        """`_align`, remembered: the same few stretches come in every report."""
        return self._aligned(tail, forced, following)


class ReportState:
    """How far one report has come: which tokens may follow, and which must."""

    def __init__(self, grammar: ReportGrammar, matcher: xgrammar.GrammarMatcher) -> None:
        self._grammar = grammar
        self._matcher = matcher
        self._tail: tuple[int, ...] = ()

    def fill_bitmask(self, bitmask: torch.Tensor, row: int) -> None:
        """Set the bits of the tokens that may come next in one row of ``bitmask``."""
        self._matcher.fill_next_token_bitmask(bitmask, row)

    def accept(self, token: int) -> bool:
        """Go on by one token; False (and no step) when the grammar does not admit it."""
        if not self._matcher.accept_token(token):
            return False
        self._tail += (token,)
        return True

    @property
    def finished(self) -> bool:
        """Whether the stop token after a whole report was accepted."""
        return bool(self._matcher.is_terminated())

    def accept_forced(self) -> tuple[int, ...]:
        """Go on by the stretch that must follow and return its tokens; empty where the model has a choice.

        The tokens are those that the tokenizer gives for the finished text. At the end of the stretch, where
        they depend on what the model writes next (`: ` and `null` make one token, `: ` and `7` two), the rest
        is left to the model. The same holds in the middle of a word that the model has begun in other tokens
        than the tokenizer's.
        """
        forced = self._matcher.find_jump_forward_string()
        if not forced:
            return ()
        tokens = self._grammar.aligned(self._tail, forced, self._following(forced))
        for token in tokens:
            if not self._matcher.accept_token(token):
                raise RuntimeError(f"the grammar refuses its own forced text {forced!r} at token {token}")
        if tokens:
            self._tail = ()
        return tokens

    def _following(self, forced: str) -> str:
        """The characters of which one must come after ``forced``."""
        ahead = self._matcher.fork()
        ahead.accept_string(forced)
        return self._grammar.admitted_characters(ahead)

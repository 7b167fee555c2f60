"""Which text of a teacher counts: the last complete answer, without reasoning, control tokens and markers.

`report_text.parse_answer` reads reports through `clean_report`, curate takes answers to other questions through
`clean_free_text`; both cut it with `pieces`. What is left out has a finding. A text whose markers are not
understood has a `problem`: it is read as well as can be, and must not be learnt from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from roadscribe.answers.corrections import CORRECTION
from roadscribe.answers.markers import (
    ANSWER,
    REASONING,
    REASONING_HEADING,
    has_words,
    plain_name,
    stray_markers,
)
from roadscribe.answers.pieces import Piece, Pieces, cut_into_pieces
from roadscribe.answers.plain_form import tidied, unquoted, without_echo
from roadscribe.control_tokens import find_control_tokens, without_control_tokens
from roadscribe.report import Finding

MAX_NESTING = 5
"""An answer inside markers inside markers is looked for so deep."""
_MAX_CANDIDATES = 12
"""So many pieces of a text are tried as the whole report, from its end."""


@dataclass(frozen=True)
class Cleaned:
    """A teacher's text as it counts."""

    text: str
    """The answer; "" where there is none."""
    findings: tuple[Finding, ...] = ()
    problem: str = ""
    """Why the text must not be learnt from; "" where it may."""
    drafts: tuple[str, ...] = ()
    """Earlier answers that were left out, in order."""


def clean_free_text(text: str) -> Cleaned:
    """The answer in a text that is no report, such as the answer to a question of one's own; never raises."""
    findings: list[Finding] = []
    plain = tidied(unquoted(text, findings))
    found = _free_answer(plain, findings, 0)
    answer, problem = found.text.strip(), found.problem
    if not problem and (strays := _leftovers(answer)):
        problem = f"holds markers that are not understood: {_listed(strays)}"
    if not problem and not has_words(answer) and has_words(text):
        problem = "holds no answer beside its markers"
    if not problem and (left_out := _letters(plain) - _letters(answer)) > 0 and not findings:
        findings.append(_reasoning(left_out, "what stands before or behind the answer is left out"))
    return Cleaned(answer, tuple(findings), problem)


def clean_question(text: str) -> Cleaned:
    """A question without control tokens, roles and places for pictures; it has a problem where nothing is left."""
    cut = cut_into_pieces(tidied(text))
    if not cut.markers and not _leftovers(text):
        return Cleaned(text)
    words = "".join(piece.text for piece in cut.pieces) + cut.other_turns
    plain = without_control_tokens(words).strip()
    problem = ""
    if any(piece.kind not in ("text", "behind", "stray") for piece in cut.pieces) or _leftovers(plain):
        problem = (
            f"the question holds markers that are not understood: {_listed(cut.markers or _leftovers(text))}"
        )
    elif not has_words(plain):
        problem = "the question holds nothing beside its markers"
    found = cut.markers or _leftovers(text)
    return Cleaned(plain, (_marker_finding(found, "the question"),), problem)


def _letters(text: str) -> int:
    return sum(character.isalnum() for character in text)


def _leftovers(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*find_control_tokens(text), *stray_markers(text))))


def _listed(markers: tuple[str, ...]) -> str:
    return ", ".join(dict.fromkeys(markers))[:120]


def _marker_finding(markers: tuple[str, ...], where: str = "the answer") -> Finding:
    distinct = list(dict.fromkeys(markers))[:40]
    message = f"markers of the teacher's own format are taken off {where}: {_listed(tuple(distinct))}"
    return Finding(rule="form.markers", before=distinct, message=message)


def _reasoning(characters: int, message: str) -> Finding:
    return Finding(rule="form.reasoning", before=characters, message=f"{message} ({characters} characters)")


# --- answers to questions of one's own ---------------------------------------------------------------------


def _free_answer(text: str, findings: list[Finding], depth: int) -> Cleaned:
    plain = without_echo(text)
    if plain != text:
        findings.append(_reasoning(len(text) - len(plain), "the echo before the answer is left out"))
    cut = cut_into_pieces(plain)
    if cut.markers:
        findings.append(_marker_finding(cut.markers))
    if has_words(cut.other_turns):
        message = "what others than the assistant say in the text is left out"
        findings.append(Finding(rule="form.turns", before=cut.other_turns[:200], message=message))
    chosen = _chosen(cut, findings, depth)
    if chosen.problem or depth:
        return chosen
    return _behind_headings(chosen.text, findings)


def _chosen(cut: Pieces, findings: list[Finding], depth: int) -> Cleaned:
    """The last answer of the pieces."""
    marked = [piece for piece in cut.pieces if piece.kind == "answer" and has_words(piece.text)]
    if marked:
        inner = _inside(marked[-1].text, findings, depth)
        spoken = sum(len(piece.text) for piece in cut.pieces if has_words(piece.text)) - len(marked[-1].text)
        if spoken > 0:
            findings.append(_reasoning(spoken, "what stands beside the marked answer is left out"))
        return inner
    current, earlier, unfinished = "", [], ""
    follows = _what_follows(cut.pieces)
    for at, piece in enumerate(cut.pieces):
        if piece.kind in ("text", "section"):
            current += piece.text
        elif piece.kind == "stray":
            if piece.text:
                current += piece.text
            elif has_words(current):  # another turn of the assistant begins
                earlier.append(current)
                current = ""
        elif piece.kind == "behind":
            if has_words(piece.text) and has_words(current):
                return Cleaned(current, problem="the text goes on behind the end of its turn")
            current = piece.text if has_words(piece.text) else current
        elif piece.kind == "pair":
            rest, words_follow = follows[at]
            verdict = _of_pair(piece, current, rest)
            if verdict:
                after = "".join(later.text for later in cut.pieces[at + 1 :])
                return Cleaned(current + piece.text + after, problem=verdict)
            earlier += [part for part in (current, piece.text) if has_words(part)]
            current = "" if words_follow else _inside(piece.text, findings, depth).text
            if current:
                earlier.pop()
        elif piece.kind == "heading" and not has_words(current):
            current = ""
        else:
            earlier += [
                part for part in (current, piece.text if piece.kind != "heading" else "") if has_words(part)
            ]
            before, current = current, ""
            unfinished = _why_unfinished(piece)
            if piece.kind == "reasoning" and piece.closed and not follows[at][1] and has_words(before):
                current = before
                earlier.remove(before)
    if not has_words(current) and (unfinished or earlier):
        return Cleaned("", problem=unfinished or "the text ends before its answer")
    if earlier:
        findings.append(
            _reasoning(
                sum(map(len, earlier)), "the reasoning or an earlier answer before the last one is left out"
            )
        )
    return Cleaned(current)


def _what_follows(pieces: tuple[Piece, ...]) -> list[tuple[str, bool]]:
    """For each piece the beginning of what stands behind it, and whether any word does."""
    follows: list[tuple[str, bool]] = []
    head, words = "", False
    for piece in reversed(pieces):
        follows.append((head, words))
        if piece.text.strip(" \t"):
            head = piece.text.lstrip(" \t")[:1]
        words = words or has_words(piece.text)
    return follows[::-1]


def _inside(text: str, findings: list[Finding], depth: int) -> Cleaned:
    if depth >= MAX_NESTING:
        return Cleaned(text, problem="its markers are nested too deeply")
    return _free_answer(text, findings, depth + 1)


def _of_pair(piece: Piece, before: str, rest: str) -> str:
    """Why a pair of markers with an unknown name is not understood; "" where its place says what it is."""
    if not has_words(piece.text):
        return ""
    tail, head = before[-100:].rstrip(" \t"), rest
    inline = bool(tail) and tail[-1] not in ".!?:\n"
    goes_on = bool(head) and (head[0].islower() or head[0] in ",;.")
    if inline or goes_on:
        return f"holds markers that are not understood: <{piece.name}>"
    return ""


def _why_unfinished(piece: Piece) -> str:
    if piece.kind == "tool":
        return "the text asks for a tool instead of answering"
    if piece.kind == "heading":
        return "the text ends where its answer is announced"
    return (
        "the text ends with its reasoning, before any answer"
        if piece.closed
        else "the text ends inside its reasoning"
    )


def _behind_headings(text: str, findings: list[Finding]) -> Cleaned:
    """The answer apart from reasoning under a heading, words that take something back, and a JSON object."""
    heading = REASONING_HEADING.search(text)
    if heading:
        before, behind = text[: heading.start()], text[heading.end() :]
        if not has_words(before) and heading[0].lstrip().startswith(">"):
            lines = behind.split("\n")
            quoted = next(
                (n for n, line in enumerate(lines) if n and not line.lstrip().startswith(">")), len(lines)
            )
            before = "\n".join(lines[quoted:])
        if not has_words(before):
            return Cleaned(text, problem="the text announces reasoning and does not say where it ends")
        findings.append(_reasoning(len(text) - len(before), "the reasoning under its heading is left out"))
        text = before
    corrections = list(CORRECTION.finditer(text))
    if corrections:
        behind = text[corrections[-1].end() :]
        if not has_words(behind):
            return Cleaned(text, problem="the text takes back its answer and gives no other")
        if behind.lstrip()[0].islower():
            return Cleaned(
                text, problem="the text takes back a part of its answer in the middle of a sentence"
            )
        if has_words(text[: corrections[0].start()]):
            message = "an earlier answer, which the text takes back, is left out"
            before = text[: corrections[-1].end()].strip()
            findings.append(
                Finding(rule="form.draft", before=before[:400], after=behind.strip(), message=message)
            )
            text = behind
    return Cleaned(_out_of_json(text, findings))


_FENCED = re.compile(
    r"\A\s*(?:```|~~~)[a-z0-9]{0,10}[ \t]*\n(?P<body>.*?)\n[ \t]*(?:```|~~~)\s*\Z", re.DOTALL
)


def _out_of_json(text: str, findings: list[Finding]) -> str:
    """The value of "answer" in a JSON object that holds it beside nothing but reasoning."""
    fenced = _FENCED.match(text)
    body = (fenced["body"] if fenced else text).strip()
    if not body.startswith("{"):
        return text
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        return text
    if not isinstance(found, dict):
        return text
    answers = [value for key, value in found.items() if plain_name(key) in ANSWER]
    others = [
        key for key in found if plain_name(key) not in ANSWER | REASONING | {"confidence", "explanation"}
    ]
    if len(answers) != 1 or others or not isinstance(answers[0], str):
        return text
    findings.append(
        Finding(rule="form.json", before=list(found)[:20], message="the answer stands in a JSON object")
    )
    return answers[0]


# --- reports -----------------------------------------------------------------------------------------------


def clean_report(text: str, is_report: Callable[[str], bool], has_parts: Callable[[str], bool]) -> Cleaned:
    """The text of the last complete report; never raises.

    Args:
        text: the answer with one kind of newline and without HTML.
        is_report: whether a text is a whole report.
        has_parts: whether a text holds any part of one: a section, a parameter.

    Where no piece is a whole report, all of them together are read, without reasoning and what is in pairs of
    markers that are not understood.
    """
    return _report(text, is_report, has_parts, 0)


def _report(
    text: str, is_report: Callable[[str], bool], has_parts: Callable[[str], bool], depth: int
) -> Cleaned:
    findings: list[Finding] = []
    plain = without_echo(text)
    if plain != text:
        findings.append(_reasoning(len(text) - len(plain), "the echo before the answer is left out"))
    cut = cut_into_pieces(plain)
    if [piece.kind for piece in cut.pieces] in ([], ["text"]) and not cut.markers:
        return Cleaned(plain, tuple(findings))
    if cut.markers:
        findings.append(_marker_finding(cut.markers))
    if has_words(cut.other_turns):
        message = "what others than the assistant say in the text is left out"
        findings.append(Finding(rule="form.turns", before=cut.other_turns[:200], message=message))
    runs = _runs(cut.pieces)
    inner: dict[int, Cleaned] = {}
    if depth < MAX_NESTING:
        nested = [at for at, run in enumerate(runs) if run.kind in ("pair", "answer") and has_words(run.text)]
        inner = {
            at: _report(runs[at].text, is_report, has_parts, depth + 1) for at in nested[-_MAX_CANDIDATES:]
        }
    read = [replace(run, text=inner[at].text) if at in inner else run for at, run in enumerate(runs)]
    chosen, problem = _last_whole(read, is_report)
    if chosen is None:
        return _together(runs, findings, has_parts)
    body = read[chosen].text
    if chosen in inner:
        problem, findings = problem or inner[chosen].problem, [*findings, *inner[chosen].findings]
    if any(run.kind == "reasoning" and not run.closed and has_words(run.text) for run in runs[chosen + 1 :]):
        problem = problem or "the text ends inside its reasoning"
    later = [piece for piece in runs[chosen + 1 :] if piece.kind in ("text", "answer", "heading", "behind")]
    if any(has_parts(piece.text) for piece in later if piece.kind != "heading"):
        # It goes on, perhaps with a correction: the reader of the parameters decides.
        body += "\n\n" + "\n".join(piece.text for piece in later)
    earlier = [
        piece for piece in runs[:chosen] if has_words(piece.text) and piece.kind not in ("heading", "stray")
    ]
    if earlier:
        count = sum(len(piece.text) for piece in earlier)
        findings.append(
            _reasoning(count, "the reasoning or an earlier answer before the last one is left out")
        )
    drafts = tuple(piece.text for piece in earlier if piece.kind not in ("reasoning", "tool"))[-3:]
    return Cleaned(body, tuple(findings), problem, drafts)


def _runs(pieces: tuple[Piece, ...]) -> list[Piece]:
    """Text and sections that stand side by side as one piece."""
    runs: list[Piece] = []
    for piece in pieces:
        kind = "text" if piece.kind == "section" else piece.kind
        if kind == "text" and runs and runs[-1].kind == "text":
            runs[-1] = Piece("text", runs[-1].text + piece.text)
        else:
            runs.append(Piece(kind, piece.text, piece.name, piece.closed))
    return runs


def _last_whole(runs: list[Piece], is_report: Callable[[str], bool]) -> tuple[int | None, str]:
    """(index of the last whole report, why it must not be learnt from)."""
    tried = 0
    words_behind = False
    strays = tuple(run.text for run in runs if run.kind == "stray" and run.text)
    for at in range(len(runs) - 1, -1, -1):
        run = runs[at]
        if run.kind not in ("text", "answer", "behind", "pair") or not has_words(run.text):
            continue
        tried += 1
        if tried > _MAX_CANDIDATES:
            break
        if is_report(run.text):
            if run.kind == "pair" and words_behind:
                return at, f"holds markers that are not understood: <{run.name}> around a whole report"
            # One without its partner may begin or end a draft.
            return at, f"holds markers that are not understood: {_listed(strays)}" if strays else ""
        words_behind = True
    return None, ""


def _together(runs: list[Piece], findings: list[Finding], has_parts: Callable[[str], bool]) -> Cleaned:
    """All pieces as one text, where none of them is a whole report."""
    kept = [run for run in runs if run.kind not in ("reasoning", "tool", "pair")]
    left_out = [run for run in runs if run.kind in ("reasoning", "tool", "pair") and has_words(run.text)]
    text = "".join(run.text for run in kept)
    problem = ""
    pairs = tuple(f"<{run.name}>" for run in left_out if run.kind == "pair")
    if pairs:
        problem = f"holds markers that are not understood: {_listed(pairs)}"
    elif left_out and not has_parts(text):
        problem = _why_unfinished(left_out[-1])
    if left_out:
        count = sum(len(run.text) for run in left_out)
        unfinished = not left_out[-1].closed
        message = (
            "the reasoning never ends, so what stands in it is no answer"
            if unfinished
            else "the reasoning before the answer is left out"
        )
        findings.append(_reasoning(count, message))
    return Cleaned(text, tuple(findings), problem)

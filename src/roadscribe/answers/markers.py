"""Markers in a teacher's text and the pieces between them: reasoning, answer, tool call, another turn, plain text.

A marker is told by its form: a paired ``[X]...[/X]``, ``<x>...</x>``, ``<|x|>...<|/x|>``, ``◁x▷...◁/x▷``, a channel,
a fence, a role, an end of turn. Its name decides only where the form leaves it open.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from roadscribe.answers.plain_form import HTML_NAMES
from roadscribe.answers.sections import KINDS
from roadscribe.answers.vocabulary import parameter_of_key, vocabulary

Kind = Literal["text", "answer", "reasoning", "tool", "pair", "section", "stray", "heading", "behind"]
"""text: no marker around it; answer: marked as the answer; reasoning, tool: marked as no answer; pair: between
markers of an unknown name; section: between markers that a report's section or parameter gives its name;
stray: a marker itself, without its partner; heading: a line that announces the answer; behind: text behind an end
of turn."""


@dataclass(frozen=True)
class Piece:
    """One stretch of a text."""

    kind: Kind
    text: str
    """What stands in it, without its own markers; of a stray marker or a heading its spelling."""
    name: str = ""
    """The marker's name in plain form; "" for text."""
    closed: bool = True
    """False where the text ends before the closing marker."""


@dataclass(frozen=True)
class Pieces:
    """A text cut at its markers."""

    pieces: tuple[Piece, ...]
    markers: tuple[str, ...]
    """The spellings of all markers outside of other pieces, in order."""
    other_turns: str = ""
    """What belongs to turns of others than the assistant."""


REASONING = frozenset(
    (
        *(
            "think",
            "thinking",
            "thought",
            "thoughts",
            "thought process",
            "thinking process",
            "reason",
            "reasoning",
        ),
        *(
            "reasoning process",
            "chain of thought",
            "cot",
            "scratchpad",
            "scratch pad",
            "scratch",
            "monologue",
        ),
        *("internal monologue", "inner monologue", "internal thoughts", "inner thoughts", "deliberation"),
        *(
            "deliberate",
            "draft",
            "drafting",
            "analysis",
            "reflection",
            "reflect",
            "rationale",
            "planning",
            "plan",
        ),
        *(
            "commentary",
            "channel",
            "seed think",
            "longcat think",
            "antthinking",
            "思考",
            "推理",
            "思维链",
            "考え",
        ),
    )
)
"""Names that say by themselves that what they mark is no answer."""
ANSWER = frozenset(
    (
        *(
            "answer",
            "answers",
            "final",
            "final answer",
            "final report",
            "final response",
            "final output",
            "output",
        ),
        *("response", "reply", "result", "solution", "report", "box", "boxed", "conclusion", "回答", "答案"),
    )
)
"""Names of what is the answer."""
_TOOL = frozenset(
    ("tool call", "tool calls", "function call", "function calls", "function", "invoke", "tool use", "tools")
) | frozenset(("tool response", "tool responses", "tool result", "tool results", "function results", "tool"))
_OTHERS = frozenset(("inst", "sys", "system", "user", "human", "system prompt", "developer", "observation"))
"""Names of what somebody else said."""
_ENDS = frozenset(
    (
        *(
            "im end",
            "end of text",
            "endoftext",
            "eot id",
            "eot",
            "eom id",
            "eom",
            "end",
            "return",
            "call",
            "eos",
        ),
        *("end of turn", "end of sentence", "end of message", "s close", "turn close", "eod", "end turn"),
        *("endofprompt", "endofturn", "eot token", "eos token", "message close", "end of output", "eop"),
    )
)
_NOISE = frozenset(
    (
        *(
            "s",
            "bos",
            "begin of text",
            "begin of sentence",
            "startoftext",
            "start of text",
            "pad",
            "unk",
            "mask",
        ),
        *(
            "vision start",
            "vision end",
            "vision pad",
            "image pad",
            "video pad",
            "audio pad",
            "image",
            "images",
        ),
        *(
            "video",
            "audio",
            "img",
            "imagehere",
            "image start",
            "image end",
            "img start",
            "img end",
            "fim prefix",
        ),
        *(
            "fim middle",
            "fim suffix",
            "fim pad",
            "repo name",
            "file sep",
            "object ref start",
            "object ref end",
        ),
        *("begin of image", "end of image", "im sep", "im middle", "message", "start", "im start", "padding"),
        *("end header id", "start header id", "start of turn", "audio start", "audio end", "gmask", "sop"),
        *("image soft token", "start of image", "constrain", "turn", "video start", "video end", "frame"),
    )
)
"""Tokens that mark nothing which a reader needs: they are taken off."""

_COORDINATES = frozenset(f"{shape} {end}" for shape in ("box", "quad", "point") for end in ("start", "end"))
"""Qwen's marks around places in a picture."""
_ASSISTANT = ("assistant", "model")

_ROLES = "system|user|assistant|model|tool|developer|human|ipython|observation|environment"
_NAME = r"[^\W\d_][\w:.▁-]{0,40}"
_ATTRIBUTES = r"(?:\s+[\w:-]{1,40}\s*=\s*(?:\"[^\"<>\n]{0,200}\"|'[^'<>\n]{0,200}'|[^\s\"'<>]{1,60})){0,6}"
_REASONING_FENCE = r"think(?:ing)?|thoughts?|reasoning|scratchpad|analysis|draft|plan|cot"
_MARKER = re.compile(
    rf"""
    (?P<comment><!--.{{0,20000}}?(?:-->|\Z))
  | (?P<channel><\|channel\|>(?P<channel_name>[^<]{{0,80}})(?:<\|constrain\|>[^<]{{0,40}})?<\|message\|>)
  | (?P<unused><unused\d{{1,4}}>)(?P<unused_thought>\s{{0,4}}thought\b)?
  | (?P<role><[|｜](?:im_start|start|start_header_id|turn|role_start|im_user|im_assistant|im_system)[|｜]?>\s{{0,4}}
        (?P<role_name>{_ROLES})\b(?:[ \t]{{0,4}}<\|(?:end_header_id|im_middle|im_sep|role_end)\|>)?[ \t]*:?
      | <start_of_turn>\s{{0,4}}(?P<turn_name>{_ROLES})\b)
  | <[|｜](?P<piped_slash>/)?(?P<piped>[^|｜<>\s][^|｜<>\n]{{0,59}})[|｜]>
  | <[|｜](?P<piped_open>{_NAME})> | <(?P<piped_close>{_NAME})[|｜]>
  | <<(?P<double_slash>/)?(?P<double>{_NAME})>>
  | <(?P<slash>/)?(?P<tag>{_NAME})(?P<attributes>{_ATTRIBUTES})\s{{0,4}}(?P<empty>/)?>
  | (?<![!\w])\[(?P<square_slash>/)?(?P<square>[^\W\d_][\w -]{{0,40}})\](?!\()
  | ◁(?P<kimi_slash>/)?(?P<kimi>[^\W\d_][\w -]{{0,40}})▷
  | [【⟨«](?P<other_slash>/)?(?P<other>[^\W\d_][\w -]{{0,40}})[】⟩»]
  | \{{\{{(?P<curly_slash>/)?(?P<curly>[^\W\d_][\w -]{{0,40}})\}}\}}
  | \\(?P<latex_slash>begin|end)\{{(?P<latex>[^\W\d_]\w{{0,40}})\}}
  | (?m:^[ \t]{{0,3}}(?P<fence>`{{3,}}|~{{3,}})[ \t]*(?:{_REASONING_FENCE})[ \t]*$)
  | (?m:^[ \t]*(?P<thinking>thinking(?:\.{{3}}|…)[ \t]*)$)
  | (?m:^[ \t]*(?P<thought>(?:\.{{3}}|…)[ \t]*done[ ]thinking[ \t]*\.?[ \t]*)$)
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_ANSWER_WORDS = (
    r"(?:(?:my|the|here[ ]is[ ]the|here[ ]is[ ]my)[ ])?(?:(?:final|corrected|revised|updated|improved)[ ]"
    r"(?:answer|report|response|output|version|result|analysis|json|parameters)|answer|final|corrected|correction)"
)
ANSWER_HEADING = re.compile(
    rf"^[ \t]{{0,3}}(?:>[ ]?)?(?:\#{{1,6}}[ \t]*|[-=*_~]{{2,}}[ \t]*)?(?:\*{{1,3}}|__)?[ \t]*(?:{_ANSWER_WORDS})"
    r"(?:[ \t]*(?:\*{1,3}|__)?[ \t]*[:：][ \t]*(?:\*{1,3}|__)?|[ \t]*(?:\*{2,3}|__)[ \t]*$|[ \t]*[-=~]{2,}[ \t]*$)"
    rf"|^[ \t]{{0,3}}\#{{1,6}}[ \t]*(?:\*\*)?(?:{_ANSWER_WORDS})(?:\*\*)?[ \t]*$"
    r"|(?<=[.!?])[ \t]+(?:(?:here is the|the)[ ])?corrected(?:[ ](?:answer|report|version|parameters|json))?[ \t]*:",
    re.VERBOSE | re.IGNORECASE | re.MULTILINE,
)
"""A line, or the beginning of one, that announces the answer itself: what stands before it is an earlier one."""
REASONING_HEADING = re.compile(
    r"^[ \t]{0,3}(?:>[ ]?)?(?:\#{1,6}[ \t]*(?:\*\*)?|[-=*~]{2,}[ \t]*|\*\*|__)[ \t]*(?:my[ ])?"
    r"(?:think(?:ing)?|thoughts?|thought[ ]process|thinking[ ]process|reasoning(?:[ ]process)?|chain[ ]of[ ]thought|"
    r"scratch[ ]?pad|(?:internal|inner)[ ]monologue|draft)"
    r"[ \t]*(?:[:：][ \t]*)?(?:\*\*|__)?(?:[ \t]*[-=~]{2,}|[:：])?[ \t]*",
    re.VERBOSE | re.IGNORECASE | re.MULTILINE,
)
"""A marked line that announces reasoning."""

_TAG_LIKE = re.compile(
    rf"<[|｜][^<>\n]{{0,60}}[|｜]>|<[|｜]{_NAME}>|<{_NAME}[|｜]>|</?(?P<tag>{_NAME}){_ATTRIBUTES}\s{{0,4}}/?>|"
    r"(?<![!\w])\[/[^\W\d_][\w -]{0,40}\]|◁[^◁▷\n]{0,40}▷|<!--|-->|\[(?:INST|THINK|TOOL_CALLS)\]"
)


def plain_name(name: str) -> str:
    """A marker's name in lower case with single spaces: ``Chain-of-Thought`` is "chain of thought"."""
    return " ".join(re.sub(r"[\W_▁]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)).lower().split())


def stray_markers(text: str) -> tuple[str, ...]:
    """Tag-like tokens in a text, each once; tags of HTML are none, nor is "<5 m>"."""
    found = {
        match[0]: None
        for match in _TAG_LIKE.finditer(text)
        if not (match["tag"] and match["tag"].lower() in HTML_NAMES)
    }
    return tuple(found)


_BEGIN = re.compile(r"^(?:begin|start)(?: of)? | (?:start|begin)$")
_END = re.compile(r"^(?:end|stop)(?: of)? | end$")


@dataclass(frozen=True)
class _Marker:
    start: int
    end: int
    role: Literal["open", "close", "either", "end", "noise", "turn", "fence", "drop", "heading"]
    name: str
    form: str
    spelling: str


def _markers(text: str) -> Iterator[_Marker]:
    """The markers of a text in order, whether they have partners or not."""
    for match in _MARKER.finditer(text):
        where = (match.start(), match.end())
        spelling = match[0] if len(match[0]) <= 60 else f"{match[0][:57]}..."
        if match["comment"]:
            yield _Marker(*where, "drop", "comment" if match[0].endswith("-->") else "", "comment", spelling)
        elif match["channel"]:
            name = plain_name((match["channel_name"] or "").split(" ")[0])
            yield _Marker(*where, "open", name or "channel", "channel", spelling)
        elif match["unused"]:
            role: Literal["open", "close"] = "open" if match["unused_thought"] else "close"
            yield _Marker(*where, role, "thought", "unused", spelling)
        elif match["role"]:
            name = plain_name(match["role_name"] or match["turn_name"] or "")
            yield _Marker(*where, "turn", name, "role", spelling)
        elif match["fence"]:
            yield _Marker(*where, "fence", "thinking", match["fence"], spelling)
        elif match["thinking"]:
            yield _Marker(*where, "open", "thinking", "line", spelling)
        elif match["thought"]:
            yield _Marker(*where, "close", "thinking", "line", spelling)
        elif (marker := _bracketed(match, where, spelling)) is not None:
            yield marker


def _bracketed(match: re.Match[str], where: tuple[int, int], spelling: str) -> _Marker | None:
    """A marker between brackets of some form; None for a tag of HTML."""
    if match["tag"] and match["tag"].lower() in HTML_NAMES:
        return None
    for form in ("piped", "double", "tag", "square", "kimi", "other", "curly"):
        if match[form] is None:
            continue
        closes = bool(match["slash" if form == "tag" else f"{form}_slash"])
        return _named(match[form], where, spelling, form, closes=closes, empty=bool(match["empty"]))
    if match["piped_open"] is not None:
        return _named(match["piped_open"], where, spelling, "half", closes=False)
    if match["piped_close"] is not None:
        return _named(match["piped_close"], where, spelling, "half", closes=True)
    name = plain_name(match["latex"])
    if name not in REASONING | ANSWER:
        return None
    return _Marker(*where, "close" if match["latex_slash"] == "end" else "open", name, "latex", spelling)


def _named(
    raw: str, where: tuple[int, int], spelling: str, form: str, *, closes: bool, empty: bool = False
) -> _Marker:
    name = plain_name(raw)
    with_close = f"{name} close" if closes else name
    if form in ("piped", "tag", "half", "double"):
        if with_close in _ENDS or (name in _ENDS and not closes and form != "double"):
            return _Marker(*where, "end", name, form, spelling)
        if name in _NOISE and form in ("piped", "tag"):
            return _Marker(*where, "noise", name, form, spelling)
    if name in _COORDINATES:
        return _Marker(*where, "close" if name.endswith("end") else "open", "coordinates", form, spelling)
    if form == "piped" and name in (
        "assistant",
        "user",
        "system",
        "observation",
        "developer",
        "human",
        "tool",
    ):
        return _Marker(*where, "turn", name, form, spelling)
    if empty:
        return _Marker(*where, "either", name, form, spelling)
    if closes:
        return _Marker(*where, "close", name, form, spelling)
    if form in ("piped", "square", "tag") and not closes:
        if _BEGIN.search(name):
            return _Marker(*where, "open", _BEGIN.sub("", name), form, spelling)
        if _END.search(name):
            return _Marker(*where, "close", _END.sub("", name), form, spelling)
    return _Marker(*where, "open", name, form, spelling)


_WEAK_FORMS = ("square", "other", "curly")
"""Brackets that stand in ordinary text, too: one without its partner is text."""


def _partners(markers: list[_Marker]) -> dict[int, int]:
    """Opening marker -> the closing one of the same name (or any two of reasoning), by index."""
    partners: dict[int, int] = {}
    waiting: list[int] = []
    for at, marker in enumerate(markers):
        if marker.role == "open" and marker.form != "channel":
            waiting.append(at)
        elif marker.role == "close":
            for place in range(len(waiting) - 1, max(-1, len(waiting) - 60), -1):
                opened = markers[waiting[place]]
                both_reason = opened.name in REASONING and marker.name in REASONING
                same = opened.name == marker.name and opened.form == marker.form
                if both_reason or same:
                    partners[waiting[place]] = at
                    del waiting[place:]
                    break
    return partners


def _all_markers(text: str) -> list[_Marker]:
    """Markers and headings in order; of two that overlap the first one counts."""
    headings = (
        _Marker(found.start(), found.end(), "heading", "answer", "heading", found[0].strip())
        for found in ANSWER_HEADING.finditer(text)
    )
    ordered = sorted([*_markers(text), *headings], key=lambda marker: (marker.start, -marker.end))
    kept: list[_Marker] = []
    for marker in ordered:
        if not kept or marker.start >= kept[-1].end:
            kept.append(marker)
    return kept


def cut_into_pieces(text: str) -> Pieces:
    """Cut a text at its markers and keep the assistant's turns; never raises.

    Of several turns those of the assistant up to the next turn of somebody else are kept: what a model writes
    behind that answers a question that it made up.
    """
    cutter = _Cutter(text)
    cutter.cut()
    return cutter.result()


class _Cutter:
    def __init__(self, text: str) -> None:
        self._text = text
        self._found = _all_markers(text)
        self._partners = _partners(self._found)
        self._partnered = set(self._partners.values())
        self._turns: list[tuple[bool, list[Piece]]] = [(True, [])]
        """(whether it is the assistant's, its pieces)."""
        self._spellings: list[str] = []
        self._behind = False

    def cut(self) -> None:
        at = 0
        for index, marker in enumerate(self._found):
            if marker.start < at or self._is_text(index, marker):
                continue
            self._add("behind" if self._behind else "text", self._text[at : marker.start])
            if marker.role != "heading":
                self._spellings.append(marker.spelling)
            at = self._take(index, marker)
        self._add("behind" if self._behind else "text", self._text[at:])

    def _is_text(self, index: int, marker: _Marker) -> bool:
        """Whether brackets are ordinary text: without a partner, and of no name that tells."""
        if marker.form not in _WEAK_FORMS or index in self._partners or index in self._partnered:
            return False
        if marker.role == "close":
            return "/" not in marker.spelling
        return not (marker.form == "square" and (marker.name in REASONING | {"tool calls"}))

    def _add(self, kind: Kind, text: str, name: str = "", *, closed: bool = True) -> None:
        pieces = self._turns[-1][1]
        if kind == "text" and pieces and pieces[-1].kind == "text":
            joint = pieces[-1].text + (text.removeprefix(" ") if pieces[-1].text[-1:] in " \n" else text)
            pieces[-1] = Piece("text", joint)
        elif text or kind not in ("text", "behind"):
            pieces.append(Piece(kind, text, name, closed))

    def _take(self, index: int, marker: _Marker) -> int:
        """Add what a marker begins; returns where reading goes on."""
        if marker.role == "turn":
            self._turns.append((marker.name in _ASSISTANT, []))
            self._behind = False
        elif marker.role == "end":
            self._behind = True
        elif marker.role == "heading":
            self._add("heading", marker.spelling)
        elif marker.role == "drop":
            self._add("reasoning", marker.spelling, "comment", closed=bool(marker.name))
        elif marker.role == "fence":
            return self._fence(marker)
        elif marker.role == "open":
            return self._opened(index, marker)
        elif marker.role == "close" and marker.name in REASONING:
            self._all_before_is_reasoning(marker.name)
        elif marker.role == "either" or (marker.role == "close" and marker.name not in ANSWER):
            self._add("stray", marker.spelling, marker.name)
        return marker.end

    def _fence(self, marker: _Marker) -> int:
        closing = re.compile(rf"^[ \t]{{0,3}}{re.escape(marker.form)}[ \t]*$", re.MULTILINE)
        end = closing.search(self._text, marker.end)
        self._add(
            "reasoning", self._text[marker.end : end.start() if end else None], marker.name, closed=bool(end)
        )
        return end.end() if end else len(self._text)

    def _opened(self, index: int, marker: _Marker) -> int:
        kind = _kind_of(marker)
        if index in self._partners:
            partner = self._found[self._partners[index]]
            content, end, closed = self._text[marker.end : partner.start], partner.end, True
            self._spellings.append(partner.spelling)
        elif kind in ("reasoning", "answer", "tool") or marker.form == "channel":
            stop = self._turn_ends_behind(index, marker)
            content, end, closed = self._text[marker.end : stop], stop, stop < len(self._text)
        else:
            self._add("stray", marker.spelling, marker.name)
            return marker.end
        if marker.name == "coordinates":
            return end
        if kind == "section":
            content = _as_section(marker.name, content)
        self._add(kind, content, marker.name, closed=closed)
        return end

    def _turn_ends_behind(self, index: int, marker: _Marker) -> int:
        """Where the turn ends, or the next channel begins, behind a marker without a partner."""
        for later in self._found[index + 1 :]:
            if later.role in ("end", "turn") or (marker.form == later.form == "channel"):
                return later.start
        return len(self._text)

    def _all_before_is_reasoning(self, name: str) -> None:
        assistant, pieces = self._turns[-1]
        text = "".join(piece.text for piece in pieces)
        self._turns[-1] = (assistant, [Piece("reasoning", text, name)] if text else [])
        self._behind = False

    def result(self) -> Pieces:
        """The assistant's pieces, and what else there is."""
        mine: list[Piece] = []
        others: list[str] = []
        over = False
        for assistant, pieces in self._turns:
            said = any(has_words(piece.text) for piece in pieces)
            if assistant and not over:
                if mine and said:
                    mine.append(Piece("stray", ""))  # a new turn of the assistant: nothing goes over its edge
                mine += pieces
                continue
            over = over or any(has_words(piece.text) for piece in mine)
            others += [piece.text for piece in pieces]
        return Pieces(tuple(mine), tuple(self._spellings), "".join(others))


def has_words(text: str) -> bool:
    """Whether a text holds any letter or digit."""
    return any(character.isalnum() for character in text)


def _kind_of(marker: _Marker) -> Kind:
    name = marker.name
    if marker.form == "channel" and name not in REASONING and name not in ANSWER:
        return "pair"
    if name in REASONING or "reason" in name or "think" in name.split():
        return "reasoning"
    if name in ANSWER:
        return "answer"
    if name in _TOOL or name in _OTHERS:
        return "tool"
    if _section_of(name) or parameter_of_key(name):
        return "section"
    return "pair"


def _section_of(name: str) -> str | None:
    """The report's section that a marker names: scene, parameters, risk."""
    table = vocabulary()["sections"]
    return next((kind for kind in KINDS if name in table["names"][kind] + table["short_names"][kind]), None)


def _as_section(name: str, content: str) -> str:
    """What stands between a section's markers under its heading; a parameter's value as a pair."""
    kind = _section_of(name)
    if kind is None:
        return f"\n- {name}: {' '.join(content.split())}\n"
    return f"\n\n**{SECTION_HEADINGS[kind]}:**\n{content}\n"


SECTION_HEADINGS = {
    "scene": "Scene Description",
    "parameters": "Driving Parameters (JSON)",
    "risk": "Risk Assessment",
}

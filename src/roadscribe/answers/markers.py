"""Markers in a teacher's text: tags, control tokens, channels, roles, fences and headings around its answer.

A marker is told by its form: a paired ``[X]...[/X]``, ``<x>...</x>``, ``<|x|>...<|/x|>``, ``◁x▷...◁/x▷``, a channel,
a fence, a role, an end of turn. Its name decides only where the form leaves it open. `pieces` cuts a text at them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from roadscribe.answers.plain_form import HTML_NAMES

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
TOOL = frozenset(
    ("tool call", "tool calls", "function call", "function calls", "function", "invoke", "tool use", "tools")
) | frozenset(("tool response", "tool responses", "tool result", "tool results", "function results", "tool"))
OTHERS = frozenset(("inst", "sys", "system", "user", "human", "system prompt", "developer", "observation"))
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
ASSISTANT = ("assistant", "model")

_ROLES = "system|user|assistant|model|tool|developer|human|ipython|observation|environment"
_NAME = r"[^\W\d_][\w:.▁-]{0,40}"
_ATTRIBUTES = r"(?:\s+[\w:-]{1,40}\s*=\s*(?:\"[^\"<>\n]{0,200}\"|'[^'<>\n]{0,200}'|[^\s\"'<>]{1,60})){0,6}"
_REASONING_FENCE = r"think(?:ing)?|thoughts?|reasoning|scratchpad|analysis|draft|plan|cot"
_MARKER = re.compile(
    rf"""
    (?P<comment><!--) | (?P<comment_end>-->)
  | (?P<channel><\|channel\|>(?P<channel_name>[^<]{{0,80}})(?:<\|constrain\|>[^<]{{0,40}})?<\|message\|>)
  | (?P<unused><unused\d{{1,4}}>)(?P<unused_thought>\s{{0,4}}thought\b)?
  | (?P<role><[|｜](?:im_start|start|start_header_id|turn|role_start|im_user|im_assistant|im_system)[|｜]?>\s{{0,4}}
        (?P<role_name>{_ROLES})\b(?:[ \t]{{0,4}}<\|(?:end_header_id|im_middle|im_sep|role_end)\|>)?[ \t]*:?
      | <start_of_turn>\s{{0,4}}(?P<turn_name>{_ROLES})\b)
  | <[|｜](?P<piped_slash>/)?(?P<piped>[^|｜<>\s][^|｜<>\n]{{0,59}})[|｜]>
  | <[|｜](?P<piped_open>{_NAME})> | <(?P<piped_close>{_NAME})[|｜]>
  | <<(?P<double_slash>/)?(?P<double>{_NAME})>>
  | <(?P<slash>/)?(?P<tag>{_NAME})(?P<attributes>{_ATTRIBUTES})\s{{0,4}}(?P<empty>/)?>
  | (?<!!)\[(?P<square_slash>/)?(?P<square>[^\W\d_][\w -]{{0,40}})\](?!\()
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
    r"<[|｜]|[|｜]>|\[/[^\W\d_][\w -]{0,40}\]|◁[^◁▷\n]{0,40}▷|<!--|\[(?:INST|THINK|TOOL_CALLS)\]"
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


ANY_FENCE = re.compile(r"^[ \t]{0,3}(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^\s`]{0,40})[ \t]*$", re.MULTILINE)
_BEGIN = re.compile(r"^(?:begin|start)(?: of)? | (?:start|begin)$")
_END = re.compile(r"^(?:end|stop)(?: of)? | end$")


@dataclass(frozen=True)
class Marker:
    start: int
    end: int
    role: Literal["open", "close", "either", "end", "noise", "turn", "fence", "heading"]
    name: str
    form: str
    spelling: str


def _markers(text: str) -> Iterator[Marker]:
    """The markers of a text in order, whether they have partners or not."""
    for match in _MARKER.finditer(text):
        where = (match.start(), match.end())
        spelling = match[0] if len(match[0]) <= 60 else f"{match[0][:57]}..."
        if match["comment"] or match["comment_end"]:
            role: Literal["open", "close"] = "open" if match["comment"] else "close"
            yield Marker(*where, role, "comment", "comment", spelling)
        elif match["channel"]:
            name = plain_name((match["channel_name"] or "").split(" ")[0])
            yield Marker(*where, "open", name or "channel", "channel", spelling)
        elif match["unused"]:
            role = "open" if match["unused_thought"] else "close"
            yield Marker(*where, role, "thought", "unused", spelling)
        elif match["role"]:
            name = plain_name(match["role_name"] or match["turn_name"] or "")
            yield Marker(*where, "turn", name, "role", spelling)
        elif match["fence"]:
            yield Marker(*where, "fence", "thinking", match["fence"], spelling)
        elif match["thinking"]:
            yield Marker(*where, "open", "thinking", "line", spelling)
        elif match["thought"]:
            yield Marker(*where, "close", "thinking", "line", spelling)
        elif (marker := _bracketed(match, where, spelling)) is not None:
            yield marker


def _bracketed(match: re.Match[str], where: tuple[int, int], spelling: str) -> Marker | None:
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
    return Marker(*where, "close" if match["latex_slash"] == "end" else "open", name, "latex", spelling)


def _named(
    raw: str, where: tuple[int, int], spelling: str, form: str, *, closes: bool, empty: bool = False
) -> Marker:
    name = plain_name(raw)
    with_close = f"{name} close" if closes else name
    if form in ("piped", "tag", "half", "double"):
        if with_close in _ENDS or (name in _ENDS and not closes and form != "double"):
            return Marker(*where, "end", name, form, spelling)
        if name in _NOISE and form in ("piped", "tag"):
            return Marker(*where, "noise", name, form, spelling)
    if name in _COORDINATES:
        return Marker(*where, "close" if name.endswith("end") else "open", "coordinates", form, spelling)
    if form == "piped" and name in (
        "assistant",
        "user",
        "system",
        "observation",
        "developer",
        "human",
        "tool",
    ):
        return Marker(*where, "turn", name, form, spelling)
    if empty:
        return Marker(*where, "either", name, form, spelling)
    if closes:
        return Marker(*where, "close", name, form, spelling)
    if form in ("piped", "square", "tag") and not closes:
        if _BEGIN.search(name):
            return Marker(*where, "open", _BEGIN.sub("", name), form, spelling)
        if _END.search(name):
            return Marker(*where, "close", _END.sub("", name), form, spelling)
    return Marker(*where, "open", name, form, spelling)


def find_markers(text: str) -> list[Marker]:
    """Markers and headings in order; of two that overlap the first one counts."""
    headings = (
        Marker(found.start(), found.end(), "heading", "answer", "heading", found[0].strip())
        for found in ANSWER_HEADING.finditer(text)
    )
    ordered = sorted([*_markers(text), *headings], key=lambda marker: (marker.start, -marker.end))
    kept: list[Marker] = []
    for marker in ordered:
        if not kept or marker.start >= kept[-1].end:
            kept.append(marker)
    return kept


def has_words(text: str) -> bool:
    """Whether a text holds any letter or digit."""
    return any(character.isalnum() for character in text)

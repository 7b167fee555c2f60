"""An answer's outermost form undone: newlines, HTML, a JSON string around the whole, the echo of the prompt.

These steps change how an answer is written, never what it says; `clean_text` runs them before it looks for markers.
"""

from __future__ import annotations

import json
import re

from roadscribe.report import Finding

HTML_NAMES = frozenset(
    (
        *(
            "a",
            "abbr",
            "article",
            "b",
            "big",
            "blockquote",
            "body",
            "br",
            "center",
            "code",
            "dd",
            "del",
            "div",
        ),
        *("dl", "dt", "em", "figcaption", "figure", "font", "footer", "h1", "h2", "h3", "h4", "h5", "h6"),
        *("head", "header", "hr", "html", "i", "ins", "kbd", "li", "main", "mark", "ol", "p", "pre", "q"),
        *(
            "section",
            "small",
            "span",
            "strike",
            "strong",
            "sub",
            "sup",
            "table",
            "tbody",
            "td",
            "tfoot",
            "th",
        ),
        *("thead", "tr", "tt", "u", "ul"),
    )
)
"""Elements of HTML that lay out text; a tag of one of them marks no reasoning."""

_NAMES = "|".join(sorted(HTML_NAMES, key=len, reverse=True))
_ATTRIBUTES = r"(?:\s[^<>\n]{0,80}=[^<>\n]{0,120})?\s{0,4}/?"
_IN_USE = re.compile(rf"</?(?:{_NAMES}){_ATTRIBUTES}>", re.IGNORECASE)
_HTML = (
    (re.compile(rf"<h([1-6]){_ATTRIBUTES}>", re.IGNORECASE), lambda tag: "\n" + "#" * int(tag[1]) + " "),
    (re.compile(rf"<li{_ATTRIBUTES}>", re.IGNORECASE), lambda tag: "\n- "),
    (re.compile(r"</?(?:b|strong)>", re.IGNORECASE), lambda tag: "**"),
    (
        re.compile(rf"</?(?:h[1-6]|p|div|ul|ol|pre|br|hr|table|tr|blockquote){_ATTRIBUTES}>", re.IGNORECASE),
        lambda tag: "\n",
    ),
    (re.compile(rf"</t[dh]>\s{{0,4}}<t[dh]{_ATTRIBUTES}>", re.IGNORECASE), lambda tag: " | "),
    (re.compile(rf"</?(?:{_NAMES}){_ATTRIBUTES}>", re.IGNORECASE), lambda tag: ""),
)


def tidied(text: str) -> str:
    """One kind of newline, Markdown for HTML, and no lone surrogates, which no file can hold."""
    text = re.sub("[\ud800-\udfff]", "\ufffd", text)
    return _without_html(re.sub(r"\r\n|[\r\v\f\x85\u2028\u2029]", "\n", text))


def _without_html(text: str) -> str:
    if not _IN_USE.search(text):
        return text
    for tag, markdown in _HTML:
        text = tag.sub(markdown, text)
    return text


def unquoted(text: str, findings: list[Finding]) -> str:
    """The answer in a text that is one JSON string, as a pipeline leaves it that writes JSON twice."""
    stripped = text.strip()
    if len(stripped) > 1 and stripped[0] == stripped[-1] == '"' and "\\n" in stripped:
        try:
            inner = json.loads(stripped)
        except ValueError:
            return text
        if isinstance(inner, str):
            findings.append(Finding(rule="form.json", message="the whole answer stands in a JSON string"))
            return inner
    return text


_ROLE_LINE = re.compile(r"^[ \t]*(?P<role>system|user|human|assistant|model)[ \t]*:?[ \t]*$", re.MULTILINE)
_CHANNELS_RUN_TOGETHER = re.compile(
    r"\A\s*(?:assistant)?(?:analysis|commentary)(?![a-z]).*?assistantfinal[ \t]*:?", re.DOTALL
)


def without_echo(text: str) -> str:
    """The text behind role names that stand on lines of their own, or behind channels that lost their tokens.

    A pipeline that decodes prompt and answer together and leaves special tokens out writes "user", the question,
    "assistant" and the answer; gpt-oss's channels become "analysis...assistantfinal...".
    """
    if run_together := _CHANNELS_RUN_TOGETHER.match(text):
        return text[run_together.end() :]
    first = _ROLE_LINE.match(text.lstrip("\n ")[:40])
    if first is None:
        return text
    if first["role"] in ("assistant", "model"):
        return text.lstrip("\n ")[first.end() :]
    answer = next(
        (line for line in _ROLE_LINE.finditer(text) if line["role"] in ("assistant", "model")), None
    )
    return text[answer.end() :] if answer else text

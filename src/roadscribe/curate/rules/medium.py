"""Words that speak of a video or an image instead of the road: whether a text has any, and how it reads without.

Pure text; `prose` makes a rule of it for reports, `own` uses it for answers to other questions.
"""

from __future__ import annotations

import re

_I = re.IGNORECASE

_MEDIUM = (
    r"(?:video(?: clip)?|footage|images?|pictures?|photos?|photographs?|frames?|clips?|screenshots?|"
    r"dash ?cams?)"
)
_MEDIUM_WORD = re.compile(rf"\b{_MEDIUM}\b|\bcaptured (?:from|by|in)\b|\b(?:the )?camera\b", _I)
_MEDIUM_OPENING = re.compile(
    r"^(?:as (?:seen|shown) )?(?:in|from|throughout|across|based on|during|over) (?:the|this|these) (?:\w+ )?"
    rf"{_MEDIUM},?\s+(?=\w)",
    _I,
)
_MEDIUM_SHOWS = re.compile(
    rf"\b(?P<word>(?:the|this|these) (?:\w+ )?{_MEDIUM}) (?=shows?|depicts?|presents?|captures?|features?)",
    _I,
)
_INSIDE_CAR = re.compile(
    r"^The scene is captured from inside (?:a|the) (?:moving )?(?:car|vehicle),? "
    r"(?:driving|moving|travel+ing) ",
    _I,
)
_SIDE = r"(?:far |upper |lower )?(?:left|right)(?:[ -]hand)?(?: (?:side|edge|half|part|corner|lane))?"
_PLACE_IN_MEDIUM = re.compile(
    rf"(?P<place>\b(?:in|on|at|to|from|near|along|towards?) the (?:{_SIDE}|(?:fore|back)ground|distance))"
    rf" (?:of|in) (?:the|this|these) {_MEDIUM}\b",
    _I,
)
_MIDDLE_OF_MEDIUM = re.compile(
    rf"\b(?:in|at|near) the (?:cent(?:er|re)|middle) of (?:the|this|these) {_MEDIUM}\b", _I
)
_IN_MEDIUM = re.compile(
    rf",? (?:as (?:seen|shown|can be seen) )?(?:in|within|throughout) (?:the|this|these) (?:\w+ )?{_MEDIUM}\b"
    r"(?! (?:shows?|depicts?))",
    _I,
)
_TOWARDS_CAMERA = re.compile(r"\b(towards?|away from|facing|near|close to|past) the camera\b", _I)
_BOX_WORD = re.compile(
    r"\b(?:speed|red[- ]light|traffic|safety|rear|backup|surveillance|security|enforcement) cameras?\b", _I
)


def speaks_of_medium(text: str) -> bool:
    """Whether a text speaks of a video, an image or the camera; a speed camera is none of these."""
    return bool(_MEDIUM_WORD.search(_BOX_WORD.sub("", text)))


def without_medium(sentence: str) -> str | None:
    """The sentence as one who looks through the windscreen would say it; None where that is not clear."""
    if not speaks_of_medium(sentence):
        return sentence
    mended = _MEDIUM_OPENING.sub("", sentence)
    mended = _INSIDE_CAR.sub("The ego vehicle is driving ", mended)
    mended = _PLACE_IN_MEDIUM.sub(r"\g<place>", mended)
    mended = _MIDDLE_OF_MEDIUM.sub("ahead", mended)
    mended = _IN_MEDIUM.sub("", mended)
    mended = _TOWARDS_CAMERA.sub(r"\1 the ego vehicle", mended)
    shows = _MEDIUM_SHOWS.search(mended)
    if shows:
        scene = "The scene" if shows["word"][0].isupper() else "the scene"
        mended = mended[: shows.start("word")] + scene + mended[shows.end("word") :]
        mended = re.sub(r"\bscene (show|depict|present|capture|feature)\b", r"scene \1s", mended, flags=_I)
    mended = mended[:1].upper() + mended[1:]
    return None if speaks_of_medium(mended) else mended

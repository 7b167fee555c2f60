"""Turns clips and words into the model's input: one path for training, evaluation and serving.

Token counts come from image sizes alone, so a plan or a check never has to decode an image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image

from roadscribe.errors import InputError
from roadscribe.qwen3_vl.live_tokens import control_spellings, control_tokens_in

PATCH = 16
"""Pixels along a side of one patch of Qwen3-VL's vision encoder."""
MERGE = 2
"""Patches along a side that merge into one visual token."""
SIDE = PATCH * MERGE
"""Pixels along a side of one visual token."""
MIN_PIXELS = SIDE * SIDE
"""The smallest frame, one visual token. Qwen's own bound of 256 x 256 would enlarge small frames."""
IGNORED = -100
"""Label of a token that carries no loss."""

ROLES = ("system", "user", "assistant", "tool")
"""Roles of messages; templates write them out as they are."""

Message = dict[str, Any]


class Sample(NamedTuple):
    """One question about one clip; ``completion`` is None where the model is to answer.

    ``prompt`` and ``completion`` are lists of chat messages. The content of a message is a string, or a list
    of ``{"type": "image"}`` and ``{"type": "text", "text": ...}`` parts. Where no message has an image part,
    the frames stand before the first user message's text.
    """

    images: Sequence[Image.Image]
    prompt: Sequence[Message]
    completion: Sequence[Message] | None = None


def processed_size(width: int, height: int, max_pixels: int | None = None) -> tuple[int, int]:
    """Width and height in pixels that Qwen's image processor gives an image of ``width`` x ``height`` pixels.

    Both sides become multiples of 32; the area is brought into ``MIN_PIXELS``..``max_pixels`` keeping the
    aspect. The rule is that of the image processor of Qwen2-VL and Qwen3-VL in transformers.

    Raises:
        ValueError: a side is more than 200 times the other.
    """
    if max(width, height) > 200 * min(width, height):
        raise ValueError(f"{width}x{height} pixels: one side is more than 200 times the other")
    columns, rows = round(width / SIDE), round(height / SIDE)
    if max_pixels is not None and columns * rows * SIDE * SIDE > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        columns, rows = (max(1, math.floor(side / shrink / SIDE)) for side in (width, height))
    elif columns * rows * SIDE * SIDE < MIN_PIXELS:
        enlarge = math.sqrt(MIN_PIXELS / (height * width))
        columns, rows = (math.ceil(side * enlarge / SIDE) for side in (width, height))
    return columns * SIDE, rows * SIDE


def visual_tokens(width: int, height: int, max_pixels: int | None = None) -> int:
    """Visual tokens of a frame of ``width`` x ``height`` pixels: one per 32 x 32 square after processing."""
    columns, rows = processed_size(width, height, max_pixels)
    return columns * rows // (SIDE * SIDE)


def sample_tokens(
    processor: Any,
    prompt: Sequence[Message],
    completion: Sequence[Message] | None,
    sizes: Sequence[tuple[int, int]],
) -> int:
    """Exact tokens of one sample, from its words and its frames' sizes (width, height) in pixels.

    Raises:
        ValueError: as `word_ids`.
        InputError: as `word_ids`.
    """
    question, answer = word_ids(processor, prompt, completion, len(sizes))
    max_pixels = processor.image_processor.size.longest_edge
    visual = sum(visual_tokens(width, height, max_pixels) for width, height in sizes)
    # Each image part is one placeholder token in the rendered words.
    return len(question) - len(sizes) + visual + len(answer)


def word_ids(
    processor: Any, prompt: Sequence[Message], completion: Sequence[Message] | None, images: int
) -> tuple[list[int], list[int]]:
    """Token ids of question and answer ([] without one) as rendered; each frame is one placeholder in the question.

    Raises:
        InputError: a message's text holds a control token of the tokenizer.
        ValueError: as `render`; or the template puts another number of frames into the question, or any into the
            answer.
    """
    found = control_tokens_in([*prompt, *(completion or ())], control_spellings(processor))
    if found:
        raise InputError(
            f"a message holds the control token {found[0]}, which a model does not read as text; take it out of "
            "the question or the answer"
        )
    question, answer = (
        processor.tokenizer(text, add_special_tokens=False)["input_ids"] if text else []
        for text in render(processor, prompt, completion, images)
    )
    visual = {processor.image_token_id, processor.video_token_id}
    places = sum(token in visual for token in question)
    if places != images or not visual.isdisjoint(answer):
        raise ValueError(f"the chat template wrote {places} image places for {images} frames")
    return question, answer


def render(
    processor: Any, prompt: Sequence[Message], completion: Sequence[Message] | None, images: int
) -> tuple[str, str]:
    """The text that the model reads before its answer, and the text that it shall answer ("" without one).

    Raises:
        ValueError: a message or a part of one is of no known form, image parts and frames do not match in number,
            or the template writes the question differently once an answer follows it.
    """
    turns = _conversation(prompt, images)
    question: str = processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    if completion is None:
        return question, ""
    whole: str = processor.apply_chat_template([*turns, *_conversation(completion, 0)], tokenize=False)
    if not whole.startswith(question):
        raise ValueError("the chat template writes the question differently once an answer follows it")
    return question, whole[len(question) :]


def _conversation(messages: Sequence[Message], images: int) -> list[Message]:
    """Messages whose content is a list of parts, with one image part a frame; nothing else is handed on."""
    turns: list[Message] = []
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if role not in ROLES:
            raise ValueError(f"a message's role is {role!r}; it must be one of {', '.join(ROLES)}")
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        elif not isinstance(content, Sequence):
            raise ValueError(f"the content of a {role} message is neither a text nor a list of parts")
        turns.append({"role": role, "content": [_part(part) for part in content]})
    places = sum(part["type"] == "image" for turn in turns for part in turn["content"])
    first = next((turn for turn in turns if turn["role"] == "user"), None)
    if places == 0 and images and first is not None:
        first["content"] = [{"type": "image"}] * images + first["content"]
        places = images
    if places != images:
        raise ValueError(f"{places} image places in the prompt, but {images} frames")
    return turns


def _part(part: Any) -> dict[str, str]:
    """A part with its type and its text alone: templates look at further keys, too."""
    kind, text = (part.get("type"), part.get("text")) if isinstance(part, Mapping) else (None, None)
    if kind == "image":
        return {"type": "image"}
    if kind == "text" and isinstance(text, str):
        return {"type": "text", "text": text}
    raise ValueError(f"a part of a message is of type {kind!r}; it must be an image or a text with its words")


def encode_images(processor: Any, images: Sequence[Image.Image]) -> torch.Tensor:
    """The normalised patches of a list of frames, (patches, 3 x 2 x 16 x 16)."""
    features = processor.image_processor(images=list(images), return_tensors="pt")
    patches: torch.Tensor = features["pixel_values"]
    return patches


def encode_text(processor: Any, samples: Sequence[Sample]) -> dict[str, torch.Tensor]:
    """The words of some samples with a place for every visual token; no image is decoded.

    Returns tensors of (samples, tokens): ``input_ids``, ``attention_mask``, ``mm_token_type_ids`` (1 at a
    visual token) and, where the samples hold answers, ``labels`` (`IGNORED` outside the answer); and
    ``image_grid_thw`` (frames, 3), the frames' sizes in patches. Samples with answers are padded on the
    right, as training does; questions on the left, as generation needs it.

    Raises:
        InputError: as `word_ids`.
        ValueError: as `word_ids`.
    """
    pad, image = processor.tokenizer.pad_token_id, processor.image_token_id
    max_pixels = processor.image_processor.size.longest_edge
    questions, answers, grids = [], [], []
    for sample in samples:
        question, answer = word_ids(processor, sample.prompt, sample.completion, len(sample.images))
        sizes = [processed_size(*frame.size, max_pixels) for frame in sample.images]
        grids += [(1, height // PATCH, width // PATCH) for width, height in sizes]
        counts = iter([width * height // (SIDE * SIDE) for width, height in sizes])
        ids: list[int] = []
        for token in question:
            ids += [image] * next(counts) if token == image else [token]
        questions.append(ids)
        answers.append(answer)
    training = samples[0].completion is not None
    length = max(len(q) + len(a) for q, a in zip(questions, answers, strict=True))
    shape = (len(samples), length)
    input_ids = torch.full(shape, pad)
    attention_mask = torch.zeros(shape, dtype=torch.long)
    labels = torch.full(shape, IGNORED)
    for row, (question_ids, answer_ids) in enumerate(zip(questions, answers, strict=True)):
        used = len(question_ids) + len(answer_ids)
        start = 0 if training else length - used
        input_ids[row, start : start + used] = torch.tensor(question_ids + answer_ids)
        attention_mask[row, start : start + used] = 1
        labels[row, start + len(question_ids) : start + used] = torch.tensor(answer_ids, dtype=torch.long)
    batch = {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "mm_token_type_ids": (input_ids == image).long(),
        "image_grid_thw": torch.tensor(grids),
    }
    return {**batch, "labels": labels} if training else batch


def encode(processor: Any, samples: Sequence[Sample]) -> dict[str, torch.Tensor]:
    """Everything the model takes for some samples: `encode_text` and `encode_images` together.

    All samples hold an answer (training) or none does (generation).

    Raises:
        InputError: a message's text holds a control token of the tokenizer.
        ValueError: no samples, a mixture of the two, messages of no known form, or image parts and frames that do
            not match in number.
    """
    if not samples or len({sample.completion is None for sample in samples}) != 1:
        raise ValueError("encode needs samples that all hold an answer, or samples that all hold none")
    frames = [frame for sample in samples for frame in sample.images]
    return {**encode_text(processor, samples), "pixel_values": encode_images(processor, frames)}

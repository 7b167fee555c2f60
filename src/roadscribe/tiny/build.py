"""Lays out roadscribe-tiny: configuration, byte-level tokenizer, processor, chat template and empty weights."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from roadscribe.report import PARAMETERS, VOCABULARY

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- if message.content is string -%}
{{- message.content -}}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}
{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
{%- else -%}
{{- part.text -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""
"""ChatML with images, equal to Qwen3-VL's for the messages that Roadscribe sends (a test compares them)."""

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
"""The special tokens of Qwen3-VL that its processor and template use."""

# Words and contractions, single digits, punctuation runs, line ends: the split rule of Qwen's tokenizers.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

VOCAB_SIZE = 1536


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """A byte-level BPE tokenizer of at most ``VOCAB_SIZE`` entries, learned from ``texts``."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE - len(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS]
    )
    return tokenizer


def corpus(drives: int = 300) -> list[str]:
    """What the tokenizer's merges are learned from: lessons, and the words of the instruction and of reports.

    The tokenizer only cuts text into pieces, so it may know the report's words; the model never sees them
    before it is fine-tuned.
    """
    from roadscribe.annotate.simulated import draft_from_truth, write
    from roadscribe.clip import Clip, Evidence, Provenance, Truth
    from roadscribe.prompts import INSTRUCTION
    from roadscribe.simulator import make_drive
    from roadscribe.tiny.lessons import FIRST_SEED, lessons, prose

    rng = random.Random(0)
    texts: list[str] = []
    for seed in range(FIRST_SEED, FIRST_SEED + drives):
        drive = make_drive(seed)
        for lesson in [*lessons(drive, (1.0, 1.3), rng), *prose(drive, (1.0, 1.3), rng)]:
            texts += [lesson.question, lesson.answer]
        clip = Clip(
            clip_id=drive.drive_id,
            drive_id=drive.drive_id,
            source="simulator",
            frames=(b"",),
            timestamps_s=(1.3,),
            width=320,
            height=192,
            evidence=Evidence(
                labels=(drive.labels(1.3),), truth=Truth(time_s=1.3, parameters=drive.truth(1.3))
            ),
            provenance=Provenance(path="", size_bytes=0, sha256=""),
        )
        texts.append(write(draft_from_truth(clip), rng))
    texts += [INSTRUCTION] * 30
    words = {key: VOCABULARY.get(key, (True, False, None, 7)) for key in PARAMETERS}
    for _ in range(300):
        values = {key: rng.choice(options) for key, options in words.items()}
        texts.append(
            f"**Scene Description:**\n\n**Driving Parameters (JSON):**\n```json\n{json.dumps(values, indent=2)}\n```"
            "\n\n**Risk Assessment:**\n- "
        )
    return texts


def config(tokenizer: Tokenizer) -> Any:
    """The tiny model's configuration: Qwen3-VL's architecture at about 9 M parameters."""
    from transformers import Qwen3VLConfig

    special = {token: tokenizer.token_to_id(token) for token in SPECIAL_TOKENS}
    return Qwen3VLConfig(
        text_config={
            "vocab_size": tokenizer.get_vocab_size(),
            "hidden_size": 256,
            "intermediate_size": 640,
            "num_hidden_layers": 6,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 64,
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 100000.0,
                "mrope_section": [12, 10, 10],
                "mrope_interleaved": True,
            },
            "tie_word_embeddings": True,
            "bos_token_id": special["<|endoftext|>"],
            "eos_token_id": special["<|im_end|>"],
            "pad_token_id": special["<|endoftext|>"],
        },
        vision_config={
            "depth": 5,
            "hidden_size": 192,
            "intermediate_size": 768,
            "num_heads": 3,
            "in_channels": 3,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": 256,
            "num_position_embeddings": 1024,
            "deepstack_visual_indexes": [1, 3],
        },
        image_token_id=special["<|image_pad|>"],
        video_token_id=special["<|video_pad|>"],
        vision_start_token_id=special["<|vision_start|>"],
        vision_end_token_id=special["<|vision_end|>"],
        tie_word_embeddings=True,
    )


def build_processor(folder: Path, tokenizer: Tokenizer) -> Any:
    """Qwen3-VL's own processor around ``tokenizer``, saved into ``folder`` and returned."""
    from transformers import (
        Qwen2TokenizerFast,
        Qwen2VLImageProcessor,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    fast = Qwen2TokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token=None,
        additional_special_tokens=list(SPECIAL_TOKENS),
        model_max_length=4096,
    )
    pixels = {"patch_size": 16, "temporal_patch_size": 2, "merge_size": 2}
    normal = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    # The smallest allowed image is one token, so that a frame is never enlarged behind the recipe's back.
    size = {"shortest_edge": 32 * 32, "longest_edge": 1280 * 32 * 32}
    processor = Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(**pixels, **normal, size=size),
        tokenizer=fast,
        video_processor=Qwen3VLVideoProcessor(**pixels, **normal),
        chat_template=CHAT_TEMPLATE,
    )
    processor.save_pretrained(folder)
    return processor


def build_model(tokenizer: Tokenizer, seed: int = 0) -> Any:
    """The model with random weights in float32; deterministic by ``seed``."""
    import torch
    from transformers import Qwen3VLForConditionalGeneration

    torch.manual_seed(seed)
    return Qwen3VLForConditionalGeneration(config(tokenizer))

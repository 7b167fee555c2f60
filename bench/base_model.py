"""Makes a folder with a full-size Qwen3-VL of random weights, for measuring speed and memory.

    uv run python bench/base_model.py --size 2b --out /tmp/qwen3-vl-2b-random
    uv run python bench/base_model.py --size 2b --layers 14 --out /tmp/qwen3-vl-2b-14-layers

The configuration is the published one of Qwen3-VL-2B, 4B or 8B-Instruct; tokenizer and processor are the
shipped tiny model's, whose few entries leave most of the vocabulary of 151,936 unused. Nothing is downloaded.
A card, where there is one, draws the weights in seconds.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoProcessor, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from roadscribe.tiny import WEIGHTS

VOCABULARY = 151_936
# hidden, intermediate, layers, attention heads, tied embeddings; vision: depth, hidden, intermediate, DeepStack.
# From config.json of Qwen/Qwen3-VL-{2B,4B,8B}-Instruct.
SIZES = {
    "2b": ((2048, 6144, 28, 16, True), (24, 1024, 4096, (5, 11, 17))),
    "4b": ((2560, 9728, 36, 32, True), (24, 1024, 4096, (5, 11, 17))),
    "8b": ((4096, 12288, 36, 32, False), (27, 1152, 4304, (8, 16, 24))),
}


def size_config(size: str, layers: int | None = None, **special: int) -> Qwen3VLConfig:
    """The configuration of a published size, with another number of language layers if wanted.

    Args:
        size: "2b", "4b" or "8b".
        layers: of the language model; None takes the size's own.
        special: the tokenizer's ids, by the names that the configuration gives them.
    """
    (hidden, intermediate, depth, heads, tied), (vision_depth, vision_hidden, vision_mlp, deep) = SIZES[size]
    return Qwen3VLConfig(
        text_config={
            "vocab_size": VOCABULARY,
            "hidden_size": hidden,
            "intermediate_size": intermediate,
            "num_hidden_layers": layers or depth,
            "num_attention_heads": heads,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 262_144,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5_000_000.0,
                "mrope_section": [24, 20, 20],
                "mrope_interleaved": True,
            },
            "tie_word_embeddings": tied,
        },
        vision_config={
            "depth": vision_depth,
            "hidden_size": vision_hidden,
            "intermediate_size": vision_mlp,
            "num_heads": 16,
            "in_channels": 3,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": hidden,
            "num_position_embeddings": 2304,
            "deepstack_visual_indexes": list(deep),
        },
        tie_word_embeddings=tied,
        **special,
    )


def draw(model: torch.nn.Module, seed: int) -> None:
    """Random weights as a fresh model has them: matrices of deviation 0.02, norms of ones, biases of zeros."""
    generator = torch.Generator(next(model.parameters()).device).manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.02, generator=generator)
            else:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)


def make(size: str, out: Path, layers: int | None = None, seed: int = 0) -> Any:
    """Write the folder and return its configuration."""
    processor = AutoProcessor.from_pretrained(WEIGHTS)
    # The tiny model reads at most 4096 tokens; this one does not mind more.
    processor.tokenizer.model_max_length = 262_144
    ids = processor.tokenizer.convert_tokens_to_ids
    config = size_config(
        size,
        layers,
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device("meta"):
        model = Qwen3VLForConditionalGeneration(config).to(torch.bfloat16)
    model.to_empty(device=device)
    model.tie_weights()
    draw(model, seed)
    config.dtype = torch.bfloat16
    model.generation_config.eos_token_id = ids("<|im_end|>")
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.save_pretrained(out, max_shard_size="4GB")
    processor.save_pretrained(out)
    return config


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, default="2b")
    parser.add_argument("--layers", type=int, help="layers of the language model, if not the size's own")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.out.exists():
        parser.error(f"{options.out}: is already there")
    begun = time.perf_counter()
    make(options.size, options.out, options.layers, options.seed)
    weights = sum(file.stat().st_size for file in options.out.glob("*.safetensors"))
    print(f"{options.out}: {weights / 1e9:.2f} GB of weights in {time.perf_counter() - begun:.1f} s")


if __name__ == "__main__":
    main()

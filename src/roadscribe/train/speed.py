"""What makes a training step fast, chosen for the device with a reason each, and put into a built trainer.

Every choice but 8-bit products computes the same function as the plain path; `bench/train.py` measures each,
`docs/log.md` holds the numbers.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from roadscribe.model.load import Choice, LoadedBase, capability
from roadscribe.model.vision import compile_vision
from roadscribe.progress import say
from roadscribe.recipe import Switch, Train
from roadscribe.train import float8
from roadscribe.train.answer_loss import answer_loss, token_loss
from roadscribe.train.batches import Placed
from roadscribe.train.folded import fold_lora
from roadscribe.train.fused import FusedTextModel, at_places, can_fuse, fuse

ROOM_FOR_DENSE = 4.0
"""Dense weights are kept where the card has this many times their size."""


def choose_dense(asked: Switch, weight_bytes: int, card_bytes: int) -> Choice:
    """Whether to keep the language model's weights dequantised.

    Args:
        asked: the recipe's ``train.dense_weights``.
        weight_bytes: what they take in the type of the computation.
        card_bytes: the card's memory, 0 on a CPU.
    """
    size = f"{weight_bytes / 2**30:.1f} GiB"
    if asked != "auto":
        return Choice(_word(asked), f"asked for; they take {size}")
    if weight_bytes * ROOM_FOR_DENSE <= card_bytes:
        return Choice("on", f"the card has room for {size}")
    return Choice("off", f"they would take {size} of {card_bytes / 2**30:.0f} GiB")


def choose_compile(asked: Switch, device: str, steps: int) -> Choice:
    """Whether to compile the layers; it costs about a minute once.

    Args:
        asked: the recipe's ``train.compile``.
        device: "cuda" or "cpu".
        steps: forward and backward passes of the run.
    """
    if asked != "auto":
        return Choice(_word(asked), "asked for")
    if device == "cpu":
        return Choice("off", "on a CPU it gains little")
    if steps < 100:
        return Choice("off", f"{steps} passes are over before it pays")
    return Choice("on", f"a minute's work that {steps} passes pay back")


def choose_products(
    asked: Switch, unfused: str | None, dtype: torch.dtype, device: torch.device, **known: bool
) -> Choice:
    """`float8.choose` for a device of this machine.

    Raises:
        InputError: 8 bits are asked for and cannot be had.
    """
    found, name = None, "this machine"
    if device.type == "cuda":
        found, name = capability(device), torch.cuda.get_device_name(device)
    return float8.choose(asked, unfused, str(dtype).removeprefix("torch."), name, found, **known)


def _word(switch: Switch) -> str:
    return "on" if switch else "off"


def speed_up(trainer: Any, loaded: LoadedBase, train: Train, passes: int) -> None:
    """Put the faster paths into a trainer whose adapters are float32 already.

    Args:
        trainer: the built trainer.
        loaded: the base in it.
        train: the recipe's section.
        passes: forward and backward passes of the run.
    """
    compiled = choose_compile(train.compile, loaded.device.type, passes)
    answer_only_head(trainer.model.get_base_model(), compiled=compiled.value == "on")
    plain = train.dense_weights == "auto" and train.compile == "auto" and train.float8_products is not True
    if loaded.device.type == "cpu" and plain:
        # Small products on a CPU: writing the update into the weight is quickest there.
        fold_lora(trainer.model)
        return
    reason = can_fuse(trainer.model)
    text = loaded.model.config.text_config
    size = linear_parameters(text) * loaded.dtype.itemsize
    card_bytes = (
        torch.cuda.get_device_properties(loaded.device).total_memory if loaded.device.type == "cuda" else 0
    )
    dense = choose_dense(train.dense_weights, size, card_bytes)
    products = choose_products(
        train.float8_products,
        reason,
        loaded.dtype,
        loaded.device,
        compiled=compiled.value == "on",
        quantized=loaded.quantized,
        room=dense.value == "on",
    )
    eight = products.value == "8 bits"
    say(f"compiled layers: {compiled.value} ({compiled.reason})")
    if compiled.value == "on":
        # Each layer is compiled by itself, so its gradients leave for the other cards when it is done with them;
        # torch would cut every layer in two at a bucket of gradients, and pass the widest tensors between.
        torch._dynamo.config.optimize_ddp = False
        compile_vision(loaded.model)
    if reason is not None:
        say(f"fused adapters: off ({reason})")
        return
    if train.float8_products is not False:
        say(f"products: in {products.value} ({products.reason})")
    if not eight:
        say(f"dense weights: {dense.value} ({dense.reason})")
    fuse(
        trainer.model,
        dense=dense.value == "on",
        compiled=compiled.value == "on",
        dtype=loaded.dtype,
        eight=eight,
    )


def linear_parameters(text: Any) -> int:
    """Weights of the language model's linears, from its configuration."""
    heads, keys = text.num_attention_heads * text.head_dim, text.num_key_value_heads * text.head_dim
    layer = text.hidden_size * (2 * heads + 2 * keys + 3 * text.intermediate_size)
    return int(layer * text.num_hidden_layers)


def answer_only_head(base: Any, *, compiled: bool = False) -> None:
    """Let a Qwen3-VL answer with the summed loss of the answer tokens, on the way ``compiled`` or not.

    ``base(..., answer_labels=labels, answer_weights=weights)`` takes what the model takes; ``base(...,
    placed=places)`` what a `Placed` batch holds, and asks the card for nothing on the way. Any other call is as
    before. The call goes through the model's own ``forward``, so that wrappers around it (data parallelism, mixed
    precision) see it.
    """
    before = base.forward

    def forward(
        self: Any,
        *args: Any,
        answer_labels: torch.Tensor | None = None,
        answer_weights: torch.Tensor | None = None,
        placed: Placed | None = None,
        **kwargs: Any,
    ) -> Any:
        head = self.get_output_embeddings().weight
        if placed is not None:
            hidden = _placed_hidden(self.model, placed, **kwargs)
            before_answers = hidden.flatten(0, 1).index_select(0, placed["counts"])
            shares = placed.get("weights")
            return token_loss(before_answers, placed["targets"], head, weights=shares, compiled=compiled)
        if answer_labels is None:
            return before(*args, **kwargs)
        hidden = self.model(*args, **kwargs).last_hidden_state
        return answer_loss(hidden, answer_labels, head, weights=answer_weights, compiled=compiled)

    base.forward = types.MethodType(forward, base)


def _placed_hidden(
    inner: Any, placed: Placed, input_ids: torch.Tensor, mm_encoder_outputs: dict[str, Any], **kwargs: Any
) -> torch.Tensor:
    """The last hidden states (rows, places, width) at ``placed["before"]``, come by as in ``Qwen3VLModel``."""
    # PEFT names everything that a language model may take; what nobody gave is None.
    kwargs = {name: value for name, value in kwargs.items() if value is not None}
    features = mm_encoder_outputs["image"]
    words = inner.get_input_embeddings()(input_ids)
    seen = torch.cat(list(features.pooler_output)).to(words.dtype)
    both = words.flatten(0, 1).index_copy(0, placed["visual"], seen).view_as(words)
    fused = isinstance(inner.language_model, FusedTextModel)
    if fused:
        # Places, not a mask: writing True into one by index waits for the card.
        kwargs |= {"visual_places": placed["visual"], "wanted_places": placed["before"]}
    else:
        mask = torch.zeros(input_ids.numel(), dtype=torch.bool, device=input_ids.device)
        kwargs["visual_pos_masks"] = mask.index_fill(0, placed["visual"], True).view_as(input_ids)
    hidden: torch.Tensor = inner.language_model(
        inputs_embeds=both,
        deepstack_visual_embeds=[torch.cat(list(level)) for level in features.deepstack_features],
        **kwargs,
    ).last_hidden_state
    return hidden if fused else at_places(hidden, placed["before"])


@contextmanager
def fastest_attention(device: torch.device) -> Iterator[None]:
    """cuDNN's attention kernels before the others on Hopper and later cards, where they are the fastest."""
    if capability(device) < (9, 0):
        yield
        return
    order = [
        SDPBackend.CUDNN_ATTENTION,
        SDPBackend.FLASH_ATTENTION,
        SDPBackend.EFFICIENT_ATTENTION,
        SDPBackend.MATH,
    ]
    with sdpa_kernel(order, set_priority=True):
        yield

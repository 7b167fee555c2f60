"""The local engine: many reports at once from a Qwen3-VL, greedy, with or without the grammar.

Describe, evaluate and serve ask here. The model's own modules compute everything, so a plain, a 4-bit and an
adapted model are served alike; what is ours is the order of work: each frame goes through the vision encoder
once, equal questions are answered once, all sequences step together without padding, and text that the
grammar forces is read in one step instead of being asked for token by token.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
import xgrammar
from peft import PeftModel
from PIL import Image

from roadscribe.infer.grammar import ReportGrammar, ReportState
from roadscribe.infer.lru_cache import LRUCache
from roadscribe.prompts import INSTRUCTION, messages
from roadscribe.qwen3_vl.kv_cache import PackedCache, Prefix, packed_language_model
from roadscribe.qwen3_vl.live_tokens import control_spellings, refuse_control_tokens
from roadscribe.qwen3_vl.merged_linears import DenseWeights, wants_dense
from roadscribe.qwen3_vl.processor import Sample, encode_images, encode_text
from roadscribe.report import Finding

FRAMES_AT_ONCE = 16
"""Frames in one pass through the vision encoder; more gain nothing on a CPU and little on a card."""
MEMORY_BYTES = 512 * 2**20
"""How much the engine keeps of frames it has seen, and again as much of prompts it has read."""
ANSWERS_KEPT = 4096


@dataclass(frozen=True)
class GeneratedReport:
    """One answer of the model."""

    text: str
    tokens: int
    """New tokens, the stop token included."""
    finished: bool
    """False where the answer ran into the limit of new tokens; the text is what there was by then."""
    seconds: float
    """This answer's share of the wall time of its `ReportEngine.generate` call."""
    forced_tokens: int
    """How many of the tokens the grammar left no choice about; the model was not asked for them."""
    token_ids: tuple[int, ...]
    findings: tuple[Finding, ...] = ()
    """What was changed in the text after it was generated (see `agreement`)."""


class FrameFeatures(NamedTuple):
    """What the vision encoder says of one frame, as the language model takes it."""

    levels: torch.Tensor
    """(1 + DeepStack levels, visual tokens, hidden): the merged features, then each DeepStack level."""

    @property
    def nbytes(self) -> int:
        return self.levels.nbytes


class _Question(NamedTuple):
    frames: tuple[bytes, ...]
    """Digest of each frame's pixels."""
    grammar: bool
    text: str
    beginning: str
    """What the answer begins with; the model goes on from there."""
    limit: int
    """New tokens, those of the beginning not counted."""


@dataclass
class _Sequence:
    """One report in the making."""

    question: _Question
    next_position: int
    """M-RoPE position of the next token, the same on all three axes for text."""
    state: ReportState | None
    limit: int
    """Tokens after which the answer is cut off, those of its given beginning included."""
    tokens: list[int] = field(default_factory=list)
    unread: list[int] = field(default_factory=list)
    """Tokens that are decided, but that the model has not read."""
    forced: int = 0
    stopped: bool = False


class ReportEngine:
    """Reports from one model in memory, which must not change while the engine is in use.

    It remembers what it has computed: frames by the digest of their pixels, prompts by their frames, answers
    by their prompt. Greedy answers to equal questions are equal, so nothing is asked twice.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        batch_size: int = 16,
        max_new_tokens: int = 1024,
        adapter: bool = True,
        dense: bool | None = None,
        features: LRUCache[FrameFeatures] | None = None,
    ) -> None:
        """
        Args:
            model: a `Qwen3VLForConditionalGeneration`, plain or 4-bit, or a `PeftModel` around one.
            processor: its processor.
            batch_size: sequences that step together; more are faster and take memory.
            max_new_tokens: a longer answer is cut off and marked as not finished.
            adapter: False answers as the base model does, with the adapter switched off.
            dense: multiply by ready dense matrices instead of 4-bit weights and adapters (see `dense`); None
                does so where it pays. The answers are the same.
            features: frames seen by another engine over the same vision encoder.
        """
        self._model = model
        self._base = model.get_base_model() if isinstance(model, PeftModel) else model
        self._language = self._base.model.language_model
        self.processor = processor
        self._adapter = adapter
        self._batch_size = batch_size
        self._max_new_tokens = max_new_tokens
        self._stop = stop_tokens(self._base, processor)
        self._vocab_size = self._base.get_output_embeddings().weight.shape[0]
        self._grammar: ReportGrammar | None = None
        self._use_dense = wants_dense(self._language) if dense is None else dense
        self._dense: DenseWeights | None = None
        self.features: LRUCache[FrameFeatures] = LRUCache(MEMORY_BYTES) if features is None else features
        self._prefixes: LRUCache[Prefix] = LRUCache(MEMORY_BYTES)
        self._answers: OrderedDict[_Question, GeneratedReport] = OrderedDict()

    def without_adapter(self) -> ReportEngine:
        """The base model under the same adapter, sharing what was computed of the frames."""
        return ReportEngine(
            self._model,
            self.processor,
            batch_size=self._batch_size,
            max_new_tokens=self._max_new_tokens,
            adapter=False,
            dense=self._use_dense,
            features=self.features,
        )

    def generate(
        self,
        clips_frames: Sequence[Sequence[Image.Image]],
        *,
        instruction: str = INSTRUCTION,
        grammar: bool = True,
        jump_forward: bool = True,
        remember: bool = True,
        beginnings: Sequence[str] | None = None,
        max_new_tokens: int | None = None,
    ) -> list[GeneratedReport]:
        """One report per clip, in order.

        Args:
            clips_frames: the frames of each clip, oldest first; clips may differ in their number and size.
            instruction: what is asked about each clip.
            grammar: admit only the report's text form; a finished report then always parses.
            beginnings: the text that each answer begins with ("" for none); the model continues it, and the
                returned text holds it.
            max_new_tokens: another limit than the engine's; tokens of ``beginnings`` do not count.
            jump_forward: read forced text in one step. Without it the same tokens are read one by one, which
                is slower and differs in nothing else.
            remember: use and keep prompts and answers of other calls; frames are shared in any case.

        Raises:
            ValueError: the grammar does not admit a beginning.
            InputError: the instruction holds a control token of the tokenizer.
        """
        refuse_control_tokens(
            instruction, f"the question {instruction[:60]!r}", control_spellings(self.processor)
        )
        started = time.perf_counter()
        limit = self._max_new_tokens if max_new_tokens is None else max_new_tokens
        questions = []
        frames_of: dict[_Question, Sequence[Image.Image]] = {}
        for frames, beginning in zip(clips_frames, beginnings or [""] * len(clips_frames), strict=True):
            digests = tuple(frame_digest(frame) for frame in frames)
            question = _Question(digests, grammar, instruction, beginning, limit)
            questions.append(question)
            frames_of.setdefault(question, frames)
        known = self._answers if remember else {}
        answers = {question: known[question] for question in frames_of if question in known}
        waiting = [question for question in frames_of if question not in answers]
        with self._computing():
            for sequence in self._run(waiting, frames_of, jump_forward, remember):
                answers[sequence.question] = self._report(sequence)
        if remember:
            self._answers.update(answers)
            while len(self._answers) > ANSWERS_KEPT:
                self._answers.popitem(last=False)
        seconds = (time.perf_counter() - started) / max(1, len(questions))
        return [replace(answers[question], seconds=seconds) for question in questions]

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """No gradients, evaluation mode, the adapter as asked, our attention; all undone afterwards."""
        was_training = self._model.training
        with ExitStack() as stack:
            stack.callback(self._model.train, was_training)
            self._model.eval()
            stack.enter_context(torch.inference_mode())
            stack.enter_context(packed_language_model(self._language))
            if self._use_dense:
                if self._dense is None:
                    self._dense = DenseWeights(self._language, self._adapter)
                stack.enter_context(self._dense.in_place())
            elif isinstance(self._model, PeftModel) and not self._adapter:
                stack.enter_context(self._model.disable_adapter())
            yield

    def _run(
        self,
        waiting: Sequence[_Question],
        frames_of: dict[_Question, Sequence[Image.Image]],
        jump_forward: bool,
        remember: bool,
    ) -> Iterator[_Sequence]:
        """Answer all questions, yielding each as it is done; the next one takes its place at once."""
        weight = self._language.embed_tokens.weight
        rows = min(self._batch_size, len(waiting))
        cache = PackedCache(self._language.config, rows, 0, weight.dtype, weight.device)
        left = deque(waiting)
        active: list[_Sequence] = []
        while left or active:
            while left and len(active) < rows:
                question = left.popleft()
                active.append(self._prefill(question, frames_of[question], cache, remember))
            for slot in reversed(range(len(active))):
                if self._is_finished(active[slot]):
                    yield active[slot]
                    active[slot] = active[-1]
                    active.pop()
                    cache.remove(slot)
            if active:
                self._decode(active, cache, jump_forward)

    def _prefill(
        self, question: _Question, frames: Sequence[Image.Image], cache: PackedCache, remember: bool
    ) -> _Sequence:
        """Read one prompt into the cache and decide the first tokens of its answer."""
        prompt = Sample(frames, messages(len(frames), question.text))
        text = encode_text(self.processor, [prompt])
        device = self._language.embed_tokens.weight.device
        ids = text["input_ids"].to(device)
        positions, _ = self._base.model.get_rope_index(
            ids,
            mm_token_type_ids=text["mm_token_type_ids"].to(device),
            image_grid_thw=text["image_grid_thw"],
        )
        prefix_key = (question.frames, question.text)
        prefix = self._prefixes.get(prefix_key) if remember else None
        if prefix is None:
            cache.begin_prompt(ids.shape[1])
            features = self._frame_features(question.frames, frames, text["image_grid_thw"])
            logits = self._read_prompt(ids, positions, features, cache)
            if remember:
                self._prefixes.put(prefix_key, cache.store(logits))
        else:
            cache.restore(prefix)
            logits = prefix.logits
        state = self._new_state() if question.grammar else None
        sequence = _Sequence(question, int(positions.max()) + 1, state, question.limit)
        self._begin_with(sequence, question.beginning)
        self._append_forced(sequence)
        if not sequence.unread:
            self._sample([sequence], logits[None])
        return sequence

    def _begin_with(self, sequence: _Sequence, beginning: str) -> None:
        """Decide the first tokens of an answer: those of a given text.

        Raises:
            ValueError: the grammar does not admit the text.
        """
        tokens = self.processor.tokenizer.encode(beginning, add_special_tokens=False) if beginning else []
        for token in tokens:
            if sequence.state is not None and not sequence.state.accept(token):
                raise ValueError(f"no report begins with {beginning!r}")
        sequence.tokens += tokens
        sequence.unread += tokens
        sequence.limit += len(tokens)

    def _frame_features(
        self, digests: Sequence[bytes], frames: Sequence[Image.Image], grids: torch.Tensor
    ) -> list[FrameFeatures]:
        """The features of a clip's frames; the vision encoder sees only those that are not remembered.

        ``grids``: (frames, 3), patches in time, rows and columns.
        """
        seen: dict[bytes, FrameFeatures] = {}
        # One of each digest, by grid: the encoder takes frames of one size in one batch.
        unseen: dict[tuple[int, ...], dict[bytes, Image.Image]] = {}
        for digest, frame, grid in zip(digests, frames, grids.tolist(), strict=True):
            kept = self.features.get(digest)
            if kept is None:
                unseen.setdefault(tuple(grid), {})[digest] = frame
            else:
                seen[digest] = kept
        for grid, group in unseen.items():
            new = list(group)
            for first in range(0, len(new), FRAMES_AT_ONCE):
                some = new[first : first + FRAMES_AT_ONCE]
                for digest, feature in zip(
                    some, self._encode_frames([group[one] for one in some], grid), strict=True
                ):
                    seen[digest] = feature
                    self.features.put(digest, feature)
        return [seen[digest] for digest in digests]

    def _encode_frames(self, frames: Sequence[Image.Image], grid: tuple[int, ...]) -> list[FrameFeatures]:
        device = self._language.embed_tokens.weight.device
        pixels = encode_images(self.processor, frames).to(device)
        grids = torch.tensor([grid] * len(frames), device=device)
        output = self._base.model.get_image_features(pixels, grids, return_dict=True)
        levels = zip(output.pooler_output, *output.deepstack_features, strict=True)
        return [FrameFeatures(torch.stack(level)) for level in levels]

    def _read_prompt(
        self, ids: torch.Tensor, positions: torch.Tensor, seen: Sequence[FrameFeatures], cache: PackedCache
    ) -> torch.Tensor:
        """Logits (vocabulary,) of the token after a prompt (1, tokens), which goes into the cache."""
        embeddings = self._language.embed_tokens(ids)
        visual = ids == self._base.config.image_token_id
        levels = torch.cat([frame.levels for frame in seen], dim=1).to(embeddings.dtype)
        embeddings[visual] = levels[0]
        hidden = self._forward(
            embeddings, positions, cache, visual_pos_masks=visual, deepstack_visual_embeds=list(levels[1:])
        )
        return self._base.lm_head(hidden[0, -1]).float()  # type: ignore[no-any-return]

    def _decode(self, active: Sequence[_Sequence], cache: PackedCache, jump_forward: bool) -> None:
        """Feed every sequence what is decided, all of it or one token, and decide what follows."""
        read = [len(sequence.unread) if jump_forward else 1 for sequence in active]
        tokens: list[int] = []
        places: list[int] = []
        for sequence, count in zip(active, read, strict=True):
            tokens += sequence.unread[:count]
            places += range(sequence.next_position, sequence.next_position + count)
            sequence.next_position += count
            del sequence.unread[:count]
        ends = cache.begin_step(read)
        device = ends.device
        embeddings = self._language.embed_tokens(torch.tensor([tokens], device=device))
        positions = torch.tensor(places, device=device).expand(3, 1, -1)
        hidden = self._forward(embeddings, positions, cache)
        undecided = [slot for slot, sequence in enumerate(active) if not sequence.unread]
        if undecided:
            logits = self._base.lm_head(hidden[0, ends[torch.tensor(undecided, device=device)]]).float()
            self._sample([active[slot] for slot in undecided], logits)

    def _forward(
        self, embeddings: torch.Tensor, positions: torch.Tensor, cache: PackedCache, **visual: Any
    ) -> torch.Tensor:
        """The language model's last hidden states (1, tokens, hidden)."""
        # A mask of four dimensions is handed on as it is; ours is in the cache.
        mask = embeddings.new_zeros(1, 1, 1, 1)
        output = self._language(
            inputs_embeds=embeddings,
            position_ids=positions,
            attention_mask=mask,
            past_key_values=cache,
            packed=cache,
            **visual,
        )
        return output.last_hidden_state  # type: ignore[no-any-return]

    def _sample(self, sequences: Sequence[_Sequence], logits: torch.Tensor) -> None:
        """Take the most likely token for each sequence, under the grammar where it has one."""
        states = [(row, one.state) for row, one in enumerate(sequences) if one.state is not None]
        if states:
            bitmask = xgrammar.allocate_token_bitmask(len(sequences), self._vocab_size)
            for row, state in states:
                state.fill_bitmask(bitmask, row)
            xgrammar.apply_token_bitmask_inplace(
                logits, bitmask.to(logits.device), indices=[row for row, _ in states]
            )
        for sequence, token in zip(sequences, logits.argmax(dim=-1).tolist(), strict=True):
            sequence.tokens.append(token)
            if sequence.state is not None and not sequence.state.accept(token):
                raise RuntimeError(f"the grammar refuses token {token}, which its own mask admits")
            sequence.stopped = token in self._stop
            if not self._is_finished(sequence):
                sequence.unread.append(token)
                self._append_forced(sequence)

    def _append_forced(self, sequence: _Sequence) -> None:
        """Decide the tokens that the grammar leaves no choice about."""
        if sequence.state is not None:
            room = sequence.limit - len(sequence.tokens)
            forced = sequence.state.accept_forced()[:room]
            sequence.tokens += forced
            sequence.unread += forced
            sequence.forced += len(forced)

    def _is_finished(self, sequence: _Sequence) -> bool:
        return sequence.stopped or len(sequence.tokens) >= sequence.limit

    def _new_state(self) -> ReportState:
        if self._grammar is None:
            self._grammar = ReportGrammar(self.processor.tokenizer, self._vocab_size, self._stop)
        return self._grammar.start()

    def _report(self, sequence: _Sequence) -> GeneratedReport:
        written = [token for token in sequence.tokens if token not in self._stop]
        text = self.processor.tokenizer.decode(
            written, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return GeneratedReport(
            text=text,
            tokens=len(sequence.tokens),
            finished=sequence.stopped,
            seconds=0.0,
            forced_tokens=sequence.forced,
            token_ids=tuple(sequence.tokens),
        )


def stop_tokens(model: Any, processor: Any) -> tuple[int, ...]:
    """The tokens that end an answer: those of the model's generation config and the tokenizer's own."""
    configured = model.generation_config.eos_token_id
    several = configured if isinstance(configured, list) else [configured]
    tokens = [*several, processor.tokenizer.eos_token_id]
    return tuple(dict.fromkeys(token for token in tokens if token is not None))


def frame_digest(frame: Image.Image) -> bytes:
    """A frame's pixels in 16 bytes."""
    head = f"{frame.mode} {frame.width}x{frame.height} ".encode()
    return hashlib.blake2b(head + frame.tobytes(), digest_size=16).digest()

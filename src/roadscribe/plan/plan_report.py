"""A plan in words for a reader, and as JSON for a program."""

from __future__ import annotations

from typing import Any

from roadscribe.estimate.gpus import Gpu
from roadscribe.estimate.memory import Prediction, Term
from roadscribe.estimate.resolve import GIB
from roadscribe.estimate.step_time import Duration
from roadscribe.estimate.train_setup import VisionCache
from roadscribe.estimate.workload import EvalBatch
from roadscribe.plan.search import Candidate, Plan, overrides_of
from roadscribe.progress import clock


def as_json(found: Plan) -> dict[str, Any]:
    """A plan as plain JSON values; bytes become GiB."""
    case = found.case
    sizes = case.work.sizes
    return {
        "fits": found.fits,
        "base": found.base,
        "card": {"name": case.gpu.name, "memory_gib": case.gpu.memory_gib},
        "processes": case.world.processes,
        "dtype": found.asked.setup.dtype.value,
        "trained_parameters": case.model.adapter,
        "base_parameters": case.model.base,
        "dataset": {
            "rows": case.work.rows,
            "sequences": len(sizes),
            "tokens": [size.tokens for size in sizes],
            "visual_tokens": sum(size.visual for size in sizes),
            "answer_tokens": sum(size.answer for size in sizes),
        },
        "asked": _candidate_json(found.asked),
        "chosen": None if found.chosen is None else _candidate_json(found.chosen),
        "decisions": [one._asdict() for one in found.decisions],
        "set": [] if found.chosen is None else list(overrides_of(found.asked.train, found.chosen.train)),
        "ways": [
            {"set": list(way.overrides), "needed_gib": round(way.needed / GIB, 3)} for way in found.ways
        ],
    }


def _candidate_json(one: Candidate) -> dict[str, Any]:
    return {
        "batch_size": one.train.batch_size,
        "gradient_accumulation": one.train.gradient_accumulation,
        "gradient_checkpointing": one.train.gradient_checkpointing,
        "dequantize_weights": one.setup.dequantize_weights.value,
        "products": f"{8 if one.setup.fp8_matmul.value else 16} bits",
        "compiled": one.setup.compile_layers.value,
        "features_on_card": one.setup.vision_cache.value is VisionCache.GPU,
        "terms_gib": {term.name: round(term.bytes / GIB, 4) for term in one.prediction.terms},
        "peak_gib": round(one.prediction.peak / GIB, 3),
        "needed_gib": round(one.prediction.needed / GIB, 3),
        "seconds": None if one.duration is None else round(one.duration.seconds, 1),
        "sequences_per_s": None if one.duration is None else round(one.duration.sequences_a_second, 3),
        "time_basis": None if one.duration is None else one.duration.basis,
        "memory_measured": one.prediction.measured,
    }


def _cards(found: Plan) -> str:
    several, name = found.case.world.processes, found.case.gpu.name
    return name if several == 1 else f"{several} x {name}, each"


def _evaluation_lines(prediction: Prediction, evaluation: EvalBatch | None) -> list[str]:
    if evaluation is None:
        return []
    if prediction.eval_moment < prediction.peak:
        took = f"takes {prediction.eval_moment / GIB:.2f} GiB, less than a step"
        return [f"    writing {evaluation.reports} held-out reports at once {took}"]
    return [f"    a training step alone takes {prediction.step_moment / GIB:.2f} GiB"]


def as_text(found: Plan) -> str:
    """A plan for a reader."""
    asked = found.asked
    _, shape, work, gpu, world = found.case
    tokens = sorted(size.tokens for size in work.sizes)
    visual = sorted(size.visual for size in work.sizes)
    answer = sorted(size.answer for size in work.sizes)
    what = "rows" if len(work.sizes) == work.rows else f"rows in {len(work.sizes)} sequences"
    lines = [
        f"{found.base}: {shape.base:,} parameters, trains {shape.adapter:,} "
        f"({100 * shape.adapter / shape.base:.4f} %)",
        f"dataset: {work.rows} {what}, tokens {tokens[0]:,} to {tokens[-1]:,} "
        f"(visual {visual[0]:,} to {visual[-1]:,}, answers {answer[0]:,} to {answer[-1]:,})",
        "",
        f"the recipe as it stands on {_cards(found)}: micro-batch {asked.train.batch_size} x "
        f"{asked.train.gradient_accumulation}, checkpointing "
        f"{'on' if asked.train.gradient_checkpointing else 'off'}",
        *_memory_lines(asked.prediction, gpu),
        *_evaluation_lines(asked.prediction, work.evaluation),
        *([] if asked.prediction.measured else ["    counted from the code, not yet measured on a card"]),
        *_time_lines(asked.duration, gpu, world.processes),
        "",
        f"for {gpu.name}:" if found.chosen is not None else f"least for {gpu.name}:",
    ]
    width = max(len(one.what) for one in found.decisions)
    lines += [f"  {one.what.ljust(width)}  {one.value} ({one.reason})" for one in found.decisions]
    if found.chosen is None:
        return "\n".join(lines)
    changed = overrides_of(asked.train, found.chosen.train)
    if not changed:
        return "\n".join([*lines, "  which is the recipe as it stands"])
    flags = " ".join(f"--set {one}" for one in changed)
    needed = f"{found.chosen.prediction.needed / GIB:.1f} GiB"
    took = "" if found.chosen.duration is None else f", {clock(found.chosen.duration.seconds)}"
    return "\n".join([*lines, f"  {flags}   ({needed}{took})"])


def _memory_lines(prediction: Prediction, gpu: Gpu) -> list[str]:
    rest = prediction.needed - prediction.peak
    terms: list[Term] = [
        *prediction.terms,
        Term("peak allocated", prediction.peak, ""),
        Term("allocator and context", rest, ""),
        Term("needed", prediction.needed, f"of {gpu.memory_gib:.1f} GiB"),
    ]
    width = max(len(term.name) for term in terms)
    lines = []
    for term in terms:
        if term.name in ("peak allocated", "needed"):
            lines.append("  " + "-" * (width + 11))
        lines.append(f"  {term.name.ljust(width)}  {term.bytes / GIB:6.2f} GiB  {term.how}".rstrip())
    return lines


def _time_lines(took: Duration | None, gpu: Gpu, processes: int) -> list[str]:
    if took is None:
        return [f"  time: not predicted (no speed known for {gpu.name} in this type)"]
    return [
        f"  time: {clock(took.seconds)}, {took.sequences_a_second * processes:.2f} clips/s: language model "
        f"{clock(took.language_s)}, vision encoder {clock(took.vision_s)}, launching {clock(took.launch_s)}"
        + (f", writing weights out {clock(took.rewrite_s)}" if took.rewrite_s else ""),
        f"    {took.basis}; loading, compiling, checkpoints and evaluation come on top"
        + (", and what the cards wait for one another" if processes > 1 else ""),
    ]


def cannot_fit(found: Plan) -> str:
    """One line on a run that does not fit, with the nearest setting that does."""
    needed, gpu = found.asked.prediction.needed / GIB, found.case.gpu
    line = f"does not fit on {gpu.name}: needs {needed:.1f} of {gpu.memory_gib:.1f} GiB"
    if not found.ways:
        return f"{line}, and no smaller setting of this base fits; take a smaller base or a larger card"
    ways = [
        " ".join(f"--set {one}" for one in way.overrides) + f" ({way.needed / GIB:.1f} GiB)"
        for way in found.ways
    ]
    collect = "; collect and curate again with it" if "footage." in ways[0] else ""
    return f"{line}; the nearest that fits: {' or '.join(ways)}{collect}"

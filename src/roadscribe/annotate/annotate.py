"""The annotate stage: ask the teacher about every clip and keep each raw answer, once, as it came.

It reads a clips artifact and writes an artifact of kind "raw": ``answers.jsonl``, an append-only log with one
line a (clip, prompt version, teacher) key. A run that was stopped asks only for what is missing.
"""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow.parquet as pq

from roadscribe.annotate.mistakes import answer_clip
from roadscribe.artifacts import KeyedLog, disk_errors, finish, open_output, require_complete
from roadscribe.clip import clip_shards, read_clips
from roadscribe.progress import progress
from roadscribe.prompts import PROMPT_VERSION
from roadscribe.recipe import Recipe

ANSWERS = "answers.jsonl"


def answer_key(clip_id: str, teacher: str) -> str:
    """The key of one raw answer: clip, prompt version and teacher."""
    return f"{clip_id}|{PROMPT_VERSION}|{teacher}"


def annotate(
    recipe: Recipe, clips: Path, out: Path, *, resume: bool = False, overwrite: bool = False
) -> Path:
    """Write one raw answer a clip into ``out`` and return it.

    Each record has ``key, clip_id, prompt, teacher, text, finish_reason, usage, error`` and, from the
    simulated teacher, ``injected``: the mistakes it put in on purpose.

    Raises:
        InputError: ``clips`` is no whole clips artifact, ``out`` is taken, or a clip has no ground truth.
        WorkError: the disk is full or read-only.
    """
    require_complete(clips, "clips", "collect")
    teacher = recipe.annotate.teacher
    made_by = {**recipe.as_json("annotate"), "prompt": PROMPT_VERSION}
    if open_output(out, "raw", made_by, resume=resume, overwrite=overwrite):
        return out
    total = sum(pq.ParquetFile(shard).metadata.num_rows for shard in clip_shards(clips))
    with disk_errors(out), KeyedLog(out / ANSWERS) as log, progress(total, "annotate") as advance:
        for clip in read_clips(clips):
            key = answer_key(clip.clip_id, teacher)
            if key not in log:
                answer = answer_clip(clip, error_rate=recipe.annotate.error_rate, seed=recipe.annotate.seed)
                log.append(
                    key,
                    clip_id=clip.clip_id,
                    prompt=PROMPT_VERSION,
                    teacher=teacher,
                    text=answer.text,
                    finish_reason=answer.finish_reason,
                    usage=None,
                    error=None,
                    injected=list(answer.injected),
                )
            advance()
        # Relative, so that both folders can be moved together; curate finds the clips by it.
        folder = os.path.relpath(clips.resolve(), out.resolve())
        finish(out, clips=total, answers=len(log.records), clips_folder=folder)
    return out

"""The clips on which export compares adapter and merged model: the user's own, or a few simulated drives."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import NamedTuple

from roadscribe.artifacts import require_complete
from roadscribe.clip import Clip, Evidence, read_clips
from roadscribe.errors import InputError
from roadscribe.footage.make_clip import clip_from_video
from roadscribe.model.contract import VisionContract
from roadscribe.recipe import Footage
from roadscribe.simulator.record import DRIVES_FILE, write_drives

SIMULATED_DRIVES = 4
FIRST_SEED = 3_000_000
"""Neither the demo's drives nor the tiny base's lessons have these seeds."""
SIMULATED_SECONDS = 4.0
MAX_SIMULATED_SECONDS = 60.0


class CheckClips(NamedTuple):
    """Clips to compare on, and in words which these are."""

    clips: list[Clip]
    source: str


def chosen_clips(folder: Path, count: int, contract: VisionContract) -> CheckClips:
    """Up to ``count`` clips of an artifact, evenly spaced over it.

    Raises:
        InputError: no clips artifact, or its clips have another number of frames than the contract.
    """
    require_complete(folder, "clips", "collect")
    total = sum(1 for _ in read_clips(folder))
    if not total:
        raise InputError(f"{folder}: holds no clips; collect some, or leave --clips out")
    wanted = {index * total // min(count, total) for index in range(min(count, total))}
    clips = [clip for index, clip in enumerate(read_clips(folder)) if index in wanted]
    for clip in clips:
        if len(clip.frames) != contract.frames:
            raise InputError(
                f"{folder}: clip {clip.clip_id} has {len(clip.frames)} frames, the adapter was trained with "
                f"{contract.frames}; collect again with --set footage.frames={contract.frames}"
            )
    return CheckClips(clips, f"{len(clips)} of {total} clips given with --clips")


def simulated_clips(contract: VisionContract) -> CheckClips:
    """A few simulated drives, recorded and sampled as the contract says.

    For a model of real roads they are pictures to agree on, no measure of what it can do.
    """
    seconds = max(SIMULATED_SECONDS, contract.window_s or 0.0)
    if seconds > MAX_SIMULATED_SECONDS:
        raise InputError(
            f"the adapter looks at windows of {seconds:g} s, longer than a simulated drive can be; "
            "give clips to compare on (--clips DIR)"
        )
    kept = {key: getattr(contract, key) for key in ("frames", "rule", "window_s", "max_pixels")}
    footage = Footage(**kept)
    with tempfile.TemporaryDirectory(prefix="roadscribe-") as folder:
        seeds = range(FIRST_SEED, FIRST_SEED + SIMULATED_DRIVES)
        videos = write_drives(seeds, Path(folder), seconds)
        lines = [json.loads(line) for line in (Path(folder) / DRIVES_FILE).read_text().splitlines()]
        evidence = {line["drive_id"]: Evidence.model_validate(line["evidence"]) for line in lines}
        clips = [
            clip_from_video(video, footage, source="simulator", evidence=evidence[video.stem])
            for video in videos
        ]
    # The folder is gone; a path of this machine would only be carried on.
    clips = [
        clip.model_copy(update={"provenance": clip.provenance.model_copy(update={"path": clip.clip_id})})
        for clip in clips
    ]
    return CheckClips(clips, f"{len(clips)} simulated drives (no --clips were given)")

"""Which stretch of a video, or of a list of images, a clip shows: a clip ends at the moment its report speaks of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from roadscribe.clip import Evidence
from roadscribe.errors import InputError
from roadscribe.footage.sampling import SAME_MOMENT_S, VideoInfo
from roadscribe.recipe import Footage


class Extent(NamedTuple):
    """What there is to choose from, in seconds on the clip's clock."""

    path: Path
    first_s: float
    """When the first frame is shown."""
    last_s: float
    """When the last frame is shown."""
    end_s: float
    """Until when."""
    damage: str | None = None

    def lasts(self) -> str:
        """How far the frames reach, for a message."""
        reach = f"lasts {self.end_s:.2f} s" if self.first_s == 0 else f"ends at {self.end_s:.2f} s"
        return reach + (f" ({self.damage})" if self.damage else "")


class Asked(NamedTuple):
    """A window that a manifest line asks for; it goes before the recipe's."""

    start_s: float | None = None
    end_s: float | None = None


def video_extent(info: VideoInfo) -> Extent:
    """The extent of a video: from 0 to the end of its last frame."""
    return Extent(info.path, 0.0, float(info.times_s[-1]), info.duration_s, info.damage)


def images_extent(path: Path, timestamps_s: Sequence[float]) -> Extent:
    """The extent of listed images; the last one is taken to be shown as long as the others, by the median."""
    gaps = sorted(b - a for a, b in pairwise(timestamps_s))
    last_s = timestamps_s[-1]
    return Extent(path, timestamps_s[0], last_s, last_s + (gaps[(len(gaps) - 1) // 2] if gaps else 0.0))


def labelled_moment(evidence: Evidence) -> float | None:
    """The moment a clip's labels (or the simulator's truth) belong to, in seconds: the last where there are more."""
    times = [labels.time_s for labels in evidence.labels]
    if evidence.truth is not None:
        times.append(evidence.truth.time_s)
    return max(times, default=None)


def window(
    info: VideoInfo | Extent, footage: Footage, asked: Asked = Asked(), evidence: Evidence | None = None
) -> tuple[float, float]:
    """Start and end of the stretch that a clip shows, in seconds.

    It ends at the manifest line's ``end_s``; else, with ``footage.ends_at: label``, at the labelled moment; else at
    ``footage.end_s``; else at the last frame (by the rule ``start`` at that frame's end). It begins at the line's
    ``start_s``; else ``footage.window_s`` before its end; else at the first frame.

    Args:
        info: what there is.
        footage: the recipe's window.
        asked: the manifest line's window.
        evidence: what is known of the clip, for ``ends_at: label``.

    Raises:
        InputError: the frames do not reach that far, there is no labelled moment, or the end is asked for and the
            file is cut short.
    """
    extent = video_extent(info) if isinstance(info, VideoInfo) else info
    end_s = _end(extent, footage, asked, evidence)
    if asked.start_s is not None:
        if asked.start_s > end_s + SAME_MOMENT_S:
            raise InputError(
                f"{extent.path}: its window begins at {asked.start_s:g} s, after its end at {end_s:g} s; "
                "mend start_s in the manifest"
            )
        return max(extent.first_s, min(asked.start_s, end_s)), end_s
    if footage.window_s is None:
        return extent.first_s, end_s
    ends_open = asked.end_s is None and footage.ends_at == "time" and footage.end_s is None
    latest_s = extent.end_s if ends_open else end_s
    if footage.window_s > latest_s - extent.first_s + SAME_MOMENT_S:
        raise InputError(
            f"{extent.path}: {extent.lasts()}, too short for footage.window_s={footage.window_s:g} "
            f"up to {latest_s:g} s; set a shorter window_s"
        )
    return max(extent.first_s, end_s - footage.window_s), end_s


def _end(extent: Extent, footage: Footage, asked: Asked, evidence: Evidence | None) -> float:
    if asked.end_s is not None:
        end_s, name, remedy = asked.end_s, f"its window's end_s={asked.end_s:g}", "mend the manifest"
    elif footage.ends_at == "label":
        moment = labelled_moment(evidence or Evidence())
        if moment is None:
            raise InputError(
                f"{extent.path}: has no labelled moment to end at; give its labels, or use --window whole"
            )
        end_s, name, remedy = (
            moment,
            f"its labelled moment {moment:g} s",
            "give the whole file, or other labels",
        )
    elif footage.end_s is not None:
        end_s, name, remedy = footage.end_s, f"footage.end_s={footage.end_s:g}", "set an earlier end_s"
    else:
        if extent.damage:
            raise InputError(
                f"{extent.path}: {extent.damage}; copy the file again, or set footage.end_s within it"
            )
        return extent.end_s if footage.rule == "start" else extent.last_s
    if end_s > extent.end_s + SAME_MOMENT_S:
        raise InputError(f"{extent.path}: {extent.lasts()}, shorter than {name}; {remedy}")
    if end_s < extent.first_s - SAME_MOMENT_S:
        raise InputError(f"{extent.path}: begins at {extent.first_s:.2f} s, after {name}; {remedy}")
    return min(end_s, extent.end_s)


def window_overrides(choice: str | None) -> list[str]:
    """What ``collect --window`` stands for, as overrides of the recipe; nothing when it is not given.

    Raises:
        InputError: the choice is none of ``whole``, ``end:SECONDS`` and ``label``.
    """
    if choice is None:
        return []
    if choice == "whole":
        return ["footage.ends_at=time", "footage.end_s=null", "footage.window_s=null"]
    if choice == "label":
        return ["footage.ends_at=label", "footage.end_s=null"]
    name, _, seconds = choice.partition(":")
    try:
        if name == "end" and 0 < float(seconds) < float("inf"):
            return ["footage.ends_at=time", f"footage.end_s={float(seconds)}"]
    except ValueError:
        pass
    raise InputError(f"--window {choice}: give `whole`, `end:SECONDS` (such as end:10) or `label`")

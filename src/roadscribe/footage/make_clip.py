"""The clip of one video, of a window of one, or of a list of images: frames as JPEG, times, size, what is known.

Whatever is wrong with a file comes out as an InputError about that file, so that one file never ends a run.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from roadscribe.clip import Clip, Evidence, Provenance, same_name
from roadscribe.errors import InputError, WorkError, printable
from roadscribe.footage.container import reason
from roadscribe.footage.images import choose_images, read_images
from roadscribe.footage.sampling import SampledFrame, probe, read_frames, sample_times
from roadscribe.footage.sources import SourceVideo
from roadscribe.footage.windows import Asked, window
from roadscribe.recipe import Footage


class Made(NamedTuple):
    """A clip, and what is to be said about its file."""

    clip: Clip
    notes: list[str]


def clip_from_video(
    path: Path,
    footage: Footage,
    *,
    clip_id: str | None = None,
    drive_id: str | None = None,
    source: str = "file",
    evidence: Evidence | None = None,
    asked: Asked = Asked(),
) -> Clip:
    """The clip of one video: the frames at the recipe's moments of its window (`windows.window`), as JPEG.

    Args:
        path: the video.
        footage: which frames.
        clip_id: the file's stem when not given.
        drive_id: the clip id when not given.
        source: where the video is from.
        evidence: what is known about it, on the clock of its presentation times.
        asked: the window that a manifest asks for.

    Raises:
        InputError: as `sampling.probe`, `sampling.read_frames` and `windows.window`.
    """
    name = clip_id or same_name(printable(path.stem))
    with _errors_of(path):
        return _of_video(path, footage, name, drive_id or name, source, evidence or Evidence(), asked).clip


def clip_from_source(video: SourceVideo, footage: Footage, evidence: Evidence) -> Clip:
    """The clip of what `sources.find_videos` found: a video, a window of one, or a list of images.

    Raises:
        InputError: as `clip_from_video` and `images.choose_images`.
    """
    return make_clip(video, footage, evidence).clip


def make_clip(video: SourceVideo, footage: Footage, evidence: Evidence) -> Made:
    """As `clip_from_source`, with notes on the file: what of it is not read, which times are assumed.

    Raises:
        InputError: as `clip_from_source`.
    """
    asked = Asked(video.start_s, video.end_s)
    with _errors_of(video.path):
        if video.images:
            return _of_images(video, footage, evidence, asked)
        return _of_video(video.path, footage, video.clip_id, video.drive_id, video.source, evidence, asked)


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Whatever is raised while a file is read becomes an InputError that names it."""
    try:
        yield
    except (InputError, WorkError):
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}); copy the file again") from error
    except MemoryError as error:
        raise InputError(f"{path}: needs more memory than there is; scale it down or cut it") from error
    except Exception as error:
        raise InputError(
            f"{path}: cannot be decoded ({reason(error)}); convert it with `ffmpeg -i IN OUT.mp4`"
        ) from error


def _of_video(
    path: Path,
    footage: Footage,
    clip_id: str,
    drive_id: str,
    source: str,
    evidence: Evidence,
    asked: Asked,
) -> Made:
    info = probe(path, max_file_mb=footage.max_file_mb, raw_fps=footage.raw_fps)
    times = sample_times(footage.rule, footage.frames, *window(info, footage, asked, evidence))
    frames = read_frames(info, times, footage.max_pixels)
    provenance = Provenance(path=printable(path), size_bytes=info.size_bytes, sha256=_sha256(path))
    notes = [*info.notes, *([info.damage] if info.damage else [])]
    return Made(_clip(frames, provenance, footage, clip_id, drive_id, source, evidence), notes)


def _of_images(video: SourceVideo, footage: Footage, evidence: Evidence, asked: Asked) -> Made:
    """The clip of a list of images, by the same rule over their times."""
    chosen = choose_images(video.path, video.timestamps_s, footage, asked, evidence)
    times_s = [video.timestamps_s[place] for place in chosen]
    frames, provenance, notes = read_images([video.images[place] for place in chosen], times_s, footage)
    return Made(
        _clip(frames, provenance, footage, video.clip_id, video.drive_id, video.source, evidence), notes
    )


def _clip(
    frames: Sequence[SampledFrame],
    provenance: Provenance,
    footage: Footage,
    clip_id: str,
    drive_id: str,
    source: str,
    evidence: Evidence,
) -> Clip:
    width, height = frames[0].image.size
    return Clip(
        clip_id=clip_id,
        drive_id=drive_id,
        source=source,
        frames=tuple(_jpeg(frame.image, footage.jpeg_quality) for frame in frames),
        timestamps_s=tuple(frame.time_s for frame in frames),
        width=width,
        height=height,
        evidence=evidence,
        provenance=provenance,
    )


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    # Colour at full resolution: a traffic light far away is a few pixels wide.
    image.save(buffer, "JPEG", quality=quality, subsampling="4:4:4")
    return buffer.getvalue()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

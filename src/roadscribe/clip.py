"""A Clip: the frames of one window of a drive, the times they were shown, and what is known about them.

Footage and the simulator write clips; annotate, curate, train and evaluate read them. A clip ends at the
moment its report speaks of ("now"): the last frame is now, the earlier frames are its history. Every piece
of evidence carries the time it belongs to, on the same clock as ``timestamps_s``.
"""

from __future__ import annotations

import io
import json
import struct
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator

from roadscribe.artifacts import MANIFEST, read_json
from roadscribe.errors import InputError, error_line
from roadscribe.report import DrivingParameters, Grade

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


UNREADABLE_IMAGE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    struct.error,
    Image.DecompressionBombError,
)
"""What Pillow raises on damaged or oversized pictures."""
BATCH_BYTES = 256 * 2**20
"""Rows with frames are read in batches of about this size; Arrow addresses at most 2 GiB of bytes in one."""
BATCH_ROWS = 16


def same_name(name: str) -> str:
    """A name in Unicode's composed form (NFC): one written on a Mac (decomposed) then equals one written elsewhere.

    Clip ids, drive ids and names of files are compared in this form.
    """
    return unicodedata.normalize("NFC", name)


class _Record(BaseModel):
    # NaN and infinity have no place in JSON and compare with nothing.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


LightColor = Literal["red", "yellow", "green", "off", "none"]

MAX_SPEED_MPS = 300 / 3.6
"""Speed readings above 300 km/h are implausible: series cars are limited to 250 km/h or below, and a GPS or CAN
reading beyond that by a fifth is a glitch or another unit. Such a reading is noted and never used."""


class Box(_Record):
    """One labelled object in one frame, in pixels of the source video (x right, y down).

    None in a field means that the source says nothing about it, never that it is not so.
    """

    category: str
    """BDD100K's words: car, truck, bus, person, rider, bike, motor, traffic light, traffic sign."""
    x1: float
    y1: float
    x2: float
    y2: float
    light_color: LightColor | None = None
    """Colour that a traffic light shows; "none": the source says that no colour can be seen (the light faces
    another way); None: the source does not say."""
    occluded: bool | None = None
    """Whether another object hides a part of it."""
    truncated: bool | None = None
    """Whether the edge of the picture cuts it."""
    on_road: bool | None = None
    """For a person: whether they stand on the carriageway or a crossing; None: the source does not say."""


class FrameLabels(_Record):
    """What an annotator (or the simulator) says of one moment; None in a field means "not said"."""

    time_s: float
    weather: str | None = None
    scene: str | None = None
    time_of_day: str | None = None
    boxes: tuple[Box, ...] | None = None
    """All objects of the frame; empty: looked at and nothing found; None: nobody listed the objects."""
    image_width: int | None = None
    image_height: int | None = None
    """Size in pixels of the picture that the boxes are measured in; None: that of the clip."""
    grade: Literal[Grade.LABELLED, Grade.DETECTED] = Grade.LABELLED
    """Whether a person (or the simulator) labelled this moment, or another model detected it."""


class Telemetry(_Record):
    """One reading of the vehicle's own instruments."""

    time_s: float
    speed_mps: float | None = Field(default=None, ge=0)
    course_deg: float | None = None
    latitude: float | None = None
    longitude: float | None = None


class Truth(_Record):
    """The exact answer at one moment; only the simulator has it."""

    time_s: float
    parameters: DrivingParameters


class Evidence(_Record):
    """Everything known about a clip besides its pixels; empty fields mean "nothing is known"."""

    labels: tuple[FrameLabels, ...] = ()
    telemetry: tuple[Telemetry, ...] = ()
    truth: Truth | None = None


class Provenance(_Record):
    """Where the clip's pixels came from."""

    path: str
    size_bytes: int
    sha256: str


class Clip(BaseModel):
    """One window of a drive.

    ``frames`` are encoded JPEG files, oldest first, all of ``width`` x ``height`` pixels; ``timestamps_s``
    are their real presentation times in seconds from the start of the video.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    clip_id: str = Field(min_length=1, max_length=400)
    drive_id: str = Field(min_length=1, max_length=400)
    source: str
    frames: tuple[bytes, ...] = Field(min_length=1)
    timestamps_s: tuple[float, ...]
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    evidence: Evidence = Evidence()
    provenance: Provenance

    @model_validator(mode="after")
    def _check(self) -> Clip:
        if len(self.frames) != len(self.timestamps_s):
            raise ValueError(f"{len(self.frames)} frames but {len(self.timestamps_s)} timestamps")
        if any(b < a for a, b in zip(self.timestamps_s, self.timestamps_s[1:], strict=False)):
            raise ValueError("timestamps_s must not decrease")
        return self

    @property
    def now_s(self) -> float:
        """The moment the report speaks of: the presentation time of the last frame, in seconds."""
        return self.timestamps_s[-1]

    def images(self) -> list[Image.Image]:
        """Decode the frames to RGB images, oldest first.

        Raises:
            InputError: a frame is damaged, or far too large to be one.
        """
        decoded = []
        for number, frame in enumerate(self.frames, 1):
            try:
                decoded.append(Image.open(io.BytesIO(frame)).convert("RGB"))
            except UNREADABLE_IMAGE as error:
                raise InputError(
                    f"clip {self.clip_id}: its frame {number} cannot be read ({error_line(error)}); collect it again"
                ) from error
        return decoded


@cache
def clip_schema() -> pa.Schema:
    """The Arrow schema of a clips shard.

    ``frames`` has the layout of Hugging Face's ``Image`` feature and the metadata says so: read by
    `datasets.load_dataset("parquet", ...)` it shows pictures. ``evidence`` and ``provenance`` are JSON.
    """
    import pyarrow as pa

    columns = {
        "clip_id": pa.string(),
        "drive_id": pa.string(),
        "source": pa.string(),
        "frames": pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        "timestamps_s": pa.list_(pa.float64()),
        "width": pa.int32(),
        "height": pa.int32(),
        "evidence": pa.string(),
        "provenance": pa.string(),
    }
    features = {name: {"dtype": str(kind), "_type": "Value"} for name, kind in columns.items()}
    lists = {
        "frames": {"feature": {"_type": "Image"}, "_type": "List"},
        "timestamps_s": {"feature": {"dtype": "float64", "_type": "Value"}, "_type": "List"},
    }
    about = json.dumps({"info": {"features": {**features, **lists}}})
    return pa.schema(list(columns.items()), metadata={"huggingface": about})


def clips_to_table(clips: Iterable[Clip]) -> pa.Table:
    """Clips as one Arrow table in ``clip_schema()``."""
    import pyarrow as pa

    rows = [
        {
            "clip_id": clip.clip_id,
            "drive_id": clip.drive_id,
            "source": clip.source,
            "frames": [{"bytes": frame, "path": None} for frame in clip.frames],
            "timestamps_s": list(clip.timestamps_s),
            "width": clip.width,
            "height": clip.height,
            "evidence": clip.evidence.model_dump_json(exclude_defaults=True),
            "provenance": clip.provenance.model_dump_json(),
        }
        for clip in clips
    ]
    return pa.Table.from_pylist(rows, schema=clip_schema())


def clip_shards(folder: Path) -> list[Path]:
    """The Parquet shards of a clips artifact, in order. Raises InputError when there are none."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder that `roadscribe collect` wrote")
    shards = sorted(folder.glob("*.parquet"))
    if not shards:
        raise InputError(f"{folder}: holds no clips (*.parquet); make them with `roadscribe collect`")
    return shards


def _rows_at_once(parquet: pq.ParquetFile) -> int:
    """Rows of a shard that make a batch of at most `BATCH_BYTES`, as far as its row groups tell."""
    groups = [parquet.metadata.row_group(number) for number in range(parquet.num_row_groups)]
    # A batch never holds more than its row group, however uneven the rows in it are.
    if all(group.total_byte_size <= BATCH_BYTES for group in groups):
        return BATCH_ROWS
    return 1


def read_clips(folder: Path) -> Iterator[Clip]:
    """Yield the clips of an artifact one by one; memory stays that of one row group.

    Raises:
        InputError: no clips, a damaged shard, or, after the last clip, fewer or more than the manifest says.
    """
    stated, number = _stated_clips(folder), 0
    for clip in _clips_of_shards(folder):
        number += 1
        yield clip
    if stated is not None and number != stated:
        raise InputError(
            f"{folder}: holds {number} clips, and {stated} were collected; copy the folder again, or make it again "
            "with collect"
        )


def _stated_clips(folder: Path) -> int | None:
    """How many clips the manifest of a finished clips artifact says it holds; None where there is none that says."""
    path = folder / MANIFEST
    manifest = read_json(path, "an artifact's manifest") if path.exists() else None
    summary = manifest.get("summary") if isinstance(manifest, dict) else None
    stated = summary.get("clips") if isinstance(summary, dict) else None
    return stated if isinstance(stated, int) else None


def _clips_of_shards(folder: Path) -> Iterator[Clip]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for shard in clip_shards(folder):
        try:
            parquet = pq.ParquetFile(shard, page_checksum_verification=True)
            batches = parquet.iter_batches(batch_size=_rows_at_once(parquet), columns=clip_schema().names)
            for batch in batches:
                for row in batch.to_pylist():
                    yield Clip(
                        clip_id=row["clip_id"],
                        drive_id=row["drive_id"],
                        source=row["source"],
                        frames=tuple(frame["bytes"] for frame in row["frames"]),
                        timestamps_s=tuple(row["timestamps_s"]),
                        width=row["width"],
                        height=row["height"],
                        evidence=Evidence.model_validate_json(row["evidence"] or "{}"),
                        provenance=Provenance.model_validate_json(row["provenance"]),
                    )
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            why = " ".join(str(error).split())[:200]
            raise InputError(f"{shard}: not a shard of clips ({why}); make it again with collect") from error

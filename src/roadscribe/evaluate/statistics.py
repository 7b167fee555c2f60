"""How sure is a number on the scorecard? 95 % bootstrap intervals that resample whole drives.

Clips of one drive share its weather, its road and its driver, so they are not independent evidence: a
resample draws drives, and all clips of a drawn drive come along. One set of draws serves every run over the
same clips, so a difference between two runs is paired: what both find hard cancels out.

Percentile bootstrap: B. Efron, R. Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13;
resampling whole clusters: A. Davison, D. Hinkley, "Bootstrap Methods and their Application" (1997), 3.8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Interval = tuple[float, float, float]
"""A value with the lower and upper end of its 95 % interval."""

LEVEL = 0.95


@dataclass(frozen=True)
class DriveResamples:
    """Seeded draws of whole drives, made once and shared by every number over the same clips."""

    clip_drive: np.ndarray
    """int64 (clips,): the drive of each clip, as an index into the drives in sorted order."""
    weights: np.ndarray
    """float64 (resamples, drives): how often each resample drew each drive."""

    @property
    def drives(self) -> int:
        return int(self.weights.shape[1])


def resample_drives(drive_ids: Sequence[str], resamples: int, seed: int) -> DriveResamples:
    """Draw ``resamples`` times as many drives as there are, with replacement.

    Args:
        drive_ids: the drive of each clip, in the order in which values will be given.
        resamples: how many draws; 2000 hold the ends of a 95 % interval to about a tenth of its width.
        seed: the same seed and drives give the same draws, whatever the order of the clips.

    Raises:
        ValueError: no clips.
    """
    if not drive_ids:
        raise ValueError("no clips to resample")
    names, clip_drive = np.unique(np.asarray(drive_ids, dtype=str), return_inverse=True)
    drives = len(names)
    weights = np.random.default_rng(seed).multinomial(drives, np.full(drives, 1 / drives), size=resamples)
    return DriveResamples(clip_drive.reshape(-1), weights.astype(np.float64))


def interval(values: np.ndarray, draws: DriveResamples, where: np.ndarray | None = None) -> Interval:
    """The mean of ``values`` over clips with its 95 % percentile interval.

    Args:
        values: (clips,), for example 1 where an answer is right; a paired difference of two runs is the
            interval of the difference of their values.
        draws: from ``resample_drives`` over the same clips.
        where: (clips,) bool, the clips the mean is taken over; None takes all. Resamples that drew no such
            clip say nothing and are left out.

    Raises:
        ValueError: ``where`` selects no clip.
    """
    counted = np.ones(len(values)) if where is None else where.astype(np.float64)
    if not counted.any():
        raise ValueError("no clips to average over")
    return ratio_interval(values * counted, counted, draws)


def ratio_interval(parts: np.ndarray, wholes: np.ndarray, draws: DriveResamples) -> Interval:
    """The sum of ``parts`` over the sum of ``wholes`` with its 95 % percentile interval.

    Args:
        parts: (clips,), for example right claims per clip.
        wholes: (clips,), for example claims per clip. Resamples in which they sum to 0 are left out.
        draws: from ``resample_drives`` over the same clips.

    Raises:
        ValueError: ``wholes`` sum to 0.
    """
    if not wholes.any():
        raise ValueError("nothing to take a share of")
    drives = draws.drives
    sums = np.bincount(draws.clip_drive, weights=parts, minlength=drives)
    counts = np.bincount(draws.clip_drive, weights=wholes, minlength=drives)
    drawn = draws.weights @ counts
    ratios = (draws.weights @ sums)[drawn > 0] / drawn[drawn > 0]
    low, high = np.quantile(ratios, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    # Six digits: more than any count of drives supports; the last bits differ between BLAS builds.
    return round(float(sums.sum() / counts.sum()), 6), round(float(low), 6), round(float(high), 6)

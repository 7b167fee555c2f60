"""Saves a dataset of random rows, for running recipes at full size without footage.

    python bench/make_random_dataset.py --count 64 --out /tmp/rows
    roadscribe train /tmp/rows --out /tmp/run --recipe recipes/gpu-qwen3-vl-8b.yaml --set model.base=FOLDER ...

The rows are those of `bench/train.py`. What is learned from them is nothing; what it costs is what real rows cost.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import datasets

from train import make_rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--size", default="640x352", help="pixels of a frame, WxH")
    parser.add_argument("--words", type=int, default=350, help="words of an answer, more or less")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if options.out.exists():
        parser.error(f"{options.out}: is already there")
    width, height = (int(side) for side in options.size.split("x"))
    rows = make_rows(options.count, options.frames, width, height, options.words)
    rows = rows.add_column("drive_id", rows["clip_id"])
    datasets.DatasetDict({"train": rows}).save_to_disk(str(options.out))
    print(f"{options.out}: {options.count} rows")


if __name__ == "__main__":
    main()

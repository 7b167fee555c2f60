"""Fixtures for every room: an untrained tiny base, made once a session."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from roadscribe.prompts import INSTRUCTION
from roadscribe.report import VOCABULARY

# The tiny model's operations are so small that threads which wait for each other on a busy machine cost more
# than they bring. Before torch is imported, and for the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an untrained roadscribe-tiny: configuration, tokenizer, processor, seeded weights."""
    from roadscribe.tiny.build import build_model, build_processor, train_tokenizer

    folder = tmp_path_factory.mktemp("tiny-base")
    words = [json.dumps({key: word}, indent=2) for key, options in VOCABULARY.items() for word in options]
    tokenizer = train_tokenizer([INSTRUCTION, *words] * 3)
    build_processor(folder, tokenizer)
    build_model(tokenizer, seed=0).save_pretrained(folder)
    return folder

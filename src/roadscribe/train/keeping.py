"""Where a run keeps its visual features: beside itself on the card, or in the machine's memory."""

from __future__ import annotations

import datasets

from roadscribe.errors import WorkError
from roadscribe.machine import free_memory
from roadscribe.model.load import LoadedBase
from roadscribe.progress import say
from roadscribe.recipe import Recipe, Train
from roadscribe.train.cards import Card, present_card
from roadscribe.train.data import DatasetFacts
from roadscribe.train.features import (
    CARD,
    MEMORY,
    OFF,
    KeptFeatures,
    Room,
    choose_features,
    feature_bytes,
)
from roadscribe.train.plan import candidate, room_beside
from roadscribe.train.processes import Processes
from roadscribe.train.shared import sequences_seen
from roadscribe.train.work import work_of

SHARE_OF_MEMORY = 0.5
"""Of the machine's free memory, that features may take."""
MODEST = 2**30
"""Bytes that a run on a CPU takes unless told to, and any run where the system does not say what is free."""


def kept_features(
    recipe: Recipe,
    settings: Train,
    loaded: LoadedBase,
    rows: datasets.Dataset,
    facts: DatasetFacts,
    items: int,
    here: Processes,
    card: Card | None = None,
) -> KeptFeatures | None:
    """What keeps a run's visual features, or None where they are computed each time; says which and why.

    Args:
        recipe: as given.
        settings: its training section as the trainer runs it (`shared.share_prefixes`).
        loaded: the base.
        rows: the dataset's rows, checked.
        facts: what the check found.
        items: sequences that the trainer goes through.
        here: this process among those of the run.
        card: whose memory counts; None takes the card that is present.

    Raises:
        WorkError: the recipe insists on keeping them, and there is no room.
    """
    # How often this process comes by: the others take their share of the rows.
    uses = sequences_seen(settings, items, here.count) / facts.clips
    asked = settings.keep_features
    vision = loaded.model.config.vision_config
    deepstack = len(vision.deepstack_visual_indexes)
    size = int(feature_bytes(facts.visual_tokens, deepstack, vision.out_hidden_size, loaded.dtype.itemsize))
    rooms = []
    # Only where they may be kept at all: a large dataset's sequences take a while to measure.
    if asked is True or (asked and uses > 1):
        free = free_memory()
        memory = MODEST if free is None else SHARE_OF_MEMORY * free / here.local
        if loaded.device.type == "cpu":
            rooms = [Room(MEMORY, memory if asked is True else min(memory, MODEST))]
        else:
            card = card or present_card()
            if not here.sharded and size <= card.memory_gib * 2**30:
                rooms = [Room(CARD, _beside_run(recipe, loaded, rows, facts, here, card))]
            rooms.append(Room(MEMORY, memory))
    choice = choose_features(asked, uses, size, rooms)
    if choice.value in (CARD, MEMORY):
        where = "kept on the card" if choice.value == CARD else "kept in memory"
        say(f"visual features: {where} ({choice.reason})")
        return KeptFeatures(facts.keys, choice.value, size)
    if asked is True and choice.value != OFF:
        raise WorkError(
            f"train.keep_features: {choice.reason}; set it to auto, or use fewer clips or frames, and begin anew "
            "with --overwrite"
        )
    say(f"visual features: computed each time ({choice.reason})")
    return None


def _beside_run(
    recipe: Recipe,
    loaded: LoadedBase,
    rows: datasets.Dataset,
    facts: DatasetFacts,
    here: Processes,
    card: Card,
) -> float:
    dtype = str(loaded.dtype).removeprefix("torch.")
    config = loaded.model.config
    work = work_of(recipe, rows, facts, loaded.processor, config, dtype, card, here.count)
    without = recipe.train.model_copy(update={"keep_features": False})
    return room_beside(candidate(without, work, card).prediction, card)

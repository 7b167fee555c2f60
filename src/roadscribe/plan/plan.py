"""`roadscribe plan`: predicts memory and time of a fine-tuning run before a weight is loaded."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoConfig

from roadscribe.estimate.gpus import Gpu
from roadscribe.estimate.model_shape import shape_of
from roadscribe.estimate.resolve import check_insisted
from roadscribe.estimate.train_setup import World
from roadscribe.model.load import check_config, load_processor, resolve_base
from roadscribe.plan.search import Case, Plan, decide
from roadscribe.recipe import Recipe
from roadscribe.train.dataset import check_rows, open_rows
from roadscribe.train.prefix_sharing import workload_of


def plan(recipe: Recipe, dataset_folder: Path, gpu: Gpu, processes: int = 1) -> Plan:
    """Predict memory and time of fine-tuning a recipe's base on a dataset, on a GPU or on several alike.

    Of the base only its configuration and tokenizer are read (of a hub id, fetched).

    Raises:
        InputError: the base, the dataset or an option is wrong, or a row breaks the recipe's limits.
    """
    world = World(processes, processes)
    rows = open_rows(dataset_folder, checksums=True)
    base = resolve_base(recipe.model)
    check_config(base)
    check_insisted(recipe, gpu, world)
    processor = load_processor(base, recipe.footage.max_pixels)
    facts = check_rows(rows, processor, recipe.footage, recipe.train.max_length)
    config = AutoConfig.from_pretrained(base.path_or_id, revision=base.revision)
    _, work = workload_of(recipe, rows, facts, processor)
    shape = shape_of(config, recipe.lora.r, recipe.lora.targets)
    return decide(base.name, Case(recipe, shape, work, gpu, world))

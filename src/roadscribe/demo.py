"""The main job in one command: simulated drives walk the whole street and end in a scorecard and a report.

Nothing here is a special case: the demo calls the same stages as the command line, on the drives that the
simulator records and with the tiny model that ships with the package.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roadscribe.artifacts import disk_errors, finish, open_output, require_complete, write_json
from roadscribe.errors import InputError
from roadscribe.progress import progress, say
from roadscribe.recipe import Recipe, load_recipe
from roadscribe.tiny import HONEST_LINE

if TYPE_CHECKING:
    from roadscribe.evaluate.evaluate import ReportsEngine
    from roadscribe.report import DrivingParameters

DEFAULTS = (
    "footage.frames=6",
    "footage.window_s=1.5",
    "footage.max_pixels=61440",
    "model.base=roadscribe-tiny",
)
"""What the demo sets differently from a recipe's own defaults; a recipe file may say otherwise."""

"""The page: self-contained, deaf to what models write into it, and small."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from evaluate_standin import TableEngine, clips, parameters, report, true_parameters
from PIL import Image

from roadscribe.clip import Clip
from roadscribe.evaluate.evaluate import evaluate
from roadscribe.evaluate.page import film_strips, scatter, strip_places
from roadscribe.evaluate.predictions import read_predictions
from roadscribe.recipe import load_recipe

SOME = clips(16)
ATTACK = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


def hostile(clip: int | None, order: list[int], grammar: bool) -> str:
    if clip is None:
        return report(parameters(99))
    return (
        report(true_parameters(SOME[clip])) if clip % 2 else f"{ATTACK}\n\n### Scene Description:\n{ATTACK}"
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "card"
    named = [clip.model_copy(update={"clip_id": f"{ATTACK} {index}"}) for index, clip in enumerate(SOME)]
    engines = {"base": TableEngine(lambda *_: report(parameters(99))), "tuned": TableEngine(hostile)}
    recipe = load_recipe(None, ["evaluate.resamples=200"])
    evaluate(recipe, named, engines, out, provenance={"adapter": ATTACK})
    return out / "scorecard.html"


class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_what_a_model_wrote_is_text_and_never_markup(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert ATTACK not in text
    assert "&lt;script&gt;document.title=" in text
    elements = Elements(text).found
    assert [tag for tag, _ in elements].count("script") == 1
    assert not any(name.startswith("on") for _, attributes in elements for name in attributes)


def test_the_page_needs_nothing_from_outside(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    elements = Elements(text).found
    assert not [tag for tag, _ in elements if tag in ("link", "iframe", "object", "base", "a")]
    sources = [attributes["src"] or "" for _, attributes in elements if "src" in attributes]
    assert sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert "url(" not in text
    assert "@import" not in text


def test_the_policy_of_the_page_admits_only_its_own_script(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    [script] = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in text
    assert f"script-src 'sha256-{digest}'" in text.replace("&#39;", "'")


def test_truth_and_answers_stand_beside_every_drive(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    elements = Elements(text).found
    drives = [attributes for tag, attributes in elements if tag == "article"]
    assert len(drives) == 16
    # Worst first: the eight hostile texts state nothing, so all twelve values are wrong.
    assert len((drives[0]["data-wrong"] or "").split()) == 12
    assert "not stated" in text
    assert "does not hold the schema" in text


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium to open the page")
def test_a_browser_runs_the_filter_and_nothing_a_model_wrote(page: Path, tmp_path: Path) -> None:
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --virtual-time-budget=2000 --dump-dom"
    )
    command = ["chromium", *flags.split(), f"--user-data-dir={tmp_path}", page.as_uri()]
    opened = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "<title>owned" not in opened
    assert "Roadscribe scorecard</title>" in opened
    # The filter is hidden until the script shows it.
    assert '<label class="tools">' in opened


def noise(index: int, frames: int, size: tuple[int, int]) -> Clip:
    rng = np.random.default_rng(index)
    encoded = []
    for _ in range(frames):
        out = io.BytesIO()
        coarse = Image.fromarray(rng.integers(0, 256, (size[1] // 4, size[0] // 4, 3), dtype=np.uint8))
        coarse.resize(size).save(out, "JPEG", quality=90)
        encoded.append(out.getvalue())
    template = clips(1)[0]
    times = tuple(float(frame) for frame in range(frames))
    return template.model_copy(update={"frames": tuple(encoded), "timestamps_s": times})


def test_sixty_drives_of_six_busy_frames_stay_below_six_megabytes() -> None:
    one = noise(0, 6, (640, 352))
    strips = film_strips([one] * 60)
    size = sum(len(frame["url"]) for strip in strips for frame in strip)
    assert size < 5_500_000
    assert [frame["time"] for frame in strips[0]] == ["−5.0 s", "−4.0 s", "−3.0 s", "−2.0 s", "−1.0 s", "now"]


def test_few_drives_keep_their_frames_as_large_as_a_page_shows_them() -> None:
    [strip] = film_strips([noise(0, 2, (640, 352))])
    image = Image.open(io.BytesIO(base64.b64decode(strip[0]["url"].partition(",")[2])))
    assert image.size == (320, 176)


def test_a_long_clip_is_shown_by_frames_that_span_it_and_end_now() -> None:
    assert strip_places(6) == [0, 1, 2, 3, 4, 5]
    places = strip_places(64)
    assert (places[0], places[-1], len(set(places))) == (0, 63, 12)


def test_the_scatter_plot_shows_every_pair_of_numbers_and_counts_the_rest(tmp_path: Path) -> None:
    def table(clip: int | None, order: list[int], grammar: bool) -> str:
        truth = true_parameters(SOME[clip or 0])
        return report(truth, closest_vehicle_distance=None if clip == 3 else truth.closest_vehicle_distance)

    recipe = load_recipe(None, ["evaluate.resamples=200", "evaluate.controls=[]"])
    card = evaluate(recipe, SOME, {"tuned": TableEngine(table)}, tmp_path / "card")
    rows = [row for row in read_predictions(tmp_path / "card/predictions.parquet") if row.run.grammar]
    drawn = scatter("closest_vehicle_distance", card.runs[0].parameters["closest_vehicle_distance"], rows)
    truths = [true_parameters(clip).closest_vehicle_distance for clip in SOME]
    hidden = truths[3] is not None
    assert drawn["null_truths"] == truths.count(None)
    assert drawn["null_wrong"] == int(hidden)
    assert len(drawn["dots"]) == len(truths) - truths.count(None) - int(hidden)
    assert all(0 <= x <= 200 and 0 <= y <= 200 and right for x, y, right, _ in drawn["dots"])

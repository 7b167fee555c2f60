"""Videos in, one JSON object a video out; what cannot be described is said and stops nobody else."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from roadscribe import cli, tiny
from roadscribe.artifacts import finish, open_output
from roadscribe.errors import InputError
from roadscribe.infer.describe import describe_videos, read_report
from roadscribe.infer.engine import GeneratedReport
from roadscribe.prompts import PROMPT_VERSION
from roadscribe.recipe import Footage, Model, Recipe, load_recipe
from roadscribe.report import PARAMETERS, DrivingParameters, DrivingReport, render

REPORT = DrivingReport(
    scene_description="A road.",
    driving_parameters=DrivingParameters(
        road_type="urban",
        lane_count=2,
        ego_lane_position="left",
        traffic_light_state="none",
        pedestrian_on_road=False,
        closest_vehicle_distance=None,
        ego_vehicle_speed=30,
        road_curvature="straight",
        weather="clear",
        visibility="good",
        traffic_density="none",
        risk_factor="low",
    ),
    risk_assessment=("Mind the gap.",),
)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """One second of 64x64 pixels at 10 frames/s."""
    return write_video(tmp_path / "drive.mp4")


def write_video(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, width=64, height=64, pix_fmt="yuv420p")
        for number in range(10):
            picture = np.full((64, 64, 3), 20 * number, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder in which no demo has left its adapter."""
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))


@pytest.fixture
def short_prose(monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrained model writes prose up to its bound; a lower one saves time."""
    monkeypatch.setattr("roadscribe.infer.grammar.MAX_SCENE_CHARS", 30)
    monkeypatch.setattr("roadscribe.infer.grammar.MAX_RISK_CHARS", 12)


RECIPE = load_recipe(None, ["footage.frames=2", "model.quantization=none"])
BRIEF = load_recipe(None, ["footage.frames=1", "model.quantization=none", "infer.max_new_tokens=16"])


def answer(text: str, finished: bool = True) -> GeneratedReport:
    return GeneratedReport(text, 7, finished, 0.1, 0, ())


def describe(videos: list[Path], model: Path | str | None, recipe: Recipe = RECIPE) -> list[dict[str, Any]]:
    return list(describe_videos(videos, None if model is None else str(model), recipe))


def test_a_video_becomes_one_json_object(short_prose: None, video: Path, lively_folder: Path) -> None:
    (result,) = describe([video], lively_folder)
    assert json.loads(json.dumps(result)) == result
    assert list(result) == ["video", "report", "text", "frames", "seconds", "model"]
    assert result["video"] == str(video)
    assert result["model"] == str(lively_folder)
    assert list(result["report"]) == ["scene_description", "driving_parameters", "risk_assessment"]
    assert tuple(result["report"]["driving_parameters"]) == PARAMETERS
    assert [frame["time_s"] for frame in result["frames"]] == [0.0, 0.9]
    assert result["text"] == render(DrivingReport.model_validate_json(json.dumps(result["report"])))


def test_what_cannot_be_described_is_named_and_the_others_are_described(
    video: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(b"no video at all")
    missing = tmp_path / "missing.mp4"
    results = describe([damaged, missing, video], tiny_folder, BRIEF)
    assert [result["video"] for result in results if "error" not in result] == [str(video)]
    errors = {result["video"]: result["error"] for result in results if "error" in result}
    assert set(errors) == {str(damaged), str(missing)}
    stderr = capsys.readouterr().err
    assert all(error.startswith(path) and error in stderr for path, error in errors.items())


def test_when_none_of_several_can_be_described_it_fails_after_all_were_tried(
    tiny_folder: Path, tmp_path: Path
) -> None:
    paths = [tmp_path / "one.mp4", tmp_path / "two.mp4"]
    for path in paths:
        path.write_bytes(b"no video at all")
    results = describe_videos(paths, str(tiny_folder), BRIEF)
    assert [next(results)["video"], next(results)["video"]] == [str(path) for path in paths]
    with pytest.raises(InputError, match="none of the 2 videos could be described"):
        next(results)


def test_the_only_video_is_the_error(video: Path, tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.mp4"):
        describe([tmp_path / "missing.mp4"], "no/such-model-is-asked-for")
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(b"no video at all")
    with pytest.raises(InputError, match=r"damaged\.mp4"):
        describe([damaged], tiny_folder)


def test_a_video_given_twice_is_described_once(video: Path, tiny_folder: Path) -> None:
    assert len(describe([video, video.parent], tiny_folder, BRIEF)) == 1


def test_a_manifests_windows_and_images_are_each_described(
    video: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    images = [f"{number}.png" for number in range(2)]
    for number, name in enumerate(images):
        Image.new("RGB", (64, 64), (90 * number, 0, 0)).save(tmp_path / name)
    lines = [
        {"video": video.name, "start_s": 0.0, "end_s": 0.3},
        {"video": video.name, "start_s": 0.4, "end_s": 0.8, "clip_id": "later"},
        {"images": images, "timestamps_s": [3.0, 4.0], "clip_id": "pictures"},
    ]
    manifest = tmp_path / "drives.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    brief = load_recipe(None, ["footage.frames=2", "model.quantization=none", "infer.max_new_tokens=16"])
    found = describe([manifest, manifest], tiny_folder, brief)
    assert [(one["clip_id"], [frame["time_s"] for frame in one["frames"]]) for one in found] == [
        ("pictures", [3.0, 4.0]),
        ("drive", [0.0, 0.3]),
        ("later", [0.4, 0.8]),
    ]


def test_a_manifest_of_images_elsewhere_is_described_from_the_command_line(
    short_prose: None,
    tiny_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pictures, manifest = tmp_path / "pictures", tmp_path / "lists" / "one.jsonl"
    for folder in (pictures, manifest.parent):
        folder.mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (64, 64)).save(pictures / name)
    line = {"images": ["a.png", "b.png"], "timestamps_s": [0.0, 1.0], "clip_id": "two"}
    manifest.write_text(json.dumps(line))
    options = ["--model", str(tiny_folder), "--set", "footage.frames=2", "--set", "infer.max_new_tokens=16"]
    command = ["roadscribe", "describe", str(manifest), "--root", str(pictures), "--json", *options]
    monkeypatch.setattr("sys.argv", command)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end:
        cli.main()
    signal.signal(signal.SIGTERM, before)
    assert not end.value.code
    assert json.loads(capsys.readouterr().out)["clip_id"] == "two"


def test_the_tiny_model_says_what_it_is(
    video: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tiny, "WEIGHTS", tiny_folder)
    (result,) = describe([video], None, BRIEF)
    assert result["model"] == tiny.NAME
    assert result["notice"] == tiny.HONEST_LINE
    assert tiny.HONEST_LINE in capsys.readouterr().err


def test_an_answer_that_was_cut_off_says_so(video: Path, tiny_folder: Path) -> None:
    (result,) = describe([video], tiny_folder, BRIEF)
    assert result["report"] is None
    assert "cut off after 16 tokens (raise infer.max_new_tokens)" in result["problem"]


def test_an_answer_in_another_form_is_read_as_well_as_can_be() -> None:
    assert read_report(answer(render(REPORT))) == (REPORT.model_dump(mode="json"), None)
    headings = render(REPORT).replace("**Scene Description:**", "### Scene Description")
    report, problem = read_report(answer(headings))
    assert report == REPORT.model_dump(mode="json")
    assert problem is not None and "text form" in problem
    report, problem = read_report(answer("I see nothing."))
    assert report is None
    assert problem is not None and "line 1, column 1" in problem


@pytest.fixture(scope="module")
def adapter(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes an adapter over the untrained base, as `train` would: ``adapter(**contract_fields)``."""
    from peft import LoraConfig, get_peft_model

    from roadscribe.model.adapter import save_adapter
    from roadscribe.model.contract import make_contract
    from roadscribe.model.load import load_base

    footage = Footage(frames=3, max_pixels=64 * 64)
    loaded = load_base(Model(base=str(tiny_folder), quantization="none"), max_pixels=footage.max_pixels)
    contract = make_contract(loaded, footage, PROMPT_VERSION)
    model = get_peft_model(loaded.model, LoraConfig(r=2, target_modules=["q_proj"]))

    def write(**fields: Any) -> Path:
        folder = tmp_path_factory.mktemp("runs") / "adapter"
        open_output(folder, "adapter", {})
        save_adapter(folder, model, contract.model_copy(update=fields))
        finish(folder)
        return folder

    return write


def test_an_adapter_is_shown_the_frames_it_was_trained_on(adapter: Callable[..., Path], video: Path) -> None:
    recipe = load_recipe(None, ["infer.max_new_tokens=16"])
    folder = adapter()
    (result,) = describe([video], folder, recipe)
    assert [frame["time_s"] for frame in result["frames"]] == [0.0, 0.4, 0.9]
    assert result["model"] == str(folder)


def test_a_recipe_that_contradicts_the_adapter_is_refused(adapter: Callable[..., Path], video: Path) -> None:
    with pytest.raises(InputError, match=r"footage\.frames: the recipe says 4, the adapter .* with 3"):
        describe([video], adapter(), load_recipe(None, ["footage.frames=4"]))
    with pytest.raises(InputError, match="was trained on the instruction 'adas-0'"):
        describe([video], adapter(prompt_version="adas-0"), load_recipe())


def test_the_demos_adapter_is_the_default(
    adapter: Callable[..., Path], video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = adapter()
    monkeypatch.setattr("roadscribe.infer.describe.DEMO_ADAPTER", folder)
    (result,) = describe([video], None, load_recipe(None, ["infer.max_new_tokens=16"]))
    assert result["model"] == str(folder)


def test_an_adapter_without_its_contract_is_refused(video: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match=r"without contract\.json"):
        describe([video], tmp_path)


def test_a_report_in_another_script_is_none_and_the_problem_says_why() -> None:
    report, problem = read_report(answer("**Scene Description:**\n前方有一辆白色轿车，天气晴朗。\n"))
    assert report is None and problem is not None
    assert "of its letters are Chinese" in problem and "infer.grammar=true" in problem


class _Contradicting:
    """Stands in for an engine: each report says that the weather is rainy beside a JSON that says clear."""

    def __init__(self) -> None:
        self.text = render(
            REPORT.model_copy(update={"scene_description": "The weather is rainy. The road is straight."})
        )

    def generate(self, clips: Any, *, beginnings: Any = None, **_: Any) -> list[GeneratedReport]:
        texts = [f"{one} here. And so on" for one in beginnings] if beginnings else [self.text] * len(clips)
        return [GeneratedReport(text, 9, True, 0.0, 0, ()) for text in texts]


@pytest.mark.parametrize("agree", [False, True])
def test_a_contradiction_is_a_finding_and_goes_where_the_report_shall_agree(
    agree: bool, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from roadscribe.infer import describe as stage

    ready = stage.ReadyModel("stand-in", _Contradicting(), Footage(frames=2), None)  # type: ignore[arg-type]
    monkeypatch.setattr(stage, "open_model", lambda *_: ready)
    (described,) = describe_videos([video], None, load_recipe(None, [f"infer.agree={str(agree).lower()}"]))
    (finding,) = described["findings"]
    assert (finding["rule"], finding["parameter"]) == ("prose.contradiction", "weather")
    assert finding["before"] == "The weather is rainy."
    scene = described["report"]["scene_description"]
    if agree:
        assert finding["after"] == "The weather is clear here."
        assert scene == "The weather is clear here. The road is straight."
    else:
        assert finding["after"] is None
        assert scene.startswith("The weather is rainy.")

"""`roadscribe plan` counts what there is to count exactly, decides for the card, and says what does not fit."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from roadscribe import cli
from roadscribe.estimate.gpus import GPUS, Gpu, gpu_like
from roadscribe.estimate.memory import Compute, StepSetup, eval_bytes, kept_bytes, nf4_bytes, predict
from roadscribe.estimate.model_shape import ModelShape, shape_of
from roadscribe.estimate.resolve import GIB, SPARE
from roadscribe.estimate.step_time import batch_flops, duration, gpu_speed
from roadscribe.estimate.train_setup import VisionCache, World
from roadscribe.estimate.workload import EvalBatch, SampleSize, Workload, with_frames
from roadscribe.model.load import load_base, load_processor, resolve_base
from roadscribe.model.precision import LANGUAGE_LINEARS
from roadscribe.plan.plan_report import as_text, cannot_fit
from roadscribe.plan.search import Case, Plan, candidate, decide, settings_of
from roadscribe.qwen3_vl.kv_cache import PackedCache
from roadscribe.qwen3_vl.text_model import fuse
from roadscribe.recipe import Model, Recipe, load_recipe
from training_rows import make_row, save_rows

ROOT = Path(__file__).resolve().parents[2]
TEN_FRAMES = SampleSize(tokens=2940, visual=2200, answer=300, frames=10, width=640, height=352)
HALF = Compute(itemsize=2, flash=True)


def size_config(size: str) -> Any:
    """The published configuration of a size, as the benchmark's script builds it."""
    path = ROOT / "bench" / "base_model.py"
    spec = importlib.util.spec_from_file_location("base_model", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.size_config(size)


@pytest.fixture(scope="module")
def shapes() -> dict[str, ModelShape]:
    return {size: shape_of(size_config(size), 32, LANGUAGE_LINEARS) for size in ("2b", "4b", "8b")}


def work_of(count: int = 200, size: SampleSize = TEN_FRAMES, evaluation: EvalBatch | None = None) -> Workload:
    """`count` rows of ten 640x352 frames, each a clip of its own."""
    return Workload(
        (size,) * count,
        rows=count,
        clips=count,
        row_tokens=count * size.tokens,
        visual_tokens=count * size.visual,
        evaluation=evaluation,
    )


def plan_for(
    recipe: Recipe, shape: ModelShape, gpu: Gpu, work: Workload | None = None, processes: int = 1
) -> Plan:
    return decide(recipe.model.base, Case(recipe, shape, work or work_of(), gpu, World(processes, processes)))


# What is counted


def test_published_sizes_have_their_parameters_and_the_2b_recipe_trains_34_865_152(shapes) -> None:
    assert shapes["2b"].base == 2_127_532_032
    assert shapes["2b"].visual == 406_957_056
    # Per layer: query and output 2 x 2048 x 2048, key and value 2 x 1024 x 2048, three of 6144 x 2048.
    assert shapes["2b"].linear_parameters == 28 * (2 * 2048 * 2048 + 2 * 1024 * 2048 + 3 * 6144 * 2048)
    assert {size: shape.adapter for size, shape in shapes.items()} == {
        "2b": 34_865_152,
        "4b": 66_060_288,
        "8b": 87_293_952,
    }


def test_4_bit_weights_take_the_bytes_that_bitsandbytes_makes_of_them() -> None:
    model = load_base(Model(quantization="nf4"), max_pixels=6144, device=torch.device("cpu")).model
    seen = 0
    for module in model.modules():
        if type(module).__name__ == "Linear4bit":
            state = module.weight.quant_state
            tables = [state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code]
            held = module.weight.nbytes + sum(table.nbytes for table in tables)
            assert nf4_bytes(module.in_features * module.out_features) == held
            seen += 1
    assert seen == 7 * 6


def thin_flops(wide: tuple[int, int], a: tuple[int, int], **_: Any) -> int:
    return 2 * wide[0] * a[0] * a[1]


def back_flops(upstream: list[tuple[int, int]], whole: tuple[int, int], a: tuple[int, int], **_: Any) -> int:
    return (
        sum(2 * tokens * outputs * whole[1] for tokens, outputs in upstream)
        + 2 * upstream[0][0] * a[0] * a[1]
    )


OWN_PRODUCTS = {torch.ops.roadscribe.write_thin: thin_flops, torch.ops.roadscribe.back_products: back_flops}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_layer_keeps_what_the_count_says_and_multiplies_what_it_says(dtype: str) -> None:
    loaded = load_base(Model(dtype=dtype), max_pixels=6144, device=torch.device("cpu"))  # type: ignore[arg-type]
    config = peft.LoraConfig(r=8, target_modules=list(LANGUAGE_LINEARS))
    model = peft.get_peft_model(loaded.model, config).train()
    fuse(model, dense=True, compiled=False, dtype=loaded.dtype)
    language = model.get_base_model().model.language_model
    fused, clips, width = language.fused, 2, language.config.hidden_size
    shape = shape_of(loaded.model.config, 8, LANGUAGE_LINEARS)
    flops = {}

    def kept(tokens: int, share: bool) -> int:
        """Bytes that autograd saves of one layer, without its weights and, in half precision, its input."""
        hidden = torch.randn(clips, tokens, width, dtype=loaded.dtype).requires_grad_()
        places = torch.arange(tokens).view(1, 1, -1).expand(3, clips, -1)
        cos, sin = (one.unsqueeze(2) for one in language.rotary_emb(hidden, places))
        ours = [cos, sin, *fused.norms[0], *(tensor for group in fused.groups[0] for tensor in group)]
        weights = {tensor.untyped_storage().data_ptr() for tensor in ours}
        seen: dict[int, torch.UntypedStorage] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                seen[storage.data_ptr()] = storage
            return tensor

        spec = fused.spec._replace(share=share)
        with (
            torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
            FlopCounterMode(display=False, custom_mapping=OWN_PRODUCTS) as forward,
        ):
            out = fused.forward(hidden, cos, sin, None, spec, fused.norms[0], fused.groups[0])
        with FlopCounterMode(display=False, custom_mapping=OWN_PRODUCTS) as backward:
            out.sum().backward()
        flops[tokens] = forward.get_total_flops() + backward.get_total_flops()
        return sum(storage.nbytes() for storage in seen.values())

    for share in (True, False):
        # The difference of two lengths leaves out what does not grow with them.
        counted = (kept(192, share) - kept(64, share)) / (clips * 128)
        compute = Compute(loaded.dtype.itemsize, flash=share)
        assert kept_bytes(shape, compute) == pytest.approx(counted, rel=0.03)

    # Attention on a CPU is not among torch's counted operations, so it is left out here, too.
    one = shape._replace(layers=1, linears=shape.linears[:7], adapter=shape.adapter // 6, heads=0)
    batch = [SampleSize(192, 0, 0, 0, 32, 32)] * clips
    expected = batch_flops(one, batch, checkpointing=False).language
    assert expected == pytest.approx(flops[192], rel=0.05)


def test_the_terms_add_up_and_every_trade_goes_the_right_way(shapes) -> None:
    shape, sizes = shapes["2b"], [TEN_FRAMES] * 64
    plain = StepSetup(2, 8, checkpointing=True, dense=False, compiled=False)
    found = predict(shape, sizes, plain, HALF)
    assert sum(term.bytes for term in found.terms) == pytest.approx(found.peak)
    assert found.needed > found.peak > found.vision_moment

    def peak(**changes: Any) -> float:
        return predict(shape, sizes, plain._replace(**changes), HALF).peak

    assert peak(checkpointing=False) > peak(batch_size=4, accumulation=4) > peak()
    assert peak(dense=True) - peak() == pytest.approx(2 * shape.linear_parameters, rel=0.1)
    fewer = predict(shape, [with_frames(TEN_FRAMES, 4)] * 64, plain, HALF)
    assert fewer.peak < found.peak


def test_the_keys_and_values_of_a_look_take_the_bytes_of_the_engines_cache(tiny_folder: Path) -> None:
    config = load_base(Model(base=str(tiny_folder)), max_pixels=6144, device=torch.device("cpu")).model.config
    sizes, look = [TEN_FRAMES._replace(tokens=356, answer=100)], EvalBatch(reports=3, new_tokens=256)
    cache = PackedCache(config.text_config, 3, 0, torch.float32, torch.device("cpu"))
    cache.begin_prompt(256 + 256)
    held = cache.keys.nbytes + cache.values.nbytes
    counted = eval_bytes(shape_of(config, 8, LANGUAGE_LINEARS), sizes, look, Compute(4, flash=True))
    # Keys, values, and wider keys beside the old ones.
    assert counted == 1.5 * held


def test_many_reports_at_once_can_be_the_height_of_a_run_and_fewer_are_named(shapes) -> None:
    recipe = load_recipe(ROOT / "recipes" / "t4-qwen3-vl-2b.yaml")
    few, many = (
        plan_for(recipe, shapes["2b"], GPUS["t4"], work_of(evaluation=evaluation))
        for evaluation in (EvalBatch(1, 1024), EvalBatch(64, 1024))
    )
    assert few.fits and few.asked.prediction.eval_moment < few.asked.prediction.peak
    assert "writing 1 held-out reports" in as_text(few)
    found = many.asked.prediction
    assert not many.fits and found.peak == found.eval_moment
    assert sum(term.bytes for term in found.terms) == pytest.approx(found.peak)
    (way,) = many.ways
    reports = int(way.overrides[-1].removeprefix("infer.batch_size="))
    changed = load_recipe(ROOT / "recipes" / "t4-qwen3-vl-2b.yaml", list(way.overrides))

    def writing(count: int) -> Any:
        work = work_of(evaluation=EvalBatch(count, 1024))
        return candidate(changed.train, Case(changed, shapes["2b"], work, GPUS["t4"]))

    assert writing(reports).fits(GPUS["t4"])
    assert not writing(reports + 1).fits(GPUS["t4"], SPARE)


def test_a_prediction_counts_as_measured_only_for_what_was_fitted(shapes) -> None:
    def measured(compute: Compute = HALF, **changes: Any) -> bool:
        setting = StepSetup(2, 8, checkpointing=True, dense=True, compiled=True)._replace(**changes)
        return predict(shapes["2b"], [TEN_FRAMES] * 16, setting, compute).measured

    assert measured()
    assert not measured(compiled=False) and not measured(fused=False)
    assert not measured(HALF._replace(flash=False)) and not measured(HALF._replace(masked=True))


def test_features_kept_beside_a_run_are_counted_and_save_the_tower_all_but_one_pass(shapes) -> None:
    settings = {"train.gradient_checkpointing": "false", "train.batch_size": "8", "train.epochs": "3"}
    overrides = [f"{key}={value}" for key, value in settings.items()]

    def on(gpu: Gpu, asked: str = "auto") -> Any:
        recipe = load_recipe(None, [*overrides, f"train.cache_vision_features={asked}"])
        return candidate(recipe.train, Case(recipe, shapes["2b"], work_of(), gpu))

    kept, computed = on(GPUS["h200"]), on(GPUS["h200"], "false")
    features = 200 * 2200 * 4 * 2048 * 2
    assert kept.prediction.peak - computed.prediction.peak == pytest.approx(features)
    assert ("visual features", features) in [(term.name, term.bytes) for term in kept.prediction.terms]
    assert kept.duration.vision_s == pytest.approx(computed.duration.vision_s / 3)
    assert kept.duration.language_s == computed.duration.language_s
    assert kept.fits(GPUS["h200"], SPARE)
    # A card with less room leaves them out, and still fits.
    small = GPUS["h200"]._replace(memory_gib=80.0)
    assert on(small).setup.vision_cache.value is VisionCache.OFF
    assert not on(small).setup.step.features and on(small).train.cache_vision_features == "auto"
    decisions = plan_for(load_recipe(None, overrides), shapes["2b"], GPUS["t4"], work_of(2000)).decisions
    reason = next(one.reason for one in decisions if one.what == "visual features")
    assert "they would take 68,750 MiB" in reason and "machine's memory" in reason


def test_several_cards_share_the_work_and_each_holds_the_whole_base(shapes) -> None:
    recipe = load_recipe(ROOT / "recipes" / "gpu-qwen3-vl-2b.yaml")
    one, two = (plan_for(recipe, shapes["2b"], GPUS["h200"], processes=count) for count in (1, 2))
    assert one.asked.duration is not None and two.asked.duration is not None
    assert two.asked.duration.seconds == pytest.approx(one.asked.duration.seconds / 2)
    exchanged = two.asked.prediction.step_moment - one.asked.prediction.step_moment
    assert exchanged == 4 * shapes["2b"].adapter
    assert "on 2 x H200, each" in as_text(two) and " x " in as_text(one)


def test_fewer_frames_have_the_tokens_that_encoding_them_would_give(tiny_folder: Path) -> None:
    from roadscribe.qwen3_vl.processor import sample_tokens

    processor = load_processor(resolve_base(Model(base=str(tiny_folder))), 6144)
    row = make_row(0)

    def tokens(frames: int) -> int:
        return sample_tokens(processor, row["prompt"], row["completion"], [(96, 64)] * frames)

    ten = SampleSize(tokens(10), 60, 30, 10, 96, 64)
    assert with_frames(ten, 3).tokens == tokens(3)


# What is decided


def test_the_t4_recipe_fits_a_t4_and_stays_under_ten_gib(shapes) -> None:
    recipe = load_recipe(ROOT / "recipes" / "t4-qwen3-vl-2b.yaml")
    found = plan_for(recipe, shapes["2b"], GPUS["t4"])
    assert found.fits and found.asked.setup.dtype.value == "float16"
    assert found.asked.prediction.needed < 10 * GIB


@pytest.mark.parametrize(
    ("name", "size", "card"),
    [
        ("gpu-qwen3-vl-2b", "2b", "a100-80"),
        ("gpu-qwen3-vl-2b", "2b", "h200"),
        ("gpu-qwen3-vl-4b", "4b", "a100-80"),
        ("gpu-qwen3-vl-8b", "8b", "a100-80"),
        ("gpu-qwen3-vl-8b", "8b", "h200"),
    ],
)
def test_recipes_fit_the_cards_that_they_name(shapes, name: str, size: str, card: str) -> None:
    # Long enough a run that the layers are compiled, as the recipes' own cost was measured.
    recipe = load_recipe(ROOT / "recipes" / f"{name}.yaml", ["train.epochs=5"])
    assert plan_for(recipe, shapes[size], GPUS[card]).fits


def test_8b_without_checkpointing_does_not_fit_a_t4_and_the_named_setting_does(shapes) -> None:
    recipe = ROOT / "recipes" / "gpu-qwen3-vl-8b.yaml"
    found = plan_for(load_recipe(recipe, ["train.gradient_checkpointing=false"]), shapes["8b"], GPUS["t4"])
    assert not found.fits
    line = cannot_fit(found)
    assert "does not fit on T4" in line
    flags = shlex.split(line[line.index("--set") : line.rindex("(")])
    overrides = ["train.gradient_checkpointing=false", *(flag for flag in flags if flag != "--set")]
    again = plan_for(load_recipe(recipe, overrides), shapes["8b"], GPUS["t4"])
    assert again.fits
    train = again.asked.train
    assert train.batch_size * train.gradient_accumulation == 16


def test_where_no_setting_helps_fewer_or_smaller_frames_are_named_that_do(shapes) -> None:
    recipe = load_recipe(ROOT / "recipes" / "gpu-qwen3-vl-8b.yaml")
    small = GPUS["t4"]._replace(memory_gib=12.4)
    found = plan_for(recipe, shapes["8b"], small)
    assert not found.fits and found.chosen is None
    named = [way.overrides[-1] for way in found.ways]
    assert [name.split("=")[0] for name in named] == ["footage.frames", "footage.max_pixels"]
    frames = int(named[0].split("=")[1])
    overrides = [one for one in found.ways[0].overrides if one.startswith("train.")]
    changed = load_recipe(ROOT / "recipes" / "gpu-qwen3-vl-8b.yaml", overrides)
    work = work_of(size=with_frames(TEN_FRAMES, frames))
    assert candidate(changed.train, Case(changed, shapes["8b"], work, small)).fits(small)


def test_a_card_smaller_than_the_weights_is_told_so(shapes) -> None:
    found = plan_for(load_recipe(None), shapes["8b"], GPUS["t4"]._replace(memory_gib=6))
    assert not found.ways and "smaller base or a larger card" in cannot_fit(found)


def test_a_proposal_keeps_the_effective_batch_fits_with_room_and_is_faster(shapes) -> None:
    recipe = load_recipe(None)
    clips = recipe.train.batch_size * recipe.train.gradient_accumulation
    assert all(one.batch_size * one.gradient_accumulation == clips for one in settings_of(recipe.train))
    for gpu in GPUS.values():
        found = plan_for(recipe, shapes["2b"], gpu)
        assert found.chosen is not None and found.chosen.fits(gpu)
        assert found.chosen.duration.seconds <= found.asked.duration.seconds
        reasons = {one.what: one for one in found.decisions}
        assert {"dtype", "attention", "micro-batch", "checkpointing"} <= reasons.keys()
        assert all(one.reason for one in found.decisions)
    roomy = plan_for(recipe, shapes["2b"], GPUS["h200"])
    assert not roomy.chosen.setup.checkpointing.value


def test_time_grows_with_work_and_says_what_it_rests_on(shapes) -> None:
    shape, setting = shapes["2b"], StepSetup(2, 8, True, True, False)
    fast, slow = (gpu_speed(GPUS[key], compiled=False) for key in ("h200", "t4"))
    assert "H200" in fast.basis and "not measured" in slow.basis

    def seconds(speed: Any = fast, rows: int = 64, **changes: Any) -> float:
        return duration(shape, [TEN_FRAMES] * rows, setting._replace(**changes), speed, 1.0, 0).seconds

    assert seconds(rows=128) == pytest.approx(2 * seconds())
    assert seconds(slow) > 5 * seconds()
    assert seconds(checkpointing=False) < seconds() < seconds(dense=False)
    assert gpu_speed(gpu_like("Some Card", 24, (8, 6)), compiled=False) is None


def test_a_card_in_the_machine_is_known_by_its_name_and_memory() -> None:
    assert gpu_like("NVIDIA A100-SXM4-80GB", 79.2, (8, 0)).key == "a100-80"
    assert gpu_like("NVIDIA A100-PCIE-40GB", 39.5, (8, 0)).key == "a100"
    assert gpu_like("Tesla T4", 14.7, (7, 5)) == GPUS["t4"]._replace(memory_gib=14.7)
    assert gpu_like("NVIDIA L40S", 44.5, (8, 9)).peak_tflops is None
    assert [gpu_like("another", 24, age).bf16 for age in ((7, 5), (8, 6))] == [False, True]


# The command


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Run the command line in this process; exit code, stdout and stderr."""
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["roadscribe", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def recipe_file(tiny_folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"model: {{base: {tiny_folder}}}\nfootage: {{frames: 2, max_pixels: 6144}}\n")
    return path


def test_plan_prints_terms_that_sum_and_loads_no_weights(
    command, recipe_file, eight_rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr("transformers.AutoModelForImageTextToText.from_pretrained", refuse)
    arguments = ("plan", "--recipe", recipe_file, "--data", eight_rows, "--card", "t4")
    code, out, _ = command(*arguments)
    assert code == 0
    assert re.search(r"^  needed +\d+\.\d\d GiB  of 14\.6 GiB$", out, re.MULTILINE)
    code, out, _ = command(*arguments, "--json")
    found = json.loads(out)
    assert code == 0 and found["fits"]
    asked = found["asked"]
    assert sum(asked["terms_gib"].values()) == pytest.approx(asked["peak_gib"], abs=2e-3)
    assert found["dataset"]["rows"] == 8 and len(found["dataset"]["tokens"]) == 8
    assert found["dataset"]["visual_tokens"] == 8 * 2 * 6


def test_plan_names_what_8_bit_products_keep_and_whose_time_it_tells(
    command, recipe_file, eight_rows
) -> None:
    asked = ("--set", "train.fp8_matmul=true", "--set", "train.dequantize_weights=false")
    code, out, _ = command("plan", eight_rows, "--recipe", recipe_file, "--card", "h200", *asked)
    assert code == 0 and "the same in 8 bits" in out and "with products in 16 bits" in out
    assert re.search(r"^  products +in 8 bits \(asked for", out, re.MULTILINE)
    assert "dense weights" not in out and "dequantised" not in out
    code, _, err = command(
        "plan", eight_rows, "--recipe", recipe_file, "--card", "h200", *asked, "--set", "lora.dropout=0.1"
    )
    assert code == 2 and "without dropout; set it to auto" in err


@pytest.mark.parametrize(
    ("card", "overrides", "products"),
    [
        ("h200", (), "8 bits"),
        ("h200", ("train.compile=false",), "16 bits"),
        ("h200", ("train.dequantize_weights=false",), "16 bits"),
        ("h200", ("model.quantization=none",), "16 bits"),
        ("h200", ("lora.dropout=0.1",), "16 bits"),
        ("l4", (), "16 bits"),
        ("a100", (), "16 bits"),
        ("t4", (), "16 bits"),
    ],
)
def test_plan_takes_8_bits_where_they_were_measured_to_pay(
    card: str, overrides: tuple[str, ...], products: str, command, recipe_file, eight_rows
) -> None:
    more = ("train.fp8_matmul=auto", "train.compile=true", *overrides)
    flags = [part for one in more for part in ("--set", one)]
    code, out, _ = command("plan", eight_rows, "--recipe", recipe_file, "--card", card, *flags, "--json")
    found = json.loads(out)
    assert code == 0 and found["asked"]["products"] == products
    (said,) = (one for one in found["decisions"] if one["what"] == "products")
    assert said["value"] == f"in {products}" and said["reason"]


def test_a_run_in_8_bits_is_planned_shorter_and_as_large(command, recipe_file, eight_rows) -> None:
    found = []
    for asked in ("false", "auto"):
        flags = ("--set", "train.compile=true", "--set", f"train.fp8_matmul={asked}")
        code, out, _ = command(
            "plan", eight_rows, "--recipe", recipe_file, "--card", "h200", *flags, "--json"
        )
        assert code == 0
        found.append(json.loads(out)["asked"])
    assert found[1]["peak_gib"] == found[0]["peak_gib"]
    assert not found[1]["dequantize_weights"] and found[0]["dequantize_weights"]
    fast, slow = (gpu_speed(GPUS["h200"], compiled=True, fp8=fp8) for fp8 in (True, False))
    assert fast and slow and fast.language_tflops > 1.1 * slow.language_tflops
    assert fast.vision_tflops == slow.vision_tflops


def test_plan_counts_answers_that_share_a_clip_once(command, recipe_file, tmp_path) -> None:
    same = [make_row(0, clip_id="one", completion=make_row(index)["completion"]) for index in range(4)]
    folder = save_rows(tmp_path / "shared", same)
    code, out, _ = command("plan", folder, "--recipe", recipe_file, "--card", "a100", "--json")
    shared = json.loads(out)
    assert code == 0 and shared["dataset"]["sequences"] == 1 and shared["dataset"]["visual_tokens"] == 12
    code, out, _ = command(
        *("plan", folder, "--recipe", recipe_file, "--card", "a100", "--json"),
        *("--set", "train.shared_prefix=false"),
    )
    assert json.loads(out)["dataset"]["sequences"] == 4


def test_a_run_that_cannot_fit_ends_with_1_and_one_line(
    command, recipe_file, eight_rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GPUS, "t4", GPUS["t4"]._replace(memory_gib=0.3))
    code, out, err = command("plan", "--recipe", recipe_file, "--data", eight_rows, "--card", "t4")
    assert code == 1 and "needed" in out
    lines = [line for line in err.splitlines() if line.startswith("roadscribe: ")]
    assert len(lines) == 1 and "does not fit on T4" in lines[0] and "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--card", "t5"), "t4, l4, a100"),
        (("--card", "t4", "extra-folder"), "give one dataset"),
        (("--card", "t4", "--set", "footage.frames=3"), "footage.frames=3"),
        (("--card", "t4", "--set", "model.dtype=bfloat16"), "does not compute bfloat16"),
        (
            ("--card", "a100", "--set", "train.fp8_matmul=true"),
            "A100 40 GB is older than Ada and Hopper",
        ),
    ],
)
def test_a_mistake_ends_with_2_and_says_what_to_do(
    command, recipe_file, eight_rows, arguments: tuple[str, ...], says: str
) -> None:
    code, _, err = command("plan", "--recipe", recipe_file, "--data", eight_rows, *arguments)
    assert code == 2 and says in err and "Traceback" not in err


def test_without_a_card_in_the_machine_one_must_be_named(
    command, recipe_file, eight_rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, _, err = command("plan", eight_rows, "--recipe", recipe_file)
    assert code == 2 and "--card" in err

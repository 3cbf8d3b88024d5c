"""AWQ and GPTQ: what is packed is what its own bytes say, or the level is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig

from experiments.cli.engine_choice import EngineChoice, parse_engine
from experiments.cli.quantization_settings import QuantizationSettings
from experiments.cli.quantizer_choice import parse_quantizer
from experiments.models.conversion import runnable
from experiments.quantization_search import main
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.compression.checkpoint.receipt import RECEIPT, steps_of
from lrm.compression.packed import llm_compressor
from lrm.compression.packed.awq import AWQ
from lrm.compression.packed.gptq import GPTQ
from lrm.compression.packed.measured import open_packed
from lrm.compression.packed.stored import TWIN, served, twin
from lrm.compression.quality.perplexity import of_folder
from lrm.digests import of_file
from lrm.engines.transformers.engine import TransformersEngine
from lrm.errors import BadInput, CompressionFailed, MissingExtra
from lrm.records.model import Calibration, Checkpoint
from lrm.tiny.tokenizer import load
from tests.support.models import SMALLEST, TINY, copied

ROWS = tuple(tuple((7 * i + 13 * j) % 1000 for j in range(64)) for i in range(4))
CALIBRATION = Calibration("made up", ROWS)
SHAPE = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1024,
    "max_position_embeddings": 2048,
    "initializer_range": 0.08,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
LEVELS = {"gptq": ("4-g128", "3-g64/final-mlp"), "awq": ("4-g64",)}


def installed() -> bool:
    try:
        llm_compressor.compressor()
    except MissingExtra:
        return False
    return True


real = pytest.mark.skipif(not installed(), reason=f"to test AWQ and GPTQ: {llm_compressor.INSTALL}")


@pytest.fixture(scope="module")
def small(tmp_path_factory: Any) -> Checkpoint:
    """A random model of two blocks, in bfloat16."""
    folder = tmp_path_factory.mktemp("model") / "small"
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**SHAPE), dtype=torch.bfloat16)
    model.save_pretrained(folder)
    load(TINY).save_pretrained(folder)
    return open_checkpoint(folder)


@pytest.fixture(scope="module")
def made(small: Checkpoint, tmp_path_factory: Any) -> dict[str, Checkpoint]:
    """Every level, by the method's name and its own."""
    folder = tmp_path_factory.mktemp("made")
    found = {}
    for kind in (GPTQ, AWQ):
        outs = {level: folder / f"{kind.name}-{level[:5]}" for level in LEVELS[kind.name]}
        told: list[tuple[int, int]] = []
        levels = kind(CALIBRATION).apply_levels(small, outs, lambda *at, to=told: to.append(at))
        assert told == [(n + 1, 3 * len(outs)) for n in range(3 * len(outs))]
        found |= {f"{kind.name} {level}": one for level, one in levels.items()}
    assert len(list(folder.iterdir())) == 3  # and no draft
    return found


def unpacked(tensors: dict[str, torch.Tensor], name: str, bits: int) -> torch.Tensor:
    """The values that a matrix stands for, bit by bit, apart from the library."""

    def integers(words: torch.Tensor, count: int) -> torch.Tensor:
        stream = torch.stack([(words.long() >> bit) & 1 for bit in range(32)], -1).flatten(1)
        digits = stream[:, : count * bits].unflatten(1, (count, bits))
        return (digits << torch.arange(bits)).sum(-1) - (1 << (bits - 1))

    rows, columns = tensors[f"{name}.weight_shape"].tolist()
    scale = tensors[f"{name}.weight_scale"].float()
    values = integers(tensors[f"{name}.weight_packed"], columns).float()
    if (zero := tensors.get(f"{name}.weight_zero_point")) is not None:
        values -= integers(zero.T, rows).T.repeat_interleave(columns // scale.shape[1], 1)
    return values * scale.repeat_interleave(columns // scale.shape[1], 1)


# What is written


@real
def test_the_twin_holds_what_the_packed_integers_stand_for(made: dict[str, Checkpoint]) -> None:
    for level, checkpoint in made.items():
        tensors = load_file(checkpoint.path / "model.safetensors")
        twins = load_file(checkpoint.path / TWIN / "model.safetensors")
        names = [name.removesuffix("_packed") for name in tensors if name.endswith("_packed")]
        assert len(names) == (11 if "final-mlp" in level else 14)
        for name in names:
            found = twins[name]
            assert found.dtype == torch.bfloat16
            bits = 3 if "3-g64" in level else 4
            expected = unpacked(tensors, name.removesuffix(".weight"), bits)
            torch.testing.assert_close(found.float(), expected, rtol=2**-8, atol=1e-6)


@real
def test_what_is_measured_is_what_the_bytes_say(made: dict[str, Checkpoint]) -> None:
    for level, checkpoint in made.items():
        tensors = load_file(checkpoint.path / "model.safetensors")
        inside = {name: t for name, t in tensors.items() if "proj" in name}
        values = 2 * (2 * 128 * 128 + 2 * 64 * 128 + 3 * 256 * 128)
        told = checkpoint.measured
        assert told["bits_per_weight/blocks"] == pytest.approx(
            8 * sum(t.nbytes for t in inside.values()) / values
        )
        others = sum(t.numel() for name, t in tensors.items() if name not in inside)
        assert told["bits_per_weight"] == pytest.approx(
            8 * sum(t.nbytes for t in tensors.values()) / (values + others)
        )
        assert told["weights/bytes"] == (checkpoint.path / "model.safetensors").stat().st_size
        assert told["perplexity"] == pytest.approx(of_folder(checkpoint.path / TWIN))
        assert told["protected/share"] == pytest.approx(
            3 * 256 * 128 / values if "final-mlp" in level else 0
        )
        assert checkpoint.format == "compressed-tensors"
        assert checkpoint.lineage == (level.replace(" ", ":"),)
    assert 4.1 < made["gptq 4-g128"].measured["bits_per_weight/blocks"] < 4.2


@real
def test_the_error_is_that_of_the_values(made: dict[str, Checkpoint], small: Checkpoint) -> None:
    before = load_file(small.path / "model.safetensors")
    after = load_file(made["gptq 4-g128"].path / TWIN / "model.safetensors")
    names = [name for name in before if "proj" in name]
    lost = sum(float((before[n].double() - after[n].double()).square().sum()) for n in names)
    norm = sum(float(before[n].double().square().sum()) for n in names)
    assert made["gptq 4-g128"].measured["reconstruction/error"] == pytest.approx(lost / norm)
    assert 0 < made["awq 4-g64"].measured["reconstruction/error"] < 0.02


@real
def test_gptq_keeps_what_is_protected_and_everything_else_that_is_no_layer(
    made: dict[str, Checkpoint], small: Checkpoint
) -> None:
    before = load_file(small.path / "model.safetensors")
    after = load_file(made["gptq 3-g64/final-mlp"].path / TWIN / "model.safetensors")
    same = {name for name, tensor in before.items() if torch.equal(tensor, after[name])}
    kept = {f"model.layers.1.mlp.{part}_proj.weight" for part in ("gate", "up", "down")}
    assert kept <= same
    assert {name for name in before if "proj" not in name} <= same
    assert len(same & {name for name in before if "proj" in name}) == len(kept)
    rows = steps_of(made["gptq 3-g64/final-mlp"].path)[0]["modules"]
    assert {row["module"] for row in rows if row["protected"]} == kept


@real
def test_gptq_is_nearer_to_the_model_than_rounding(
    made: dict[str, Checkpoint], small: Checkpoint, tmp_path: Path
) -> None:
    """On what it was calibrated on, at the bits and groups it had."""
    rounded = AutoModelForCausalLM.from_pretrained(small.path, dtype=torch.float32)
    for name, tensor in rounded.named_parameters():
        if "proj" in name:
            groups = tensor.data.unflatten(1, (-1, 128))
            scale = groups.abs().amax(-1, keepdim=True) / 7.5
            values = (groups / scale).round().clamp(-8, 7) * scale
            tensor.data = values.flatten(1)

    def states(model: Any) -> torch.Tensor:
        with torch.inference_mode():
            found: torch.Tensor = model.base_model(torch.tensor(ROWS))[0]
            return found

    dense = states(AutoModelForCausalLM.from_pretrained(small.path, dtype=torch.float32))
    folder = made["gptq 4-g128"].path / TWIN
    gptq = states(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32))
    assert (gptq - dense).square().sum() < 0.8 * (states(rounded) - dense).square().sum()


@real
def test_a_layer_that_would_only_be_rounded_fails(small: Checkpoint, tmp_path: Path) -> None:
    few = Calibration("eight tokens for 128 columns", (tuple(range(8)),))
    with pytest.raises(CompressionFailed, match=r"q_proj could not be factorised.*raise the damp"):
        GPTQ(few, damping=1e-12).apply(small, tmp_path / "out")
    assert not list(tmp_path.iterdir())


@real
def test_the_same_again_gives_the_same_bytes_also_after_a_kill(
    small: Checkpoint, made: dict[str, Checkpoint], tmp_path: Path
) -> None:
    out = tmp_path / "again"
    code = (
        "import sys; from pathlib import Path; from tests.compression.test_pack import *;"
        "GPTQ(CALIBRATION).apply_levels(open_checkpoint(Path(sys.argv[1])),"
        " {'4-g128': Path(sys.argv[2])}, lambda *at: print(at, flush=True))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(small.path), str(out)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not out.exists()
    deadline = time.monotonic() + 60
    while working(small.path) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not working(small.path)  # the library's process ends with its owner
    found = GPTQ(CALIBRATION).apply(small, out)
    assert list(tmp_path.iterdir()) == [out]
    first = made["gptq 4-g128"].path
    for name in ("model.safetensors", "config.json", f"{TWIN}/model.safetensors"):
        assert of_file(out / name) == of_file(first / name)
    assert found.revision == made["gptq 4-g128"].revision


def working(model: Path) -> bool:
    """Whether a process has files under the model's or its results' folders open, or is the job."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if "llm_compressor_job" in (place / "cmdline").read_text():
                return True
        except OSError:
            continue
    return False


@pytest.mark.engine
@real
def test_a_search_runs_what_is_unpacked_and_records_what_is_packed(
    small: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--model", str(small.path), "--method", "gptq:calibration=prompts", "--budgets", "8"]
    given += ["--recipes", "f16,4-g128", "--questions", "1", "--benchmarks", "arithmetic"]
    assert main(given, root=tmp_path) == 0
    out = capsys.readouterr().out
    assert "4-g128" in out
    assert "quantized 1 checkpoint." in out
    places = list((tmp_path / "mlruns" / "checkpoints").iterdir())
    assert len(places) == 1
    assert f"{open_packed(places[0]).measured['weights/bytes']:,.0f}" in out
    assert main(given, root=tmp_path) == 0
    assert "quantized 0 checkpoints" in capsys.readouterr().out


# What runs it


class Kernels(TransformersEngine):
    """Loads packed weights, by its own account."""

    formats = ("dense", "compressed-tensors")
    has_kernels = True


class NoKernels(Kernels):
    has_kernels = False


@pytest.fixture
def packed(tmp_path: Path) -> Checkpoint:
    """A checkpoint of 4 bits as its files lie, made by hand."""
    folder = copied(tmp_path / "packed", quantization_config={"quant_method": "compressed-tensors"})
    copied(folder / TWIN)
    return replace(open_checkpoint(folder), lineage=("gptq:4-g128",))


def test_an_engine_without_kernels_gets_the_twin(packed: Checkpoint, tmp_path: Path) -> None:
    other = twin(packed)
    assert other is not None
    assert (other.format, other.lineage) == ("dense", ("gptq:4-g128",))
    assert runnable(packed, parse_engine("transformers"), tmp_path).path == other.path
    assert runnable(packed, EngineChoice("none", NoKernels), tmp_path).path == other.path
    assert twin(open_checkpoint(SMALLEST)) is None


@real
def test_an_engine_with_kernels_gets_what_it_has_kernels_for(
    made: dict[str, Checkpoint], tmp_path: Path
) -> None:
    four, three = made["gptq 4-g128"], made["gptq 3-g64/final-mlp"]
    assert (served(four.path), served(three.path)) == (True, False)
    choice = EngineChoice("kernels", Kernels)
    assert runnable(four, choice, tmp_path) == four
    assert runnable(three, choice, tmp_path).format == "dense"


@real
def test_layers_that_engines_run_as_one_are_packed_together_or_not_served(
    small: Checkpoint, tmp_path: Path
) -> None:
    found = GPTQ(CALIBRATION, protect=("q_proj",)).apply(small, tmp_path / "out")
    assert not served(found.path)


# What is refused


@pytest.mark.parametrize(
    ("level", "said"),
    [
        ("9-g128", "bits must be 2 to 8, got 9"),
        ("1", "bits must be 2 to 8, got 1"),
        ("4-g0", "group must be 1 or more"),
        ("Q4_K_M", "'Q4_K_M' is no level of gptq: write BITS or BITS-gGROUP"),
        ("4-128", "is no level of gptq"),
        ("4-g128@nothing", "There is no calibration source 'nothing'"),
        ("4-g128@none", "gptq needs a calibration"),
        ("4,4-g128", "4 and 4-g128 are the same recipe; leave one out"),
    ],
)
def test_a_level_that_is_none(level: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_quantizer("gptq", level.split(","))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"act_order": "group"}, "act_order must be static or weight or none"),
        ({"damping": 0.0}, "damping must be in (0, 1)"),
        ({"calibration": Calibration("nothing", ())}, "no rows or an empty one; give gptq tokens"),
    ],
)
def test_options_that_are_none(given: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput) as caught:
        GPTQ(**{"calibration": CALIBRATION, **given})
    assert said in str(caught.value)


def test_a_level_says_what_a_method_is() -> None:
    method = GPTQ.of("3-g64/final-mlp+k_proj", CALIBRATION, damping=0.02)
    assert (method.bits, method.group, method.protect) == (3, 64, ("final-mlp", "k_proj"))
    assert method.level == "3-g64/final-mlp+k_proj"
    assert AWQ.of("4", CALIBRATION, group=32).level == "4-g32"
    assert method.params()["damping"] == 0.02
    assert method.params() != method.at("4").params()


@pytest.mark.parametrize(
    ("group", "protect", "said"),
    [
        (48, (), "weights, which groups of 48 do not divide; give a group that does, as in 4-g64"),
        (64, ("nothing",), "nothing to protect is named 'nothing'"),
        (64, ("layers.*",), "every module is protected, so that nothing is left to quantize"),
    ],
)
def test_what_cannot_be_packed_is_told_before_anything_is_done(
    small: Checkpoint, tmp_path: Path, group: int, protect: tuple[str, ...], said: str
) -> None:
    with pytest.raises(BadInput) as caught:
        AWQ(CALIBRATION, group=group, protect=protect).apply(small, tmp_path / "out")
    assert said in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_other_architectures_and_what_is_packed_already(packed: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="gptq takes llama, qwen2, qwen3 models, not gpt_neox"):
        GPTQ(CALIBRATION).check(open_checkpoint(copied(tmp_path / "x", model_type="gpt_neox")))
    with pytest.raises(BadInput, match="only dense weights are quantized"):
        GPTQ(CALIBRATION).check(packed)


@pytest.fixture
def no_memory_of_versions() -> Iterator[None]:
    llm_compressor.compressor.cache_clear()
    yield
    llm_compressor.compressor.cache_clear()


@pytest.mark.usefixtures("no_memory_of_versions")
def test_without_the_library_it_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, small: Checkpoint, tmp_path: Path
) -> None:
    bare = tmp_path / "python"
    bare.write_text("#!/bin/sh\nexit 1\n")
    bare.chmod(0o755)
    monkeypatch.setenv(llm_compressor.PYTHON, str(bare))
    with pytest.raises(MissingExtra, match="wants an environment of its own: python3 -m venv"):
        GPTQ(CALIBRATION).check(small)
    monkeypatch.setenv(llm_compressor.PYTHON, str(tmp_path / "missing"))
    llm_compressor.compressor.cache_clear()
    with pytest.raises(BadInput, match="is no file: name the Python of an environment"):
        GPTQ(CALIBRATION).check(small)


def test_a_process_that_dies_is_an_error_that_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, small: Checkpoint, tmp_path: Path
) -> None:
    monkeypatch.setattr(llm_compressor, "compressor", lambda: "llm-compressor 0")
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\necho out of luck >&2\nexit 3\n")
    dying.chmod(0o755)
    monkeypatch.setenv(llm_compressor.PYTHON, str(dying))
    with pytest.raises(CompressionFailed, match="ended and said last: out of luck"):
        GPTQ(CALIBRATION).apply(small, tmp_path / "made" / "out")
    assert not list((tmp_path / "made").iterdir())


def test_a_receipt_that_is_cut_is_named(packed: Checkpoint) -> None:
    (packed.path / RECEIPT).write_text(json.dumps({"steps": []})[:5])
    with pytest.raises(BadInput, match="cannot be read"):
        open_packed(packed.path)


def test_the_engine_must_run_what_the_method_makes() -> None:
    with pytest.raises(BadInput, match=r"what gptq makes: give --engine transformers"):
        QuantizationSettings(method="gptq", engine="llama_cpp")
    with pytest.raises(BadInput, match=r"what gguf makes: give --engine llama_cpp"):
        QuantizationSettings(engine="vllm")
    found = QuantizationSettings(method="awq:group=64")
    assert (found.engine, found.recipes) == ("transformers", ("f16", "4-g128", "3-g128"))
    assert QuantizationSettings().engine == "llama_cpp"

"""Plans of large models: the arithmetic against what is known otherwise."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from experiments import plan
from experiments.cli.engine_choice import parse_engine
from experiments.models.shapes import SHAPES
from experiments.planning import deepseek_r1, dense
from experiments.planning.dense import MEASURED_TOKENS, REFERENCE, Sizes

EXPERIMENTS = Path(plan.__file__).parent
MEASUREMENTS = EXPERIMENTS / "benchmarking" / "MEASUREMENTS.md"
PLANS = EXPERIMENTS / "planning" / "README.md"
NUMBER = r"([\d,.]+)"


def value(text: str, quantity: str, unit: str) -> float:
    """The number of the first line that begins so."""
    match = re.search(rf"^  {quantity} +{NUMBER} ?{unit}", text, re.M)
    assert match, f"{quantity} in {text}"
    return float(match[1].replace(",", ""))


@pytest.mark.parametrize("shape", SHAPES)
def test_sizes_are_those_of_the_model_that_transformers_makes(shape: str) -> None:
    config = AutoConfig.for_model(**SHAPES[shape])
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    sizes = Sizes.of(shape)
    assert sizes.all == sum(weight.numel() for weight in model.parameters())
    block = model.base_model.layers[0]
    assert sizes.block == sum(weight.numel() for weight in block.parameters())
    linears = [m for m in block.modules() if isinstance(m, torch.nn.Linear)]
    assert sizes.linears == sum(layer.weight.numel() for layer in linears)
    assert sizes.kv == block.self_attn.k_proj.out_features


def test_the_measured_model_gets_the_measured_figures() -> None:
    """Those of the table of what pruning costs on one H100."""
    sizes = Sizes.of(REFERENCE)
    rows = re.findall(
        r"\| (dense|sequential) mode, 8 levels[^|]*\| ([\d.]+)", MEASUREMENTS.read_text()
    )
    table = dict(rows)
    for mode, seconds in table.items():
        scaled = dense.seconds(sizes, MEASURED_TOKENS, 8, mode)
        assert scaled == pytest.approx((float(seconds), float(seconds))), mode
    assert len(table) == 2
    for levels, measured in ((1, 6.4), (8, 9.2)):
        hidden = dense.hidden_states(sizes, MEASURED_TOKENS, levels, "dense")
        formula = (dense.memory(sizes, levels) + hidden) / 1e9
        assert 1 < measured / formula <= dense.MEASURED_OVER_FORMULA


def test_a_70b_model_on_two_gpus(capsys: pytest.CaptureFixture[str]) -> None:
    assert plan.main(["--shape", "llama-3.1-70b", "--gpus", "2"]) == 0
    text = capsys.readouterr().out
    assert value(text, "weights", "") == 70_553_706_496
    assert value(text, "a token's keys and values", "bytes") == 2 * 80 * 8 * 128 * 2
    assert value(text, "on disk", "GB") == 141.1
    assert plan.main(["--gpus", "1"]) == 0
    assert "does not fit" in capsys.readouterr().out


def test_r1s_files_need_what_they_weigh(capsys: pytest.CaptureFixture[str]) -> None:
    assert plan.main(["--shape", "deepseek-r1", "--gpus", "2"]) == 0
    text = capsys.readouterr().out
    assert deepseek_r1.FOLDED == 70_272
    [row] = [line.split() for line in text.splitlines() if line.strip().startswith("UD-IQ1_S ")]
    assert "25" in row  # (2 x (78 x 2^30 - 2e9) - 131e9) / (17,920 x 70,272)
    engines = [parse_engine(engine).options for engine in re.findall(r"--engine (\S+)", text)]
    assert [engine["slots"] for engine in engines] == [10, 4, 1, 1]
    layers = [engine["gpu_layers"] for engine in engines]
    assert layers[:2] == [-1, -1]
    for on_gpus, (_, size) in zip(layers[2:], list(deepseek_r1.FILES.values())[2:], strict=True):
        assert on_gpus / 61 * size < 2 * 78 * 2**30 < size
    assert plan.main(["--shape", "deepseek-r1", "--gpus", "4"]) == 0
    assert capsys.readouterr().out.count("gpu_layers=-1,context=17920,slots=10") == 4


@pytest.mark.parametrize("shape", ["llama-3.1-70b", "deepseek-r1"])
def test_the_readme_shows_what_is_printed(shape: str, capsys: pytest.CaptureFixture[str]) -> None:
    plan.main(["--shape", shape, "--gpus", "2"])
    assert capsys.readouterr().out.rstrip() in PLANS.read_text()


@pytest.mark.parametrize("shape", ["llama-3.1-70b", "deepseek-r1"])
def test_engines_and_flags_in_the_commands_exist(
    shape: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from experiments import quantization_search, sparsity_search

    plan.main(["--shape", shape])
    text = capsys.readouterr().out
    commands = text[text.index("Commands") :]
    for engine in re.findall(r"--engine (\S+)", commands):
        parse_engine(engine)
    helps = ""
    for search in (sparsity_search, quantization_search):
        with pytest.raises(SystemExit):
            search.main(["--help"])
        helps += capsys.readouterr().out
    assert all(flag in helps for flag in re.findall(r"--[a-z-]+", commands))


def test_bad_flags_end_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert plan.main(["--gpus", "0"]) == 2
    assert "--gpus 0 is too little" in capsys.readouterr().err
    assert plan.main(["--shape", "70b"]) == 2
    assert "llama-3.1-70b" in capsys.readouterr().err


def test_a_reader_that_has_gone_is_no_error() -> None:
    """As behind `| head`."""
    unread, stdout = os.pipe()
    os.close(unread)
    words = [sys.executable, "-m", "experiments.plan"]
    done = subprocess.run(words, stdout=stdout, stderr=subprocess.PIPE, timeout=120, check=False)
    os.close(stdout)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")

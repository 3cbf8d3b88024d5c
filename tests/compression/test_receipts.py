"""Flipped bits in checkpoints of ours are noticed when they are opened; the excess that is said."""

import json
import random
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from experiments.cli.method_choice import parse_method
from experiments.models.conversion import _converted
from experiments.sparsity_search import main
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.compression.checkpoint.receipt import RECEIPT, write_receipt
from lrm.compression.pruning.magnitude import Magnitude
from lrm.compression.pruning.wanda import Wanda
from lrm.digests import of_file
from lrm.engines.llama_cpp.engine import LlamaCppEngine
from lrm.errors import BadInput, DamagedModel
from lrm.records.model import Calibration, Checkpoint
from tests.support.commands import refused
from tests.support.models import SMALLEST, copied

GGUF = pytest.mark.skipif(
    not (find_spec("llama_cpp") and find_spec("gguf")),
    reason="to convert to GGUF: pip install -e '.[gguf]'",
)
CALIBRATION = Calibration("drawn", tuple(tuple(range(row, row + 64)) for row in range(3, 19)))
ASKED = ["--method", "magnitude", "--sparsity", "0.5", "--benchmarks", "deduction,timeline"]
FLAGS = ["--model", "tiny-1m", *ASKED, "--budgets", "128"]


def flip(file: Path, byte: int, bit: int = 0) -> None:
    with file.open("r+b") as opened:
        opened.seek(byte)
        value = opened.read(1)[0]
        opened.seek(byte)
        opened.write(bytes([value ^ 1 << bit]))


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return Magnitude(0.5).apply(open_checkpoint(SMALLEST), tmp_path_factory.mktemp("p") / "half")


def test_any_flipped_bit_is_noticed(pruned: Checkpoint, tmp_path: Path) -> None:
    draw = random.Random(0)
    for file in sorted(pruned.path.iterdir()):
        for trial in range(10):
            folder = shutil.copytree(pruned.path, tmp_path / f"{file.name}-{trial}")
            flip(folder / file.name, draw.randrange(file.stat().st_size), draw.randrange(8))
            with pytest.raises(DamagedModel, match=file.name):
                open_checkpoint(folder)


def test_a_flipped_name_of_a_tensor_is_noticed(pruned: Checkpoint, tmp_path: Path) -> None:
    folder = shutil.copytree(pruned.path, tmp_path / "flipped")
    file = folder / "model.safetensors"
    flip(file, file.read_bytes().index(b"layers.1.mlp.up_proj") + len("layers."))
    with pytest.raises(DamagedModel, match="is not what it was when the checkpoint was made"):
        open_checkpoint(folder)
    (folder / RECEIPT).unlink()  # as a model of its own it is no better
    with pytest.raises(DamagedModel, match=r"is both in|has no weight|no place for|cannot be read"):
        open_checkpoint(folder)


def test_a_file_that_came_or_went_is_noticed(pruned: Checkpoint, tmp_path: Path) -> None:
    folder = shutil.copytree(pruned.path, tmp_path / "changed")
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    with pytest.raises(DamagedModel, match=r"chat_template\.jinja is not what it was"):
        open_checkpoint(folder)
    (folder / "chat_template.jinja").unlink()
    (folder / "notes").write_text("of no consequence")
    assert open_checkpoint(folder).revision == pruned.revision
    (folder / "generation_config.json").unlink()
    with pytest.raises(DamagedModel, match=r"generation_config\.json is not what it was"):
        open_checkpoint(folder)


def test_a_receipt_of_before_still_opens(pruned: Checkpoint, tmp_path: Path) -> None:
    folder = shutil.copytree(pruned.path, tmp_path / "old")
    steps = json.loads((folder / RECEIPT).read_text())["steps"]
    (folder / RECEIPT).write_text(json.dumps({"steps": steps}))
    opened = open_checkpoint(folder)
    assert (opened.revision, opened.measured) == (pruned.revision, pruned.measured)


def test_the_unpacked_twin_is_held_to_the_receipt_around_it(tmp_path: Path) -> None:
    folder = copied(tmp_path / "packed")
    twin = copied(folder / "unpacked")
    write_receipt(folder, [])
    open_checkpoint(twin)
    flip(twin / "model.safetensors", -1 + (twin / "model.safetensors").stat().st_size)
    with pytest.raises(DamagedModel, match=r"unpacked/model\.safetensors is not what it was"):
        open_checkpoint(twin)


@pytest.mark.parametrize("part", ["norm", "matrix"])
def test_more_zeros_than_were_asked_are_said(
    part: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A norm of zeros makes its readers' inputs dead; a matrix may be sparse before."""
    folder = copied(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    if part == "norm":
        weights["model.layers.1.input_layernorm.weight"].zero_()
    weights["model.layers.1.self_attn.q_proj.weight"][part == "norm" :].zero_()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    choice = parse_method("magnitude")
    choice.apply(open_checkpoint(folder), None, {0.3: tmp_path / "out"}, lambda *_: None)
    capfd.readouterr()
    measured = choice.open(tmp_path / "out").measured
    said = capfd.readouterr().err
    (q, whole) = (128 * 128, 4 * (2 * 128 * 128 + 2 * 64 * 128 + 3 * 128 * 512))
    assert measured["sparsity/excess"] == pytest.approx(0.7 * q / whole, rel=0.02)
    assert "sparsity 0.3 became" in said
    assert "more than was asked (in model.layers.1.self_attn.q_proj.weight" in said
    assert said.count("\n") == 1


def test_as_many_zeros_as_were_asked_are_nothing_to_say(
    pruned: Checkpoint, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "sparsity/excess" not in parse_method("magnitude").open(pruned.path).measured
    assert capfd.readouterr().err == ""


def test_dead_inputs_are_counted(tmp_path: Path) -> None:
    """SparseGPT drops what reads an input that is always zero, whatever was asked."""
    folder = copied(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    for layer in range(4):
        weights[f"model.layers.{layer}.input_layernorm.weight"].zero_()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    dense = open_checkpoint(folder)
    method = parse_method("sparsegpt").made(0.3, CALIBRATION)
    made = method.apply(dense, tmp_path / "out").measured
    assert made["sparsity/excess"] == pytest.approx(made["sparsity/achieved"] - 0.3, abs=1e-3)
    assert made["sparsity/excess"] > 0.1
    wanda = Wanda(0.3, CALIBRATION).apply(dense, tmp_path / "wanda").measured
    assert "sparsity/excess" not in wanda


@pytest.mark.engine
def test_a_search_makes_its_own_again_and_refuses_the_users(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "project"
    assert main([*FLAGS, "--questions", "2"], root) == 0
    (place,) = [path for path in root.glob("mlruns/checkpoints/*") if path.is_dir()]
    revision, file = open_checkpoint(place).revision, place / "model.safetensors"
    shutil.copytree(place, tmp_path / "users")
    for damaged in (file, tmp_path / "users" / file.name):
        flip(damaged, damaged.stat().st_size // 2, 6)
    capfd.readouterr()
    assert main([*FLAGS, "--questions", "3"], root) == 0
    assert "so it is made again" in capfd.readouterr().err
    assert open_checkpoint(place).revision == revision
    names = {path.name for path in place.parent.iterdir() if path.is_dir()}
    assert not [name for name in names if "damaged" in name]
    said = refused(main, root, capfd, "--model", str(tmp_path / "users"), *ASKED)
    assert "is not what it was when the checkpoint was made" in said


@GGUF
def test_a_converted_file_is_made_again_where_it_is_damaged(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    dense, file = open_checkpoint(SMALLEST), tmp_path / "model.gguf"
    made = _converted(dense, file)
    assert _converted(dense, file).revision == made.revision
    file.with_suffix(".sha256").unlink()  # as earlier versions left it
    assert _converted(dense, file).revision == made.revision
    assert capfd.readouterr().err == ""
    flip(file, file.stat().st_size // 2)
    assert of_file(file) != made.revision
    assert _converted(dense, file).revision == made.revision
    assert "is made again" in capfd.readouterr().err
    assert of_file(file) == made.revision


@GGUF
@pytest.mark.engine
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_llama_cpp_refuses_values_that_are_no_numbers(value: float, tmp_path: Path) -> None:
    from gguf import GGUFReader

    file = _converted(open_checkpoint(SMALLEST), tmp_path / "model.gguf").path
    tensor = GGUFReader(file, "r+").tensors[0]
    tensor.data.reshape(-1)[3] = torch.tensor(value).numpy()
    tensor.data.flush()
    with (
        pytest.raises(BadInput, match="cannot be loaded"),
        LlamaCppEngine(Checkpoint(file, "x", "gguf")),
    ):
        pass

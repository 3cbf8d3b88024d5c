"""A model of which one block at a time is in memory: the same checkpoints, and little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from experiments.benchmarking.streaming_cost import load_whole
from lrm.compression.checkpoint.folder import Weights
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.compression.pruning import calibrated
from lrm.compression.pruning.blockwise import MODES
from lrm.compression.pruning.sparsegpt_method import SparseGPT
from lrm.compression.pruning.wanda import Wanda
from lrm.compression.quality.perplexity import of_folder
from lrm.compression.streaming import offload
from lrm.compression.streaming.load import load
from lrm.errors import BadInput
from lrm.records.model import Calibration, Checkpoint
from tests.support.models import SMALLEST, copied

SHAPE = {
    "vocab_size": 1024,
    "hidden_size": 64,
    "intermediate_size": 200,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
ROPE = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
MODELS: dict[str, Any] = {
    "llama": lambda: LlamaForCausalLM(
        LlamaConfig(**SHAPE, tie_word_embeddings=False, rope_parameters=ROPE)
    ),
    "tied llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=True)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=24)),
}
ROWS = [
    torch.randint(1024, (20 + place % 2,), generator=torch.Generator().manual_seed(place)).tolist()
    for place in range(16)
]
CALIBRATION = Calibration("random tokens", tuple(map(tuple, ROWS)))
METHODS = {
    "dense": SparseGPT(0.5, CALIBRATION, protect=("k_proj", "layers.1.mlp@0.2")),
    "sequential": SparseGPT(0.5, CALIBRATION, mode="sequential"),
    "owl": SparseGPT(0.5, CALIBRATION, allocation="owl"),
    "wanda": Wanda(0.5, CALIBRATION, mode="sequential"),
}
LEVELS = (0.3, 0.7)


def made(kind: str, folder: Path, **options: Any) -> Checkpoint:
    """A random model with the tokenizer of an embedded one."""
    torch.manual_seed(0)
    MODELS[kind]().to(torch.bfloat16).save_pretrained(folder, **options)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((SMALLEST / name).read_bytes())
    return open_checkpoint(folder)


@pytest.fixture
def model(tmp_path: Path) -> Checkpoint:
    return made("llama", tmp_path / "model", max_shard_size="100KB")


def revisions(method: SparseGPT | Wanda, source: Checkpoint, out: Path) -> list[str]:
    pruned = method.apply_levels(source, {level: out / str(level) for level in LEVELS})
    return [one.revision for one in pruned.values()]


@pytest.mark.parametrize("kind", MODELS)
def test_checkpoints_are_those_of_a_model_in_memory(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = made(kind, tmp_path / "model", max_shard_size="100KB")
    by_block = {
        name: revisions(method, source, tmp_path / name) for name, method in METHODS.items()
    }
    monkeypatch.setattr(calibrated, "load", load_whole)
    for name, method in METHODS.items():
        assert revisions(method, source, tmp_path / f"whole {name}") == by_block[name], name


@pytest.mark.parametrize("mode", MODES)
def test_hidden_states_that_wait_on_disk_are_the_same(
    mode: str, model: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = replace(METHODS["sequential"], mode=mode)
    expected = revisions(method, model, tmp_path / "memory")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setattr(offload, "host_memory", lambda: 1 << 16)
    mapped = []
    from_file = torch.from_file
    monkeypatch.setattr(
        torch, "from_file", lambda *args, **kw: mapped.append(args[2]) or from_file(*args, **kw)
    )
    assert revisions(method, model, tmp_path / "disk") == expected
    assert sum(mapped) == sum(map(len, ROWS)) * 64 * (len(LEVELS) if mode == "sequential" else 1)
    assert not list(temporary.iterdir())


def test_a_block_has_weights_while_it_is_held(model: Checkpoint) -> None:
    decoder = load(Weights(model.path))
    stored = {
        name: tensor
        for file in model.path.glob("*.safetensors")
        for name, tensor in load_file(file).items()
    }
    with decoder.block(1) as block:
        for name, weight in block.named_parameters():
            assert torch.equal(weight, stored[f"model.layers.1.{name}"].float())
        there = [not weight.is_meta for weight in decoder.model.parameters()]
        assert sum(there) == len(list(block.parameters()))
    assert all(weight.is_meta for weight in decoder.model.parameters())


def test_perplexity_is_that_of_the_whole_model(monkeypatch: pytest.MonkeyPatch) -> None:
    found = of_folder(SMALLEST)
    monkeypatch.setattr("lrm.compression.quality.perplexity.load", load_whole)
    assert of_folder(SMALLEST) == found


@pytest.mark.parametrize("name", ["model.norm.weight", "model.embed_tokens.weight"])
def test_a_weight_that_is_missing_is_named(name: str, tmp_path: Path) -> None:
    folder = copied(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    del weights[name]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadInput, match=f"has no weight {name}; save"):
        SparseGPT(0.5, CALIBRATION).apply(open_checkpoint(folder), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_shape_that_is_not_the_configs_is_named(tmp_path: Path) -> None:
    folder = copied(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["intermediate_size"] *= 2
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadInput, match=r"_proj\.weight is \[.*\] in the files, and \[.*\] by the"):
        SparseGPT(0.5, CALIBRATION).apply(open_checkpoint(folder), tmp_path / "out")


MEMORY = """
import sys
from pathlib import Path
import torch
from experiments.benchmarking.streaming_cost import memory
from lrm.compression.checkpoint.folder import Weights
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.compression.streaming.load import load
from lrm.compression.pruning.wanda import Wanda
from lrm.records.model import Calibration
torch.set_num_threads(1)
folder = Path(sys.argv[1])
dense = open_checkpoint(folder / "dense")
rows = tuple(tuple(range(start, start + 32)) for start in (0, 100))
method = Wanda(0.5, Calibration("rows", rows), mode="sequential")
load(Weights(dense.path))
before = memory("VmRSS")
method.apply(dense, folder / "out")
print(memory("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc, on Linux")
def test_memory_is_far_from_that_of_the_model(tmp_path: Path) -> None:
    """A model of 40 blocks and 188 MB in float32."""
    config = LlamaConfig(
        vocab_size=1024,
        hidden_size=320,
        intermediate_size=960,
        num_hidden_layers=40,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    block = 4 * (int(2.5 * 320 * 320) + 3 * 320 * 960)
    torch.manual_seed(0)
    folder = tmp_path / "dense"
    LlamaForCausalLM(config).save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes((SMALLEST / "tokenizer.json").read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert block < int(done.stdout) < 40 * block / 2

"""What every Method promises (lrm/contracts.py), and what opening and pruning folders adds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from lrm import registry
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.compression.checkpoint.receipt import RECEIPT, is_complete
from lrm.compression.pruning import save, sparsegpt
from lrm.compression.pruning.blockwise import MODES
from lrm.compression.pruning.magnitude import Magnitude
from lrm.compression.pruning.owl import owl
from lrm.compression.pruning.sparsegpt_method import SparseGPT
from lrm.compression.pruning.wanda import Wanda
from lrm.compression.streaming import activations, offload
from lrm.compression.streaming.decoder import Decoder, blocks_of, linears_of
from lrm.errors import BadInput, CompressionFailed, DamagedModel
from lrm.records.model import Calibration, Checkpoint
from tests.compression.test_sparsegpt import by_the_paper

VOCABULARY = 64
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 200,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
MODELS: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=True)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE)),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=64, n_embd=16, n_head=2, n_layer=1, bos_token_id=0, eos_token_id=0)
    ),
}
LAYERS = 14


def rows(count: int = 24, seed: int = 0) -> tuple[tuple[int, ...], ...]:
    """Random token ids, rows of two lengths."""
    source = torch.Generator().manual_seed(seed)
    return tuple(
        tuple(torch.randint(VOCABULARY, (30 + place % 2,), generator=source).tolist())
        for place in range(count)
    )


CALIBRATION = Calibration("random tokens", rows())
Make = Callable[[float], Any]
METHODS: dict[str, Make] = {
    "sparsegpt": lambda sparsity: SparseGPT(sparsity, CALIBRATION),
    "sparsegpt in sequence": lambda sparsity: SparseGPT(sparsity, CALIBRATION, mode="sequential"),
    "wanda": lambda sparsity: Wanda(sparsity, CALIBRATION),
    "magnitude": Magnitude,
}


def save_model(kind: str, path: Path, dtype: torch.dtype = torch.bfloat16, **options: Any) -> Path:
    """A random model with a tokenizer that has a chat template, and a generation config."""
    torch.manual_seed(0)
    model = MODELS[kind]().to(dtype)
    model.generation_config.max_length = 48
    model.save_pretrained(path, **options)
    words = Tokenizer(models.WordLevel({str(token): token for token in range(VOCABULARY)}, "0"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words)
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return open_checkpoint(save_model("llama", tmp_path_factory.mktemp("models") / "llama"))


@pytest.fixture(params=METHODS)
def make(request: pytest.FixtureRequest) -> Make:
    return METHODS[request.param]


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return {
        name: tensor
        for file in path.glob("*.safetensors")
        for name, tensor in load_file(file).items()
    }


def report(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    modules: list[dict[str, Any]] = json.loads((checkpoint.path / RECEIPT).read_text())["steps"][
        -1
    ]["modules"]
    return modules


class TestEveryMethod:
    def test_is_frozen_and_named(self, make: Make) -> None:
        method = make(0.5)
        assert registry.PRUNERS[method.name].endswith(f":{type(method).__name__}")
        with pytest.raises(FrozenInstanceError):
            method.sparsity = 0.6

    @pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, float("nan")])
    def test_refuses_sparsity_outside_the_range(self, make: Make, sparsity: float) -> None:
        with pytest.raises(BadInput, match="sparsity"):
            make(sparsity)

    def test_params_can_be_logged_and_differ_with_the_method(self, make: Make) -> None:
        params = make(0.5).params()
        assert json.loads(json.dumps(params)) == params
        assert params["sparsity"] == 0.5
        assert params["method"] == make(0.5).name
        assert params["pattern"] == "unstructured"
        assert params != make(0.6).params()

    @pytest.mark.parametrize("kind", ["llama", "qwen2"])
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
    def test_prunes_the_linear_layers_and_nothing_else(
        self, make: Make, kind: str, dtype: torch.dtype, tmp_path: Path
    ) -> None:
        source = open_checkpoint(save_model(kind, tmp_path / "dense", dtype))
        pruned = make(0.5).apply(source, tmp_path / "pruned")
        before, after = tensors(source.path), tensors(pruned.path)
        assert before.keys() == after.keys()
        linear = {name for name in before if "_proj.weight" in name}
        assert len(linear) == LAYERS
        for name, tensor in after.items():
            assert tensor.dtype == dtype
            assert tensor.isfinite().all()
            if name not in linear:
                assert torch.equal(tensor, before[name])
                continue
            share = 1 - int(tensor.count_nonzero()) / tensor.numel()
            assert abs(share - 0.5) <= 1e-3, name

    def test_measured_is_what_the_files_hold(
        self, make: Make, checkpoint: Checkpoint, tmp_path: Path
    ) -> None:
        pruned = make(0.6).apply(checkpoint, tmp_path / "out")
        saved = tensors(pruned.path)
        linear = [tensor for name, tensor in saved.items() if "_proj" in name]
        zeros = sum(int((tensor == 0).sum()) for tensor in linear)
        every = sum(tensor.numel() for tensor in saved.values())
        nonzero = sum(int(tensor.count_nonzero()) for tensor in saved.values())
        assert pruned.measured["sparsity/achieved"] == pytest.approx(
            zeros / sum(tensor.numel() for tensor in linear)
        )
        assert pruned.measured["sparsity/achieved"] == pytest.approx(0.6, abs=1e-3)
        assert pruned.measured["sparsity/all"] == pytest.approx(1 - nonzero / every)
        assert pruned.measured["weights/nonzero"] == nonzero
        assert pruned.measured["bits_per_weight"] == 16
        file = pruned.path / "model.safetensors"
        assert pruned.measured["weights/bytes"] == file.stat().st_size
        spared = sum(2 * int((tensor == 0).sum()) - -(-tensor.numel() // 8) for tensor in linear)
        assert pruned.measured["weights/packed_bytes"] == file.stat().st_size - spared
        dense = checkpoint.measured
        assert dense["weights/packed_bytes"] == dense["weights/bytes"]
        assert checkpoint.measured["sparsity/achieved"] == 0
        for row in report(pruned):
            tensor = saved[row["module"]]
            assert row["sparsity_achieved"] == pytest.approx(float((tensor == 0).float().mean()))

    def test_the_rest_of_the_folder_travels(
        self, make: Make, checkpoint: Checkpoint, tmp_path: Path
    ) -> None:
        pruned = make(0.5).apply(checkpoint, tmp_path / "out")
        names = {file.name for file in checkpoint.path.iterdir()}
        assert names >= {"tokenizer.json", "generation_config.json", "chat_template.jinja"}
        assert {file.name for file in pruned.path.iterdir()} == names | {RECEIPT}
        for name in names - {"model.safetensors"}:
            assert (pruned.path / name).read_bytes() == (checkpoint.path / name).read_bytes()
        model = AutoModelForCausalLM.from_pretrained(pruned.path, local_files_only=True)
        assert model.generation_config.max_length == 48
        assert AutoTokenizer.from_pretrained(pruned.path, local_files_only=True).chat_template

    def test_writes_under_out_alone_and_leaves_the_source(
        self, make: Make, checkpoint: Checkpoint, tmp_path: Path
    ) -> None:
        out = tmp_path / "deep" / "out"
        make(0.5).apply(checkpoint, out)
        assert [path.name for path in tmp_path.iterdir()] == ["deep"]
        assert [path.name for path in out.parent.iterdir()] == ["out"]
        assert open_checkpoint(checkpoint.path) == checkpoint

    def test_levels_together_equal_each_alone(
        self, make: Make, checkpoint: Checkpoint, tmp_path: Path
    ) -> None:
        outs = {level: tmp_path / f"together-{level}" for level in (0.7, 0.0, 0.25)}
        calls: list[tuple[int, int]] = []
        together = make(0.1).apply_levels(checkpoint, outs, lambda *call: calls.append(call))
        assert calls == [(done, LAYERS) for done in range(1, LAYERS + 1)]
        for level, found in together.items():
            alone = make(level).apply(checkpoint, tmp_path / f"alone-{level}")
            assert found.path == outs[level]
            first, second = tensors(found.path), tensors(alone.path)
            for name, tensor in first.items():
                assert ((tensor == 0) == (second[name] == 0)).float().mean() >= 0.999
                torch.testing.assert_close(tensor, second[name], rtol=0.02, atol=1e-4)

    def test_sparsity_0_is_a_copy_bit_by_bit(
        self, make: Make, checkpoint: Checkpoint, tmp_path: Path
    ) -> None:
        copy = make(0.0).apply(checkpoint, tmp_path / "out")
        for file in checkpoint.path.iterdir():
            assert (copy.path / file.name).read_bytes() == file.read_bytes()
        assert copy.revision == checkpoint.revision
        assert copy.lineage == (make(0.0).name,)

    def test_lineage_grows(self, make: Make, checkpoint: Checkpoint, tmp_path: Path) -> None:
        once = make(0.3).apply(checkpoint, tmp_path / "once")
        twice = make(0.6).apply(once, tmp_path / "twice")
        name = make(0.3).name
        assert (once.lineage, twice.lineage) == ((name,), (name, name))
        steps = json.loads((twice.path / RECEIPT).read_text())["steps"]
        assert [step["parent"] for step in steps] == [checkpoint.revision, once.revision]
        assert [step["params"]["sparsity"] for step in steps] == [0.3, 0.6]
        assert twice.measured["sparsity/achieved"] == pytest.approx(0.6, abs=2e-3)

    def test_never_overwrites(self, make: Make, checkpoint: Checkpoint, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "precious").touch()
        with pytest.raises(BadInput, match="exists already"):
            make(0.5).apply(checkpoint, tmp_path / "out")
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious"]

    def test_goes_on_where_it_was_stopped(
        self, make: Make, checkpoint: Checkpoint, tmp_path: Path
    ) -> None:
        def interrupt(done: int, total: int) -> None:
            if done == LAYERS - 2:
                raise KeyboardInterrupt

        def count(done: int, total: int) -> None:
            calls.append(done)

        calls: list[int] = []
        outs = {0.3: tmp_path / "a", 0.5: tmp_path / "b", 0.0: tmp_path / "dense"}
        with pytest.raises(KeyboardInterrupt):
            make(0.5).apply_levels(checkpoint, outs, interrupt)
        assert all(path.name.startswith(".") for path in tmp_path.iterdir())
        stopped = make(0.5).apply_levels(checkpoint, outs, count)
        assert calls[0] > LAYERS // 2
        assert calls[-1] == LAYERS
        whole = {level: tmp_path / "whole" / path.name for level, path in outs.items()}
        for level, made in make(0.5).apply_levels(checkpoint, whole).items():
            assert stopped[level].revision == made.revision
            timeless = [
                [{key: row[key] for key in row if key != "seconds_all_levels"} for row in rows]
                for rows in (report(stopped[level]), report(made))
            ]
            assert timeless[0] == timeless[1]
        assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "dense", "whole"}

    def test_leaves_nothing_when_it_fails_midway(
        self, make: Make, checkpoint: Checkpoint, tmp_path: Path
    ) -> None:
        def fail(done: int, total: int) -> None:
            if done == 5:
                raise torch.OutOfMemoryError

        outs = {0.3: tmp_path / "a", 0.5: tmp_path / "b"}
        with pytest.raises(CompressionFailed, match="2 levels at once: ask for fewer"):
            make(0.5).apply_levels(checkpoint, outs, fail)
        assert not list(tmp_path.iterdir())

    def test_one_process_at_a_time(
        self, make: Make, checkpoint: Checkpoint, tmp_path: Path
    ) -> None:
        def again(done: int, total: int) -> None:
            if done == 3:
                make(0.5).apply(checkpoint, tmp_path / "out")

        with pytest.raises(BadInput, match="being made by another process"):
            make(0.5).apply_levels(checkpoint, {0.5: tmp_path / "out"}, again)

    @pytest.mark.parametrize("pattern", ["2:4", "4:8"])
    def test_keeps_a_fixed_number_in_every_group(
        self, make: Make, pattern: str, checkpoint: Checkpoint, tmp_path: Path
    ) -> None:
        keep, of = map(int, pattern.split(":"))
        pruned = replace(make(0.5), pattern=pattern).apply(checkpoint, tmp_path / "out")
        for name, tensor in tensors(pruned.path).items():
            if "_proj" in name:
                assert ((tensor != 0).unflatten(1, (-1, of)).sum(2) == keep).all()
        assert pruned.measured["sparsity/achieved"] == 0.5

    @pytest.mark.parametrize(
        ("sparsity", "pattern", "complaint"),
        [
            (0.6, "2:4", "sparsity 0.6 is impossible with pattern 2:4.*give 0.5"),
            (0.5, "4:2", "unknown"),
            (0.5, "2-4", "unknown"),
            (0.5, "3:6", "power of 2"),
        ],
    )
    def test_refuses_impossible_patterns(
        self, make: Make, sparsity: float, pattern: str, complaint: str
    ) -> None:
        with pytest.raises(BadInput, match=complaint):
            replace(make(0.0), sparsity=sparsity, pattern=pattern)

    def test_refuses_columns_that_are_no_whole_groups(
        self, make: Make, checkpoint: Checkpoint, tmp_path: Path
    ) -> None:
        method = replace(make(0.5), pattern="8:16")
        with pytest.raises(BadInput, match=r"layers\.0\.mlp\.down_proj has 200 columns"):
            method.apply(checkpoint, tmp_path / "out")
        assert not list(tmp_path.iterdir())
        replace(method, protect=("down_proj",)).apply(checkpoint, tmp_path / "out")

    def test_protected_modules_stay_dense_and_are_counted(
        self, make: Make, checkpoint: Checkpoint, tmp_path: Path
    ) -> None:
        calls: list[int] = []
        method = replace(make(0.5), protect=("layers.1.mlp", "k_proj"))
        [pruned] = method.apply_levels(
            checkpoint, {0.5: tmp_path / "out"}, lambda done, total: calls.append(total)
        ).values()
        before, after = tensors(checkpoint.path), tensors(pruned.path)
        linear = {name for name in before if "_proj" in name}
        spared = {name for name in linear if "layers.1.mlp" in name or "k_proj" in name}
        assert len(spared) == 5
        assert calls == [LAYERS - 5] * (LAYERS - 5)
        for name in linear:
            assert torch.equal(before[name], after[name]) == (name in spared)
        share = sum(before[n].numel() for n in spared) / sum(before[n].numel() for n in linear)
        assert pruned.measured["protected/share"] == pytest.approx(share)
        assert pruned.measured["sparsity/achieved"] == pytest.approx(0.5 * (1 - share), abs=1e-3)
        assert {row["module"] for row in report(pruned) if row.get("protected")} == spared
        assert method.params()["protect"] == "layers.1.mlp+k_proj"

    @pytest.mark.parametrize("mode", MODES)
    def test_modules_may_be_less_sparse_than_the_rest(
        self, make: Make, checkpoint: Checkpoint, tmp_path: Path, mode: str
    ) -> None:
        method = replace(make(0.6), protect=("layers.1.mlp@0.3", "layers.1.mlp.up_proj@0.2"))
        if hasattr(method, "mode"):
            method = replace(method, mode=mode)
        outs = {level: tmp_path / f"{level}" for level in (0.25, 0.6)}
        made = method.apply_levels(checkpoint, outs)
        sizes = {name: value.numel() for name, value in tensors(checkpoint.path).items()}
        limited = 0
        for level, pruned in made.items():
            for row in report(pruned):
                ceiling = {"layers.1.mlp": 0.3, "layers.1.mlp.up_proj": 0.2}
                most = min([1.0, *(v for k, v in ceiling.items() if f"{k}." in row["module"])])
                assert row["sparsity"] == min(level, most)
                assert row["sparsity_achieved"] == pytest.approx(row["sparsity"], abs=0.01)
                assert row.get("ceiling", 1.0) == most
                limited += sizes[row["module"]] if level == 0.6 and most < 1 else 0
            total = sum(size for name, size in sizes.items() if "_proj" in name)
        assert made[0.6].measured["limited/share"] == pytest.approx(limited / total)

    @pytest.mark.parametrize("share", ["1", "-0.1", "x", ""])
    def test_a_ceiling_that_is_no_sparsity_is_refused(
        self, make: Make, checkpoint: Checkpoint, tmp_path: Path, share: str
    ) -> None:
        with pytest.raises(BadInput, match="write the highest sparsity behind the @"):
            replace(make(0.5), protect=(f"layers.1.mlp@{share}",)).apply(
                checkpoint, tmp_path / "out"
            )
        with pytest.raises(BadInput, match="leave the @ out"):
            replace(make(0.5), pattern="2:4", protect=("layers.1.mlp@0.3",))

    def test_protecting_nothing_is_refused(
        self, make: Make, checkpoint: Checkpoint, tmp_path: Path
    ) -> None:
        for pattern, complaint in (("layers.1.mpl", r"layers\.1\.mlp"), ("*", "nothing is left")):
            with pytest.raises(BadInput, match=complaint):
                replace(make(0.5), protect=(pattern,)).apply(checkpoint, tmp_path / "out")
        assert not list(tmp_path.iterdir())

    def test_unsupported_architecture_is_named(self, make: Make, tmp_path: Path) -> None:
        source = open_checkpoint(save_model("gpt2", tmp_path / "dense"))
        with pytest.raises(BadInput, match="gpt2"):
            make(0.5).apply(source, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_sharded_files_stay_sharded(self, make: Make, tmp_path: Path) -> None:
        source = open_checkpoint(save_model("qwen2", tmp_path / "dense", max_shard_size="100KB"))
        files = {file.name for file in source.path.glob("*.safetensors")}
        assert len(files) > 1
        pruned = make(0.5).apply(source, tmp_path / "out")
        assert {file.name for file in pruned.path.glob("*.safetensors")} == files
        assert pruned.measured["sparsity/achieved"] == pytest.approx(0.5, abs=1e-3)
        whole = open_checkpoint(save_model("qwen2", tmp_path / "whole"))
        single = tensors(make(0.5).apply(whole, tmp_path / "single").path)
        assert all(torch.equal(t, single[name]) for name, t in tensors(pruned.path).items())


class TestSparseGPT:
    @pytest.mark.parametrize(
        ("changes", "complaint"),
        [
            ({"damping": 0.0}, "damping"),
            ({"damping": float("nan")}, "damping"),
            ({"block": 0}, "block"),
            ({"calibration": Calibration("none", ())}, "calibration"),
            ({"calibration": Calibration("empty", ((1,), ()))}, "calibration"),
        ],
    )
    def test_refuses_bad_parameters(self, changes: dict[str, Any], complaint: str) -> None:
        with pytest.raises(BadInput, match=complaint):
            replace(SparseGPT(0.5, CALIBRATION), **changes)

    @pytest.mark.parametrize(
        ("row", "complaint"), [((1,) * 65, "65 tokens"), ((1, VOCABULARY), "vocabulary")]
    )
    def test_refuses_rows_that_do_not_fit_the_model(
        self, row: tuple[int, ...], complaint: str, checkpoint: Checkpoint, tmp_path: Path
    ) -> None:
        method = SparseGPT(0.5, Calibration("bad", (row,)))
        with pytest.raises(BadInput, match=complaint):
            method.apply(checkpoint, tmp_path / "out")
        assert not list(tmp_path.iterdir())

    def test_params_pin_the_calibration(self) -> None:
        params = SparseGPT(0.5, CALIBRATION).params()
        assert params["calibration"] == CALIBRATION.source
        assert params["calibration_tokens"] == CALIBRATION.tokens
        assert params["calibration_digest"] == CALIBRATION.digest
        assert (params["damping"], params["block"]) == (0.01, 128)

    def test_same_parameters_same_revision(self, checkpoint: Checkpoint, tmp_path: Path) -> None:
        made = [SparseGPT(0.5, CALIBRATION).apply(checkpoint, tmp_path / name) for name in "ab"]
        assert made[0].revision == made[1].revision != checkpoint.revision

    def test_reports_each_layer(self, checkpoint: Checkpoint, tmp_path: Path) -> None:
        rows = report(SparseGPT(0.5, CALIBRATION).apply(checkpoint, tmp_path / "out"))
        assert len(rows) == LAYERS
        for row in rows:
            assert row["sparsity"] == 0.5
            assert 0 < row["error"] < 1
            assert row["damping"] == 0.01
            assert row["damping_raised"] is False
            assert row["seconds_all_levels"] > 0

    def test_saved_weights_err_less_than_magnitudes(
        self, checkpoint: Checkpoint, tmp_path: Path
    ) -> None:
        dense = tensors(checkpoint.path)
        rest = {
            name: tensors(METHODS[name](0.5).apply(checkpoint, tmp_path / name).path)
            for name in METHODS
        }
        for shared in measured(load(checkpoint)):
            for layer in shared.layers:
                name = f"{layer}.weight"
                each = torch.stack(
                    [rest[which][name].float() for which in ("sparsegpt", "wanda", "magnitude")]
                )
                ours, wandas, magnitudes = sparsegpt.relative_error(
                    dense[name].float(), each, shared.hessian
                )
                assert ours < wandas
                assert ours < magnitudes

    def test_raised_damping_is_recorded(self, checkpoint: Checkpoint, tmp_path: Path) -> None:
        few = Calibration("one row", (rows()[0],))
        made = SparseGPT(0.5, few, damping=1e-13).apply(checkpoint, tmp_path / "out")
        raised = [row for row in report(made) if row["damping_raised"]]
        assert raised
        assert made.measured["damping/raised"] == len(raised)
        assert made.measured["damping/max"] == max(row["damping"] for row in raised) > 1e-13
        assert open_checkpoint(made.path) == made

    def test_model_that_overflows_fails_by_name(self, tmp_path: Path) -> None:
        path = save_model("llama", tmp_path / "dense")
        weights = load_file(path / "model.safetensors")
        weights["model.layers.1.post_attention_layernorm.weight"] *= 1e38
        save_file(weights, path / "model.safetensors", {"format": "pt"})
        with pytest.raises(CompressionFailed, match=r"layers\.1\.mlp\.up_proj: .*not finite"):
            SparseGPT(0.5, CALIBRATION).apply(open_checkpoint(path), tmp_path / "out")
        assert [path.name for path in tmp_path.iterdir()] == ["dense"]

    def test_sparsity_that_was_missed_fails(
        self, checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(save, "TOLERANCE", -0.1)
        with pytest.raises(CompressionFailed, match=r"was to have sparsity 0\.5"):
            SparseGPT(0.5, CALIBRATION).apply(checkpoint, tmp_path / "out")
        assert not list(tmp_path.iterdir())


class TestSequentialMode:
    @pytest.mark.parametrize("sparsity", [0.3, 0.7])
    def test_is_the_papers(self, sparsity: float, tmp_path: Path) -> None:
        """Against the paper's algorithm from rows to weights in float64, layer by layer."""
        source = open_checkpoint(save_model("qwen2", tmp_path / "dense", torch.float32))
        method = SparseGPT(sparsity, CALIBRATION, mode="sequential")
        found = tensors(method.apply(source, tmp_path / "out").path)
        exact = load(source).double()
        layers: Any = blocks_of(exact)
        for place in range(len(layers)):
            inputs = inputs_of(exact)
            for name, layer in linears_of(exact).items():
                if f"layers.{place}." in name:
                    x = inputs[name]
                    hessian = 2 * x.T @ x / len(x)
                    layer.weight.data = by_the_paper(layer.weight.detach(), hessian, sparsity)
        for name, layer in linears_of(exact).items():
            ours, papers = found[f"{name}.weight"], layer.weight.detach()
            same = (ours == 0) == (papers == 0)
            assert same.float().mean() >= 0.999, name
            assert (ours - papers)[same].norm() <= 1e-4 * papers.norm(), name

    def test_differs_from_dense_mode_after_the_first_block(
        self, checkpoint: Checkpoint, tmp_path: Path
    ) -> None:
        made = {
            mode: tensors(
                SparseGPT(0.7, CALIBRATION, mode=mode).apply(checkpoint, tmp_path / mode).path
            )
            for mode in MODES
        }
        for name in made["dense"]:
            equal = torch.equal(made["dense"][name], made["sequential"][name])
            assert equal == ("layers.1." not in name or "_proj" not in name), name

    def test_caution_is_for_high_sparsities_in_dense_mode(self) -> None:
        for method in (SparseGPT, Wanda):
            assert "in dense mode" in str(method(0.6, CALIBRATION, mode="dense").caution)
            assert method(0.5, CALIBRATION, mode="dense").caution is None
            assert method(0.8, CALIBRATION).caution is None


class TestOwl:
    def test_mean_is_the_target_and_outliers_keep_more(self, checkpoint: Checkpoint) -> None:
        model = load(checkpoint)
        levels = [0.02, 0.5, 0.99]
        with torch.no_grad():
            wild: Any = blocks_of(model)[1]
            wild.mlp.up_proj.weight[:20] *= 100
        found = torch.tensor(owl(Decoder(model), rows(), levels))
        torch.testing.assert_close(found.mean(0), torch.tensor(levels))
        assert (found[1] < found[0]).all()
        assert 0 < (found[0] - found[1])[1] <= 2 * 0.08 + 1e-6
        assert ((found >= 0) & (found < 1)).all()

    def test_blocks_have_their_own_sparsity(self, checkpoint: Checkpoint, tmp_path: Path) -> None:
        method = SparseGPT(0.5, CALIBRATION, allocation="owl")
        made = method.apply(checkpoint, tmp_path / "out")
        asked = {row["module"].split(".")[2]: row["sparsity"] for row in report(made)}
        assert asked["0"] != asked["1"]
        assert made.measured["sparsity/achieved"] == pytest.approx(0.5, abs=1e-3)


KILLED = """
import os, random, signal, sys, time
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # no process may be forked that uses a GPU
from pathlib import Path
import torch
from tests.compression.test_methods import CALIBRATION, SparseGPT, open_checkpoint
torch.set_num_threads(1)
checkpoint, out = open_checkpoint(Path(sys.argv[1])), Path(sys.argv[2])
method = SparseGPT(0.5, CALIBRATION, mode=sys.argv[3])

def apply(name):
    return method.apply_levels(checkpoint, {level: out / f"{name}-{level}" for level in (0.3, 0.7)})

apply("warm")
began = time.perf_counter()
whole = apply("whole")
seconds = time.perf_counter() - began
chance = random.Random(0)
for trial in range(10):
    child = os.fork()
    if not child:
        apply(trial)
        os._exit(0)
    time.sleep(chance.random() * seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    left = {level: out / f"{trial}-{level}" for level in (0.3, 0.7)}
    left = {level: path for level, path in left.items() if not path.exists()}
    method.apply_levels(checkpoint, left) if left else None
    for level, made in whole.items():
        again = open_checkpoint(out / f"{trial}-{level}")
        assert again.revision == made.revision, (trial, level)
print("equal")
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_bytes_are_the_same_after_kill_9(mode: str, checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Ten times killed at a random moment, gone on with, and compared with a run in one piece."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(checkpoint.path), str(tmp_path), mode],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == "equal", done.stderr
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def measured(model: nn.Module) -> list[activations.Shared]:
    """The Hessians of all blocks."""
    flow = activations.ActivationStream(Decoder(model), CALIBRATION.rows)
    return [shared for index in range(len(blocks_of(model))) for shared in flow.measure(index)]


def inputs_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """What each linear layer reads as the calibration rows pass, [tokens, size]."""
    inputs: dict[str, list[torch.Tensor]] = {}

    def watch(name: str) -> Callable[..., None]:
        return lambda module, args: inputs.setdefault(name, []).append(args[0].flatten(0, 1))

    hooks = [
        layer.register_forward_pre_hook(watch(name)) for name, layer in linears_of(model).items()
    ]
    with torch.no_grad():
        for row in CALIBRATION.rows:
            model(torch.tensor([row]))
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(found) for name, found in inputs.items()}


def load(checkpoint: Checkpoint) -> nn.Module:
    model: nn.Module = AutoModelForCausalLM.from_pretrained(checkpoint.path, dtype=torch.float32)
    return model.eval()


class TestHessians:
    @pytest.mark.parametrize("kind", ["llama", "qwen2"])
    def test_shared_ones_equal_each_layers_own(self, kind: str, tmp_path: Path) -> None:
        model = load(open_checkpoint(save_model(kind, tmp_path / "dense")))
        inputs = inputs_of(model)
        found = measured(model)
        assert [[name.split(".")[-1] for name in shared.layers] for shared in found] == 2 * [
            ["q_proj", "k_proj", "v_proj"],
            ["o_proj"],
            ["gate_proj", "up_proj"],
            ["down_proj"],
        ]
        for shared in found:
            for name in shared.layers:
                x = inputs[name].double()
                torch.testing.assert_close(
                    shared.hessian, (2 * x.T @ x / len(x)).float(), rtol=1e-4, atol=1e-6
                )

    @pytest.mark.parametrize("place", ["memory", "disk"])
    def test_a_fork_goes_its_own_way(
        self, checkpoint: Checkpoint, place: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if place == "disk":
            monkeypatch.setattr(offload, "host_memory", lambda: 1 << 10)
        model = load(checkpoint)
        flow = activations.ActivationStream(Decoder(model), CALIBRATION.rows)
        other = flow.fork()
        before = flow.measure(0, stay=True)
        flow.advance(0)
        again = other.measure(0)
        for first, second in zip(before, again, strict=True):
            assert torch.equal(first.hessian, second.hessian)
        assert all(
            torch.equal(a, b.to(a.device)) for a, b in zip(flow.hidden, other.hidden, strict=True)
        )

    def test_model_is_as_it_was(self, checkpoint: Checkpoint) -> None:
        model = load(checkpoint)
        before = list(blocks_of(model))
        measured(model)
        assert list(blocks_of(model)) == before
        assert not any(module._forward_pre_hooks for module in model.modules())

    def test_layers_that_are_not_linear_are_named(self, checkpoint: Checkpoint) -> None:
        model = load(checkpoint)
        layers: Any = blocks_of(model)
        layers[1].mlp.up_proj = nn.Embedding(4, 4)
        with pytest.raises(BadInput, match=r"LlamaForCausalLM.*layers\.1\.mlp\.up_proj\.weight"):
            blocks_of(model)


class TestOpening:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return save_model("llama", tmp_path / "model")

    def test_untouched_model(self, folder: Path) -> None:
        opened = open_checkpoint(folder)
        assert (opened.path, opened.format, opened.lineage) == (folder, "dense", ())
        assert not is_complete(folder)

    @pytest.mark.parametrize(
        "name", ["config.json", "model.safetensors", "tokenizer.json", "missing-folder"]
    )
    def test_names_what_is_missing(self, folder: Path, name: str) -> None:
        (folder / name).unlink(missing_ok=True)
        with pytest.raises(BadInput, match=name):
            open_checkpoint(folder / name if name == "missing-folder" else folder)

    @pytest.mark.parametrize("keep", [0, 4, 200, -1])
    def test_names_a_truncated_weight_file(self, folder: Path, keep: int) -> None:
        file = folder / "model.safetensors"
        file.write_bytes(file.read_bytes()[:keep])
        with pytest.raises(BadInput, match=r"model\.safetensors cannot be read"):
            open_checkpoint(folder)

    @pytest.mark.parametrize("text", ["{", "[]", "3", '"model_type"', "{}"])
    def test_names_a_broken_config(self, folder: Path, text: str) -> None:
        (folder / "config.json").write_text(text)
        with pytest.raises(BadInput, match=r"config\.json"):
            open_checkpoint(folder)

    def test_names_a_missing_shard_and_a_broken_index(self, tmp_path: Path) -> None:
        folder = save_model("llama", tmp_path / "model", max_shard_size="100KB")
        open_checkpoint(folder)
        shard = sorted(folder.glob("*.safetensors"))[1]
        data = shard.read_bytes()
        shard.unlink()
        with pytest.raises(BadInput, match=shard.name):
            open_checkpoint(folder)
        shard.write_bytes(data)
        (folder / "model.safetensors.index.json").write_text("[]")
        with pytest.raises(BadInput, match=r"index\.json"):
            open_checkpoint(folder)

    @pytest.mark.parametrize("text", ["{", "{}", '{"steps": [{"method": "sparsegpt"}]}'])
    def test_names_a_broken_receipt(self, folder: Path, text: str) -> None:
        (folder / RECEIPT).write_text(text)
        with pytest.raises(BadInput, match=RECEIPT):
            open_checkpoint(folder)

    def test_revision_follows_the_weights_not_the_receipt(
        self, checkpoint: Checkpoint, tmp_path: Path
    ) -> None:
        made = SparseGPT(0.5, CALIBRATION).apply(checkpoint, tmp_path / "out")
        receipt = made.path / RECEIPT
        receipt.write_text(receipt.read_text() + " ")
        assert open_checkpoint(made.path).revision == made.revision
        file = made.path / "model.safetensors"
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
        with pytest.raises(DamagedModel, match="is not what it was when the checkpoint was made"):
            open_checkpoint(made.path)
        receipt.unlink()
        assert open_checkpoint(made.path).revision != made.revision

    def test_quantized_weights_are_refused(self, folder: Path, tmp_path: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        name = "model.layers.0.mlp.up_proj.weight"
        weights[name] = weights[name].to(torch.int8)
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
        with pytest.raises(BadInput, match="stored as I8"):
            Magnitude(0.5).apply(open_checkpoint(folder), tmp_path / "out")

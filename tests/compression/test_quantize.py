"""Quantization to GGUF: what is planned is written, and measured from its own bytes, or refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from experiments import plan_gguf
from experiments.cli.quantizer_choice import parse_quantizer
from experiments.models.shapes import SHAPES
from experiments.quantization_search import main
from lrm.benchmarks import arithmetic, deduction, hops, timeline
from lrm.benchmarks.twin import SeededRandom
from lrm.compression.checkpoint.folder import Weights
from lrm.compression.checkpoint.module_filter import ceilings, spared
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.compression.checkpoint.receipt import RECEIPT, is_complete, steps_of
from lrm.compression.gguf.config import check_config
from lrm.compression.gguf.convert import write_f16
from lrm.compression.gguf.files import reader, tensors
from lrm.compression.gguf.logits import perplexity_of
from lrm.compression.gguf.measured import open_quantized
from lrm.compression.gguf.method import GGUF
from lrm.compression.gguf.recipes import RECIPES, recipe
from lrm.compression.pruning.magnitude import Magnitude
from lrm.compression.quality import perplexity
from lrm.engines.llama_cpp.engine import LlamaCppEngine
from lrm.errors import BadInput, CompressionFailed, MissingExtra
from lrm.records.model import Calibration, Checkpoint
from lrm.records.reply import Decoding, Prompt
from lrm.tiny.tokenizer import load
from lrm.tiny.traces import argument_walk, chain_walk, day_walk, path_walk, train
from tests.support.models import SMALLEST, TINY, copied

INSTALL = "to test quantization: pip install -e '.[gguf]'"
gguf = pytest.importorskip("gguf", reason=INSTALL)
pytest.importorskip("llama_cpp", reason=INSTALL)

from lrm.compression.gguf import method as quantize_module  # noqa: E402
from lrm.compression.gguf.importance import importance  # noqa: E402
from lrm.compression.gguf.plan import bits, plan_config  # noqa: E402
from tests.compression.test_gguf import divergence, random_model  # noqa: E402

ROWS = tuple(tuple((7 * i + 13 * j) % 1000 for j in range(64)) for i in range(4))
CALIBRATION = Calibration("made up", ROWS)
SHAPE = {
    "hidden_size": 256,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1024,
    "max_position_embeddings": 1024,
    "initializer_range": 0.08,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
CHEAP = ("Q8_0", "Q2_K", "dynamic-1.58", "Q2_K/final-mlp", "Q2_K/except:layers.1.mlp.up_proj")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: Any) -> Checkpoint:
    """A random model of two blocks whose rows all types divide."""
    folder = tmp_path_factory.mktemp("model") / "small"
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(LlamaConfig(**SHAPE)).save_pretrained(folder)
    load(TINY).save_pretrained(folder)
    return open_checkpoint(folder)


@pytest.fixture(scope="module")
def made(tiny: Checkpoint, tmp_path_factory: Any) -> dict[str, Checkpoint]:
    folder = tmp_path_factory.mktemp("made")
    outs = {level: folder / level.replace("/", "-") for level in CHEAP}
    told: list[tuple[int, int]] = []
    levels = GGUF("Q8_0", CALIBRATION).apply_levels(tiny, outs, lambda *at: told.append(at))
    stored = [len(reader(checkpoint.path).tensors) for checkpoint in levels.values()]
    assert told[-1] == (sum(stored), sum(stored))
    assert told == sorted(told)
    assert {done for done, _ in told} == set(range(sum(stored) + 1))
    assert sorted(path.name for path in folder.iterdir()) == sorted(p.name for p in outs.values())
    return levels


def kinds(checkpoint: Checkpoint) -> dict[str, str]:
    return {tensor.name: tensor.type for tensor in tensors(checkpoint.path)}


# What is written


def test_a_checkpoint_says_what_its_own_bytes_say(made: dict[str, Checkpoint]) -> None:
    for level, checkpoint in made.items():
        found = reader(checkpoint.path).tensors
        stored = sum(int(t.n_bytes) for t in found) * 8
        assert checkpoint.measured["bits_per_weight"] == pytest.approx(
            stored / sum(int(t.n_elements) for t in found)
        )
        linear = [t for t in found if t.name.startswith("blk.") and len(t.shape) == 2]
        assert len(linear) == 14
        assert checkpoint.measured["bits_per_weight/blocks"] == pytest.approx(
            8 * sum(int(t.n_bytes) for t in linear) / sum(int(t.n_elements) for t in linear)
        )
        assert checkpoint.measured["weights/bytes"] == checkpoint.path.stat().st_size
        assert checkpoint.measured["fallback/tensors"] == 0
        assert checkpoint.lineage == (f"gguf:{level}",)
        rows = steps_of(checkpoint.path.parent)[0]["modules"]
        types = {t.name: t.tensor_type.name for t in found}
        assert {row["module"]: row["type"] for row in rows} == types
        assert {row["module"] for row in rows if row["block"]} == {t.name for t in linear}
        for kind in set(types.values()):
            count = list(types.values()).count(kind)
            assert checkpoint.measured[f"tensors/{kind}"] == count
    errors = [made[level].measured["reconstruction/error"] for level in CHEAP]
    assert 0 < errors[0] < errors[4] < errors[3] < errors[1] < errors[2] < 1


def test_the_reconstruction_error_is_that_of_the_dequantized_weights(
    made: dict[str, Checkpoint], tiny: Checkpoint
) -> None:
    """One matrix by hand, from the dense folder itself: o, whose rows are not permuted."""
    name = "blk.1.attn_output.weight"
    (stored,) = (t for t in reader(made["Q2_K"].path).tensors if t.name == name)
    q = torch.from_numpy(gguf.dequantize(stored.data, stored.tensor_type).astype(np.float64))
    w = Weights(tiny.path).read("model.layers.1.self_attn.o_proj.weight").double()
    (row,) = (r for r in steps_of(made["Q2_K"].path.parent)[0]["modules"] if r["module"] == name)
    assert row["lost"] / row["norm"] == pytest.approx(
        float((w - q).square().sum() / w.square().sum()), rel=1e-3
    )


def test_what_is_protected_stays_as_it_was(
    made: dict[str, Checkpoint], tiny: Checkpoint, tmp_path: Path
) -> None:
    dense = write_f16(tiny, tmp_path / "f16.gguf")
    before = {t.name: t for t in reader(dense.path).tensors}
    after = {t.name: t for t in reader(made["Q2_K/final-mlp"].path).tensors}
    kept = {n for n, t in after.items() if t.tensor_type.name == "F16"}
    assert kept == {f"blk.1.ffn_{part}.weight" for part in ("gate", "up", "down")}
    assert all(np.array_equal(before[name].data, after[name].data) for name in kept)
    others = kinds(made["Q2_K"])
    assert {n: t.tensor_type.name for n, t in after.items() if n not in kept} == {
        n: kind for n, kind in others.items() if n not in kept
    }
    assert made["Q2_K/final-mlp"].measured["protected/share"] == pytest.approx(0.25)


def test_one_module_alone_is_quantized(made: dict[str, Checkpoint], tiny: Checkpoint) -> None:
    """Embeddings and output stay too: of all matrices one is not float16."""
    found = made["Q2_K/except:layers.1.mlp.up_proj"]
    matrices = {t.name: t.type for t in tensors(found.path) if t.elements > t.row}
    assert {n: kind for n, kind in matrices.items() if kind != "F16"} == {
        "blk.1.ffn_up.weight": "Q2_K"
    }
    assert "token_embd.weight" in matrices
    assert found.measured["protected/share"] == pytest.approx(1 - 65536 / 786432)
    with pytest.raises(BadInput, match=r"nothing to protect is named 'layers[.]9'"):
        GGUF("Q2_K", protect=("except:layers.9",)).check(tiny)


def test_an_output_of_its_own_stays_too() -> None:
    config = AutoConfig.for_model("qwen2", **SHAPE | {"tie_word_embeddings": False})
    found = {t.name: t.type for t in plan_config(config, recipe("Q2_K"), ["except:q_proj"]).tensors}
    assert found["output.weight"] == found["token_embd.weight"] == "F16"
    others = plan_config(config, recipe("Q2_K"), ["layers.0"]).tensors
    assert {t.name: t.type for t in others}["output.weight"] != "F16"


# Perplexity


@pytest.mark.parametrize("source", [SMALLEST, TINY], ids=lambda path: path.name)
def test_perplexity_is_the_same_through_either_library(source: Path, tmp_path: Path) -> None:
    file = write_f16(open_checkpoint(source), tmp_path / "model.gguf").path
    assert perplexity_of(file) == pytest.approx(perplexity.of_folder(source), rel=1e-3)


def test_perplexity_is_that_of_the_replies_alone() -> None:
    """One text by hand, from the definition."""
    tokenizer = AutoTokenizer.from_pretrained(SMALLEST)
    model = AutoModelForCausalLM.from_pretrained(SMALLEST, dtype=torch.float32)
    lost = count = 0
    for prompt, reply in perplexity.TEXTS:
        ids = tokenizer(prompt)["input_ids"]
        told = tokenizer(reply, add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            logs = model(torch.tensor([ids + told])).logits[0].log_softmax(-1)
        for place, token in enumerate(told, len(ids)):
            lost -= float(logs[place - 1, token])
        count += len(told)
    assert perplexity.of_folder(SMALLEST) == pytest.approx(np.exp(lost / count), rel=1e-5)


def test_the_fixed_text_is_fixed() -> None:
    source, kinds = (
        SeededRandom(2504),
        (
            (arithmetic, chain_walk),
            (deduction, argument_walk),
            (timeline, day_walk),
            (hops, path_walk),
        ),
    )
    drawn = [train(twin.draw, walk, source) for _ in range(16) for twin, walk in kinds]
    assert drawn == perplexity.TEXTS
    assert perplexity.DIGEST.startswith("03d2615a63bd")


def test_a_checkpoint_says_its_perplexity_and_its_parents(
    made: dict[str, Checkpoint], tiny: Checkpoint
) -> None:
    dense = perplexity.of_folder(tiny.path)
    for checkpoint in made.values():
        assert checkpoint.measured["perplexity/dense"] == pytest.approx(dense, rel=1e-3)
        assert checkpoint.measured["perplexity"] == perplexity_of(checkpoint.path)
    assert made["Q8_0"].measured["perplexity"] == pytest.approx(dense, rel=1e-2)


def test_a_receipt_of_before_still_opens(made: dict[str, Checkpoint], tmp_path: Path) -> None:
    shutil.copytree(made["Q8_0"].path.parent, tmp_path / "old")
    receipt = json.loads((tmp_path / "old" / RECEIPT).read_text())
    del receipt["steps"][-1]["perplexity"], receipt["files"], receipt["digest"]
    (tmp_path / "old" / RECEIPT).write_text(json.dumps(receipt))
    found = made["Q8_0"].measured
    assert open_quantized(tmp_path / "old").measured == {
        name: value for name, value in found.items() if not name.startswith("perplexity")
    }


def test_a_dynamic_recipe_keeps_what_it_says_higher(made: dict[str, Checkpoint]) -> None:
    found = kinds(made["dynamic-1.58"])
    assert found["token_embd.weight"] == "Q6_K"  # tied, so the output too
    assert found["blk.1.attn_q.weight"] == found["blk.0.ffn_up.weight"] == "Q4_K"
    assert found["blk.1.attn_v.weight"] == "Q6_K"
    assert found["blk.1.ffn_down.weight"] == "IQ2_XXS"
    assert found["blk.1.ffn_up.weight"] == found["blk.1.ffn_gate.weight"] == "IQ1_S"


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_every_family_says_nearly_the_same(family: str, tmp_path: Path) -> None:
    config = AutoConfig.for_model(family, **SHAPE, head_dim=64)
    folder = random_model(tmp_path / "model", config)
    levels = {level: tmp_path / level for level in ("Q8_0", "Q4_K_M", "Q2_K")}
    made = GGUF("Q8_0", CALIBRATION).apply_levels(folder, levels)
    for level, checkpoint in made.items():
        planned = plan_config(config, recipe(level)).tensors
        assert {t.name: t for t in planned} == {t.name: t for t in tensors(checkpoint.path)}
    far = [divergence(folder, checkpoint) for checkpoint in made.values()]
    assert 0 < far[0] < far[1] < far[2]
    assert far[0] < 1e-2


@pytest.mark.engine
def test_a_quantized_model_answers(made: dict[str, Checkpoint]) -> None:
    prompts = [Prompt("1 + 1 =", seed=0, max_tokens=4)]
    with LlamaCppEngine(made["Q8_0"]) as engine:
        (reply,) = engine.generate(prompts, Decoding(temperature=0, max_tokens=4))
    assert reply.token_ids


def test_the_same_again_gives_the_same_bytes(
    made: dict[str, Checkpoint], tiny: Checkpoint, tmp_path: Path
) -> None:
    again = GGUF("Q2_K", CALIBRATION).apply(tiny, tmp_path / "again")
    assert again.revision == made["Q2_K"].revision
    assert again.measured == made["Q2_K"].measured
    without = GGUF("Q2_K").apply(tiny, tmp_path / "without")
    assert without.revision != again.revision


def test_pruned_then_quantized(tiny: Checkpoint, tmp_path: Path) -> None:
    pruned = Magnitude(0.5).apply(tiny, tmp_path / "pruned")
    both = GGUF("Q8_0").apply(pruned, tmp_path / "both")
    assert both.lineage == ("magnitude", "gguf:Q8_0")
    (up,) = (t for t in reader(both.path).tensors if t.name == "blk.1.ffn_up.weight")
    zeros = gguf.dequantize(up.data, up.tensor_type) == 0
    assert zeros.mean() >= 0.5


def test_the_importance_is_the_mean_square_of_what_a_layer_reads(tiny: Checkpoint) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny.path, dtype=torch.float32)
    seen: dict[str, torch.Tensor] = {}
    wanted = {
        "blk.0.attn_k.weight": model.model.layers[0].self_attn.k_proj,
        "blk.1.ffn_down.weight": model.model.layers[1].mlp.down_proj,
    }
    for name, layer in wanted.items():
        layer.register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args[0]}))
    with torch.inference_mode():
        model(torch.tensor(ROWS))
    found = importance(tiny, check_config(tiny.path), CALIBRATION)
    assert len(found) == 14
    for name in wanted:
        torch.testing.assert_close(
            found[name], seen[name].square().mean((0, 1)), rtol=1e-3, atol=1e-6
        )


# What is planned


def test_a_plan_without_weights_is_what_is_written(
    made: dict[str, Checkpoint], tiny: Checkpoint
) -> None:
    for level, checkpoint in made.items():
        name, _, protect = level.partition("/")
        plan = plan_config(check_config(tiny.path), recipe(name), [protect] if protect else [])
        assert sorted(plan.tensors, key=lambda t: t.name) == sorted(
            tensors(checkpoint.path), key=lambda t: t.name
        )


def test_dynamic_recipes_say_what_they_are_on_eight_billion() -> None:
    config = AutoConfig.for_model(**SHAPES["llama-3.1-8b"])
    for name in ("dynamic-2.51", "dynamic-1.73", "dynamic-1.58"):
        plan = plan_config(config, RECIPES[name])
        assert sum(t.elements for t in plan.tensors) == 8_030_261_312
        assert not plan.fallen
        low, says = bits(plan.tensors)["bits_per_weight/low"], RECIPES[name].says
        assert says is not None
        assert abs(low - says) < 0.1


def test_the_command_prints_the_plan(capsys: Any) -> None:
    assert plan_gguf.main(["--shape", "tiny-5m", "--recipe", "Q4_K_M"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"blk\.\*\.ffn_up\.weight +6 +Q4_K +1,179,648 +663,552 +4\.500", out)
    assert plan_gguf.main(["--shape", "tiny-5m", "--recipe", "Q9"]) == 2
    assert "no recipe 'Q9': choose from Q8_0" in capsys.readouterr().err


# What is refused


def test_rows_that_a_type_does_not_divide(tmp_path: Path) -> None:
    small = open_checkpoint(SMALLEST)  # rows of 128
    with pytest.raises(BadInput, match="rows of 128 values, and Q2_K stores blocks of 256") as told:
        GGUF("Q2_K").apply(small, tmp_path / "q")
    assert "\n" not in str(told.value)
    assert not list(tmp_path.iterdir())
    allowed = GGUF("Q2_K", fallback="allow").apply(small, tmp_path / "q")
    rows = [row for row in steps_of(tmp_path / "q")[0]["modules"] if row["fell_back"]]
    assert allowed.measured["fallback/tensors"] == len(rows) > 0
    assert {row["type"] for row in rows} == {"Q4_0", "Q8_0"}
    assert all(row["asked"] == "Q2_K" for row in rows)
    assert GGUF("Q8_0").apply(small, tmp_path / "p").measured["fallback/tensors"] == 0


def test_what_is_named_wrongly_is_refused_at_once(tiny: Checkpoint) -> None:
    with pytest.raises(BadInput, match=r"no recipe 'Q5': choose from Q8_0"):
        GGUF("Q5")
    with pytest.raises(BadInput, match="IQ1_S needs a calibration"):
        GGUF("IQ1_S")
    with pytest.raises(BadInput, match=r"dynamic-2[.]51 needs a calibration"):
        parse_quantizer("gguf:calibration=none", ["f16", "Q8_0", "dynamic-2.51"])
    with pytest.raises(BadInput, match="empty one"):
        GGUF("Q8_0", Calibration("x", ()))
    with pytest.raises(BadInput, match="refuse or allow"):
        GGUF("Q8_0", fallback="maybe")
    with pytest.raises(BadInput, match=r"nothing to protect is named 'layers[.]9[.]mlp'"):
        GGUF("Q8_0", protect=("layers.9.mlp",)).check(tiny)


def test_an_architecture_that_is_not_converted(tmp_path: Path) -> None:
    other = open_checkpoint(copied(tmp_path / "model", model_type="gemma"))
    with pytest.raises(BadInput, match="of type gemma; only llama, qwen2, qwen3"):
        GGUF("Q8_0").apply(other, tmp_path / "out" / "q")
    assert not (tmp_path / "out").exists()


def test_a_quantized_checkpoint_is_not_quantized_again(
    made: dict[str, Checkpoint], tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="GGUF file already"):
        GGUF("Q8_0").apply(made["Q8_0"], tmp_path / "q")


def test_nothing_is_overwritten(tiny: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "mine").write_text("x")
    with pytest.raises(BadInput, match="exists already"):
        GGUF("Q8_0").apply(tiny, tmp_path / "q")
    assert [path.name for path in tmp_path.rglob("*")] == ["q", "mine"]


def test_a_full_disk_is_told_before_it_is_full(
    tiny: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        quantize_module.shutil, "disk_usage", lambda _: type("Disk", (), {"free": 1000})
    )
    with pytest.raises(
        CompressionFailed, match=r"needs [\d,]+ bytes and 1,000 are free; make room"
    ):
        GGUF("Q8_0").apply(tiny, tmp_path / "q")
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_is_one_sentence(tmp_path: Path) -> None:
    """A real limit on the size of files, as a full disk would set it."""
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from lrm.compression.checkpoint.opening import open_checkpoint\n"
        "from lrm.compression.gguf.convert import write_f16\n"
        "from lrm.compression.gguf.quantizer import quantize\n"
        "from lrm.compression.gguf.recipes import recipe\n"
        "from lrm.errors import CompressionFailed\n"
        "here = Path(sys.argv[1])\n"
        "dense = write_f16(open_checkpoint(Path(sys.argv[2])), here / 'f16.gguf').path\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "try: quantize(dense, here / 'q.gguf', recipe('Q8_0'), [], {})\n"
        "except CompressionFailed as error: print(error)\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path), str(TINY)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert re.fullmatch(r"llama\.cpp could not write .*q\.gguf as Q8_0 \(.+\)\n", done.stdout), (
        done.stdout + done.stderr
    )


def test_a_missing_package_is_named(
    tiny: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    with pytest.raises(MissingExtra, match=r"pip install 'lrm\[gguf\]'"):
        GGUF("Q8_0").apply(tiny, tmp_path / "q")
    assert not list(tmp_path.iterdir())


# What is stopped


STAGES = {"float16": "f16.gguf", "importance": "importance.safetensors", "a level": "model.gguf"}


@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_any_stage_it_goes_on(
    made: dict[str, Checkpoint], tiny: Checkpoint, tmp_path: Path, stage: str
) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from tests.compression.test_quantize import CALIBRATION, GGUF, open_checkpoint\n"
        "outs = {name: Path(sys.argv[1], name) for name in ('Q2_K', 'dynamic-1.58')}\n"
        "GGUF('Q2_K', CALIBRATION).apply_levels(open_checkpoint(Path(sys.argv[2])), outs)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(tiny.path)])
    stop_at = time.monotonic() + 120
    while not list(tmp_path.rglob(STAGES[stage])) and time.monotonic() < stop_at:
        assert process.poll() is None
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = {path.name for path in tmp_path.iterdir() if is_complete(path)}
    outs = {n: tmp_path / n for n in ("Q2_K", "dynamic-1.58") if n not in done}
    GGUF("Q2_K", CALIBRATION).apply_levels(tiny, outs)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Q2_K", "dynamic-1.58"]
    for name in ("Q2_K", "dynamic-1.58"):
        assert open_quantized(tmp_path / name).revision == made[name].revision


# Protection


SIZES = {f"model.layers.{b}.{m}": 10 for b in range(10) for m in ("mlp.up", "attn.q")}


def test_the_control_draws_as_much_as_is_asked() -> None:
    drawn = spared(SIZES, ["random:0.2"])
    assert len(drawn) == 4
    assert drawn == spared(SIZES, ["random:0.2:0"])
    assert drawn != spared(SIZES, ["random:0.2:1"])
    assert spared(SIZES, ["final-mlp"]) == {"model.layers.9.mlp.up"}
    assert len(spared(SIZES, ["final-mlp", "layers.0"])) == 3
    for wrong in ("random:", "random:x", "random:1", "random:-1", "random:0.2:x"):
        with pytest.raises(BadInput, match="is no draw"):
            spared(SIZES, [wrong])
    with pytest.raises(BadInput, match=r"smallest module has 5\.00%"):
        spared(SIZES, ["random:0.01"])


def test_all_but_what_is_named_is_spared() -> None:
    up = {name for name in SIZES if name.endswith("up")}
    assert spared(SIZES, ["except:mlp.up"]) == SIZES.keys() - up
    assert spared(SIZES, ["except:layers.1"]) == SIZES.keys() - {
        "model.layers.1.mlp.up",
        "model.layers.1.attn.q",
    }
    assert SIZES.keys() - spared(SIZES, ["except:final-mlp"]) == {"model.layers.9.mlp.up"}
    assert ceilings(SIZES, ["except:mlp@0.3"]) == dict.fromkeys(sorted(SIZES.keys() - up), 0.3)
    with pytest.raises(BadInput, match=r"nothing to protect is named 'layers[.]10'"):
        spared(SIZES, ["except:layers.10"])
    with pytest.raises(BadInput, match="leaves nothing to compress"):
        spared(SIZES, ["except:mlp", "except:attn"])


def test_pruning_protects_the_same_way(tiny: Checkpoint, tmp_path: Path) -> None:
    pruned = Magnitude(0.5, protect=("final-mlp",)).apply(tiny, tmp_path / "pruned")
    assert pruned.measured["protected/share"] == pytest.approx(0.25)
    alone = Magnitude(0.5, protect=("except:layers.1.mlp.up_proj",)).apply(tiny, tmp_path / "alone")
    stored = Weights(alone.path)
    sparse = [name for name in stored.linears() if (stored.read(name) == 0).any()]
    assert sparse == ["model.layers.1.mlp.up_proj.weight"]


# The search


def search(root: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys; from pathlib import Path; from experiments.quantization_search import main; "
        "sys.exit(main(sys.argv[2:], root=Path(sys.argv[1])))"
    )
    asked = ["--benchmarks", "arithmetic", "--budgets", "24,96", "--questions", "2", *flags]
    words = [sys.executable, "-c", code, str(root), *asked]
    return subprocess.run(words, capture_output=True, text=True)


@pytest.mark.engine
def test_recipes_are_searched_and_found_again(tmp_path: Path) -> None:
    flags = ("--recipes", "f16,Q8_0,Q2_K", "--method", "gguf:calibration=none")
    done = search(tmp_path, *flags)
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"Q2_K +3\.14 +2\.93 +1,98\d,\d+ +0\.0\d+ +1\.0\d{3} +0 +\d+\.\d%", done.stdout
    )
    assert re.search(r"f16 +16\.00 +9,974,152 +1\.0105 ", done.stdout)
    assert "quantized 2 checkpoints" in done.stdout
    other = search(tmp_path, *flags, "--study", "other")
    assert other.returncode == 0, other.stderr
    assert re.search(
        r"(\d+) of \1 replies from the store; quantized 0 checkpoints", other.stdout
    ), other.stdout

    import optuna

    storage = f"sqlite:///{tmp_path / 'mlruns' / 'optuna.db'}"
    study = optuna.load_study(study_name="other", storage=storage)
    trials = [trial for trial in study.trials if trial.values]
    assert {(t.params["recipe"], t.params["budget"]) for t in trials} >= {
        (recipe, budget) for recipe in ("f16", "Q8_0", "Q2_K") for budget in (24, 96)
    }
    sizes = {t.params["recipe"]: t.values[2] for t in trials}
    assert sizes["Q2_K"] < sizes["Q8_0"] < sizes["f16"]
    page = next(tmp_path.glob("mlruns/**/report.html")).read_text()
    assert "Q2_K" in page
    front = json.loads(next(tmp_path.glob("mlruns/**/front.json")).read_text())
    assert {point["recipe"] for point in front} <= {"f16", "Q8_0", "Q2_K"}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--engine", "transformers"], "does not run what gguf makes: give --engine llama_cpp"),
        (["--recipes", "f16,Q7"], "there is no recipe 'Q7'"),
        (["--recipes", ","], "--recipes names none"),
        (["--method", "squeezellm"], "no quantizer 'squeezellm'"),
        (["--method", "gguf:calibration=none"], "needs a calibration"),
        (["--recipes", "Q8_0/nothing"], "nothing to protect is named 'nothing'"),
        (["--model", "tiny-1m", "--recipes", "f16,Q2_K"], "rows of 128 values, and Q2_K"),
    ],
)
def test_what_cannot_be_searched_is_one_sentence(
    tmp_path: Path, capfd: Any, flags: list[str], words: str
) -> None:
    assert main(flags, root=tmp_path) == 2
    err = capfd.readouterr().err
    assert words in err
    assert err.count("\n") == 1, err
    assert not (tmp_path / "mlruns").exists()


def test_a_folder_is_whole_only_with_its_receipt(made: dict[str, Checkpoint]) -> None:
    folder = made["Q8_0"].path.parent
    assert sorted(path.name for path in folder.iterdir()) == [RECEIPT, "model.gguf"]
    assert open_quantized(folder) == replace(made["Q8_0"])

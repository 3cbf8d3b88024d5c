"""How replies are decoded is the user's choice, recorded, and part of what a study is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from experiments.cli.settings import Settings
from experiments.models.decoding import decoding_of
from experiments.models.resolve import open_model
from experiments.search.job import Job, prepare, sparsity_axis
from experiments.sparsity_search import main
from lrm.errors import BadInput
from lrm.generation.reply_cache import key_of
from lrm.records.reply import Decoding, Prompt
from lrm.tokenizers import open_folder
from tests.support.models import copied
from tracking.store import open_store


def settings(model: str | Path = "tiny-1m", **flags: Any) -> Settings:
    return Settings(model=str(model), sparsity=(0.0,), budgets=(32,), **flags)


def prepared(tmp_path: Path, model: str | Path = "tiny-1m", **flags: Any) -> Job:
    chosen = settings(model, questions=1, benchmarks=("deduction",), **flags)
    return prepare(chosen, sparsity_axis(chosen), tmp_path)


def recommending(folder: Path, **values: object) -> Path:
    """A model whose makers recommend these."""
    model = copied(folder)
    (model / "generation_config.json").write_text(json.dumps(values))
    return model


EVERY_MESSAGE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"


def chatty(folder: Path, template: str = EVERY_MESSAGE) -> Path:
    """A model with a chat template; the usual one has a place for what the system says."""
    model = copied(folder)
    tokenizer = open_folder(model)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(model)
    return model


def test_the_usual_decoding_is_the_papers() -> None:
    decoding = decoding_of(settings(), open_model("tiny-1m"))
    assert decoding == Decoding(0.6, 0.95, max_tokens=64, answer_tokens=32)


def test_numbers_are_taken() -> None:
    flags = settings(temperature=0.0, top_p=0.5, answer_tokens=8)
    assert decoding_of(flags, open_model("tiny-1m")) == Decoding(0.0, 0.5, 40, 8)


def test_what_the_makers_recommend_is_taken_or_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.0}
    model = open_model(str(recommending(tmp_path / "m", **values)))
    decoding = decoding_of(settings(temperature="model", top_p="model"), model)
    assert (decoding.temperature, decoding.top_p) == (0.7, 0.8)
    assert capsys.readouterr().err == "m also recommends top_k 20, which is not taken.\n"
    assert decoding_of(settings(top_p="model"), model).temperature == 0.6
    usual = decoding_of(settings(), model)
    assert (usual.temperature, usual.top_p) == (0.6, 0.95)


@pytest.mark.parametrize("values", [{}, {"temperature": "warm"}, {"temperature": -1}])
def test_a_recommendation_that_is_not_there_is_refused(
    tmp_path: Path, values: dict[str, object]
) -> None:
    model = open_model(str(recommending(tmp_path / "m", **values)))
    with pytest.raises(BadInput, match=r"generation_config.json of m names no temperature .*give"):
        decoding_of(settings(temperature="model"), model)


def test_greedy_replies_are_all_the_same() -> None:
    with pytest.raises(BadInput, match="temperature 0 all replies to a question are the same"):
        decoding_of(settings(temperature=0.0, samples=2), open_model("tiny-1m"))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"temperature": -0.1}, "--temperature -0.1 is none"),
        ({"temperature": float("nan")}, "--temperature nan is none"),
        ({"temperature": float("inf")}, "--temperature inf is none"),
        ({"top_p": 0.0}, "--top-p 0.0 is no share"),
        ({"top_p": 1.5}, "--top-p 1.5 is no share"),
        ({"top_p": float("nan")}, "--top-p nan is no share"),
        ({"answer_tokens": 0}, "--answer-tokens 0 is too few"),
        ({"system": "Be brief."}, "--system is part of a chat template.*--track chat"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(flags: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        settings(**flags)


def test_a_template_without_a_place_for_it_is_refused_before_anything_is_made(
    tmp_path: Path,
) -> None:
    model = chatty(tmp_path / "model", "{{ messages[-1].content }}")
    with pytest.raises(BadInput, match="template of model drops what the system says"):
        prepared(tmp_path, model, track="chat", system="Be brief.")


def test_each_is_part_of_what_a_study_is(tmp_path: Path) -> None:
    model = chatty(tmp_path / "model")
    usual = prepared(tmp_path, model, track="chat")
    said: list[dict[str, Any]] = [
        {"temperature": 1.0},
        {"top_p": 1.0},
        {"answer_tokens": 16},
        {"system": "Be brief."},
        {"system": ""},
    ]
    jobs = [prepared(tmp_path, model, track="chat", **flags) for flags in said]
    assert len({job.name for job in (usual, *jobs)}) == 6
    for flags, job in zip(said, jobs, strict=True):
        [(name, value)] = flags.items()
        assert job.params[name] == (value or "(empty)")
        assert set(job.identity) - set(usual.identity) == {name}
    # The usual values, named or not, are one study.
    named = prepared(tmp_path, model, track="chat", temperature=0.6, top_p=0.95, answer_tokens=1024)
    assert usual.identity == named.identity
    assert "system" not in usual.params


def test_replies_to_another_system_text_are_other_replies() -> None:
    asked = Prompt("Why?", 1, 8, chat=True)
    keys = {key_of(replace(asked, system=system)) for system in (None, "", "Be brief.")}
    assert len(keys) == 3
    # As it was before there were system texts: replies of then are found.
    assert key_of(asked) == "1a33fee5159de7ba5340ea4741a97e518001900942cbe08af3d7151c7a80e080"


@pytest.mark.engine
def test_a_search_asks_and_records_what_it_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = chatty(tmp_path / "model")
    flags = ["--model", str(model), "--sparsity", "0", "--budgets", "16", "--questions", "2"]
    flags += ["--benchmarks", "deduction", "--track", "chat", "--system", "Be brief."]
    flags += ["--temperature", "0", "--top-p", "1", "--answer-tokens", "4"]
    assert main(flags, tmp_path) == 0
    assert "temperature: 0; top-p: 1; prompts: chat track" in capfd.readouterr().out
    client = MlflowClient(open_store(None, tmp_path).uri)
    experiment = client.get_experiment_by_name("lrm/levels")
    [run] = client.search_runs([experiment.experiment_id])
    wanted = {"system": "Be brief.", "temperature": "0.0", "top_p": "1.0", "answer_tokens": "4"}
    assert wanted.items() <= run.data.params.items()
    stored = next((tmp_path / "mlruns" / "generations").glob("*.jsonl")).read_text().splitlines()
    tokenizer = open_folder(model)
    for line in map(json.loads, stored):
        prompt = tokenizer.decode(line["prompt_ids"])
        assert prompt.startswith("system: Be brief.\nuser: ")
        assert line["answer_tokens"] <= 4

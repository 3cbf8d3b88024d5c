"""The embedded models: small, offline, never trained on what they are tested on, and good."""

import os
import subprocess
import sys
from itertools import islice

import pytest

from experiments.models.resolve import EMBEDDED, embedded_names
from lrm import registry
from lrm.benchmarks import arithmetic, deduction, hops, timeline
from lrm.benchmarks.twin import SeededRandom, held_out
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.engines.transformers.engine import TransformersEngine
from lrm.generation.evaluate import evaluate
from lrm.generation.reply_cache import ReplyCache
from lrm.records.point import Budget
from lrm.records.reply import Decoding
from lrm.scoring.grading import graded_replies
from lrm.scoring.replies import collect
from lrm.tiny import traces, training
from lrm.tiny.tokenizer import load

TWINS = ("arithmetic", "deduction", "timeline", "hops")


def test_two_sizes_under_sixteen_megabytes() -> None:
    assert embedded_names() == ["tiny-1m", "tiny-5m"]
    files = [path for path in EMBEDDED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 16e6
    assert {path.suffix for path in files} == {".json", ".md", ".safetensors"}


@pytest.mark.parametrize("name", TWINS)
def test_training_documents_never_ask_a_test_question(name: str) -> None:
    asked = {question.prompt for question in registry.benchmark(name).load()}
    rng = SeededRandom(3)
    trained = {traces.document(rng)[0] for _ in range(4000)}
    assert len(asked) == 400
    assert not asked & trained
    assert not asked & {q.prompt for q in registry.benchmark(name).practice(400, seed=1)}


@pytest.mark.parametrize("twin", [arithmetic, deduction, timeline, hops])
def test_the_split_is_by_content(twin) -> None:
    problems = [twin.draw(SeededRandom(seed)) for seed in range(400)]
    assert 20 < sum(map(held_out, problems)) < 90


def test_a_reply_answers_its_own_problem() -> None:
    rng = SeededRandom(11)
    for twin in (arithmetic, deduction, timeline, hops):
        problem = twin.draw(rng)
        reply = traces.reply("So.\n", problem.answer, rng)
        assert reply.endswith(f"</think>\n\n\\boxed{{{problem.answer}}}")


def test_walks_end_in_the_answer() -> None:
    rng = SeededRandom(12)
    for _ in range(200):
        chain = arithmetic.draw(rng)
        assert f"{chain.answer}." in traces.chain_walk(chain).splitlines()[-1]
        argument = deduction.draw(rng)
        assert traces.argument_walk(argument).endswith(f"That is {argument.answer}.\n")
        day = timeline.draw(rng)
        assert traces.day_walk(day).endswith(f"option {day.answer}.\n")
        path = hops.draw(rng)
        assert traces.path_walk(path).endswith(f" is {path.answer}.\n")


def test_training_rows_are_full_and_learn_only_replies(monkeypatch) -> None:
    """A document that does not fit a row is left out, and what follows it still comes."""
    monkeypatch.setattr(training, "ROW", 200)
    tokenizer = load(EMBEDDED / "tiny-1m")
    batches = islice(iter(training.TrainingRows(tokenizer, rows=4, seed=0)), 20)
    for ids, labels in batches:
        learned = labels != training.IGNORED
        assert ids.shape == labels.shape == (4, 200)
        assert learned.any(dim=1).all()
        assert (ids[learned] == labels[learned]).all()
        assert (ids[:, 0] == tokenizer.bos_token_id).all()
        assert (labels[:, 0] == training.IGNORED).all()


@pytest.mark.engine
def test_the_larger_model_answers(tmp_path) -> None:
    """Ten questions of each twin; the model card has all four hundred."""
    checkpoint = open_checkpoint(EMBEDDED / "tiny-5m")
    questions = {b: b.load(10) for b in map(registry.benchmark, TWINS)}
    decoding = Decoding(max_tokens=416, answer_tokens=32)
    with ReplyCache(tmp_path, checkpoint, decoding, "transformers") as store:
        evaluations = evaluate(questions, decoding, [384], store, TransformersEngine(checkpoint))
        replies = [collect(graded_replies(evaluation)) for evaluation in evaluations]
    right = [each.tables(Budget(384))["score"].sum() for each in replies]
    assert sum(right) >= 38


@pytest.mark.slow
def test_weights_load_with_no_hub() -> None:
    code = (
        "from experiments.models.resolve import open_model\n"
        "from lrm.engines.transformers.engine import TransformersEngine\n"
        "from lrm.records.reply import Decoding, Prompt\n"
        "with TransformersEngine(open_model('tiny-1m').checkpoint) as engine:\n"
        "    print(len(engine.generate([Prompt('Hi<think>\\n', 0, 4)], Decoding())))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"},
    )
    assert done.stdout == "1\n", done.stderr

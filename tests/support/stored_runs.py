"""Runs as a search and an import store them, made of rows that a test writes down."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lrm.scoring.stored_reply import StoredReply, from_line
from tracking.runs import LevelRun
from tracking.store import open_store

BUDGETS = (16, 64)
SPARSITY = (0.0, 0.5, 0.7)


def row(
    benchmark: str,
    question: str,
    score: float,
    thinking: int,
    budget: int | None = None,
    **other: Any,
) -> dict[str, Any]:
    """One stored reply as older code wrote it, with a digit as its answer; `other` replaces any
    field."""
    return {
        "benchmark": benchmark,
        "question": question,
        "group": "",
        "sample": 0,
        "score": score,
        "answer": "7",
        "strict": "7",
        "lenient": "7",
        "tokens": thinking + 4,
        "thinking_tokens": thinking,
        "answer_tokens": 4,
        "closed": True,
        "stop": "stop",
        "looped": False,
        "text": f"Let me think.\n</think>\n\n\\boxed{{7}} in {thinking}",
        "budget": budget,
        "prompt": "What is 3 + 4?\n<think>\n",
        "gold": ["7"],
        "prompt_ids": [],
        "token_ids": [],
        "given": 0,
    } | other


def stored(row: Mapping[str, Any]) -> StoredReply:
    """Such a row, read back."""
    return from_line(json.dumps(row).encode())


def write_generations(run: LevelRun, benchmark: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Attaches rows, whatever they hold, as the generations of a run."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"{benchmark}.jsonl.gz")
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        file.write_bytes(gzip.compress(lines.encode()))
        run.attach_generations(benchmark, file)


def stored_lines(file: Path) -> list[bytes]:
    """The lines of a file of generations."""
    return gzip.decompress(file.read_bytes()).splitlines()


def level_rows(benchmark: str, sparsity: float, questions: int = 12) -> Iterator[dict[str, Any]]:
    """Longer thinking from question to question; the sparser, the fewer are right."""
    for i in range(questions):
        right, thinking = float(i >= sparsity * questions), 8 + 9 * i
        yield row(benchmark, f"q{i}", right, thinking)
        for budget in BUDGETS:
            if thinking > budget:
                yield row(benchmark, f"q{i}", right * (i % 2), budget, budget=budget)


def store_study(
    root: Path,
    name: str = "made-up",
    benchmarks: Sequence[str] = ("arithmetic", "hops"),
    measured: Sequence[float] = SPARSITY,
    questions: int = 12,
    model: str = "tiny",
    packed: Mapping[float, float] | None = None,
) -> list[str]:
    """Writes a study of which some levels were measured; gives the ids of its level runs. `packed`
    has the bytes without stored zeros by level, if they were measured."""
    config = {"budgets": BUDGETS, "sparsity": SPARSITY, "trials": None}
    ids = []
    with open_store(None, root).study(name, {"model": model}, {}, config) as study:
        for step, sparsity in enumerate(measured):
            method = "sparsegpt" if sparsity else "none"
            params = {"model": model, "method": method, "sparsity": sparsity}
            params |= {"benchmarks": ",".join(benchmarks), "engine": "transformers float32"}
            with study.level(f"{sparsity}", f"{model} {sparsity:.0%}", params) as level:
                for benchmark in benchmarks:
                    rows = level_rows(benchmark, sparsity, questions)
                    write_generations(level, benchmark, rows)
                size = {"weights/packed_bytes": packed[sparsity]} if packed else {}
                level.log_metrics({"weights/bytes": 1e6, "bits_per_weight": 16} | size)
            ids.append(level.id)
            study.log_metrics({"hypervolume": 40 + step}, step=step)
    return ids


def store_recipes(
    root: Path, name: str, recipes: Mapping[str, tuple[float, float]], **more: object
) -> None:
    """Writes a study of quantization: of each recipe the bytes, and the share of wrong answers.
    `more` replaces any param."""
    config = {"budgets": BUDGETS, "recipes": list(recipes), "trials": None}
    with open_store(None, root).study(name, {"model": "tiny"}, {}, config) as study:
        for recipe, (size, wrong) in recipes.items():
            method = "none" if recipe == "f16" else "gguf"
            params = {"model": "tiny", "method": method, "recipe": recipe, "engine": "llama_cpp"}
            params |= {"benchmarks": "arithmetic,hops"} | more
            with study.level(recipe, f"tiny {recipe}", params) as level:
                for benchmark in ("arithmetic", "hops"):
                    write_generations(level, benchmark, level_rows(benchmark, wrong))
                level.log_metrics({"weights/bytes": size})


def store_import(root: Path, name: str, rows: Sequence[dict[str, Any]], **params: object) -> str:
    """Writes an import of one benchmark; gives its run's id."""
    shared = {"model": name, "method": "awq", "lengths": "tokens"} | params
    with open_store(None, root).imported(name, name, shared, {}) as run:
        write_generations(run, rows[0]["benchmark"], rows)
        run.log_metrics({"accuracy": 0.5})
    return run.id

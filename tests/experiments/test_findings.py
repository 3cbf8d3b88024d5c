"""What a search says of its levels at the end, from replies that a test writes down."""

from pathlib import Path

from experiments.outcomes.quantization import unsolved_tasks
from experiments.outcomes.sparsity import collapse_text
from experiments.search.findings import Findings
from experiments.search.level import HEADLINE, Level
from lrm.records.model import Checkpoint
from lrm.records.point import Budget
from lrm.report.reading import read
from tests.support.stored_runs import row, stored


def level(key: float, score: float, replies: int = 4) -> Level:
    """A level whose replies all have one score; a wrong one never closes its thinking."""
    rows = [stored(row("hops", f"q{i}", score, 30 + i, closed=score > 0)) for i in range(replies)]
    checkpoint = Checkpoint(Path("model"), "revision", "dense")
    return Level(key, checkpoint, {"hops": read(iter(rows), "tokens")}, [64])


def findings(*levels: Level) -> Findings:
    return Findings(levels, [each.point(Budget(64, HEADLINE)) for each in levels], [64])


def test_a_task_that_the_dense_model_does_not_solve_is_named_with_its_unclosed_replies() -> None:
    never = findings(level(0.0, 0.0), level(0.5, 0.0))
    reason = (
        "the dense model does not solve this task: no answer is correct, and 4 of 4 replies never "
        "close their thinking"
    )
    assert [collapse_text(collapse) for collapse in never.collapses] == [reason]
    assert list(unsolved_tasks(never)) == [f"Not solved\n  hops: {reason}"]
    assert "No answer is correct at any point" in never.front_note


def test_a_task_that_is_solved_is_not_called_unsolved() -> None:
    solved = findings(level(0.0, 1.0), level(0.5, 0.0))
    assert collapse_text(solved.collapses[0]) == "collapses at 50% sparsity [50% to 50%]"
    assert (list(unsolved_tasks(solved)), solved.front_note) == ([], "")

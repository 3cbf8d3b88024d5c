"""The embedded models, trained again and scored."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from experiments.cli.progress import Progress, say
from lrm import registry
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.errors import BadInput
from lrm.files import write_atomic
from lrm.tiny import training
from lrm.tiny.card import card, held_out_questions, held_out_scores


def train_and_score(name: str, out: Path, workers: int, score_only: bool) -> str:
    """Trains unless `score_only`, then scores and writes the card; returns the line to print.

    Raises BadInput for a name that there is no recipe of, and where nothing is there to be scored.
    """
    registry.require("embedded model", name, training.RECIPES)
    folder = out / name
    if not score_only:
        _train(name, folder, workers)
    elif not folder.is_dir():
        raise BadInput(f"{folder} is not there: leave out --score-only to train it.")
    _write_card(name, folder)
    return f"{folder} is trained and scored; its README.md says how well."


def _train(name: str, folder: Path, workers: int) -> None:
    """Trains and saves; the folder's files are replaced one by one at the end."""
    recipe = training.RECIPES[name]
    tokenizer = training.make_tokenizer(recipe.seed)

    def report(step: int, loss: float) -> None:
        say(f"step {step}/{recipe.steps}  loss {loss:.4f}")

    model = training.train(recipe, tokenizer, workers=workers, on_step=report)
    training.save(model, tokenizer, folder)


def _write_card(name: str, folder: Path) -> None:
    """Asks all held-out questions; writes what came of them to the folder's README.md."""
    checkpoint = open_checkpoint(folder)
    asked = held_out_questions()
    progress = Progress(asked)
    progress.stage("scoring", asked)
    scores = held_out_scores(checkpoint, progress.reply)
    progress.close()
    text = card(name, checkpoint.measured, scores, datetime.now(UTC).date())
    write_atomic(folder / "README.md", text.encode())

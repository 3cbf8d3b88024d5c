"""llm-compressor's SparseGPT on the same model and rows, where it is installed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.benchmarking.stopwatch import Stopwatch
from experiments.models.resolve import EMBEDDED

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def seconds(model: PreTrainedModel, rows: Sequence[Sequence[int]], level: float) -> float | None:
    """Seconds to prune the model to one level; None if llm-compressor is not installed."""
    try:
        from llmcompressor import oneshot
        from llmcompressor.modifiers.pruning import SparseGPTModifier
    except ImportError:
        return None
    from datasets import Dataset
    from transformers import AutoTokenizer

    mask = [[1] * len(row) for row in rows]
    data = Dataset.from_dict({"input_ids": rows, "attention_mask": mask})
    recipe = SparseGPTModifier(sparsity=level, targets=["Linear"], ignore=["re:.*lm_head"])
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        model.config.save_pretrained(folder)  # it reads a model's config again, from disk
        model.config.name_or_path = folder
        with watch("all"):
            oneshot(
                model=model,
                # A tokenizer is required, though the rows are tokens already.
                processor=AutoTokenizer.from_pretrained(EMBEDDED / "tiny-5m"),
                dataset=data,
                recipe=recipe,
                max_seq_length=len(rows[0]),
                num_calibration_samples=len(rows),
            )
    return watch.seconds["all"]

"""Perplexity of a real model's levels on running text, and how far they are from the dense one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

from experiments.cli.progress import say
from lrm.compression.packed.stored import TWIN
from lrm.compression.quality.windows import (
    Rows,
    divergence,
    logits_of,
    perplexity_of_rows,
    windows,
)
from lrm.compression.streaming.load import device
from lrm.digests import of_json
from lrm.errors import BadInput, CompressionFailed
from lrm.files import write_atomic
from lrm.generation.running_text import running_texts
from lrm.model_config import read_config
from lrm.records.model import Calibration, Checkpoint
from lrm.tokenizers import encode_prompt, open_folder

WINDOW = 2048
"""Tokens of a window, or as many as the model reads if these are fewer."""

CPU_WINDOWS = 4
"""Windows of each text that are read without a GPU, which reads all: on two cores that takes
SmolLM2-135M about a minute."""

VERSION = 1
"""Of the way of measuring: figures kept by another are measured again."""


@dataclass(frozen=True)
class TextQuality:
    """What was measured of a level: `metrics` and `params`, by the names they are logged under."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, object] = field(default_factory=dict)


@dataclass
class TextQualityMeter:
    """Measures the levels of one dense model. What it finds is kept in `folder`, by what it is
    found on, and not measured twice. `before` is called before a model is loaded; `most` says how
    many windows of each text are read, None for all on a GPU and CPU_WINDOWS elsewhere."""

    folder: Path
    dense: Checkpoint
    before: Callable[[], None]
    most: int | None = None

    def measured(self, checkpoint: Checkpoint, calibration: Calibration | None) -> TextQuality:
        """Of a level. Nothing of one whose weights are not there in Hugging Face's format; what
        cannot be measured is said on stderr and left out."""
        weights = _dense_weights(checkpoint)
        if weights is None or self.dense.format != "dense":
            return TextQuality()
        compared = calibration.held_out if calibration else ()
        identity = [VERSION, checkpoint.revision, self.dense.revision, self._texts, compared]
        kept = self.folder / f"{of_json(identity)[:24]}.json"
        if kept.is_file():
            return TextQuality(**json.loads(kept.read_text(encoding="utf-8")))
        self.before()
        try:
            quality = self._measured(weights, self._texts, compared)
        except (BadInput, CompressionFailed) as error:
            say(f"Perplexity of {checkpoint.path} is not measured: {error}")
            return TextQuality()
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(kept, json.dumps(asdict(quality)).encode())
        return quality

    def _measured(self, weights: Path, texts: Mapping[str, Rows], held_out: Rows) -> TextQuality:
        read = logits_of(weights)
        metrics = {
            f"perplexity/{name}": perplexity_of_rows(read, rows) for name, rows in texts.items()
        }
        params: dict[str, object] = {"perplexity_window": self._length} if texts else {}
        for name, rows in texts.items():
            params[f"perplexity_tokens/{name}"] = sum(map(len, rows))
        if held_out:
            apart = divergence(logits_of(self.dense.path), read, held_out)
            metrics |= {"held_out/kl": apart.kl, "held_out/agreement": apart.agreement}
            params["held_out_tokens"] = sum(map(len, held_out))
        return TextQuality(metrics, params)

    @cached_property
    def _length(self) -> int:
        reads = read_config(self.dense.path).get("max_position_embeddings")
        return min(WINDOW, reads) if isinstance(reads, int) else WINDOW

    @cached_property
    def _texts(self) -> dict[str, Rows]:
        """The windows of each text that can be had; one sentence on stderr for each other."""
        tokenizer = open_folder(self.dense.path)
        usual = None if device() == "cuda" else CPU_WINDOWS
        most = usual if self.most is None else self.most
        texts: dict[str, Rows] = {}
        for text in running_texts():
            try:
                ids = encode_prompt(tokenizer, text.read())
            except BadInput as error:
                say(f"Perplexity on {text.name} is not measured: {error}")
                continue
            rows = windows(ids, self._length, most)
            if rows:
                texts[text.name] = rows
            else:
                say(
                    f"Perplexity on {text.name} is not measured: its text has {len(ids)} tokens, "
                    f"and a window {self._length}; restore the file."
                )
        return texts


def _dense_weights(checkpoint: Checkpoint) -> Path | None:
    """The folder that holds a checkpoint's weights unpacked; None where there is none."""
    if checkpoint.format == "dense":
        return checkpoint.path
    twin = checkpoint.path / TWIN
    return twin if twin.is_dir() else None

"""Which engine loads which format of weights."""

from __future__ import annotations

from pathlib import Path

from lrm.contracts.engine import EngineKind
from lrm.errors import BadInput
from lrm.records.model import Format

RUN_BY: dict[Format, str] = {
    "dense": "transformers",
    "awq": "vllm",
    "gptq": "vllm",
    "compressed-tensors": "vllm",
    "gguf": "llama_cpp",
    "tokenizer": "server",
}
"""The engine that a refusal names: engines know nothing of one another."""


def check_loads(model: str | Path, stored: Format, engine: EngineKind) -> None:
    """BadInput, which names an engine that works, unless this one loads weights stored so."""
    if stored in engine.formats:
        return
    contents = "only a tokenizer" if stored == "tokenizer" else f"{stored} weights"
    raise BadInput(
        f"{model} has {contents}, which the {engine.name} engine does not load; run it with the "
        f"{RUN_BY[stored]} engine (--engine {RUN_BY[stored]})"
    )

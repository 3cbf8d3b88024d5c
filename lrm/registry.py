"""The names of what can be chosen, and where it lives. A thing is imported when it is chosen."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from lrm.contracts import Benchmark, EngineKind
from lrm.errors import BadInput

BENCHMARKS = {
    "aime": "lrm.benchmarks.aime:Aime",
    "folio": "lrm.benchmarks.folio:Folio",
    "temporal": "lrm.benchmarks.temporal:Temporal",
    "musique": "lrm.benchmarks.musique:MUSIQUE",
    "musique-open": "lrm.benchmarks.musique:MUSIQUE_OPEN",
    "musique-dev": "lrm.benchmarks.musique:MUSIQUE_DEV",
    "musique-dev-open": "lrm.benchmarks.musique:MUSIQUE_DEV_OPEN",
    "arithmetic": "lrm.benchmarks.arithmetic:ARITHMETIC",
    "deduction": "lrm.benchmarks.deduction:DEDUCTION",
    "timeline": "lrm.benchmarks.timeline:TIMELINE",
    "hops": "lrm.benchmarks.hops:HOPS",
}
ENGINES = {
    "transformers": "lrm.engines.transformers.engine:TransformersEngine",
    "server": "lrm.engines.server.engine:ServerEngine",
    "vllm": "lrm.engines.vllm.engine:VllmEngine",
    "llama_cpp": "lrm.engines.llama_cpp.engine:LlamaCppEngine",
}
METHODS = {
    "sparsegpt": "lrm.compression.pruning.methods:SparseGPT",
    "wanda": "lrm.compression.pruning.methods:Wanda",
    "magnitude": "lrm.compression.pruning.methods:Magnitude",
}
QUANTIZERS = {
    "gguf": "lrm.compression.gguf.method:GGUF",
    "gptq": "lrm.compression.packed.method:GPTQ",
    "awq": "lrm.compression.packed.method:AWQ",
}


def require(kind: str, name: str, known: Iterable[str]) -> str:
    """Returns `name` if it is known; else raises BadInput with the nearest match."""
    names = sorted(known)
    if name in names:
        return name
    raise BadInput(unknown(kind, name, names))


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """The sentence for a name that is not known, with the nearest match."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    listed = f"choose from {', '.join(names)}." if names else "there is none yet."
    return f"There is no {kind} {name!r}: " + (f"did you mean {near[0]!r}?" if near else listed)


def find(kind: str, name: str, known: dict[str, str]) -> Any:
    """The object behind a name."""
    module, attribute = known[require(kind, name, known)].split(":")
    return getattr(import_module(module), attribute)


def benchmark(name: str) -> Benchmark:
    found = find("benchmark", name, BENCHMARKS)
    made: Benchmark = found() if isinstance(found, type) else found
    return made


def engine(name: str) -> EngineKind:
    found: EngineKind = find("engine", name, ENGINES)
    return found

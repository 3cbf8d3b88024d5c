"""The names of what can be chosen, and where it lives. A module is imported when it is chosen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import cast

from lrm.contracts.benchmark import Benchmark
from lrm.contracts.engine import EngineKind
from lrm.contracts.file_format import FileFormat
from lrm.contracts.pruner import PrunerKind
from lrm.contracts.quantizer import QuantizerKind
from lrm.errors import BadInput

BENCHMARKS = {
    "aime": "lrm.benchmarks.aime:AIME",
    "folio": "lrm.benchmarks.folio:FOLIO",
    "temporal": "lrm.benchmarks.temporal:TEMPORAL",
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
PRUNERS = {
    "sparsegpt": "lrm.compression.pruning.sparsegpt_method:SparseGPT",
    "wanda": "lrm.compression.pruning.wanda:Wanda",
    "magnitude": "lrm.compression.pruning.magnitude:Magnitude",
}
QUANTIZERS = {
    "gguf": "lrm.compression.gguf.method:GGUF",
    "gptq": "lrm.compression.packed.gptq:GPTQ",
    "awq": "lrm.compression.packed.awq:AWQ",
}
FILE_FORMATS = {
    "gguf": "lrm.compression.gguf.file_format:GGUF_FORMAT",
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


def benchmark(name: str) -> Benchmark:
    """The benchmark of that name; BadInput if there is none."""
    return cast(Benchmark, _registered("benchmark", name, BENCHMARKS))


def engine(name: str) -> EngineKind:
    """The class of the engine of that name; BadInput if there is none."""
    return cast(EngineKind, _registered("engine", name, ENGINES))


def pruner(name: str) -> PrunerKind:
    """The class of the pruning method of that name; BadInput if there is none."""
    return cast(PrunerKind, _registered("method", name, PRUNERS))


def quantizer(name: str) -> QuantizerKind:
    """The class of the quantizer of that name; BadInput if there is none."""
    return cast(QuantizerKind, _registered("quantizer", name, QUANTIZERS))


def file_format(name: str) -> FileFormat:
    """The format of that name; BadInput if there is none."""
    return cast(FileFormat, _registered("file format", name, FILE_FORMATS))


def _registered(kind: str, name: str, known: Mapping[str, str]) -> object:
    module, attribute = known[require(kind, name, known)].split(":")
    return getattr(import_module(module), attribute)

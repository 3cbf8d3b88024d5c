"""The names of what can be chosen, and where it lives. A module is imported when it is chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from lrm.contracts.benchmark import Benchmark
from lrm.contracts.engine import EngineKind
from lrm.contracts.file_format import FileFormat
from lrm.contracts.pruner import PrunerKind
from lrm.contracts.quantizer import QuantizerKind
from lrm.errors import BadInput

BENCHMARKS = {
    "aime": "lrm.benchmarks.aime:AIME",
    "aime-2025": "lrm.benchmarks.aime:AIME_2025",
    "math-500": "lrm.benchmarks.published_rows:MATH_500",
    "gpqa-diamond": "lrm.benchmarks.published_rows:GPQA_DIAMOND",
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
OWN_QUESTIONS = ".jsonl"
QUESTION_FILE = "lrm.benchmarks.question_file:open_file"
"""What opens a user's own questions, and how the names of their files end."""

METHODS = ("load", "practice", "grade", "first_said")

GROUP = "lrm.benchmarks"
"""The group of entry points in which other packages name their benchmarks."""

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
    """The benchmark of that name, or of a user's own questions in the file NAME.jsonl; BadInput if
    there is none."""
    if name.endswith(OWN_QUESTIONS):
        opened = cast(Callable[[str], Benchmark], _loaded(QUESTION_FILE))(name)
        if is_installed(opened.name):
            raise BadInput(f"{name} has the name of a benchmark that is there: rename the file.")
        return opened
    require("benchmark", name, benchmark_names())
    if name in BENCHMARKS:
        return cast(Benchmark, _loaded(BENCHMARKS[name]))
    return _from_package(_installed()[name])


def benchmark_names() -> list[str]:
    """The benchmarks of the project, then those of other packages."""
    return [*BENCHMARKS, *_installed()]


def is_installed(name: str) -> bool:
    """Whether a benchmark has that name in this installation; a file of questions has not."""
    return name in BENCHMARKS or name in _installed()


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


@cache
def _installed() -> Mapping[str, EntryPoint]:
    """The benchmarks of other packages, by name: their entry points in the group lrm.benchmarks."""
    return {
        entry.name: entry for entry in entry_points(group=GROUP) if entry.name not in BENCHMARKS
    }


def _from_package(entry: EntryPoint) -> Benchmark:
    package = entry.dist.name if entry.dist else entry.value
    try:
        loaded = entry.load()
    except Exception as error:  # another package's code may fail in anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise BadInput(
            f"benchmark {entry.name} of the package {package} cannot be loaded ({reason}): repair "
            "or remove that package."
        ) from error
    missing = [
        field
        for field in ("name", "version", "knowledge", "open_book_of", "calibrates", *METHODS)
        if not hasattr(loaded, field)
    ]
    if missing or loaded.name != entry.name:
        lacks = f"has no {missing[0]}" if missing else f"is named {loaded.name}"
        raise BadInput(
            f"benchmark {entry.name} of the package {package} {lacks}: it must offer what "
            "lrm.contracts.benchmark.Benchmark asks for."
        )
    return cast(Benchmark, loaded)


def _registered(kind: str, name: str, known: Mapping[str, str]) -> object:
    return _loaded(known[require(kind, name, known)])


def _loaded(entry: str) -> object:
    module, attribute = entry.split(":")
    return getattr(import_module(module), attribute)

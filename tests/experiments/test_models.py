"""--model in every format: what is found, what is measured of it, and what is refused in time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import pytest
import torch

from experiments.cli.engine_choice import parse_engine
from experiments.models.conversion import find_runnable
from experiments.models.gguf_choice import choose
from experiments.models.resolve import find_model, open_model, open_tokenizer
from experiments.sparsity_search import main
from lrm import registry
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.compression.gguf.convert import write_f16
from lrm.compression.pruning.magnitude import Magnitude
from lrm.digests import of_file
from lrm.engines.shared.loads import RUN_BY
from lrm.engines.transformers.engine import TransformersEngine
from lrm.engines.vllm.devices import check_kernels
from lrm.errors import BadInput
from lrm.formats import PACKED
from lrm.records.model import Checkpoint, Format
from tests.support.hub_mirror import CLOSED, HubMirror, outcomes
from tests.support.models import SMALLEST, copied, split, tokenizer_alone

GGUF = pytest.mark.skipif(
    not find_spec("gguf"), reason="to test GGUF files: pip install -e '.[gguf]'"
)


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_f16(open_checkpoint(SMALLEST), tmp_path_factory.mktemp("gguf") / "t-F16.gguf").path


@pytest.fixture
def parts(gguf: Path, tmp_path: Path) -> Path:
    """The first of two parts."""
    return split(gguf, tmp_path / "parts" / "t-F16.gguf", 20)


def refusal(name: str | Path, engine: str = "transformers", sparsity: float = 0.0) -> str:
    with pytest.raises(BadInput) as caught:
        find_runnable(str(name), parse_engine(engine), [sparsity]).open()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", registry.ENGINES)
def test_every_engine_says_what_it_loads(name: str) -> None:
    kind = registry.engine(name)
    assert kind.name == name
    assert set(kind.formats) <= set(get_args(Format))
    assert kind.ends_thinking == (name == "vllm")


@pytest.mark.parametrize("stored", get_args(Format))
def test_the_engine_that_a_refusal_names_loads_it(stored: Format) -> None:
    assert stored in registry.engine(RUN_BY[stored]).formats


@pytest.mark.parametrize("stored", PACKED)
def test_packed_weights_are_refused_with_the_engine_that_runs_them(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], stored: str
) -> None:
    folder = copied(tmp_path / "packed", quantization_config={"quant_method": stored})
    said = f"has {stored} weights, which the transformers engine does not load; run it with the "
    said += "vllm engine (--engine vllm)"
    assert main(["--model", str(folder)], root=tmp_path) == 2
    err = capfd.readouterr().err
    assert f"packed {said}" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "mlruns").exists()
    assert said.replace("transformers", "llama_cpp") in refusal(folder, "llama_cpp")
    for checkpoint in (open_checkpoint(folder), Checkpoint(folder, "unknown")):
        with pytest.raises(BadInput) as caught, TransformersEngine(checkpoint):
            pass
        assert said in str(caught.value)


@pytest.mark.parametrize("stored", PACKED)
def test_packed_weights_are_not_pruned_and_not_called_measured(tmp_path: Path, stored: str) -> None:
    folder = copied(tmp_path / "packed", quantization_config={"quant_method": stored})
    assert "only dense ones are pruned: give --sparsity 0" in refusal(folder, "vllm", 0.5)
    checkpoint = find_runnable(str(folder), parse_engine("vllm")).open().checkpoint
    size = (folder / "model.safetensors").stat().st_size
    assert (checkpoint.format, checkpoint.measured) == (stored, {"weights/bytes": size})
    with pytest.raises(BadInput, match="only dense weights are pruned"):
        Magnitude(0.5).apply(checkpoint, tmp_path / "out")


@pytest.mark.parametrize(
    ("stored", "device", "capability", "fits"),
    [
        ("awq", "cpu", "AVX2", False),
        ("awq", "cpu", "AVX512", True),
        ("dense", "cpu", "AVX2", True),
        ("awq", "cuda", "AVX2", True),
    ],
)
def test_packed_weights_without_kernels_are_refused(
    monkeypatch: pytest.MonkeyPatch, stored: Format, device: str, capability: str, fits: bool
) -> None:
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with (
        nullcontext() if fits else pytest.raises(BadInput, match=r"awq weights, .* AVX512, .* GPU")
    ):
        check_kernels(Path("model"), stored, torch.device(device))


def test_a_quantization_that_nothing_here_runs_is_named(tmp_path: Path) -> None:
    folder = copied(tmp_path / "model", quantization_config={"quant_method": "bitsandbytes"})
    for engine in registry.ENGINES:
        if engine != "server":
            assert "quantized with bitsandbytes, which no engine here runs" in refusal(
                folder, engine
            )
    shutil.rmtree(folder)
    copied(folder, quantization_config={"bits": 4})
    assert "a method that its config does not name" in refusal(folder)


def test_only_an_engine_with_its_own_budget_ends_the_thinking(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["--closing", "engine"], root=tmp_path) == 2
    assert "transformers does not: give --engine vllm, or --closing plain" in capfd.readouterr().err


@GGUF
def test_a_gguf_file_tells_what_it_is(gguf: Path, parts: Path) -> None:
    whole, halves = open_model(str(gguf)), open_model(str(parts))
    assert (whole.name, halves.name) == ("t-F16", "t-F16")
    assert (whole.checkpoint.format, whole.checkpoint.revision) == ("gguf", of_file(gguf))
    assert set(whole.checkpoint.measured) == {"weights/bytes", "bits_per_weight"}
    for measured in (whole.checkpoint.measured, halves.checkpoint.measured):
        assert 16 < measured["bits_per_weight"] < 16.1
    files = sorted(parts.parent.iterdir())
    assert len(files) == 2
    size = sum(file.stat().st_size for file in files)
    assert halves.checkpoint.measured["weights/bytes"] == size
    data = bytearray(files[1].read_bytes())
    data[-1] ^= 1
    files[1].write_bytes(data)
    assert open_model(str(parts)).checkpoint.revision != halves.checkpoint.revision


@GGUF
def test_a_link_is_known_by_its_own_name(parts: Path, tmp_path: Path) -> None:
    """The hub's cache holds nothing else: a part's name links to a file named by its digest."""
    (tmp_path / "cache").mkdir()
    for number, part in enumerate(sorted(parts.parent.iterdir())):
        blob = part.rename(tmp_path / f"blob{number}")
        (tmp_path / "cache" / part.name).symlink_to(blob)
    first = tmp_path / "cache" / parts.name
    assert open_model(str(first)).name == "t-F16"
    assert open_model(str(first.parent)).checkpoint.path == first


@GGUF
def test_a_folder_with_one_gguf_is_that_model(gguf: Path, parts: Path, tmp_path: Path) -> None:
    for first in (gguf, parts):
        assert open_model(str(first.parent)).checkpoint.path == first
    shutil.copy(gguf, parts.parent / "other.gguf")
    said = refusal(parts.parent, "llama_cpp")
    assert f"holds several models: other, t-F16; give the path of one: {parts.parent}/" in said


@GGUF
def test_a_gguf_is_run_by_llama_cpp_unpruned(gguf: Path) -> None:
    for engine in ("transformers", "vllm"):
        assert "t-F16 has gguf weights" in refusal(gguf, engine)
        assert "(--engine llama_cpp)" in refusal(gguf, engine)
    assert "only dense ones are pruned: give --sparsity 0" in refusal(gguf, "llama_cpp", 0.5)
    assert "tokens are counted with a Hugging Face tokenizer" in refusal(gguf, "server:url=x")


@GGUF
def test_a_gguf_says_whether_it_has_a_chat_template(gguf: Path, tmp_path: Path) -> None:
    assert not open_model(str(gguf)).has_chat_template
    folder = copied(tmp_path / "chat")
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    file = write_f16(open_checkpoint(folder), tmp_path / "chat.gguf").path
    assert open_model(str(file)).has_chat_template


@GGUF
def test_the_chat_track_needs_a_template(
    gguf: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = ["--model", str(gguf), "--engine", "llama_cpp", "--sparsity", "0", "--track", "chat"]
    assert main(flags, root=tmp_path) == 2
    assert "t-F16 has no chat template: ask with --track paper" in capfd.readouterr().err


BREAKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no such file": (lambda first: first.unlink(), "there is no file"),
    "no GGUF": (lambda first: first.write_bytes(b"PK and so on"), "is no GGUF file"),
    "a missing part": (
        lambda first: first.with_name("t-F16-00002-of-00002.gguf").unlink(),
        "there is no file {folder}/t-F16-00002-of-00002.gguf, part 2 of 2",
    ),
    "a cut part": (
        lambda first: first.with_name("t-F16-00002-of-00002.gguf").write_bytes(
            first.read_bytes()[:2000]
        ),
        "t-F16-00002-of-00002.gguf is cut or broken",
    ),
    "a cut header": (lambda first: first.write_bytes(first.read_bytes()[:6]), "is cut or broken"),
    "cut weights": (lambda first: first.write_bytes(first.read_bytes()[:-400]), "is cut or broken"),
}


@GGUF
@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_gguf_is_one_sentence(parts: Path, name: str) -> None:
    change, words = BREAKS[name]
    change(parts)
    assert words.format(folder=parts.parent) in refusal(parts, "llama_cpp")


@GGUF
def test_a_part_is_not_taken_for_the_whole(parts: Path) -> None:
    second = parts.with_name("t-F16-00002-of-00002.gguf")
    assert f"give its first part, {parts.name}" in refusal(second, "llama_cpp")
    renamed = parts.rename(parts.with_name("mine.gguf"))
    assert "mine.gguf is one of 2 parts; give the first" in refusal(renamed, "llama_cpp")


def test_a_tokenizer_is_enough_for_a_server(tmp_path: Path) -> None:
    folder = tokenizer_alone(tmp_path / "names")
    model = find_runnable(str(folder), parse_engine("server:url=x,model=y")).open()
    assert (model.name, model.checkpoint.format) == ("names", "tokenizer")
    assert model.checkpoint.measured == {}
    assert not model.has_chat_template
    whole = find_model("tiny-1m", tokenizer_only=True).open()
    assert whole.checkpoint.revision == model.checkpoint.revision
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    again = find_model(str(folder), tokenizer_only=True).open()
    assert again.checkpoint.revision != model.checkpoint.revision
    assert again.has_chat_template
    with (
        pytest.raises(BadInput, match=r"only a tokenizer, .* \(--engine server\)"),
        TransformersEngine(open_tokenizer(folder)),
    ):
        pass
    (tmp_path / "empty").mkdir()
    assert "has no tokenizer.json" in refusal(tmp_path / "empty", "server")


R1 = [
    "README.md",
    "DeepSeek-R1-UD-IQ1_S/DeepSeek-R1-UD-IQ1_S-00002-of-00002.gguf",
    "DeepSeek-R1-UD-IQ1_S/DeepSeek-R1-UD-IQ1_S-00001-of-00002.gguf",
    "DeepSeek-R1-UD-IQ1_M/DeepSeek-R1-UD-IQ1_M-00001-of-00001.gguf",
    "DeepSeek-R1-Q2_K/DeepSeek-R1-Q2_K-00001-of-00001.gguf",
    "DeepSeek-R1-Q2_K_L/DeepSeek-R1-Q2_K_L-00001-of-00001.gguf",
    "DeepSeek-R1-UD-Q2_K/DeepSeek-R1-UD-Q2_K.gguf",
]


@pytest.mark.parametrize(
    ("word", "files"),
    [
        ("UD-IQ1_S", [R1[2], R1[1]]),
        ("iq1_s", [R1[2], R1[1]]),
        ("Q2_K_L", [R1[5]]),
        ("R1-Q2_K", [R1[4]]),
        ("DeepSeek-R1-UD-Q2_K.gguf", [R1[6]]),
    ],
)
def test_a_word_chooses_a_quantization(word: str, files: list[str]) -> None:
    assert choose(R1, word, "repo", "name one") == files


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("Q2_K", "repo holds several models 'Q2_K': DeepSeek-R1-Q2_K, DeepSeek-R1-UD-Q2_K; name"),
        ("UD-IQ1_XS", "repo has no model 'UD-IQ1_XS', but DeepSeek-R1-UD-IQ1_"),
        ("", "repo holds several models: DeepSeek-R1-Q2_K, "),
    ],
)
def test_a_word_that_chooses_none_or_several_is_told_what_there_is(word: str, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        choose(R1, word, "repo", "name one")
    assert str(caught.value).startswith(says)


FIND = """
import json, sys
from experiments.cli.engine_choice import parse_engine
from experiments.models.conversion import find_runnable
from lrm.errors import BadInput

def outcome(name, engine):
    try:
        model = find_runnable(name, parse_engine(engine)).open()
    except BadInput as error:
        return str(error)
    return [model.name, model.checkpoint.format, model.checkpoint.path.name]

print(json.dumps([outcome(*asked.split()) for asked in sys.argv[1:]]))
"""


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """Two repositories of models as they lie on the hub, without GGUF files."""
    folder = tmp_path / "hub"
    copied(folder / "some" / "model")
    copied(folder / "some" / "model-awq", quantization_config={"quant_method": "awq"})
    return folder


def commits(hub: Path) -> dict[str, str]:
    names = [path.relative_to(hub).as_posix() for path in sorted(hub.glob("*/*"))]
    return {name: f"{number:040x}" for number, name in enumerate(names)}


def fetched(mirror: HubMirror) -> set[str]:
    """The files that were downloaded."""
    asked = [request.partition(" ")[2] for request in mirror.requests if "GET" in request]
    return {path.rpartition("/")[2] for path in asked if "/resolve/" in path}


@pytest.mark.slow
def test_only_what_is_needed_is_fetched_from_the_hub(hub: Path, tmp_path: Path) -> None:
    with HubMirror(hub, commits(hub)) as mirror:
        asked = ["some/model-awq transformers", "some/nothing transformers"]
        refused, missing = outcomes(tmp_path / "home", asked, FIND, HF_ENDPOINT=mirror.url)
        assert "some/model-awq has awq weights" in refused
        assert "'some/nothing' is neither here nor reachable on the hub (" in missing
        assert fetched(mirror) == {"config.json"}
        (server,) = outcomes(tmp_path / "s", ["some/model server"], FIND, HF_ENDPOINT=mirror.url)
        assert server[:2] == ["some/model", "tokenizer"]
        assert fetched(mirror) == {"config.json", "tokenizer.json", "tokenizer_config.json"}
        (dense,) = outcomes(tmp_path / "d", ["some/model vllm"], FIND, HF_ENDPOINT=mirror.url)
        assert dense == ["some/model", "dense", commits(hub)["some/model"]]
        assert "model.safetensors" in fetched(mirror)
    (again,) = outcomes(tmp_path / "d", ["some/model vllm"], FIND, HF_ENDPOINT=CLOSED)
    assert again == dense
    (gone,) = outcomes(tmp_path / "x", ["some/model vllm"], FIND, HF_ENDPOINT=CLOSED)
    assert "neither here nor reachable" in gone


@pytest.mark.slow
@GGUF
def test_one_quantization_of_a_hub_id_is_fetched_with_all_its_parts(
    hub: Path, gguf: Path, parts: Path, tmp_path: Path
) -> None:
    repository = hub / "some" / "model-GGUF"
    shutil.copytree(parts.parent, repository / "t-F16")
    for name in ("t-UD-Q2_K.gguf", "t-Q2_K.gguf"):
        shutil.copy(gguf, repository / name)
    (repository / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with HubMirror(hub, commits(hub)) as mirror:
        chosen = "some/model-GGUF:F16 llama_cpp"
        asked = ["some/model-GGUF:F16 vllm", "some/model-GGUF llama_cpp"]
        asked += ["some/model-GGUF:Q2_K llama_cpp", "some/model-GGUF:Q3_K llama_cpp"]
        refused, several, two, none, found = outcomes(
            tmp_path / "home", [*asked, chosen], FIND, HF_ENDPOINT=mirror.url
        )
        assert fetched(mirror) == {path.name for path in parts.parent.iterdir()}
    assert "run it with the llama_cpp engine (--engine llama_cpp)" in refused
    assert "several models: t-F16, t-Q2_K, t-UD-Q2_K; name one: some/model-GGUF:NAME" in several
    assert "several models 'Q2_K': t-Q2_K, t-UD-Q2_K" in two
    assert "no model 'Q3_K', but t-Q2_K, t-UD-Q2_K, t-F16; name one" in none
    assert found == ["some/model-GGUF:F16", "gguf", parts.name]
    asked = [chosen, "some/model-GGUF:Q2_K llama_cpp"]
    again, gone = outcomes(tmp_path / "home", asked, FIND, HF_ENDPOINT=CLOSED)
    assert again == found
    assert "the copy of some/model-GGUF here has no model 'Q2_K', but t-F16" in gone

"""Flags: what they read, and the one sentence that bad ones end in."""

from pathlib import Path

import pytest

from experiments.cli.calibration_source import CalibrationSource
from experiments.cli.engine_choice import parse_engine
from experiments.cli.method_choice import parse_method
from experiments.cli.settings import Settings, parse_benchmarks, parse_budgets, parse_sparsity
from experiments.search.job import prepare, sparsity_axis
from experiments.sparsity_search import main
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.errors import BadInput
from lrm.records.model import Calibration
from tests.support.models import SMALLEST, copied


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("0:0.8:0.2", (0, 0.2, 0.4, 0.6, 0.8)),
        ("0.5", (0.5,)),
        ("0.6,0,0.6", (0, 0.6)),
        ("0:0.1", (0, 0.05, 0.1)),
        ("0:0.7:0.1", (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)),
    ],
)
def test_sparsity(text: str, levels: tuple[float, ...]) -> None:
    assert parse_sparsity(text) == levels


@pytest.mark.parametrize("text", ["1", "-0.1", "0:1", "0.5:0.2", "0:0.8:0", "", "a", "0,,1", "nan"])
def test_bad_sparsity(text: str) -> None:
    with pytest.raises(BadInput, match="--sparsity"):
        parse_sparsity(text)


def test_budgets() -> None:
    assert parse_budgets("64,8,64") == (8, 64)


@pytest.mark.parametrize("text", ["", "0", "-4", "12.5", "a", "8,"])
def test_bad_budgets(text: str) -> None:
    with pytest.raises(BadInput, match="--budgets"):
        parse_budgets(text)


def test_benchmarks_name_the_nearest() -> None:
    assert parse_benchmarks("hops,temporal,hops") == ("hops", "temporal")
    with pytest.raises(BadInput, match="'arithmetic'"):
        parse_benchmarks("arithmetik")


def test_method_options() -> None:
    choice = parse_method("sparsegpt:calibration=text,damping=0.02,block=64")
    assert choice.calibration == CalibrationSource("text")
    assert choice.options == {"damping": 0.02, "block": 64}
    assert parse_method("sparsegpt").calibration == CalibrationSource("traces")
    choice = parse_method("wanda:mode=sequential,pattern=2:4,protect=layers.3.mlp+k_proj", [0.5])
    assert choice.options == {
        "mode": "sequential",
        "pattern": "2:4",
        "protect": ("layers.3.mlp", "k_proj"),
    }
    assert parse_method("magnitude").calibration is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sparsgpt", "'sparsegpt'"),
        ("sparsegpt:dampening=1", "'damping'"),
        ("sparsegpt:damping=lots", "number"),
        ("sparsegpt:damping", "VALUE"),
        ("sparsegpt:calibration=trace", "'traces'"),
        ("sparsegpt:mode=parallel", "sequential"),
        ("sparsegpt:pattern=2:4:8", "2:4 or 4:8"),
        ("sparsegpt:allocation=own", "owl"),
        ("sparsegpt:pattern=2:4,allocation=owl", "leave one"),
        ("magnitude:damping=1", "option"),
        ("sparsegpt:sparsity=0.3", "option"),
    ],
)
def test_bad_methods(text: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        parse_method(text)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--benchmarks", "folo"], "did you mean 'folio'"),
        (["--engine", "transformer"], "did you mean 'transformers'"),
        (["--engine", "transformers:slot=3"], "did you mean 'slots'"),
        (["--engine", "transformers:slots=many"], "slots must be a number, got 'many'"),
        (["--engine", "transformers:slots"], "write slots=VALUE"),
        (["--engine", "transformers:slots=0"], "slots must be 1 or more"),
        (["--engine", "server:url=http://127.0.0.1:9,model=m"], "give --sparsity 0"),
        (["--closing", "plane"], "did you mean 'plain'"),
        (["--track", "chat"], "tiny-5m has no chat template"),
        (["--method", "sparse-gpt"], "did you mean 'sparsegpt'"),
        (["--method", "sparsegpt:damping=-1"], "damping"),
        (["--method", "sparsegpt:pattern=2:4"], "sparsity 0.1 is impossible"),
        (["--model", "tiny-5"], "did you mean 'tiny-5m'"),
        (["--model", "./no/such/folder"], "no/such/folder"),
        (["--sparsity", "1.5"], "outside [0, 1)"),
        (["--budgets", ""], "--budgets"),
        (["--budgets", "0"], "1 thinking token or more"),
        (["--questions", "0"], "--questions 0"),
        (["--samples", "-1"], "--samples -1"),
        (["--trials", "0"], "--trials 0"),
        (["--seed", "-1"], "--seed -1"),
        (["--storage", "nonsense"], "--storage"),
        (["--storage", "sqlite:////no/such/folder/x.db"], "--storage"),
        (["--tracking-uri", "gopher://x"], "gopher"),
        (["--study", "a\nb"], "study"),
        (["--study", "a" * 260], "has 260 characters: use 250 or fewer"),
        (["--tracking-uri", "me:hunter2@host/x"], "'***@host/x' is no store"),
        (["--tracking-uri", "me:hunt/er@2@host/x"], "'***@host/x' is no store"),
        (["--tracking-uri", "postgresql:me:hunter2@host/x"], "Cannot use the store ***@host/x"),
        (["--storage", "me:hunter2@host/x"], "--storage is no usable database URL"),
        (["--storage", "postgresql:me:hunter2@host/x"], "--storage is no usable database URL"),
        (["--engine", "server:url=me:hunter2@host,modl=m", "--sparsity", "0"], "'model'"),
    ],
)
def test_bad_flags_end_in_one_sentence(tmp_path, capfd, flags: list[str], says: str) -> None:
    assert main([*flags], root=tmp_path) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert says in err
    assert "Traceback" not in err
    assert "hunt" not in err
    assert err.count("\n") == 1, err


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--tracking-url", "http://me:hunter2@host"], "Perhaps you meant"),
        (["--tracking-url", "me:hunter2@host"], "--tracking-url"),
        (["--tracking-url=hunter2"], "--tracking-url=***"),
        (["--hf-token", "hunter2"], "--hf-token"),
        (["--auth", "hunter2", "--seed", "1"], "--auth"),
        (["me:hunter2@host"], "***@host"),
        (["--seed", "me:hunter2@host"], "--seed"),
        (["--track", "http://me:hunter2@host"], "--track"),
        (["--auth", "hunter2", "--track", "password=hunter2"], "--track"),
    ],
)
def test_flags_that_cannot_be_read_are_told_without_credentials(
    tmp_path, capfd, flags: list[str], says: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(flags, root=tmp_path)
    assert ended.value.code == 2
    out, err = capfd.readouterr()
    assert says in out + err
    assert "hunter2" not in out + err


@pytest.mark.parametrize(
    ("folder", "begins"),
    [
        ("tiny-1m", "tiny-1m-magnitude-"),
        ("my model (v1)", "my model -v1--magnitude-"),
        ("checkpoint@1000", "checkpoint-1000-magnitude-"),
        ("modèle", "mod-le-magnitude-"),
        ("_x", "x-magnitude-"),
        ("a,b", "a-b-magnitude-"),
        ("模型", "model-magnitude-"),
        ("m" * 255, "m" * 200),
    ],
)
def test_a_model_of_any_name_makes_the_name_of_a_study(
    tmp_path: Path, folder: str, begins: str
) -> None:
    copied(tmp_path / folder)
    flags = Settings(model=str(tmp_path / folder), method="magnitude")
    job = prepare(flags, sparsity_axis(flags), tmp_path)
    assert job.name.startswith(begins)
    assert len(job.name) <= 250
    assert job.params["model"] == folder


def test_an_error_is_one_sentence_and_its_traceback_is_kept_for_debug(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = ["--model", str(tmp_path / "none.gguf"), "--sparsity", "0"]
    assert main(flags, tmp_path) == 2
    sentence = capfd.readouterr().err
    assert sentence.count("\n") == 1
    assert main([*flags, "--debug"], tmp_path) == 2
    shown = capfd.readouterr().err
    assert shown.startswith("Traceback (most recent call last)")
    assert shown.endswith(sentence)


def test_help_is_printed(capfd) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "--sparsity" in capfd.readouterr().out


def test_engine_options() -> None:
    choice = parse_engine("transformers:slots=32,device=cpu")
    assert (choice.name, choice.options) == ("transformers", {"slots": 32, "device": "cpu"})
    assert parse_engine("transformers").options == {}


def test_help_shows_defaults_and_an_example(capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for name in Settings.__dataclass_fields__:
        assert f"--{name.replace('_', '-')}" in text
    assert "python -m experiments.sparsity_search --sparsity" in text
    assert "(default: tiny-5m)" in text
    assert "(default: 50)" in text


def test_a_method_is_checked_against_the_model_before_any_work() -> None:
    model = open_checkpoint(SMALLEST)
    parse_method("wanda:protect=layers.3.mlp,pattern=4:8").check(model)
    with pytest.raises(BadInput, match=r"did you mean 'layers\.3\.mlp'"):
        parse_method("wanda:protect=layers.3.mpl").check(model)
    with pytest.raises(BadInput, match="nothing is left"):
        parse_method("magnitude:protect=layers").check(model)


def test_high_sparsity_in_dense_mode_is_cautioned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[int] = []
    for name, told in (("wanda:mode=dense", True), ("wanda", False), ("magnitude", False)):
        choice = parse_method(name)
        rows = Calibration("one row", (tuple(range(64)),)) if choice.calibration else None
        outs = {0.7: tmp_path / name.replace(":", "-")}
        choice.apply(open_checkpoint(SMALLEST), rows, outs, lambda done, total: calls.append(done))
        assert ("leave mode out (sequential" in capsys.readouterr().err) == told
    assert calls == [*range(1, 29)] * 3

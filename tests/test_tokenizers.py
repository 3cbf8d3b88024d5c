"""Tokenizers of other people's models: what is read is what tokenizer.json says."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.models.resolve import open_model, open_tokenizer
from experiments.sparsity_search import main
from lrm.benchmarks.deduction import DEDUCTION
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.compression.pruning.wanda import Wanda
from lrm.engines.shared.folder_codec import FolderCodec
from lrm.errors import BadInput
from lrm.generation.calibration import of_practice, prompts_alone, size_of
from lrm.records.model import Calibration
from lrm.records.reply import Decoding, Prompt
from lrm.tokenizer_checks import PROBES
from lrm.tokenizers import decode, encode, encode_prompt, open_folder, without_end
from tests.support.models import SMALLEST, copied

Json = dict[str, Any]
BEGIN, END = 0, 1
TEXT = DEDUCTION.load(1)[0].prompt


def edited(folder: Path, name: str, edit: Callable[[Json], object]) -> Path:
    """A copy of tiny-1m in which a file of its tokenizer is changed."""
    path = copied(folder) / name
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    return folder


def named(kind: str) -> Callable[[Json], object]:
    return lambda config: config.update(tokenizer_class=kind)


def ends_texts(spec: Json) -> None:
    """The post-processor puts an end-of-text token behind every text."""
    processor = spec["post_processor"]
    processor["single"].append({"SpecialToken": {"id": "<|end|>", "type_id": 0}})
    processor["special_tokens"]["<|end|>"] = {"id": "<|end|>", "ids": [END], "tokens": ["<|end|>"]}


CHANGES: dict[str, tuple[str, Callable[[Json], object]]] = {
    "another class": ("tokenizer_config.json", named("LlamaTokenizerFast")),
    "a class for GPT-2": ("tokenizer_config.json", named("GPT2TokenizerFast")),
    "an unknown class": ("tokenizer_config.json", named("OurOwnTokenizer")),
    "an end behind every text": ("tokenizer.json", ends_texts),
}


def prompt_ids(codec: FolderCodec, text: str) -> tuple[int, ...]:
    reply = codec.start(0, Prompt(text, 0, 8), Decoding(), codec.context)
    return tuple(reply.ids)


@pytest.mark.parametrize("case", CHANGES)
def test_prompts_are_those_of_the_file(case: str, tmp_path: Path) -> None:
    folder = edited(tmp_path / "model", *CHANGES[case])
    right = open_folder(SMALLEST)
    for text in (*PROBES, TEXT):
        expected = [BEGIN, *right.backend_tokenizer.encode(text, add_special_tokens=False).ids]
        codec = FolderCodec(open_checkpoint(folder))
        assert prompt_ids(codec, text) == tuple(expected)
        # A server's tokenizer, imports and the perplexity of texts read the same.
        counted = open_folder(open_tokenizer(folder).path)
        assert encode_prompt(counted, text) == expected
        assert encode(counted, text) == expected[1:]
        assert decode(counted, expected[1:]) == text
    assert encode_prompt(counted, "") == [BEGIN]


def practice_rows(folder: Path) -> tuple[tuple[int, ...], ...]:
    checkpoint = open_checkpoint(folder)
    size = size_of(checkpoint, embedded=True)
    return prompts_alone(checkpoint, size, of_practice([DEDUCTION], Decoding())).rows


@pytest.mark.parametrize("case", CHANGES)
def test_calibration_reads_the_same_tokens(case: str, tmp_path: Path) -> None:
    folder = edited(tmp_path / "model", *CHANGES[case])
    assert practice_rows(folder) == practice_rows(SMALLEST)


def front_of(model: Path, root: Path, capfd: pytest.CaptureFixture[str]) -> str:
    """Accuracy and tokens of a few questions, as a search prints them."""
    flags = "--method magnitude --sparsity 0 --benchmarks deduction,timeline --questions 4"
    root.mkdir()
    assert main(["--model", str(model), *flags.split(), "--budgets", "128"], root) == 0
    [row] = re.findall(r"128 +(\d.*\]) +[0-9a-f]{32}", capfd.readouterr().out)
    return str(row)


@pytest.mark.engine
def test_the_model_is_as_good_as_it_is(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A quarter of the accuracy is left where spaces are lost, or after an end of text."""
    right = front_of(SMALLEST, tmp_path / "right", capfd)
    assert float(right.split("%")[0]) >= 87.5
    for case, change in CHANGES.items():
        folder = edited(tmp_path / case, *change)
        assert front_of(folder, tmp_path / f"{case}, store", capfd) == right


def forgets_spaces(spec: Json) -> None:
    spec["decoder"] = {"type": "Fuse"}


def lower_case(spec: Json) -> None:
    spec["normalizer"] = {"type": "Lowercase"}


@pytest.mark.parametrize("change", [forgets_spaces, lower_case])
def test_a_text_that_does_not_come_back_is_refused(
    change: Callable[[Json], object], tmp_path: Path
) -> None:
    folder = edited(tmp_path / "model", "tokenizer.json", change)
    with pytest.raises(BadInput, match=r"does not give back the text that it cuts: .*becomes"):
        open_checkpoint(folder)
    with pytest.raises(BadInput, match="does not give back the text"):
        open_tokenizer(folder)


def test_a_loader_that_changes_the_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the class that tokenizer_config.json names would."""
    folder = edited(tmp_path / "model", "tokenizer_config.json", named("LlamaTokenizerFast"))

    def loaded(path: Path) -> object:
        from transformers import LlamaTokenizerFast

        return LlamaTokenizerFast.from_pretrained(str(path))

    monkeypatch.setattr("lrm.tokenizer_checks.open_folder", loaded)
    with pytest.raises(BadInput, match=r"cuts text otherwise than its tokenizer\.json says"):
        open_checkpoint(folder)


def with_token(folder: Path, text: str) -> Path:
    """One token more than the model has embeddings."""

    def add(spec: Json) -> None:
        spec["added_tokens"].append({**spec["added_tokens"][2], "id": 1024, "content": text})

    return edited(folder, "tokenizer.json", add)


def test_tokens_without_an_embedding_are_refused(tmp_path: Path) -> None:
    folder = with_token(tmp_path / "model", "<call>")
    with pytest.raises(BadInput, match=r"no embedding for, as '<call>': the model has 1024 emb"):
        open_checkpoint(folder)


def test_a_token_that_only_fills_up_may_have_none(tmp_path: Path) -> None:
    folder = with_token(tmp_path / "model", "<fill>")
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pad_token": "<fill>"}))
    open_checkpoint(folder)


def test_a_model_of_a_short_context_is_calibrated_on_shorter_rows(tmp_path: Path) -> None:
    folder = copied(tmp_path / "model", max_position_embeddings=256)
    checkpoint = open_checkpoint(folder)
    rows = practice_rows(folder)
    assert {len(row) for row in rows} == {256}
    Wanda(0.5, Calibration("prompts", rows)).apply(checkpoint, tmp_path / "out")


@pytest.mark.parametrize(("reads", "answer"), [(256, 64), (2048, 1024), (131_072, 1024)])
def test_an_answer_leaves_room_for_the_prompt(reads: int, answer: int, tmp_path: Path) -> None:
    folder = copied(tmp_path / "model", max_position_embeddings=reads)
    assert open_model(str(folder)).answer_tokens == answer


@pytest.mark.engine
def test_a_model_of_a_short_context_is_searched(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = copied(tmp_path / "model", max_position_embeddings=256)
    flags = "--sparsity 0 --benchmarks deduction --questions 1 --budgets"
    asked = ["--model", str(folder), *flags.split()]
    assert main([*asked, "128"], tmp_path) == 2
    assert "lower the budgets" in capfd.readouterr().err
    assert main([*asked, "16"], tmp_path) == 0


def test_a_byte_order_mark_is_told(tmp_path: Path) -> None:
    folder = copied(tmp_path / "model")
    path = folder / "tokenizer_config.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    with pytest.raises(BadInput, match=r"tokenizer of .*cannot be loaded.*BOM.*save or fetch"):
        open_model(str(folder))


def test_what_stands_before_a_text_is_kept_and_what_stands_behind_is_not() -> None:
    assert without_end([7, 1, 2, 9, 9], [1, 2]) == [7, 1, 2]
    assert without_end([1, 2], [1, 2]) == [1, 2]
    assert without_end([7, 1, 2, 1, 2], [1, 2]) == [7, 1, 2, 1, 2]
    with pytest.raises(BadInput, match="other tokens when it adds its special ones"):
        without_end([7, 1, 3], [1, 2])

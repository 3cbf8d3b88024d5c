"""One engine over several checkpoints: swapped where it can be, started again where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.cli.engine_choice import EngineChoice
from experiments.search.engine_cache import EngineCache
from lrm.errors import BadInput
from lrm.records.model import Checkpoint
from lrm.records.reply import Decoding, Prompt
from tests.support.scripted_engine import ScriptedEngine

ONE, OTHER = (Checkpoint(Path(name), name) for name in ("one", "other"))
PROMPT = Prompt("q", 0, 64)


class Plain(ScriptedEngine):
    """Says which checkpoint it runs, and writes down what was done to it."""

    log: list[str]

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(lambda prompt: self.says)
        self.says = checkpoint.revision

    def __enter__(self):
        self.log.append(f"start {self.says}")
        return self

    def __exit__(self, kind, error, trace) -> None:
        self.log.append(f"end {self.says}")


class Swapping(Plain):
    def swap(self, checkpoint: Checkpoint) -> None:
        self.log.append(f"swap {checkpoint.revision}")
        self.says = checkpoint.revision


class Choosy(Swapping):
    def swap(self, checkpoint: Checkpoint) -> None:
        raise BadInput("of another shape")


def said(warm: EngineCache, checkpoint: Checkpoint) -> str:
    with warm.on(checkpoint) as engine:
        return engine.generate([PROMPT], Decoding())[0].text


@pytest.mark.parametrize(
    ("kind", "log"),
    [
        (Plain, ["start one", "end one", "start other", "end other"]),
        (Swapping, ["start one", "swap other", "end other"]),
        (Choosy, ["start one", "end one", "start other", "end other"]),
    ],
)
def test_each_checkpoint_answers_for_itself(kind, log: list[str]) -> None:
    kind.log = []
    with EngineCache(EngineChoice("scripted", kind)) as warm:
        warm.on(OTHER)  # never opened, so it costs nothing
        assert [said(warm, ONE), said(warm, ONE), said(warm, OTHER)] == ["one", "one", "other"]
    assert kind.log == log


def test_an_engine_that_rests_is_started_again_when_it_is_needed() -> None:
    Plain.log = []
    with EngineCache(EngineChoice("scripted", Plain)) as warm:
        said(warm, ONE)
        warm.rest()
        warm.rest()
        assert said(warm, ONE) == "one"
    assert Plain.log == ["start one", "end one", "start one", "end one"]


def test_an_engine_in_which_something_went_wrong_is_not_used_again() -> None:
    Swapping.log = []
    with EngineCache(EngineChoice("scripted", Swapping)) as warm:
        with pytest.raises(ValueError, match="disk"), warm.on(ONE):
            raise ValueError("disk full")
        assert said(warm, ONE) == "one"
    assert Swapping.log == ["start one", "end one", "start one", "end one"]

"""How a search's replies are sampled: by its flags, or as the model's makers recommend."""

from __future__ import annotations

import math

from experiments.cli.progress import say
from experiments.cli.settings import RECOMMENDED, SearchSettings
from experiments.models.resolve import Model
from lrm import registry
from lrm.engines.shared.chat import render_chat
from lrm.errors import BadInput
from lrm.model_config import read_generation_config
from lrm.records.reply import Decoding
from lrm.tokenizers import open_folder

OTHERS = {
    "top_k": (None, 0, -1),
    "min_p": (None, 0),
    "typical_p": (None, 1),
    "repetition_penalty": (None, 1),
    "no_repeat_ngram_size": (None, 0),
}
"""What generation_config.json may recommend beside temperature and top_p, none of which is taken,
with the values under which it does nothing."""


def decoding_of(settings: SearchSettings, model: Model) -> Decoding:
    """The decoding that the flags ask for.

    Raises BadInput where they ask for what the model recommends, and it recommends nothing that
    can be used. What else it recommends is named on stderr, since it is not taken.
    """
    temperature = _number(settings.temperature, "temperature", model)
    top_p = _number(settings.top_p, "top_p", model)
    if RECOMMENDED in (settings.temperature, settings.top_p):
        _name_others(model)
    if temperature == 0 and settings.samples > 1:
        raise BadInput(
            "At temperature 0 all replies to a question are the same: give --samples 1, or a "
            "--temperature above 0."
        )
    answer_tokens = settings.answer_tokens or model.answer_tokens
    return Decoding(
        temperature=temperature,
        top_p=top_p,
        max_tokens=max(settings.budgets) + answer_tokens,
        answer_tokens=answer_tokens,
        seed=settings.seed,
        samples=settings.samples,
    )


def check_system(settings: SearchSettings, model: Model) -> None:
    """BadInput, before anything is made of the model, if its chat template has no place for
    --system. Of a model that is a file, the engine that reads the file says so."""
    if settings.system is not None and model.checkpoint.format not in registry.FILE_FORMATS:
        render_chat(open_folder(model.checkpoint.path), "?", model.name, settings.system)


def _number(asked: float | str, name: str, model: Model) -> float:
    if not isinstance(asked, str):
        return float(asked)
    recommended = _recommended(model).get(name)
    low, high = (0, math.inf) if name == "temperature" else (1e-9, 1)
    if isinstance(recommended, int | float) and low <= recommended <= high:
        return float(recommended)
    flag = name.replace("_", "-")
    raise BadInput(
        f"--{flag} {RECOMMENDED}: the generation_config.json of {model.name} names no {name} that "
        f"can be used; give --{flag} a number."
    )


def _name_others(model: Model) -> None:
    values = _recommended(model)
    named = [
        f"{name} {values[name]}"
        for name, without_effect in OTHERS.items()
        if values.get(name) not in without_effect
    ]
    if named:
        say(f"{model.name} also recommends {' and '.join(named)}, which is not taken.")


def _recommended(model: Model) -> dict[str, object]:
    """Empty for a GGUF file, which has none."""
    path = model.checkpoint.path
    return read_generation_config(path) if path.is_dir() else {}

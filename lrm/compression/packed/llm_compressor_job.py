"""AWQ and GPTQ by llm-compressor, in a process of its own.

It wants versions of its own, so this file is run by the Python of another environment and imports
nothing of this project. The job comes as one JSON object, the first line of stdin; what becomes of
it goes to the file descriptor named on the command line, a JSON object a line: `{"done": 3}` after
so many parts of the model, then `{"finished": true}` or `{"failed": "why"}`. The process ends when
stdin does, which is when the other side ended, however that came.

A job names the folders of the `model`, of the packed result (`out`), and of the same weights
unpacked (`twin`, `model.safetensors` alone); for AWQ the file for the scaled weights as they were
before they were quantized (`scaled`); `method`, `bits`, `group`, `act_order`, `damping`; the linear
layers that stay as they are (`ignore`), and the file of calibration rows (`rows`).
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import torch
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers import Modifier
from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.quantization import QuantizationModifier
from llmcompressor.modifiers.transform.awq import AWQModifier
from llmcompressor.pipelines.cache import IntermediatesCache
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, CompressedTensorsConfig

if TYPE_CHECKING:
    from llmcompressor.core import Event, State

FILE = "model.safetensors"


class QuantizationJob(TypedDict):
    """See the top of this file."""

    model: str
    out: str
    twin: str
    scaled: str
    rows: str
    method: str
    bits: int
    group: int
    act_order: str
    damping: float
    ignore: list[str]


class Failed(Exception):
    """The library did not do what was asked."""


def telling(kind: type[Modifier]) -> type[Modifier]:
    """The same modifier, which tells after each part of the model how many are done, and fails
    where GPTQ would only warn that it has rounded a layer instead."""

    class Telling(kind):  # type: ignore[misc]
        def on_sequential_epoch_end(self, state: State, event: Event, **kwargs: object) -> None:
            super().on_sequential_epoch_end(state, event, **kwargs)
            if rounded := getattr(self, "_rtn_fallback_module_names", None):
                raise Failed(
                    f"the inputs of {rounded[0]} could not be factorised, and llm-compressor would "
                    "only round it; calibrate on more rows, or raise the damping"
                )
            self._parts = getattr(self, "_parts", 0) + 1
            tell(done=self._parts)

    return Telling


class Scaled(Modifier):  # type: ignore[misc]
    """Keeps AWQ's scaled weights as they are before they are quantized."""

    file: str

    def on_initialize(self, state: State, **kwargs: object) -> bool:
        return True

    def on_finalize(self, state: State, **kwargs: object) -> bool:
        weights = {
            f"{name}.weight": module.weight.detach().cpu().clone()
            for name, module in state.model.named_modules()
            if isinstance(module, torch.nn.Linear) and name != "lm_head"
        }
        save_file(weights, self.file)
        return True


def recipe(job: QuantizationJob) -> list[Modifier]:
    """What the library is to do. GPTQ's values are symmetric around zero, AWQ's are not, as in the
    libraries that its models are usually made with."""
    weights = QuantizationArgs(
        num_bits=job["bits"],
        type="int",
        symmetric=job["method"] == "gptq",
        strategy="group",
        group_size=job["group"],
    )
    common = {
        "config_groups": {"group_0": QuantizationScheme(targets=["Linear"], weights=weights)},
        "ignore": ["lm_head", *job["ignore"]],
    }
    if job["method"] == "gptq":
        order = None if job["act_order"] == "none" else job["act_order"]
        return [telling(GPTQModifier)(actorder=order, dampening_frac=job["damping"], **common)]
    awq = telling(AWQModifier)(duo_scaling="both")
    return [awq, QuantizationModifier(**common), Scaled(file=job["scaled"])]


def quantize(job: QuantizationJob) -> None:
    """The packed folder."""
    rows = load_file(job["rows"])
    tokens = [part.tolist() for part in rows["tokens"].split(rows["lengths"].tolist())]
    model = AutoModelForCausalLM.from_pretrained(
        job["model"], dtype="auto", local_files_only=True, trust_remote_code=False
    )
    steps, stored = recipe(job), model.dtype
    if not torch.accelerator.is_available():
        model.float()  # bfloat16 takes 30 times as long on a CPU without units for it
        # AWQ pins tensors for copies to a GPU, which raises where there is none (0.14).
        IntermediatesCache.pin_memory = lambda *arguments, **named: None
    oneshot(
        model=model,
        dataset=Dataset.from_dict(
            {"input_ids": tokens, "attention_mask": [[1] * len(row) for row in tokens]}
        ),
        recipe=steps,
        num_calibration_samples=len(tokens),
        max_seq_length=max(map(len, tokens)),
        shuffle_calibration_samples=False,
    )
    model.to(stored)
    model.save_pretrained(job["out"], save_compressed=True)


def unpack(job: QuantizationJob) -> None:
    """The weights that the packed folder stands for, by the names of the model's own files."""
    model = AutoModelForCausalLM.from_pretrained(
        job["out"],
        dtype="auto",
        local_files_only=True,
        trust_remote_code=False,
        quantization_config=CompressedTensorsConfig(run_compressed=False),
    )
    unpacked = model.state_dict()
    names = [name for file in Path(job["model"]).glob("*.safetensors") for name in names_in(file)]
    weights = {name: unpacked[name].detach().cpu().contiguous() for name in names}
    save_file(weights, str(Path(job["twin"], FILE)), metadata={"format": "pt"})


def names_in(file: Path) -> list[str]:
    with safe_open(file, framework="pt") as opened:
        return list(opened.keys())


def tell(**message: object) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


def leave_with_stdin() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    answers = os.fdopen(int(sys.argv[1]), "w", encoding="utf-8")
    asked: QuantizationJob = json.loads(sys.stdin.readline())
    threading.Thread(target=leave_with_stdin, daemon=True).start()
    try:
        quantize(asked)
        unpack(asked)
    except Failed as failure:
        tell(failed=str(failure))
    except (torch.OutOfMemoryError, MemoryError):
        tell(failed="there is not enough memory for it; calibrate on fewer or shorter rows")
    except OSError as error:
        tell(failed=f"{error.strerror or error}")
    else:
        tell(finished=True)
    answers.close()
    os._exit(0)

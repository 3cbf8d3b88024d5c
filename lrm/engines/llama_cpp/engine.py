"""GGUF files through llama.cpp, many replies at once, on a CPU or with layers on a GPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import torch

from lrm import formats
from lrm.contracts import OnCompletion
from lrm.engines.llama_cpp.batch import LlamaBatch, sequences
from lrm.engines.llama_cpp.vocab import Vocab
from lrm.engines.shared.chat import no_template, opened, render
from lrm.engines.shared.codec import Codec, refuse_thinking
from lrm.engines.shared.queue import DecodingRow, at_once, finish, row
from lrm.errors import BadInput, MissingExtra
from lrm.records import Checkpoint, Completion, Decoding, Format, Prompt

MAGIC = b"GGUF"
ERROR_LEVEL = 4


class LlamaCppEngine:
    """Runs a GGUF file, or the first of a split one ("-00001-of-0000N.gguf"), which loads all.

    At most `slots` replies run at once; a slot is refilled as soon as its reply ends. Prompts of
    one call that share their text (forced answers, several samples) are prefilled once. `context`
    is the longest prompt and reply together, unless given what the model was trained for; memory
    is taken for the longest of a call. `gpu_layers` go to the GPU (-1: all), and without one that
    is refused. `threads` is torch's number unless given. Threads that wait for one another spin, by
    the OpenMP that comes with torch: where other processes want the same cores, two of them were
    seen to be 20 times slower than one, unless OMP_WAIT_POLICY=passive was in the environment when
    the process began.

    The same call gives the same completions on the same machine. As in the transformers engine, a
    reply's random numbers never depend on its neighbours, but its logits do in their last bits, so
    a near-tie may fall differently in another batch.
    """

    name = "llama_cpp"
    formats: ClassVar[tuple[Format, ...]] = ("gguf",)
    ends_thinking = False

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        context: int | None = None,
        slots: int = 16,
        gpu_layers: int = 0,
        threads: int | None = None,
    ) -> None:
        for what, value in {"slots": slots, "context": context, "threads": threads}.items():
            if value is not None and value < 1:
                raise BadInput(f"{what} must be 1 or more, got {value}")
        self.checkpoint = checkpoint
        self.context, self.slots = context, slots
        self.gpu_layers, self.threads = gpu_layers, threads or torch.get_num_threads()
        self._lib: Any = None
        self._model: Any = None

    @property
    def identity(self) -> str:
        """See `lrm.contracts.Engine`. The file decides the types of the arithmetic, but for the
        device: a GPU's kernels round what they multiply differently."""
        return f"{self.name} gpu" if self.gpu_layers else self.name

    def __enter__(self) -> Self:
        path = _check_file(self.checkpoint)
        self._lib = _library()
        if self.gpu_layers and not self._lib.llama_supports_gpu_offload():
            raise BadInput(
                f"gpu_layers is {self.gpu_layers}, but the installed llama-cpp-python finds no GPU "
                "or was built without one; leave gpu_layers out, or build it again with "
                "CMAKE_ARGS=-DGGML_CUDA=on"
            )
        self._model = _load(self._lib, path, self.gpu_layers)
        try:
            self._vocab = Vocab(self._lib, self._model)
            self._codec = Codec(
                self._vocab.encode, self._vocab.decode, self._vocab.endings(), self._room()
            )
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lib.llama_model_free(self._model)
        self._model = None

    def generate(
        self,
        prompts: Sequence[Prompt],
        decoding: Decoding,
        on_completion: OnCompletion | None = None,
    ) -> list[Completion]:
        """See `lrm.contracts.Engine`. Raises BadInput first of all if a prompt does not fit."""
        refuse_thinking(prompts, self.name)

        def made(index: int, prompt: Prompt) -> DecodingRow:
            asked = self._asked(prompt)
            return row(
                index,
                prompt,
                self._codec.begin(index, prompt, asked, decoding, self._codec.context),
            )

        rows = [made(index, prompt) for index, prompt in enumerate(prompts)]
        if not rows:
            return []
        most = min(self.slots, self._lib.llama_max_parallel_sequences())
        count = at_once(rows, prompts, most)
        length = max(row.length for row in rows)
        with sequences(self._lib, self._model, count, length, self.threads) as context:
            if not context:
                raise BadInput(
                    f"there is no memory for {count} replies of up to {length} tokens at once; "
                    "lower slots or max_tokens"
                )
            batch = LlamaBatch(self._lib, context, self._vocab.size, rows, decoding)
            return finish(batch, rows, self._codec, decoding, made, on_completion)

    def _room(self) -> int:
        trained: int = self._lib.llama_model_n_ctx_train(self._model)
        if self.context and self.context > trained:
            raise BadInput(
                f"context {self.context} is more than the {trained} tokens that "
                f"{self.checkpoint.path} was trained for; give at most that"
            )
        return self.context or trained

    def _asked(self, prompt: Prompt) -> list[int]:
        """The prompt's own token ids."""
        if not prompt.chat:
            return self._vocab.encode(prompt.text, beginning=True)
        template = self._vocab.chat_template()
        if not template:
            raise no_template(self.checkpoint.path)
        text = render(template, prompt.text, self._vocab.bos(), self._vocab.eos())
        return self._vocab.encode(opened(text))


def _check_file(checkpoint: Checkpoint) -> Path:
    path = checkpoint.path
    if checkpoint.format == "dense":
        raise BadInput(
            f"{path} is no GGUF file but a Hugging Face folder; convert it with "
            "lrm.compression.gguf.convert.write_f16, or run it with the transformers engine"
        )
    formats.check(path, checkpoint.format, LlamaCppEngine)
    try:
        with path.open("rb") as file:
            start = file.read(len(MAGIC))
    except OSError as error:
        raise BadInput(
            f"{path} cannot be read ({error.strerror}); give the path of a GGUF file"
        ) from error
    if start != MAGIC:
        raise BadInput(f"{path} is no GGUF file; give one, or convert a folder to it")
    return path


def _library() -> Any:
    """The module llama_cpp, its chatter off."""
    try:
        lib = import_module("llama_cpp")
    except ImportError as error:
        raise MissingExtra(
            "the llama.cpp engine needs llama-cpp-python; install it with pip install 'lrm[gguf]'"
        ) from error
    lib.llama_log_set(_listener(lib)[0], None)
    lib.llama_backend_init()
    return lib


@cache
def _listener(lib: Any) -> tuple[Any, deque[str]]:
    """A log callback that prints nothing, and the last errors that it heard. llama.cpp goes on
    calling it, so it is kept for good."""
    heard: deque[str] = deque(maxlen=20)

    @lib.llama_log_callback  # type: ignore[untyped-decorator]
    def listen(level: int, text: bytes, _: Any) -> None:
        if level == ERROR_LEVEL:
            heard.append(text.decode(errors="replace").strip())

    return listen, heard


def _load(lib: Any, path: Path, gpu_layers: int) -> Any:
    """The model of a file; BadInput with llama.cpp's own reason if it cannot be run."""
    params = lib.llama_model_default_params()
    params.n_gpu_layers = gpu_layers
    params.check_tensors = True  # values that are infinite or no numbers are refused
    heard = _listener(lib)[1]
    heard.clear()
    model = lib.llama_model_load_from_file(str(path).encode(), params)
    if not model:
        reason = heard[0] if heard else "llama.cpp gives no reason"
        raise BadInput(
            f"{path} cannot be loaded ({reason}); fetch or make it again, or "
            "install a newer llama-cpp-python if it does not know the model"
        )
    if lib.llama_model_is_recurrent(model) or lib.llama_model_is_hybrid(model):
        lib.llama_model_free(model)
        raise BadInput(f"{path} is a recurrent model, which this engine does not run; give another")
    return model

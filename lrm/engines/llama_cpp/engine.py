"""GGUF files through llama.cpp, many replies at once, on a CPU or with layers on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import torch

from lrm.contracts.engine import OnCompletion, OnTokens
from lrm.engines.llama_cpp.batch import LlamaBatch, open_context
from lrm.engines.llama_cpp.library import LlamaLibrary, Model, load_model, open_library
from lrm.engines.llama_cpp.template import render_template
from lrm.engines.llama_cpp.vocab import Vocab
from lrm.engines.shared.chat import missing_template, with_open_thinking
from lrm.engines.shared.codec import Codec
from lrm.engines.shared.loads import check_loads
from lrm.engines.shared.prompt_checks import refuse_thinking
from lrm.engines.shared.queue import DecodingRow, decode_all, decoding_row, parallel_rows
from lrm.errors import BadInput
from lrm.records.model import Checkpoint, Format
from lrm.records.reply import Completion, Decoding, Prompt
from lrm.tokenizers import without_end

MAGIC = b"GGUF"


class LlamaCppEngine:
    """Runs a GGUF file, or the first part of a split one ("-00001-of-0000N.gguf"), which loads all.

    At most `slots` replies run at once; a slot is refilled as soon as its reply ends. Prompts of
    one call that share their text (forced answers, several samples) are prefilled once. `context`
    is the longest prompt and reply together, by default what the model was trained for; memory is
    taken for the longest of a call. `gpu_layers` go to the GPU (-1: all); without a GPU that is
    refused. `threads` is by default torch's number. The OpenMP that comes with torch lets threads
    that wait for one another spin. Where other processes want the same cores, two threads were
    therefore measured to be 20 times slower than one, unless OMP_WAIT_POLICY=passive was in the
    environment when the process began.

    The same call gives the same completions on the same machine. As in the transformers engine, a
    reply's random numbers never depend on its neighbours, but its logits do in their last bits, so
    a near-tie may be decided differently in another batch.
    """

    _lib: LlamaLibrary
    _model: Model

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
        for option, value in {"slots": slots, "context": context, "threads": threads}.items():
            if value is not None and value < 1:
                raise BadInput(f"{option} must be 1 or more, got {value}")
        self.checkpoint = checkpoint
        self.context, self.slots = context, slots
        self.gpu_layers, self.threads = gpu_layers, threads or torch.get_num_threads()

    @property
    def identity(self) -> str:
        """See `lrm.contracts.engine.Engine`. The file decides the types of the arithmetic, except
        for the device: a GPU's kernels round their products differently."""
        return f"{self.name} gpu" if self.gpu_layers else self.name

    def __enter__(self) -> Self:
        path = _check_file(self.checkpoint)
        self._lib = open_library()
        if self.gpu_layers and not self._lib.llama_supports_gpu_offload():
            raise BadInput(
                f"gpu_layers is {self.gpu_layers}, but the installed llama-cpp-python finds no GPU "
                "or was built without one; leave gpu_layers out, or build it again with "
                "CMAKE_ARGS=-DGGML_CUDA=on"
            )
        self._model = load_model(self._lib, path, self.gpu_layers)
        try:
            self._vocab = Vocab(self._lib, self._model)
            self._codec = Codec(
                self._vocab.encode,
                self._vocab.decode,
                eos=self._vocab.eos_ids(),
                context=self._context_length(),
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
        del self._model

    def generate(
        self,
        prompts: Sequence[Prompt],
        decoding: Decoding,
        on_completion: OnCompletion | None = None,
        on_tokens: OnTokens | None = None,
    ) -> list[Completion]:
        """See `lrm.contracts.engine.Engine`. BadInput first of all if a prompt does not fit."""
        refuse_thinking(prompts, self.name)

        def make_row(index: int, prompt: Prompt) -> DecodingRow:
            prompt_ids = self._prompt_ids(prompt)
            reply = self._codec.begin(index, prompt, prompt_ids, decoding, self._codec.context)
            return decoding_row(prompt, reply)

        rows = [make_row(index, prompt) for index, prompt in enumerate(prompts)]
        if not rows:
            return []
        most = min(self.slots, self._lib.llama_max_parallel_sequences())
        count = parallel_rows(rows, prompts, most)
        length = max(row.length for row in rows)
        with open_context(self._lib, self._model, count, length, self.threads) as context:
            if not context:
                raise BadInput(
                    f"there is no memory for {count} replies of up to {length} tokens at once; "
                    "lower slots or max_tokens"
                )
            batch = LlamaBatch(self._lib, context, self._vocab.size, rows, decoding)
            return decode_all(
                batch, rows, self._codec, decoding, make_row, on_completion, on_tokens
            )

    def _context_length(self) -> int:
        trained = self._lib.llama_model_n_ctx_train(self._model)
        if self.context and self.context > trained:
            raise BadInput(
                f"context {self.context} is more than the {trained} tokens that "
                f"{self.checkpoint.path} was trained for; give at most that"
            )
        return self.context or trained

    def _prompt_ids(self, prompt: Prompt) -> list[int]:
        """The prompt's own token ids."""
        if not prompt.chat:
            # What the file wants behind a text (add_eos_token) would end the prompt.
            ids = self._vocab.encode(prompt.text, add_special=True)
            return without_end(ids, self._vocab.encode(prompt.text))
        template = self._vocab.chat_template()
        if not template:
            raise missing_template(self.checkpoint.path)
        path, bos, eos = self.checkpoint.path, self._vocab.bos(), self._vocab.eos()
        chat = render_template(template, prompt.text, bos, eos, path, prompt.system)
        return self._vocab.encode(with_open_thinking(chat, prompt.text, path))


def _check_file(checkpoint: Checkpoint) -> Path:
    """The path of a GGUF file that can be read, else BadInput."""
    path = checkpoint.path
    if checkpoint.format == "dense":
        raise BadInput(
            f"{path} is no GGUF file but a Hugging Face folder; convert it with "
            "lrm.compression.gguf.convert.write_f16, or run it with the transformers engine"
        )
    check_loads(path, checkpoint.format, LlamaCppEngine)
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

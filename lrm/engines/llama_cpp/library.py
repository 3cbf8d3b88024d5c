"""The module `llama_cpp` as this engine uses it: its functions' types, opening it, loading a file.

llama-cpp-python binds the C functions of llama.h (github.com/ggml-org/llama.cpp, include/llama.h)
under their own names. What they point to is an address, here a type of its own.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NewType, Protocol, cast

from lrm.errors import BadInput, MissingExtra
from lrm.signals import signals_wait

Model = NewType("Model", int)
Context = NewType("Context", int)
Memory = NewType("Memory", int)
Vocabulary = NewType("Vocabulary", int)
LogCallback = NewType("LogCallback", object)

ERROR_LEVEL = 4
"""GGML_LOG_LEVEL_ERROR of ggml.h."""

LAST_ERRORS = 20


class ModelParams(Protocol):
    """Of `llama_model_params`."""

    n_gpu_layers: int
    check_tensors: bool


class ContextParams(Protocol):
    """Of `llama_context_params`."""

    n_ctx: int
    n_seq_max: int
    kv_unified: bool
    n_batch: int
    n_outputs_max: int
    n_threads: int
    n_threads_batch: int
    flash_attn_type: int
    type_k: int
    type_v: int
    no_perf: bool


class LlamaBatchInput(Protocol):
    """Of `llama_batch`: pointers to arrays of one entry a token."""

    token: object
    pos: object
    n_seq_id: object
    seq_id: object
    logits: object


class LlamaLibrary(Protocol):
    """Of the module `llama_cpp`. A returned pointer is None where C gives NULL."""

    LLAMA_FLASH_ATTN_TYPE_DISABLED: int
    LLAMA_FTYPE_ALL_F32: int
    GGML_TYPE_F32: int
    GGML_TYPE_F16: int

    def __hash__(self) -> int: ...

    def llama_log_callback(
        self, listen: Callable[[int, bytes, object], None], /
    ) -> LogCallback: ...
    def llama_log_set(self, callback: LogCallback, data: None, /) -> None: ...
    def llama_backend_init(self) -> None: ...
    def llama_supports_gpu_offload(self) -> bool: ...
    def llama_max_parallel_sequences(self) -> int: ...

    def llama_model_default_params(self) -> ModelParams: ...
    def llama_model_load_from_file(self, path: bytes, params: ModelParams, /) -> Model | None: ...
    def llama_model_free(self, model: Model, /) -> None: ...
    def llama_model_is_recurrent(self, model: Model, /) -> bool: ...
    def llama_model_is_hybrid(self, model: Model, /) -> bool: ...
    def llama_model_n_ctx_train(self, model: Model, /) -> int: ...
    def llama_model_ftype(self, model: Model, /) -> int: ...
    def llama_model_chat_template(self, model: Model, name: None, /) -> bytes | None: ...
    def llama_model_get_vocab(self, model: Model, /) -> Vocabulary: ...

    def llama_vocab_n_tokens(self, vocabulary: Vocabulary, /) -> int: ...
    def llama_vocab_is_eog(self, vocabulary: Vocabulary, token: int, /) -> bool: ...
    def llama_vocab_bos(self, vocabulary: Vocabulary, /) -> int: ...
    def llama_vocab_eos(self, vocabulary: Vocabulary, /) -> int: ...
    def llama_tokenize(
        self,
        vocabulary: Vocabulary,
        text: bytes,
        text_size: int,
        ids: ctypes.Array[ctypes.c_int32],
        ids_size: int,
        add_special: bool,
        parse_special: bool,
        /,
    ) -> int: ...
    def llama_token_to_piece(
        self,
        vocabulary: Vocabulary,
        token: int,
        buffer: ctypes.Array[ctypes.c_char],
        buffer_size: int,
        lstrip: int,
        special: bool,
        /,
    ) -> int: ...

    def llama_context_default_params(self) -> ContextParams: ...
    def llama_init_from_model(self, model: Model, params: ContextParams, /) -> Context | None: ...
    def llama_free(self, context: Context, /) -> None: ...
    def llama_n_seq_max(self, context: Context, /) -> int: ...
    def llama_get_memory(self, context: Context, /) -> Memory: ...
    def llama_memory_seq_cp(
        self, memory: Memory, source: int, target: int, start: int, end: int, /
    ) -> None: ...
    def llama_memory_seq_rm(
        self, memory: Memory, sequence: int, start: int, end: int, /
    ) -> bool: ...
    def llama_batch(self, *, n_tokens: int) -> LlamaBatchInput: ...
    def llama_decode(self, context: Context, batch: LlamaBatchInput, /) -> int: ...
    def llama_get_logits(self, context: Context, /) -> object: ...


def open_library() -> LlamaLibrary:
    """The module llama_cpp, its log messages not printed; MissingExtra if it is not installed."""
    try:
        lib = cast(LlamaLibrary, import_module("llama_cpp"))
    except ImportError as error:
        raise MissingExtra(
            "the llama.cpp engine needs llama-cpp-python; install it with pip install 'lrm[gguf]'"
        ) from error
    lib.llama_log_set(_log_listener(lib)[0], None)
    lib.llama_backend_init()
    return lib


@cache
def _log_listener(lib: LlamaLibrary) -> tuple[LogCallback, deque[str]]:
    """A log callback that prints nothing, and the last error messages it received.

    Cached for good, since llama.cpp keeps the callback and goes on calling it.
    """
    errors: deque[str] = deque(maxlen=LAST_ERRORS)

    @lib.llama_log_callback
    def listen(level: int, text: bytes, _: object) -> None:
        if level == ERROR_LEVEL:
            errors.append(text.decode(errors="replace").strip())

    return listen, errors


def load_model(lib: LlamaLibrary, path: Path, gpu_layers: int) -> Model:
    """The model of a file; BadInput with llama.cpp's own reason if it cannot be run."""
    params = lib.llama_model_default_params()
    params.n_gpu_layers = gpu_layers
    params.check_tensors = True  # values that are infinite or no numbers are refused
    errors = _log_listener(lib)[1]
    errors.clear()
    with signals_wait():
        model = lib.llama_model_load_from_file(str(path).encode(), params)
    if not model:
        # The first error is the cause, those after it only say what failed in turn.
        reason = errors[0] if errors else "llama.cpp gives no reason"
        raise BadInput(
            f"{path} cannot be loaded ({reason}); fetch or make it again, or "
            "install a newer llama-cpp-python if it does not know the model"
        )
    if lib.llama_model_is_recurrent(model) or lib.llama_model_is_hybrid(model):
        lib.llama_model_free(model)
        raise BadInput(f"{path} is a recurrent model, which this engine does not run; give another")
    return model

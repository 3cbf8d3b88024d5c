"""Trains an embedded model from random weights, on documents made on the fly."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lrm.benchmarks.twin import SeededRandom
from lrm.tiny import tokenizer as tokenizers
from lrm.tiny.traces import document

ROW = 640
"""Tokens in a training row; whole documents are packed into it, the few longer ones left out."""

IGNORED = -100
"""The label of a token that is not learned, as torch's cross-entropy has it."""

REPORT_STEPS = 50
"""Steps from one report of the loss to the next."""

TOKENIZER_DOCUMENTS = 20_000


@dataclass(frozen=True)
class TrainingRecipe:
    """Shape and schedule of one embedded model. `rows` x ROW tokens make a step."""

    hidden: int
    layers: int
    intermediate: int
    heads: int
    kv_heads: int
    steps: int
    rows: int = 152
    rate: float = 2e-3
    warmup: int = 200
    decay: float = 0.1
    seed: int = 0


RECIPES = {
    "tiny-5m": TrainingRecipe(
        hidden=256, layers=6, intermediate=768, heads=8, kv_heads=4, steps=6000
    ),
    "tiny-1m": TrainingRecipe(
        hidden=128, layers=4, intermediate=512, heads=4, kv_heads=2, steps=8000
    ),
}


def make_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Learns the tokenizer from training documents."""
    rng = SeededRandom(seed)
    return tokenizers.train("".join(document(rng)) for _ in range(TOKENIZER_DOCUMENTS))


class TrainingRows(IterableDataset[tuple[torch.Tensor, torch.Tensor]]):
    """Endless batches of packed rows: token ids and labels, both int64 [rows, ROW].

    Only replies are learned: prompts and padding have the label IGNORED. Each worker process has
    a random stream of its own.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, rows: int, seed: int) -> None:
        self.tokenizer, self.rows, self.seed = tokenizer, rows, seed

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        worker = get_worker_info()
        documents = self._documents(
            SeededRandom(self.seed * 1000 + 1 + (worker.id if worker else 0))
        )
        ids, labels = next(documents)
        while True:
            batch = np.full((2, self.rows, ROW), IGNORED, dtype=np.int64)
            batch[0] = self.tokenizer.pad_token_id
            for row in range(self.rows):
                start = 0
                while start + len(ids) <= ROW:
                    batch[0, row, start : start + len(ids)] = ids
                    batch[1, row, start : start + len(ids)] = labels
                    start += len(ids)
                    ids, labels = next(documents)
            yield torch.from_numpy(batch[0]), torch.from_numpy(batch[1])

    def _documents(self, rng: SeededRandom) -> Iterator[tuple[list[int], list[int]]]:
        """Token ids and labels of documents that fit into a row, without end."""
        encode = self.tokenizer.backend_tokenizer.encode_batch
        end = self.tokenizer.eos_token_id
        while True:
            prompts, replies = zip(*(document(rng) for _ in range(256)), strict=True)
            for prompt, reply in zip(
                encode(prompts), encode(replies, add_special_tokens=False), strict=True
            ):
                answer = [*reply.ids, end]
                if len(prompt.ids) + len(answer) <= ROW:
                    yield prompt.ids + answer, [IGNORED] * len(prompt.ids) + answer


def build(recipe: TrainingRecipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A randomly initialised model, float32."""
    torch.manual_seed(recipe.seed)
    config = LlamaConfig(
        vocab_size=tokenizers.VOCABULARY,
        hidden_size=recipe.hidden,
        intermediate_size=recipe.intermediate,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.kv_heads,
        max_position_embeddings=tokenizers.CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def train(
    recipe: TrainingRecipe,
    tokenizer: PreTrainedTokenizerFast,
    *,
    workers: int,
    on_step: Callable[[int, float], None],
) -> LlamaForCausalLM:
    """Trains a model, on a GPU if there is one; `on_step(step, loss)` every 50 steps."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # 1) The model, compiled on a GPU.
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")
    model = build(recipe, tokenizer).to(device)
    forward = torch.compile(model) if device == "cuda" else model

    # 2) AdamW, which decays matrices and not norms; a linear warm-up and a linear decay to 0.
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": recipe.decay}, {"params": others, "weight_decay": 0}],
        lr=recipe.rate,
        betas=(0.9, 0.95),
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(
            (step + 1) / recipe.warmup,
            (recipe.steps - step) / max(recipe.steps - recipe.warmup, 1),
        ),
    )

    # 3) Documents, made by worker processes.
    data = DataLoader(
        TrainingRows(tokenizer, recipe.rows, recipe.seed),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=8 if workers else None,
        pin_memory=device == "cuda",
    )

    # 4) The steps, in bfloat16 but for the loss.
    for step, (ids, labels) in zip(range(recipe.steps), data, strict=False):
        with torch.autocast(device, torch.bfloat16):
            logits = forward(input_ids=ids.to(device, non_blocking=True), use_cache=False).logits
        loss = functional.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(),
            labels[:, 1:].flatten().to(device, non_blocking=True),
            ignore_index=IGNORED,
        )
        if step % REPORT_STEPS == 0 or step == recipe.steps - 1:
            on_step(step, loss.item())
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return model


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Writes bfloat16 safetensors, the tokenizer, and DeepSeek-R1's advice on sampling."""
    model.to(torch.bfloat16)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        do_sample=True,
        temperature=0.6,
        top_p=0.95,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)

"""The importance matrix of llama.cpp: how large the inputs are that a quantized layer reads.

Of each linear layer it is the mean squared input of every column, over the tokens of a calibration:
the diagonal of the Hessian that pruning uses, halved. llama.cpp's own tool computes it on a running
GGUF file; here the dense model in torch does, whose blocks pass one after the other.
"""

from __future__ import annotations

from torch import Tensor

from lrm.compression.checkpoint.folder import Weights
from lrm.compression.gguf.config import ModelConfig
from lrm.compression.gguf.convert import namer
from lrm.compression.streaming.activations import ActivationStream
from lrm.compression.streaming.load import load
from lrm.compression.streaming.sums import Squares
from lrm.records.model import Calibration, Checkpoint

SMALLEST = 1e-6
"""Least importance of a column, relative to the layer's mean: a column that no token reaches still
has to be stored, and llama.cpp divides by sums of these. LEAST where nothing at all is read."""

LEAST = 1e-12


def importance(
    checkpoint: Checkpoint, config: ModelConfig, calibration: Calibration
) -> dict[str, Tensor]:
    """Mean squared input, [columns] in float32, of every linear layer of the blocks, by the name
    that its weight has in a GGUF file."""
    decoder = load(Weights(checkpoint.path))
    stream, named = ActivationStream(decoder, calibration.rows), namer(config)
    inputs: dict[str, Tensor] = {}
    for index in range(len(decoder.blocks)):
        with decoder.block(index):
            measured = stream.measure(index, sums=Squares)
        for shared in measured:
            mean = (shared.hessian / 2).cpu()
            for layer in shared.layers:
                name = named(f"{layer}.weight")
                assert name is not None, layer  # writing the float16 file has named them all
                inputs[name] = mean.clamp(min=max(SMALLEST * float(mean.mean()), LEAST))
    return inputs

"""Where hidden states are kept while no block reads them: on the device, or else in the host's
memory, or else on disk.

They take rows x tokens x hidden size x bytes of a value, times the sparsities in sequential mode.
128 x 2,048 tokens of a 70B model (8,192 values of 2 bytes) are 4.3 GB, and 34 GB at 8 sparsities.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from tempfile import NamedTemporaryFile

import torch
from torch import Tensor

ON_DEVICE, ON_HOST = 8, 4
"""They may fill one part in so many of a GPU's memory, or of the host's. The rest is for a block,
its Hessians and its sparser copies, and for other processes."""

Offload = Callable[[Tensor], Tensor]
"""Copies hidden states to where they are kept; what it returns is written over later."""


def offload_for(size: int, device: torch.device) -> Offload | None:
    """How to offload hidden states that take `size` bytes in all; None if they stay on `device`."""
    on_host = size * ON_HOST <= host_memory()
    if device.type != "cuda":
        return None if on_host else _on_disk
    if size * ON_DEVICE <= torch.cuda.get_device_properties(device).total_memory:
        return None
    return _on_host if on_host else _on_disk


def host_memory() -> int:
    """Bytes of memory that the machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _on_host(hidden: Tensor) -> Tensor:
    """In page-locked memory, which a GPU reads and writes at the speed of its bus."""
    return torch.empty_like(hidden, device="cpu", pin_memory=True).copy_(hidden)


def _on_disk(hidden: Tensor) -> Tensor:
    """In a file of the temporary folder (TMPDIR) that has no name any more, so that it goes with
    the tensor, or with the process."""
    with NamedTemporaryFile() as file:
        hidden.detach().cpu().contiguous().view(torch.uint8).numpy().tofile(file.name)
        mapped = torch.from_file(file.name, True, hidden.numel(), dtype=hidden.dtype)
    return mapped.view(hidden.shape)

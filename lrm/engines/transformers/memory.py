"""How many replies at once the memory of a device holds."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch
from transformers import PreTrainedConfig

from lrm.engines.transformers.slots import head_size
from lrm.errors import EngineFailed

SHARE = 0.8
"""Of the free memory, this share may go into keys and values; the pass itself needs some too."""

CGROUP = Path("/sys/fs/cgroup")
"""Where Linux says what memory a container may use."""


def rows_that_fit(
    config: PreTrainedConfig, count: int, length: int, dtype: torch.dtype, device: torch.device
) -> int:
    """At most `count` rows of up to `length` tokens, and no more than there is memory for.

    Raises EngineFailed if not even one fits.
    """
    numbers = 2 * config.num_hidden_layers * config.num_key_value_heads * head_size(config)
    row = numbers * dtype.itemsize * length
    free = free_memory(device)
    fitting: int = int(SHARE * free) // row
    if not fitting:
        raise EngineFailed(
            f"one reply of up to {length} tokens needs {row / 1e9:.1f} GB for its keys and values, "
            f"and {device} has {free / 1e9:.1f} GB free: lower the budgets, or free memory"
        )
    return min(count, fitting)


def free_memory(device: torch.device) -> int:
    """Bytes that can still be taken up on a device."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + cached)
    free = int(psutil.virtual_memory().available)
    try:
        limit = int((CGROUP / "memory.max").read_text(encoding="utf-8"))
        used = int((CGROUP / "memory.current").read_text(encoding="utf-8"))
        kinds = dict(
            line.split()
            for line in (CGROUP / "memory.stat").read_text(encoding="utf-8").splitlines()
        )
        used -= int(kinds["inactive_file"]) + int(kinds["active_file"])  # given back when needed
    except (OSError, ValueError, KeyError):  # no container, or one without a limit
        return free
    return max(min(free, limit - used), 0)

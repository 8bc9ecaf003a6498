"""What a piece of work takes: time, processor, memory, energy. Measured, or said to be not measurable; never estimated.

Energy comes from counters of the hardware: a card's through NVIDIA's own nvidia-ml-py, the processors' from the files
of Linux. The trackers that would do both put estimates in the place of what cannot be read (codecarbon), bring pandas
and scikit-learn and start a process for each counter (zeus), or do not notice that a counter started over (pyJoules).
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows the energy counters of processors, those of AMD as well."""
EVERY = 0.5
"""Seconds between two looks at what has to be watched: a processor's counter is full after minutes."""
_MIRRORED = 1_000_000
"""Microjoules: counters closer than this are one counter, shown once for each die."""
_GB = 1 << 30
_NO_CARD = "no NVIDIA card is in use"

_meters: list[Meter] = []
"""Those that run now."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What a piece of work took.

    Attributes:
        seconds: Wall time.
        cpu_load: Cores that this process and its children kept busy, on average.
        peak_rss_gb: The most memory of this process; looked at every :data:`EVERY` seconds where the system keeps no
            count, which Linux does.
        peak_vram_gb: The most that PyTorch held on its card.
        energy_wh: Watt hours by part: ``gpu`` (the whole card) and ``cpu`` (all processors without their memory), each
            with whatever else ran on it meanwhile. A part that could not be metered is not there.
        missing: Why what is not there could not be measured, by name.
    """

    seconds: float
    cpu_load: float
    peak_rss_gb: float
    peak_vram_gb: float | None
    energy_wh: Mapping[str, float]
    missing: Mapping[str, str]

    @property
    def energy_of(self) -> tuple[str, ...]:
        """The parts whose energy was metered."""
        return tuple(self.energy_wh)

    def after(self, earlier: Resources) -> Resources:
        """This part of a work and the one before it as one; what either lacks, both lack."""
        seconds = self.seconds + earlier.seconds
        busy = self.cpu_load * self.seconds + earlier.cpu_load * earlier.seconds
        cards = [part.peak_vram_gb for part in (self, earlier) if part.peak_vram_gb is not None]
        return Resources(
            seconds=seconds,
            cpu_load=busy / max(seconds, 1e-9),
            peak_rss_gb=max(self.peak_rss_gb, earlier.peak_rss_gb),
            peak_vram_gb=max(cards) if len(cards) == 2 else None,
            energy_wh={
                part: used + earlier.energy_wh[part]
                for part, used in self.energy_wh.items()
                if part in earlier.energy_wh
            },
            missing={**earlier.missing, **self.missing},
        )

    def each(self, count: int) -> dict[str, Any]:
        """Seconds and energy of one of ``count`` equal pieces, such as questions, for JSON."""
        return {"seconds": round(self.seconds / count, 4), "energy_wh": self._energy(count)}

    def to_json(self) -> dict[str, Any]:
        """For JSON; null is what could not be measured, and ``not_measurable`` says why."""
        return {
            "seconds": round(self.seconds, 3),
            "cpu_load": round(self.cpu_load, 2),
            "peak_rss_gb": round(self.peak_rss_gb, 3),
            "peak_vram_gb": None if self.peak_vram_gb is None else round(self.peak_vram_gb, 3),
            "energy_wh": self._energy(1),
            "not_measurable": dict(self.missing),
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Resources:
        """What :meth:`to_json` gave."""
        return cls(
            seconds=told["seconds"],
            cpu_load=told["cpu_load"],
            peak_rss_gb=told["peak_rss_gb"],
            peak_vram_gb=told["peak_vram_gb"],
            energy_wh=told["energy_wh"] or {},
            missing=told["not_measurable"],
        )

    def __str__(self) -> str:
        """One line for people."""
        card = "" if self.peak_vram_gb is None else f", {self.peak_vram_gb:.1f} GB on the card"
        energy = ", ".join(f"{part} {used:.3g} Wh" for part, used in self.energy_wh.items())
        told = f"energy: {energy}" if energy else "energy not measurable here (`ragr1-lite doctor` says why)"
        return (
            f"{self.seconds:.0f} s, {self.cpu_load:.1f} cores busy, {self.peak_rss_gb:.1f} GB of memory{card}; {told}"
        )

    def _energy(self, count: int) -> dict[str, float] | None:
        return {part: round(used / count, 6) for part, used in self.energy_wh.items()} or None


class Meter:
    """Measures what the block takes. Meters may be nested, each sees all of its block.

    ::

        with Meter() as meter:
            work()
        meter.resources.cpu_load
    """

    def __init__(self) -> None:
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._watch: threading.Thread | None = None
        self._resident = self._on_card = 0
        self._joules: dict[str, float] = {}
        self._final: Resources | None = None

    def __enter__(self) -> Meter:
        self._counters, self._missing = _open_counters()
        self._counted = forget_peak("cpu")
        forget_peak("cuda")
        _meters.append(self)
        if "cpu" in self._counters or not self._counted:
            self._watch = threading.Thread(target=self._look_often, name="meter", daemon=True)
            self._watch.start()
        self._began, self._busy = time.perf_counter(), _cpu_seconds()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._watch:
            self._watch.join()
        try:
            self._final = self.resources
        finally:
            _meters.remove(self)
            for counter in self._counters.values():
                counter.close()

    @property
    def resources(self) -> Resources:
        """What was taken so far or, after the block, by all of it."""
        if self._final:
            return self._final
        seconds = time.perf_counter() - self._began
        busy = _cpu_seconds() - self._busy
        self.keep_peaks()
        self._look()
        card = _cuda() is not None
        return Resources(
            seconds=seconds,
            cpu_load=max(busy, 0.0) / max(seconds, 1e-9),
            peak_rss_gb=self._resident / _GB,
            peak_vram_gb=self._on_card / _GB if card else None,
            energy_wh={part: used / 3600 for part, used in self._joules.items()},
            missing=self._missing | ({} if card else {"peak_vram_gb": _NO_CARD}),
        )

    def keep_peaks(self) -> None:
        """Takes down the most memory that was held so far, before it is counted anew."""
        if self._counted:
            self._resident = max(self._resident, most_held("cpu") or 0)
        self._on_card = max(self._on_card, most_held("cuda") or 0)

    def _look(self) -> None:
        """Reads the counters of energy and, where nobody counts it, the memory. PyTorch is not asked: no thread may."""
        with self._lock:
            for part, counter in tuple(self._counters.items()):
                try:
                    self._joules[part] = counter.joules()
                except Exception as error:  # each library has its own
                    del self._counters[part]
                    self._joules.pop(part, None)
                    self._missing[f"energy_wh.{part}"] = f"its counter could not be read to the end ({error})"
            if not self._counted:
                self._resident = max(self._resident, _resident())

    def _look_often(self) -> None:
        while not self._stop.wait(EVERY):
            self._look()


def forget_peak(device: Literal["cpu", "cuda"]) -> bool:
    """Begins to count the most memory held anew, on a card or in this process; running meters keep what they saw.

    Returns:
        Whether it could be done: Linux alone counts a process's memory anew.
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


def most_held(device: Literal["cpu", "cuda"]) -> int | None:
    """Bytes held at most since :func:`forget_peak` or the start, by PyTorch on its card or by this process.

    Returns:
        ``None`` where there is no card in use, and of a process where the system does not tell (Windows).
    """
    if device == "cuda":
        cuda = _cuda()
        return None if cuda is None else int(cuda.max_memory_allocated())
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def energy_meters() -> dict[str, str]:
    """Why the energy of each part cannot be metered here; empty for one that can."""
    counters, missing = _open_counters()
    for counter in counters.values():
        counter.close()
    return {part: missing.get(f"energy_wh.{part}", "") for part in _COUNTERS}


class _Counter(Protocol):
    """A counter of energy."""

    def joules(self) -> float:
        """Since it was opened."""

    def close(self) -> None:
        """Lets go of it."""


class _NotReadable(Exception):
    """Why a counter cannot be read, with the mend."""


class _Card:
    """The counter of the card that PyTorch works on."""

    def __init__(self) -> None:
        torch: Any = sys.modules.get("torch")
        if torch is None or not torch.cuda.is_available():
            raise _NotReadable(_NO_CARD)
        try:
            self._nvml: Any = importlib.import_module("pynvml")
        except ImportError:
            raise _NotReadable("nvidia-ml-py is not installed, pip install 'ragr1-lite[energy]' adds it") from None
        try:
            self._nvml.nvmlInit()
            try:
                self._handle = self._find(torch.cuda)
                self._began = self._millijoules()
            except self._nvml.NVMLError:
                self.close()
                raise
        except self._nvml.NVMLError as error:
            raise _NotReadable(f"NVIDIA's driver does not tell: {error}") from None

    def _find(self, cuda: Any) -> Any:
        """The card by its identity: PyTorch's number for it is not the driver's."""
        uuid = str(cuda.get_device_properties(cuda.current_device()).uuid)
        return self._nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid.removeprefix('GPU-')}")

    def joules(self) -> float:
        """Since it was opened."""
        used = self._millijoules() - self._began
        if used < 0:
            raise OSError("the driver was loaded anew")
        return used / 1000

    def close(self) -> None:
        """Ends the talk with the driver."""
        self._nvml.nvmlShutdown()

    def _millijoules(self) -> int:
        return int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))


class _Processors:
    """The counters of all processors together. Each starts over when it is full, which shows if it is read in time."""

    def __init__(self) -> None:
        names = sorted(POWERCAP.glob("intel-rapl:*/name"))
        zones = [name.parent for name in names if name.read_text(encoding="utf-8").startswith("package")]
        if not zones:
            raise _NotReadable(f"no counters in {POWERCAP}, as in most virtual machines and outside of Linux")
        try:
            self._last: dict[Path, int] = {}
            for zone in zones:
                count = _number(zone / "energy_uj")
                if not any(abs(count - other) < _MIRRORED for other in self._last.values()):
                    self._last[zone] = count
            self._full = {zone: _number(zone / "max_energy_range_uj") for zone in self._last}
        except PermissionError:
            files = POWERCAP / "intel-rapl:*" / "energy_uj"
            raise _NotReadable(f"only root may read it, sudo chmod a+r {files} lets everyone") from None
        except (OSError, ValueError) as error:
            raise _NotReadable(f"its counters cannot be read ({error})") from None
        self._microjoules = 0

    def joules(self) -> float:
        """Since it was opened."""
        for zone, last in self._last.items():
            self._last[zone] = count = _number(zone / "energy_uj")
            self._microjoules += count - last if count >= last else count - last + self._full[zone]
        return self._microjoules / 1e6

    def close(self) -> None:
        """Nothing is held open."""


_COUNTERS: dict[str, type[_Card] | type[_Processors]] = {"gpu": _Card, "cpu": _Processors}


def _open_counters() -> tuple[dict[str, _Counter], dict[str, str]]:
    """The counters that can be read, by part, and why the others cannot."""
    counters: dict[str, _Counter] = {}
    missing: dict[str, str] = {}
    for part, opened in _COUNTERS.items():
        try:
            counters[part] = opened()
        except _NotReadable as error:
            missing[f"energy_wh.{part}"] = str(error)
    return counters, missing


def _number(path: Path) -> int:
    return int(path.read_text(encoding="utf-8"))


def _cuda() -> Any:
    """PyTorch's CUDA where it is at work in this process; nothing is imported or begun for the question."""
    torch: Any = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


def _resident() -> int:
    """Bytes that this process holds now."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def _cpu_seconds() -> float:
    """Of this process, of its children that have ended, and of those that run."""
    import psutil

    used = time.process_time() + sum(os.times()[2:4])
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            used += sum(child.cpu_times()[:4])
    return used

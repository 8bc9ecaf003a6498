"""What a block of work took: cards with and without a counter, memory that came and went, processors."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ragr1_lite.evaluation import resources
from ragr1_lite.evaluation.resources import Meter, Resources, energy_meters, forget_peak, most_held

MB = 1 << 20


@pytest.fixture(autouse=True)
def no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """No card but the one that a test adds."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)


# Cards


class Nvml:
    """NVIDIA's library, for one card."""

    class NVMLError(Exception):
        """Its error."""

    def __init__(self) -> None:
        self.open, self.millijoules, self.asked = 0, 5_000_000, ""
        self.refused: str | None = None

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        self.asked = uuid
        return "handle"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:
        assert handle == "handle"
        if self.refused:
            raise self.NVMLError(self.refused)
        return self.millijoules


class Cuda:
    """PyTorch's, with the count of its memory."""

    def __init__(self) -> None:
        self.held = self.most = 0

    def hold(self, size: int) -> None:
        self.held = size
        self.most = max(self.most, size)

    def reset_peak_memory_stats(self) -> None:
        self.most = self.held

    def max_memory_allocated(self) -> int:
        return self.most

    def current_device(self) -> int:
        return 1

    def get_device_properties(self, device: int) -> Any:
        return SimpleNamespace(uuid=f"{device}2345678-aaaa")

    is_available = is_initialized = staticmethod(lambda: True)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    cuda = Cuda()
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    return cuda


@pytest.fixture
def nvml(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> Nvml:
    nvml = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    return nvml


def test_the_energy_of_a_card(nvml: Nvml) -> None:
    with Meter() as meter:
        nvml.millijoules += 3_600_000
        assert meter.resources.energy_wh == {"gpu": 1.0}, "it can be asked in between"
        nvml.millijoules += 3_600_000
    assert meter.resources.to_json()["energy_wh"] == {"gpu": 2.0}
    assert set(meter.resources.not_measurable) == {"energy_wh.cpu"}
    assert nvml.asked == "GPU-12345678-aaaa", "the card in use, whatever its number on this machine"
    assert nvml.open == 0
    assert str(meter.resources).endswith("energy: gpu 2 Wh")
    assert energy_meters()["gpu"] == "" and nvml.open == 0


def test_the_counters_of_processors_stay_closed() -> None:
    """Linux closed them to all but root since they leak what other programs calculate; nothing here opens them."""
    with Meter() as meter:
        pass
    why = meter.resources.not_measurable["energy_wh.cpu"]
    assert why == energy_meters()["cpu"] and "CVE-2020-8694" in why
    root = Path(__file__).parents[2]
    texts = [*(root / "ragr1_lite").rglob("*.py"), *(root / "docs").rglob("*.md"), root / "README.md"]
    assert [path for path in texts if "chmod a+r" in path.read_text("utf-8")] == []


def test_a_card_without_a_counter(nvml: Nvml) -> None:
    nvml.refused = "Not Supported"
    with Meter() as meter:
        pass
    assert meter.resources.not_measurable["energy_wh.gpu"] == "NVIDIA's driver gives no figure: Not Supported"
    assert nvml.open == 0


def test_a_driver_that_is_loaded_anew(nvml: Nvml) -> None:
    with Meter() as meter:
        nvml.millijoules = 10
    assert "reloaded" in meter.resources.not_measurable["energy_wh.gpu"] and meter.resources.energy_wh == {}


def test_a_counter_that_is_lost_leaves_no_figure(nvml: Nvml) -> None:
    with Meter() as meter:
        nvml.refused = "GPU is lost"
    assert "GPU is lost" in meter.resources.not_measurable["energy_wh.gpu"] and meter.resources.energy_wh == {}


def test_a_card_without_the_extra(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert 'pip install "ragr1-lite[energy]"' in energy_meters()["gpu"]


def test_memory_of_the_card(cuda: Cuda) -> None:
    cuda.hold(900 * MB)
    cuda.hold(100 * MB)
    with Meter() as outer:
        cuda.hold(700 * MB)
        cuda.hold(0)
        with Meter() as inner:
            cuda.hold(300 * MB)
            forget_peak("cuda")  # as each training step does
            cuda.hold(200 * MB)
    peaks = [meter.resources.peak_vram_gb for meter in (outer, inner)]
    assert peaks == [700 / 1024, 300 / 1024]
    assert most_held("cuda") == 300 * MB


# Memory, processor, time


def hold(megabytes: int) -> None:
    """Holds memory for a moment, without the help of the system's allocator, which may keep it."""
    import mmap

    with mmap.mmap(-1, megabytes * MB) as block:
        for start in range(0, megabytes * MB, mmap.PAGESIZE):
            block[start] = 1


def test_the_most_memory_of_the_block_alone() -> None:
    hold(300)
    with Meter() as before:
        pass
    base = before.resources.peak_rss_gb
    with Meter() as outer:
        hold(200)
        with Meter() as inner:
            hold(50)
    peaks = [1024 * (meter.resources.peak_rss_gb - base) for meter in (outer, inner)]
    assert peaks == [pytest.approx(200, rel=0.1), pytest.approx(50, rel=0.2)]
    assert outer.resources.peak_rss_gb > inner.resources.peak_rss_gb


def test_memory_where_the_system_keeps_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS and Windows know the most memory since the process began alone."""
    hold(100)
    counted = most_held("cpu")
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "")
    monkeypatch.setattr(resources, "forget_peak", lambda device: False)
    with Meter() as meter:
        pass
    assert meter.resources.peak_rss_gb * 1024 * MB > 0.98 * counted


def busy(seconds: float) -> None:
    began = time.process_time()
    while time.process_time() - began < seconds:
        pass


def test_cores_that_were_busy() -> None:
    with Meter() as meter:
        busy(0.3)
        time.sleep(max(0.0, 0.6 - (time.perf_counter() - meter._began)))
    assert meter.resources.seconds >= 0.6
    assert meter.resources.cpu_load * meter.resources.seconds == pytest.approx(0.3, abs=0.06)


@pytest.mark.parametrize("waited", [True, False])
def test_children_count(waited: bool) -> None:
    loop = "import time\nwhile time.process_time() < 0.5: pass\nprint(time.process_time(), flush=True)\ninput()"
    with Meter() as meter:
        with subprocess.Popen([sys.executable, "-c", loop], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout
            used = float(child.stdout.readline())
            spent = meter.resources
            child.communicate(b"\n")
        spent = meter.resources if waited else spent
    # Its start and its end come on top; twice as much would be a child that is counted twice.
    assert used - 0.05 < spent.cpu_load * spent.seconds < 1.8 * used


# The whole


def test_nothing_is_guessed() -> None:
    with Meter() as meter:
        pass
    found = json.loads(json.dumps(meter.resources.to_json()))
    assert found["energy_wh"] is None and found["peak_vram_gb"] is None
    assert set(found["not_measurable"]) == {"energy_wh.gpu", "energy_wh.cpu", "peak_vram_gb"}
    assert "energy not measurable here" in str(meter.resources) and "card" not in str(meter.resources)
    assert meter.resources.each(4)["energy_wh"] is None


def test_torch_is_not_imported() -> None:
    code = (
        "import sys; from ragr1_lite.evaluation.resources import Meter\n"
        "with Meter(): pass\nassert not {'torch', 'pynvml'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_is_left_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), Meter() as meter:
        raise ZeroDivisionError
    assert resources._meters == [] and meter.resources is meter.resources


def part(**changed: Any) -> Resources:
    plain = Resources(10.0, 1.0, 2.0, None, {}, {"energy_wh.cpu": "root"})
    values = {name: changed.get(name, getattr(plain, name)) for name in Resources.__slots__}
    return Resources(**values)


def test_parts_of_a_work() -> None:
    first = part(seconds=30.0, cpu_load=2.0, peak_vram_gb=3.0, energy_wh={"gpu": 2.0, "cpu": 1.0}, not_measurable={})
    second = part(peak_rss_gb=4.0, peak_vram_gb=1.0, energy_wh={"gpu": 0.5})
    whole = second.after(first)
    assert (whole.seconds, whole.cpu_load, whole.peak_rss_gb, whole.peak_vram_gb) == (40.0, 1.75, 4.0, 3.0)
    assert whole.energy_wh == {"gpu": 2.5}, "half of the processors' energy would be no figure"
    assert first.after(second).energy_wh == {"gpu": 2.5}
    assert whole.not_measurable == {"energy_wh.cpu": "root"}
    assert part().after(first).peak_vram_gb is None
    assert Resources.from_json(whole.to_json()) == whole and Resources.from_json(part().to_json()) == part()


@pytest.mark.parametrize(
    ("count", "each"),
    [(1, {"seconds": 10.0, "energy_wh": {"gpu": 2.0}}), (8, {"seconds": 1.25, "energy_wh": {"gpu": 0.25}})],
)
def test_a_piece_of_the_work(count: int, each: dict[str, Any]) -> None:
    assert part(energy_wh={"gpu": 2.0}).each(count) == each

"""What a block of work took: counters that start over, cards that are not there, memory that came and went."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ragr1_lite.evaluation import resources
from ragr1_lite.evaluation.resources import Meter, Resources, energy_meters, forget_peak, most_held

MB = 1 << 20
JOULE = 1_000_000
"""In microjoules, in which Linux counts."""
FULL = 1000 * JOULE


class Zones:
    """A folder like the kernel's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, zone: str, name: str, joules: float) -> None:
        (self.folder / zone).mkdir()
        (self.folder / zone / "name").write_text(f"{name}\n")
        (self.folder / zone / "max_energy_range_uj").write_text(f"{FULL}\n")
        self.set(zone, joules)

    def set(self, zone: str, joules: float) -> None:
        new = self.folder / zone / "new"
        new.write_text(f"{round(joules * JOULE)}\n")
        new.rename(self.folder / zone / "energy_uj")  # a thread reads meanwhile


@pytest.fixture(autouse=True)
def zones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Zones:
    """No counters, and no card, but those that a test adds."""
    folder = tmp_path / "powercap"
    folder.mkdir()
    monkeypatch.setattr(resources, "POWERCAP", folder)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    return Zones(folder)


def joules(meter: Meter, part: str) -> float:
    return meter.resources.energy_wh[part] * 3600


# Energy of processors


def test_all_packages_and_nothing_else(zones: Zones) -> None:
    for zone, name in {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:0:1": "dram",
        "intel-rapl:1": "package-1",
        "intel-rapl:2": "psys",
        "intel-rapl-mmio:0": "package-0",
    }.items():
        zones.add(zone, name, 100 + 10 * len(list(zones.folder.iterdir())))
    with Meter() as meter:
        for zone, now in {"0": 200, "0:0": 900, "0:1": 900, "1": 160, "2": 900}.items():
            zones.set(f"intel-rapl:{zone}", now)
        zones.set("intel-rapl-mmio:0", 900)
    assert joules(meter, "cpu") == pytest.approx((200 - 100) + (160 - 130))
    assert meter.resources.energy_of == ("cpu",)


def test_a_counter_starts_over_when_it_is_full(zones: Zones) -> None:
    zones.add("intel-rapl:0", "package-0", 900)
    with Meter() as meter:
        zones.set("intel-rapl:0", 50)
    assert joules(meter, "cpu") == pytest.approx(150)


def test_a_counter_is_read_before_it_is_full_again(zones: Zones, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "EVERY", 0.01)
    zones.add("intel-rapl:0", "package-0", 0)
    with Meter() as meter:
        for now in (600, 200, 800, 400):  # 2,400 joules, and the counter was full twice
            zones.set("intel-rapl:0", now)
            time.sleep(0.2)
    assert joules(meter, "cpu") == pytest.approx(2400)


def test_dies_that_share_a_counter_count_once(zones: Zones) -> None:
    for die, now in enumerate((500, 500.3, 700)):
        zones.add(f"intel-rapl:{die}", f"package-0-die-{die}", now)
    with Meter() as meter:
        for die, now in enumerate((540, 540.3, 710)):
            zones.set(f"intel-rapl:{die}", now)
    assert joules(meter, "cpu") == pytest.approx(40 + 10)


def test_a_counter_for_root_alone(zones: Zones, monkeypatch: pytest.MonkeyPatch) -> None:
    zones.add("intel-rapl:0", "package-0", 1)

    def refuse(path: Path) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(resources, "_number", refuse)
    with Meter() as meter:
        pass
    told = meter.resources.to_json()
    assert told["energy_wh"] is None
    assert f"sudo chmod a+r {zones.folder}/intel-rapl:*/energy_uj" in told["not_measurable"]["energy_wh.cpu"]
    assert energy_meters()["cpu"] == told["not_measurable"]["energy_wh.cpu"]


def test_a_counter_that_is_lost_leaves_no_figure(zones: Zones) -> None:
    zones.add("intel-rapl:0", "package-0", 1)
    with Meter() as meter:
        zones.set("intel-rapl:0", 90)
        assert joules(meter, "cpu") == pytest.approx(89), "it can be asked in between"
        (zones.folder / "intel-rapl:0" / "energy_uj").unlink()
    assert meter.resources.energy_of == ()
    assert "could not be read to the end" in meter.resources.missing["energy_wh.cpu"]


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


def test_a_card_and_the_processors(nvml: Nvml, zones: Zones) -> None:
    zones.add("intel-rapl:0", "package-0", 0)
    with Meter() as meter:
        nvml.millijoules += 7_200_000
        zones.set("intel-rapl:0", 360)
    assert meter.resources.to_json()["energy_wh"] == {"gpu": 2.0, "cpu": 0.1}
    assert meter.resources.energy_of == ("gpu", "cpu") and not meter.resources.missing
    assert nvml.asked == "GPU-12345678-aaaa", "the card in use, whatever its number on this machine"
    assert nvml.open == 0
    assert str(meter.resources).endswith("energy: gpu 2 Wh, cpu 0.1 Wh")
    assert energy_meters() == {"gpu": "", "cpu": ""} and nvml.open == 0


def test_a_card_without_a_counter(nvml: Nvml) -> None:
    nvml.refused = "Not Supported"
    with Meter() as meter:
        pass
    assert meter.resources.missing["energy_wh.gpu"] == "NVIDIA's driver does not tell: Not Supported"
    assert nvml.open == 0


def test_a_driver_that_is_loaded_anew(nvml: Nvml) -> None:
    with Meter() as meter:
        nvml.millijoules = 10
    assert "energy_wh.gpu" in meter.resources.missing and meter.resources.energy_of == ()


def test_a_card_without_the_extra(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "pip install 'ragr1-lite[energy]'" in energy_meters()["gpu"]


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
    monkeypatch.setattr(resources, "forget_peak", lambda device: False)
    monkeypatch.setattr(resources, "EVERY", 0.005)
    base = resources._resident()
    with Meter() as meter:
        block = bytearray(b"x") * (200 * MB)
        time.sleep(0.1)
        del block
    assert 1024 * meter.resources.peak_rss_gb - base / MB == pytest.approx(200, rel=0.1)


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
    loop = "import time\nwhile time.process_time() < 0.5: pass\nprint(flush=True)\ninput()"
    with Meter() as meter:
        with subprocess.Popen([sys.executable, "-c", loop], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout and child.stdout.readline()
            spent = meter.resources
            child.communicate(b"\n")
        spent = meter.resources if waited else spent
    assert 0.45 < spent.cpu_load * spent.seconds < 0.8


def test_a_meter_takes_next_to_nothing(zones: Zones, monkeypatch: pytest.MonkeyPatch) -> None:
    often = 50
    monkeypatch.setattr(resources, "EVERY", resources.EVERY / often)
    zones.add("intel-rapl:0", "package-0", 0)
    with Meter() as meter:
        time.sleep(0.6)
    assert meter.resources.cpu_load / often < 0.005


# The whole


def test_nothing_is_guessed() -> None:
    with Meter() as meter:
        pass
    told = json.loads(json.dumps(meter.resources.to_json()))
    assert told["energy_wh"] is None and told["peak_vram_gb"] is None
    assert set(told["not_measurable"]) == {"energy_wh.gpu", "energy_wh.cpu", "peak_vram_gb"}
    assert "energy not measurable here" in str(meter.resources) and "card" not in str(meter.resources)
    assert meter.resources.each(4)["energy_wh"] is None


def test_torch_is_not_imported() -> None:
    code = (
        "import sys; from ragr1_lite.evaluation.resources import Meter\n"
        "with Meter(): pass\nassert not {'torch', 'pynvml'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_is_left_after_an_error(zones: Zones) -> None:
    zones.add("intel-rapl:0", "package-0", 0)
    with pytest.raises(ZeroDivisionError), Meter() as meter:
        assert [thread.daemon for thread in threading.enumerate() if thread.name == "meter"] == [True]
        raise ZeroDivisionError
    assert not [thread for thread in threading.enumerate() if thread.name == "meter"]
    assert resources._meters == [] and meter.resources is meter.resources


def part(**changed: Any) -> Resources:
    plain = Resources(10.0, 1.0, 2.0, None, {}, {"energy_wh.cpu": "root"})
    values = {name: changed.get(name, getattr(plain, name)) for name in Resources.__slots__}
    return Resources(**values)


def test_parts_of_a_work() -> None:
    first = part(seconds=30.0, cpu_load=2.0, peak_vram_gb=3.0, energy_wh={"gpu": 2.0, "cpu": 1.0}, missing={})
    second = part(peak_rss_gb=4.0, peak_vram_gb=1.0, energy_wh={"gpu": 0.5})
    whole = second.after(first)
    assert (whole.seconds, whole.cpu_load, whole.peak_rss_gb, whole.peak_vram_gb) == (40.0, 1.75, 4.0, 3.0)
    assert whole.energy_wh == {"gpu": 2.5}, "half of the processors' energy would be no figure"
    assert first.after(second).energy_wh == {"gpu": 2.5}
    assert whole.missing == {"energy_wh.cpu": "root"}
    assert part().after(first).peak_vram_gb is None
    assert Resources.from_json(whole.to_json()) == whole and Resources.from_json(part().to_json()) == part()


@pytest.mark.parametrize(
    ("count", "each"),
    [(1, {"seconds": 10.0, "energy_wh": {"gpu": 2.0}}), (8, {"seconds": 1.25, "energy_wh": {"gpu": 0.25}})],
)
def test_a_piece_of_the_work(count: int, each: dict[str, Any]) -> None:
    assert part(energy_wh={"gpu": 2.0}).each(count) == each

"""Two runs in one place: the second is refused, a killed one leaves it free, and nothing is left behind."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ragr1_lite.core.errors import RunError
from ragr1_lite.files.alone import alone, alone_at
from tests.support.at_work import another


def test_the_second_is_refused_and_a_killed_one_leaves_it_free(tmp_path: Path) -> None:
    out, link = tmp_path / "runs" / "one", tmp_path / "link"
    out.parent.mkdir()
    link.symlink_to(out)
    with another(out) as process:
        for name in (out, link, out.parent / ".." / "runs" / "one"):
            with pytest.raises(RunError, match="Another run is writing"), alone(name):
                pass
        with alone(tmp_path / "runs" / "two"):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        with alone(out):
            pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "runs"] and not list(out.parent.iterdir())


def enter(out: Path) -> None:
    with alone(out):
        pass


def test_the_same_thread_enters_again_and_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "new" / "run"
    with alone(out):
        with alone(out):
            pass
        assert (out.parent / ".run.lock").exists()
        with ThreadPoolExecutor(1) as pool, pytest.raises(RunError):
            pool.submit(enter, out).result()
    assert not list(tmp_path.iterdir())


def test_by_the_argument_that_names_it(tmp_path: Path) -> None:
    @alone_at("out")
    def work(first: int, out: Path | None = None) -> bool:
        return out is not None and (tmp_path / ".o.lock").exists()

    assert work(1, tmp_path / "o") and work(1, out=tmp_path / "o") and not work(1)


def test_where_no_lock_can_be_made_the_work_itself_decides(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with alone(file / "out"):
        pass

from __future__ import annotations

import pytest

from ragr1_lite.core.events import PhaseAdvanced, PhaseFinished, PhaseStarted, phase


def test_a_phase_reports_its_start_its_progress_and_its_end() -> None:
    events: list[object] = []
    with phase(events.append, "Reading", 2, "files") as advance:
        advance(1, "one kept")
        advance(2, share=0.5)
    started, first, second, finished = events
    assert started == PhaseStarted("Reading", 2, "files")
    assert first == PhaseAdvanced("Reading", 1, "one kept")
    assert second == PhaseAdvanced("Reading", 2, share=0.5)
    assert isinstance(finished, PhaseFinished)
    assert finished.name == "Reading"
    assert finished.seconds >= 0


def test_a_phase_that_fails_is_not_reported_as_finished() -> None:
    events: list[object] = []
    with pytest.raises(ValueError, match="broken"), phase(events.append, "Reading"):
        raise ValueError("broken")
    assert events == [PhaseStarted("Reading")]

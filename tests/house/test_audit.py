"""What ``make audit`` says of pip-audit's report: nothing is called sound that was not asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import audit

SOUND = {"name": "yarl", "version": "1.0", "vulns": []}
FAULTY = {"name": "tqdm", "version": "4.0", "vulns": [{"id": "CVE-1", "fix_versions": ["4.1"]}]}
UNKNOWN = {"name": "ragr1-lite", "skip_reason": "Dependency not found on PyPI"}


def test_faults_are_named_with_what_mends_them() -> None:
    lines, code = audit.verdict({"dependencies": [SOUND, FAULTY, UNKNOWN]})
    assert lines == [
        "tqdm 4.0: CVE-1, mended in 4.1",
        "1 known fault in 2 packages.",
        "Not on PyPI, so not asked for: ragr1-lite.",
    ]
    assert code == 1


def test_none_is_good() -> None:
    assert audit.verdict({"dependencies": [SOUND]}) == (["No known fault in 1 package."], 0)


def test_nobody_who_could_be_asked_is_no_good_news() -> None:
    assert audit.verdict({"dependencies": [UNKNOWN]}) == ([audit.UNREACHED], 1)


def test_a_pip_audit_that_breaks_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "pip-audit"
    broken.write_text("#!/bin/sh\necho Traceback >&2\necho 'ConnectionError: no route' >&2\nexit 1\n", "utf-8")
    broken.chmod(0o755)
    monkeypatch.setattr("sys.argv", ["audit", str(broken)])
    with pytest.raises(SystemExit) as ended:
        audit.main()
    assert capsys.readouterr().out.splitlines() == [audit.UNREACHED, "ConnectionError: no route"]
    assert ended.value.code == 1

from __future__ import annotations

import errno
import json
import math
import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.files.writing import json_text, sync
from ragr1_lite.ui.text import to_json


@pytest.mark.parametrize("write", [json_text, lambda value: json_text(value, indent=2), to_json])
def test_numbers_that_json_has_no_word_for_are_null(write: Any) -> None:
    value = {"a": [1.5, math.nan, {"b": -math.inf}], "c": (math.inf, "NaN"), "d": None, "e": True}
    text = write(value)
    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": [1.5, None, {"b": None}],
        "c": [None, "NaN"],
        "d": None,
        "e": True,
    }


@pytest.mark.parametrize(("number", "passed"), [(errno.EINVAL, nullcontext()), (errno.EIO, pytest.raises(OSError))])
def test_a_system_that_syncs_no_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, passed: AbstractContextManager[Any]
) -> None:
    """As some network shares; what it says of a file, or of a disk that fails, is an error."""

    def fail(_: int) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(os, "fsync", fail)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="no"):
        sync(tmp_path / "file")
    with passed:
        sync(tmp_path)

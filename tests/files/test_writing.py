from __future__ import annotations

import json
import math
from typing import Any

import pytest

from ragr1_lite.files.writing import json_text
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

"""Answers in scripts without spaces are found in passages, as they are in others."""

from __future__ import annotations

import pytest

from ragr1_lite.core.evidence import Evidence
from ragr1_lite.core.rewards import OURS
from ragr1_lite.core.types import Example, Passage

TEXTS = {
    "青石茶馆的老板是周大海，茶馆七点开门。": "周大海",
    "大洪水发生在一六三四年。": "一六三四年",
    "灯塔は山田花子さんが守っている。": "山田花子",
    "โรงสีริมน้ำดูแลโดยคุณสมชายตั้งแต่ปีที่แล้ว": "สมชาย",
    "등대는 김하늘이 지킨다.": "김하늘",
    "掌柜是Ann，不是别人。": "Ann",
    "高3米，宽12米。": "12米",
}


@pytest.mark.parametrize("text", TEXTS)
def test_an_answer_is_found(text: str) -> None:
    answer = TEXTS[text]
    assert Evidence.of(Example("q", "?", (answer,))).held_by(Passage("1", "", text))
    assert OURS.covers(text, (answer,))


@pytest.mark.parametrize(
    ("text", "answer"), [("宽112米", "12米"), ("他叫Anna", "Ann"), ("茶馆", "馆茶"), ("東京都", "京东")]
)
def test_another_is_not(text: str, answer: str) -> None:
    assert not Evidence.of(Example("q", "?", (answer,))).held_by(Passage("1", "", text))
    assert not OURS.covers(text, (answer,))

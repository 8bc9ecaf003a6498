"""Clicking through a report in Chromium: every filter, the keys, both schemes, print; hostile text stays text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.evaluation.report import write_report

pytestmark = pytest.mark.browser

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
MANY = 5000
SEGMENTS = [("prompt", 90), ("model", 20), ("env", 60), ("model", 7)]
CAUSES = ("synthesis", "retrieval", "format")


def row(number: int, right: bool, **changed: Any) -> dict[str, Any]:
    def found(name: str) -> list[dict[str, Any]]:
        text = f"The area of {name} is {number + 1000} units; OldChad and Chad{number} are names."
        return [{"id": name, "title": f"{name} (area)", "text": text, "score": 2.5}]

    search = {
        "kind": "search", "think": f"I need both, number {number}.", "queries": ["area of Chad", "area of Mali"],
        "passages": [found("Chad"), found("Mali")],
    }  # fmt: skip
    answer = {"kind": "answer", "think": "So.", "queries": [], "passages": []}
    cause = None if right else CAUSES[number % len(CAUSES)]
    return {
        "id": f"q-{number}", "question": f"Which is larger, number {number}?", "answers": ["Chad", "yes"],
        "kind": ("compare", "bridge")[number % 2], "answer": "Chad" if right else "Mali", "stop_reason": "answer",
        "gold_titles": ["chad (AREA)"], "turns": [search, answer], "mode": "multi", "em": float(right),
        "f1": float(right), "cover_em": float(right), "cause": cause, "seconds": 0.5, "rounds": 1, "queries": 2,
        "sampled_tokens": 27, "retrieved_tokens": 60,
        "segments": [{"source": source, "tokens": tokens} for source, tokens in SEGMENTS],
    } | changed  # fmt: skip


def saved(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), "utf-8")
    return path


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, and of the same twelve questions six right before, of these three and three others after."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "run").mkdir()
    saved(folder / "run" / "metrics.jsonl", [{"step": n, "loss": 1 / n, "em": n / 30} for n in range(1, 31)])
    before = saved(folder / "before.jsonl", [row(n, n < 6) for n in range(12)])
    after = saved(folder / "after.jsonl", [row(n, 3 <= n < 9) for n in range(12)])
    write_report([folder / "run", before, after], folder / "report.html")
    return folder / "report.html"


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    yield from opened(browser, report)


def opened(browser: Any, file: Path, **how: Any) -> Iterator[Any]:
    """A page that fails the test where it asks for anything from outside, or an error comes up."""
    page = browser.new_page(viewport={"width": 1400, "height": 900}, **how)
    seen: list[str] = []
    page.on("pageerror", lambda error: seen.append(str(error)))
    page.on("console", lambda message: seen.append(message.text))
    page.on("request", lambda request: None if request.url.startswith(("file:", "blob:")) else seen.append(request.url))
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-ready]")
    yield page
    page.close()
    assert seen == []


def shown(page: Any) -> list[str]:
    return [
        text.partition("number ")[2].rstrip("?") for text in page.locator(".row > span:nth-child(2)").all_inner_texts()
    ]


def test_filters(page: Any) -> None:
    numbers = lambda which: [str(n) for n in range(12) if which(n)]  # noqa: E731
    assert shown(page) == numbers(lambda n: True)
    for verdict, which in {
        "right": lambda n: 3 <= n < 9, "wrong": lambda n: not 3 <= n < 9, "gained": lambda n: 6 <= n < 9,
        "lost": lambda n: n < 3, "all": lambda n: True,
    }.items():  # fmt: skip
        page.click(f"[data-verdict={verdict}]")
        assert shown(page) == numbers(which), verdict
        assert page.get_attribute(f"[data-verdict={verdict}]", "aria-pressed") == "true"
    page.select_option("#kind", "bridge")
    assert shown(page) == numbers(lambda n: n % 2)
    page.select_option("#cause", "retrieval")
    assert shown(page) == ["1"]
    page.select_option("#kind", "")
    assert shown(page) == ["1", "10"]
    assert page.inner_text("#count") == "2 of 12"
    page.select_option("#shown", "before")
    assert shown(page) == ["7", "10"]


def test_search_reads_questions_thoughts_and_passages(page: Any) -> None:
    for text, found in {"NUMBER 7": ["7"], "1004 units": ["4"], "and chad11": ["11"], "nowhere": []}.items():
        page.fill("#text", text)
        assert shown(page) == found, text
    assert "No trajectory passes" in page.inner_text("#rows")
    assert page.inner_text("#detail") == ""


def test_a_cause_leads_to_its_trajectories(page: Any) -> None:
    page.click(".cause[data-evaluation='0'][data-cause='format']")
    assert shown(page) == ["8", "11"]
    assert page.input_value("#shown") == "0"


def test_keys(page: Any) -> None:
    title = lambda: page.inner_text("#detail > h3")  # noqa: E731
    for key, number in [("j", 1), ("ArrowDown", 2), ("k", 1), ("End", 11), ("j", 11), ("Home", 0), ("ArrowUp", 0)]:
        page.keyboard.press(key)
        assert title() == f"Which is larger, number {number}?", key
        assert page.get_attribute("[aria-selected=true]", "id") == f"row-{number}"
    page.keyboard.press("/")
    page.keyboard.type("number 1j")
    assert page.input_value("#text") == "number 1j"
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#keys").is_visible()


def test_a_trajectory_is_drawn(page: Any) -> None:
    """Before next to after; a turn's queries side by side over their documents; answers marked as whole words only."""
    page.click("#row-6")
    tries = page.locator(".try")
    assert tries.locator("h4").all_inner_texts() == ["before", "after"]
    assert tries.locator(".verdict > b").all_inner_texts() == ["Wrong", "Right"]
    after = tries.nth(1)
    assert after.locator(".query").all_inner_texts() == ["area of Chad", "area of Mali"]
    chad, mali = (after.locator(".column").nth(n).bounding_box() for n in (0, 1))
    assert chad["y"] == mali["y"] and chad["x"] + chad["width"] <= mali["x"]
    assert after.locator("mark").all_inner_texts() == ["Chad", "Chad"]
    assert after.locator(".gold").count() == 1
    assert after.locator(".turn > header small").all_inner_texts() == ["20 trained · 60 masked", "7 trained"]
    assert after.locator(".legend").inner_text().split("\n") == ["27 tokens trained", "150 tokens masked"]
    trained, masked = (
        after.locator(part).first.evaluate("node => getComputedStyle(node).backgroundColor")
        for part in (".said", ".found")
    )
    assert trained != masked
    page.select_option("#compared", "nothing")
    assert page.locator(".try").count() == 1


@pytest.mark.parametrize(
    ("answers", "text", "expected"),
    [
        ([".to", "to"], "Close to the end, .to, say .top sites.", [".to"]),
        (["S, Am"], "Sulfur's symbol is S; am I Am?", ["S", "Am"]),
        (["6"], "6 of 6,000 or 2.6 or 6.5: 6.", ["6", "6"]),
        (["Yes"], "Yes, yes.", []),
        (["N'Djamena, Niamey"], "N’Djamena or NIAMEY", ["N’Djamena", "NIAMEY"]),
    ],
)
def test_what_is_marked(page: Any, answers: list[str], text: str, expected: list[str]) -> None:
    """As in ragr1_lite.core.evidence, so that the marks and the cause agree."""
    script = "([answers, text]) => marked(text, finder(answers)).flatMap((one) => one.tagName ? [one.textContent] : [])"
    assert page.evaluate(script, [answers, text]) == expected


def test_a_link_opens_its_trajectory(browser: Any, report: Path, page: Any) -> None:
    page.click("#row-4")
    assert page.url.endswith("#q=q-4")
    again = browser.new_page()
    again.goto(page.url)
    again.wait_for_selector("html[data-ready]")
    assert again.inner_text("#detail > h3") == "Which is larger, number 4?"
    again.close()


def test_the_pointer_tells_values(page: Any) -> None:
    page.hover(".plot svg >> nth=0")
    lines = page.inner_text("#values").split("\n")
    step = int(lines[0].removeprefix("step "))
    assert 10 < step < 20
    assert lines[1] == f"em {float(f'{step / 30:.4g}')}"
    page.mouse.move(5, 5)
    assert not page.locator("#values").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_schemes_can_be_read_and_changed(browser: Any, report: Path, scheme: str) -> None:
    brightness = (
        "node => getComputedStyle(node).%s.match(/\\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0)"
    )
    for page in opened(browser, report, color_scheme=scheme):
        for other in (False, True):
            dark = (scheme == "dark") != other
            page_is, ink_is = (
                page.eval_on_selector("body", brightness % name) for name in ("backgroundColor", "color")
            )
            text = page.eval_on_selector(".plot text", brightness % "fill")
            assert (page_is < 150) == dark and (ink_is > 450) == dark
            assert abs(text - page_is) > 200
            page.keyboard.press("t")


def test_print_leaves_the_tools_out(page: Any) -> None:
    page.emulate_media(media="print")
    assert not page.locator("#list").is_visible() and not page.locator(".tools").is_visible()
    assert page.locator("#detail").is_visible() and page.locator(".plot").first.is_visible()
    assert page.locator("#detail").evaluate("node => node.scrollHeight <= node.clientHeight + 1")


def test_hostile_text_stays_text(browser: Any, tmp_path: Path) -> None:
    turns = [
        {
            "kind": "search", "think": HOSTILE, "queries": [HOSTILE],
            "passages": [[{"id": "x", "title": HOSTILE, "text": HOSTILE, "score": 1.0}]],
        },
        {"kind": "answer", "think": HOSTILE, "queries": [], "passages": []},
    ]  # fmt: skip
    lines = {"question": HOSTILE, "answers": [HOSTILE, "(["], "kind": HOSTILE, "answer": HOSTILE, "turns": turns}
    hostile = row(1, False, **lines)
    write_report([saved(tmp_path / "a.jsonl", [hostile])], tmp_path / "a.html", title="Calm")
    for page in opened(browser, tmp_path / "a.html"):
        assert page.inner_text("#detail > h3") == HOSTILE
        assert page.locator("img").count() == 0
        page.click(".cause")
        assert page.title() == "Calm"


def test_thousands_of_trajectories(browser: Any, tmp_path: Path) -> None:
    file = saved(tmp_path / "many.jsonl", [row(n, n % 3 == 0) for n in range(MANY)])
    made = write_report([file], tmp_path / "many.html")
    assert made["bytes"] < 5_000_000
    for page in opened(browser, tmp_path / "many.html"):
        assert page.locator(".row").count() < 60
        page.keyboard.press("End")
        assert page.inner_text("#detail > h3") == f"Which is larger, number {MANY - 1}?"
        assert page.locator("[aria-selected=true]").is_visible()
        page.click("[data-verdict=right]")
        assert page.inner_text("#count") == "1,667 of 5,000"

"""`ask` as a prompt with commands, and as a page."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ragr1_lite.assistant import Assistant
from ragr1_lite.cli.main import app
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import Passage
from ragr1_lite.files.answer_log import AnswerLog
from ragr1_lite.retrieval import build_index
from tests.support import tiny
from tests.support.scripted import ScriptedSampler, ScriptedSearcher

ANSWER = "<think>Known.</think><answer>Niger</answer>"
NIAMEY = "Which country has the capital Niamey?"


def run(*arguments: str, given: str | None = None) -> Any:
    return CliRunner().invoke(app, ["ask", *arguments], input=given)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Assistant]:
    """Puts a script in the model's place; holds what was opened."""
    made: list[Assistant] = []

    def open_it(*_: Any, **__: Any) -> Assistant:
        made.append(Assistant(ScriptedSampler([ANSWER]), ScriptedSearcher(), Protocol(), Limits(), "script", "books"))
        return made[-1]

    monkeypatch.setattr(Assistant, "open", open_it)
    return made


def answers(result: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_the_last_question_is_asked_again_in_another_mode_and_index(opened: list[Assistant]) -> None:
    result = run("--json", given=f"{NIAMEY}\n/mode rag\n/again\n/index world\n/again\n/mode direct\n/again\n")
    assert result.exit_code == 0, result.stderr
    found = [turn["passages"][0] for answer in answers(result) for turn in answer["turns"]]
    titles = [[passage["title"] for passage in passages] for passages in found]
    assert {answer["question"] for answer in answers(result)} == {NIAMEY} and len(answers(result)) == 4
    assert titles[0] == [NIAMEY.title()]  # the scripted searcher, then the embedded world
    assert len(titles) == 2 and any("Niamey" in title or "Niger" in title for title in titles[1])
    assert "Mode rag from here on." in result.stderr and "Searching world from here on." in result.stderr
    assert len(opened) == 1


def test_several_indexes_are_searched_together(opened: list[Assistant], tmp_path: Path) -> None:
    folder = tmp_path / "my notes"
    build_index([Passage("n#1", NIAMEY, "Niamey is on the Niger.")], folder)
    (tmp_path / "link").symlink_to(folder)
    result = run("--json", given=f"/mode rag\n/index world {tmp_path / 'link'}\n{NIAMEY}\n/index {folder}\n/again\n")
    assert result.exit_code == 0, result.stderr
    assert f"Searching world, {tmp_path / 'link'} from here on." in result.stderr
    assert f"Searching {folder} from here on." in result.stderr
    both, alone = ([one.get("index") for one in answer["sources"]] for answer in answers(result))
    assert len(opened) == 1 and {*both} == {"world", str(tmp_path / "link")} and {*alone} == {None}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/nothing", "There is no command /nothing. /help lists them."),
        ("/mode", "/mode needs one of multi, single, cot-rag, rag, direct."),
        ("/mode every", "/mode needs one of multi, single, cot-rag, rag, direct."),
        ("/index", "/index needs a folder, a URL or `world`."),
        ("/index no/where", "There is no index"),
        ("/again", "There is no question to ask again."),
    ],
)
@pytest.mark.usefixtures("opened")
def test_a_command_that_fails_is_one_sentence_and_the_prompt_goes_on(line: str, words: str) -> None:
    result = run("--json", given=f"{line}\n{NIAMEY}\n")
    assert result.exit_code == (1 if "no/where" in line else 2), "what failed in a pipe is not lost"
    assert result.stderr.count("Error: ") == 1 == len(answers(result))
    (error,) = (text for text in result.stderr.splitlines() if text.startswith("Error: "))
    assert words in error


@pytest.mark.usefixtures("opened")
def test_help_names_every_command_and_what_is_set() -> None:
    shown = run(given="/mode single\n/help\n").stderr
    assert all(f"\n/{name} " in shown for name in ("index", "mode", "again", "new", "help"))
    assert "Now: mode single, index books." in shown
    assert "|direct  how" in shown, "columns stay apart"
    assert "exit or the end of the pipe ends." in shown and "mpty line" not in shown


@pytest.mark.parametrize("given", ["", " \n\n", "exit\n"])
def test_a_pipe_without_a_question_is_said_before_the_model_is_loaded(given: str, opened: list[Assistant]) -> None:
    result = run("--json", given=given)
    assert (result.exit_code, result.stdout, opened) == (2, "", [])
    assert "There was no question to answer" in result.stderr


@pytest.mark.parametrize("typed", [False, True])
@pytest.mark.usefixtures("opened")
def test_ctrl_c_ends_a_pipe_and_stops_an_answer_of_a_prompt(typed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from ragr1_lite.cli.commands import ask

    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ask, "on_terminal", lambda: typed)
    monkeypatch.setattr(ask, "show_answer", stopped)
    result = run("--plain", given=f"{NIAMEY}\n{NIAMEY}\n")
    assert (result.exit_code, result.stderr.count("Stopped.")) == ((0, 2) if typed else (130, 1))


@pytest.mark.parametrize("question", ["", "  "])
def test_an_empty_question_is_refused(question: str) -> None:
    result = CliRunner().invoke(app, ["ask", question])
    assert (result.exit_code, result.stdout) == (2, "") and "The question is empty" in result.stderr


@pytest.mark.usefixtures("opened")
def test_a_piped_question_asked_again_is_shown_again() -> None:
    shown = run(given=f"{NIAMEY}\n/again\n").stdout
    assert shown.count(f"Question: {NIAMEY}\n") == 2 == shown.count("Answer: Niger\n")


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize("end", ["exit", "Quit"])
def test_a_pipe_ends_as_a_prompt_does(end: str) -> None:
    result = run("--json", given=f"{NIAMEY}\n\n{NIAMEY}\n{end}\n{NIAMEY}\n")
    assert result.exit_code == 0 and len(answers(result)) == 2


@pytest.mark.usefixtures("opened")
def test_json_has_the_phases() -> None:
    (answer,) = answers(run(NIAMEY, "--mode", "rag", "--json"))
    assert list(answer["phases"]) == ["generate", "search"]


# --- the page -----------------------------------------------------------------------------------------------------


def test_the_page_is_served_with_what_was_opened(opened: list[Assistant], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fastapi")
    from ragr1_lite.serving import page

    served: list[Callable[..., Any]] = []
    monkeypatch.setattr(page.app, "run", lambda app, listener, grace: served.append(app))
    result = run("--web", "--port", "0")
    assert (result.exit_code, result.stdout, len(served), len(opened)) == (0, "", 1, 1)
    assert "The page is at http://127.0.0.1:" in result.stderr


@pytest.mark.parametrize("given", [[NIAMEY], ["--json"]])
def test_the_page_asks_itself(given: list[str], opened: list[Assistant]) -> None:
    result = run("--web", *given)
    assert result.exit_code == 2 and "do not go together" in result.stderr and not opened


def test_a_port_in_use_is_reported_before_the_model_is_loaded(opened: list[Assistant]) -> None:
    pytest.importorskip("fastapi")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run("--web", "--port", str(taken.getsockname()[1]))
    assert result.exit_code == 2 and "is in use" in result.stderr and not opened


# Models that people bring


def ask_bare(folder: Path, tokenizer: Any) -> Any:
    model = tiny.save_byte_model(folder / "model", tokenizer)
    return run(NIAMEY, "--model", str(model), "--adapter", "none", "--mode", "direct", "--plain")


def test_a_template_that_refuses_is_one_sentence_with_its_words(tmp_path: Path) -> None:
    result = ask_bare(tmp_path, tiny.byte_tokenizer("{{ raise_exception('A manager must come first') }}"))
    assert result.exit_code == 1
    [error] = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert "refuses the conversation: A manager must come first." in error
    assert "bug" not in result.stderr


def test_a_template_that_wants_a_system_message_is_served(tmp_path: Path) -> None:
    wants = "{% if messages[0].role != 'system' %}{{ raise_exception('A system message must come first') }}{% endif %}"
    result = ask_bare(tmp_path, tiny.byte_tokenizer(wants + tiny.CHATML))
    assert result.exit_code == 0, result.stderr
    assert "(0 rounds" in result.stdout, "of a random model"


def test_a_model_without_a_template_is_asked_with_a_notice(tmp_path: Path) -> None:
    result = ask_bare(tmp_path, tiny.byte_tokenizer(None, special=(), eos="</s>"))
    assert result.exit_code == 0, result.stderr
    assert "no chat template: questions are put to it in plain text" in " ".join(result.stderr.split())


# --- follow-ups and the log ---------------------------------------------------------------------------------------


def test_a_follow_up_is_asked_whole_until_new_forgets(opened: list[Assistant]) -> None:
    result = run("--json", given=f"{NIAMEY}\nWhat is its area?\n/again\n/new\nWhat is its area?\n")
    assert [answer["question"] for answer in answers(result)] == [
        NIAMEY,
        *["What is the area of Niger?"] * 2,
        "What is its area?",
    ]
    assert "The next question stands alone." in result.stderr


def test_a_typed_follow_up_is_shown_as_it_was_understood(
    opened: list[Assistant], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ragr1_lite.cli.commands import ask
    from ragr1_lite.ui import Display

    lines = iter([NIAMEY, "What is its area?", ""])
    monkeypatch.setattr(Display, "ask_question", lambda self: next(lines))
    monkeypatch.setattr(ask, "on_terminal", lambda: True)
    shown = run("--plain").stdout
    assert NIAMEY not in shown and "Question: What is the area of Niger?\n" in shown


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AnswerLog:
    monkeypatch.setenv("RAGR1_LITE_LOG", str(tmp_path / "answers.jsonl"))
    return AnswerLog(tmp_path / "answers.jsonl")


@pytest.mark.usefixtures("opened")
def test_every_answer_is_logged_unless_told_otherwise(log: AnswerLog) -> None:
    (answer,) = answers(run(NIAMEY, "--json"))
    run(given=f"{NIAMEY}\n/mode rag\n/again\n")
    run(NIAMEY, "--no-log")
    rows = log.read()
    assert [(row["model"], row["index"], row["mode"]) for row in rows] == [
        ("script", "books", "multi"),
        ("script", "books", "multi"),
        ("script", "books", "rag"),
    ]
    assert {key: rows[0][key] for key in answer} == answer


@pytest.mark.usefixtures("opened")
def test_an_answer_comes_where_the_log_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    monkeypatch.setenv("RAGR1_LITE_LOG", str(tmp_path / "file" / "answers.jsonl"))
    result = run("--json", given=f"{NIAMEY}\n/again\n")
    assert result.exit_code == 0 and len(answers(result)) == 2
    assert result.stderr.count("Warning: This answer is not in the log") == 1


def test_the_log_holds_no_key(log: AnswerLog) -> None:
    key = "https://me@search.example/mcp/k-3cret?key=k, k-3cret"
    for index in (key, "mcp+stdio:server --token k, k-3cret", ("books", key)):
        assistant = Assistant(ScriptedSampler([ANSWER]), ScriptedSearcher(), Protocol(), Limits(), "m", index, log)
        assistant.ask(NIAMEY)
    assert [row["index"] for row in log.read()] == [
        *("https://search.example", "mcp+stdio:server", "books, https://search.example"),
    ]
    assert "3cret" not in log.path.read_text("utf-8")

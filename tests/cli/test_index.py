"""`index`: built, updated, searched and checked by the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ragr1_lite.cli.main import app


def run(*arguments: str | Path, given: str | None = None) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=given)


def test_index_build_reports_what_was_built(corpus: Path, tmp_path: Path) -> None:
    result = run("index", "build", corpus, "--out", tmp_path / "index")
    assert result.exit_code == 0 and result.stdout.startswith("3 passages (")
    again = run("index", "build", corpus, "--out", tmp_path / "index")
    assert again.exit_code == 1 and again.stderr.endswith(
        "exists already. Name another folder, or replace it with --overwrite.\n"
    )
    assert run("index", "build", corpus, "--out", tmp_path / "index", "--overwrite").exit_code == 0
    assert run("index", "verify", tmp_path / "index").stdout.startswith("Whole: 3 passages")


@pytest.mark.parametrize("option", ["--language", "--stemmer"])
def test_index_build_takes_a_language(corpus: Path, tmp_path: Path, option: str) -> None:
    assert run("index", "build", corpus, "--out", tmp_path / "index", option, "german").exit_code == 0
    assert "Stemmer    german\n" in run("index", "info", tmp_path / "index").stdout
    wrong = run("index", "build", corpus, "--out", tmp_path / "other", option, "klingon")
    assert wrong.exit_code != 0 and "Choose one of none, " in wrong.stderr and not (tmp_path / "other").exists()


def test_index_search_json(index: Path) -> None:
    result = run("index", "search", index, "highest point of Niger", "nowhere", "-k", "2", "--json")
    found = json.loads(result.stdout)
    assert list(found) == ["results"] and [one["query"] for one in found["results"]] == [
        "highest point of Niger",
        "nowhere",
    ]
    first = found["results"][0]["passages"]
    assert [passage["id"] for passage in first] == ["2", "1"] and found["results"][1]["passages"] == []
    assert set(first[0]) == {"id", "title", "text", "score"} and first[0]["text"].endswith("\x1b[31m2,022 m.")
    assert first[0]["score"] == round(first[0]["score"], 4)
    assert "Taghès" in result.stdout and "\x1b" not in result.stdout


def test_index_search_and_info_for_people(index: Path) -> None:
    shown = run("index", "search", index, "Sao Tome").stdout
    assert "› Sao Tome" in shown and "1. São Tomé" in shown
    assert "\x1b" not in run("index", "search", index, "Niger").stdout
    info = json.loads(run("index", "info", index, "--json").stdout)
    assert info["passages"] == 3 and info["path"] == str(index)
    shown = run("index", "info", index).stdout
    assert "Passages   3\n" in shown and "Tokenizer  version 2\nStemmer    english\n" in shown


def test_queries_come_from_a_file_or_stdin(index: Path, tmp_path: Path) -> None:
    file = tmp_path / "queries.txt"
    file.write_text("Niger\n\n São Tomé \n", encoding="utf-8")
    shown = json.loads(run("index", "search", index, "Chad", "--queries-file", file, "-k", "1", "--json").stdout)
    assert [row["query"] for row in shown["results"]] == ["Chad", "Niger", "São Tomé"]
    assert [row["passages"][0]["id"] for row in shown["results"]] == ["1", "2", "3"]
    piped = json.loads(run("index", "search", index, "--queries-file", "-", "--json", given="Chad\n").stdout)
    assert [row["query"] for row in piped["results"]] == ["Chad"]
    for arguments, code in (([], 2), (["--queries-file", tmp_path / "none.txt"], 1), (["--queries-file", tmp_path], 1)):
        result = run("index", "search", index, *arguments)
        assert result.exit_code == code and result.stderr.count("\n") == 1


def test_index_build_reads_a_folder_of_documents(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "chad.md").write_text("# Chad\n\nIts capital is N'Djamena.", encoding="utf-8")
    built = run("index", "build", tmp_path / "notes", "--out", tmp_path / "index", "--title-weight", "2")
    assert built.stdout.startswith("1 passage (")
    assert json.loads(run("index", "info", tmp_path / "index", "--json").stdout)["title_weight"] == 2
    assert "Its capital is N'Djamena." in run("index", "search", tmp_path / "index", "capital").stdout
    found = json.loads(run("index", "search", tmp_path / "index", "capital", "--json").stdout)["results"][0]
    assert found["passages"][0]["file"] == "chad.md"


def test_index_info_counts_the_files_that_are_in_it(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "chad.txt").write_text("Chad is dry.", encoding="utf-8")
    (tmp_path / "notes" / "binary.txt").write_bytes(b"\0")
    assert run("index", "build", tmp_path / "notes", "--out", tmp_path / "index").exit_code == 0
    assert "Files       1, and 1 that gave nothing\n" in run("index", "info", tmp_path / "index").stdout
    info = json.loads(run("index", "info", tmp_path / "index", "--json").stdout)
    assert (info["files"], info["empty_files"]) == (1, 1)


def test_the_world_is_an_index_without_files() -> None:
    assert "Passages   1,483\n" in run("index", "info", "world").stdout
    info = json.loads(run("index", "info", "world", "--json").stdout)
    assert (info["path"], info["passages"]) == ("world", 1483) and "files" not in info
    assert run("index", "verify", "world").stdout == "Whole: world comes with ragr1-lite and has no files of its own\n"


def test_index_update(tmp_path: Path) -> None:
    notes, built = tmp_path / "notes", tmp_path / "index"
    notes.mkdir()
    (notes / "chad.md").write_text("# Chad\n\nIts capital is N'Djamena.", encoding="utf-8")
    assert run("index", "build", notes, "--out", built).exit_code == 0
    (notes / "mali.md").write_text("# Mali\n\nIts capital is Bamako.", encoding="utf-8")
    shown = run("index", "update", built).stdout
    assert shown.startswith("2 passages (") and "files 1 added, 0 changed, 0 removed, 1 unchanged; " in shown
    (notes / "chad.md").unlink()
    counts = json.loads(run("index", "update", built, notes, "--json").stdout)
    assert [counts[name] for name in ("added", "changed", "removed", "unchanged", "passages")] == [0, 0, 1, 1, 1]
    assert "Bamako" in run("index", "search", built, "capital").stdout
    assert f"Built from  {notes}" in run("index", "info", built).stdout
    wrong = run("index", "update", built, tmp_path / "none")
    assert wrong.exit_code == 1 and wrong.stderr.count("\n") == 1


def test_index_search_in_several(index: Path, corpus: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert run("index", "build", corpus, "--out", other).exit_code == 0
    command = ("index", "search", index, "Niger", "--index", other, "-k", "2")
    (found,) = json.loads(run(*command, "--json").stdout)["results"]
    assert [(one["id"], one["index"]) for one in found["passages"]] == [("2", str(index)), ("2", str(other))]
    assert f"  {other}  2" in run(*command).stdout
    missing = run("index", "search", index, "Niger", "--index", tmp_path / "none")
    assert missing.exit_code == 1 and f"There is no index {tmp_path / 'none'}. Check the path" in missing.stderr


def test_index_ceiling(index: Path, tmp_path: Path) -> None:
    questions = tmp_path / "questions.jsonl"
    rows = [{"question": "highest point of Chad?", "answers": ["Emi Koussi"], "gold_titles": ["Chad"]}]
    rows += [{"question": "Gulf of Guinea?", "answers": ["Malabo"]}]
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = json.loads(run("index", "ceiling", index, questions, "-k", "1", "--json").stdout)
    assert found["questions"] == 2 and found["answer"]["question"]["mean"] == 0.5
    assert found["titles"]["question"]["mean"] == 1 and found["answer"]["gold_queries"]["n"] == 1
    assert "An answer in the top 1 of the question" in run("index", "ceiling", index, questions, "-k", "1").stdout


def test_an_index_of_an_unknown_kind(tmp_path: Path) -> None:
    result = run("index", "search", "ftp://somewhere", "Chad")
    assert result.exit_code == 2 and "ftp://" in result.stderr and result.stderr.count("\n") == 1
    gone = run("index", "serve", tmp_path / "none", "--port", "0")
    assert gone.exit_code == 1 and gone.stderr.startswith("Error: There is no index")


def test_missing_index(tmp_path: Path) -> None:
    for command in (["index", "info"], ["index", "verify"], ["index", "search"]):
        result = run(*command, tmp_path / "none", *(["x"] if command[1] == "search" else []))
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("Error: There is no index") and result.stderr.count("\n") == 1


def test_broken_index(index: Path) -> None:
    (index / "passages.jsonl").write_bytes(b"{}")
    result = run("index", "verify", index)
    assert result.exit_code == 1 and "passages.jsonl" in result.stderr


def test_broken_corpus(tmp_path: Path) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_text('{"text": "fine"}\n' + "not json\n" * 20, encoding="utf-8")
    result = run("index", "build", path, "--out", tmp_path / "index")
    assert result.exit_code == 1 and "broken.jsonl:2" in result.stderr and not (tmp_path / "index").exists()
    missing = run("index", "build", tmp_path / "none.jsonl", "--out", tmp_path / "index")
    assert missing.exit_code == 1 and "none.jsonl" in missing.stderr


@pytest.mark.parametrize(
    "arguments", [["search", "INDEX", *["Chad"] * 3000], ["verify", "INDEX"]], ids=["long", "short"]
)
def test_a_reader_that_goes_away_is_no_error(arguments: list[str], index: Path) -> None:
    script = "from ragr1_lite.cli.main import main; main()"
    command = [sys.executable, "-c", script, "index", *(str(index) if one == "INDEX" else one for one in arguments)]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=buffered)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141

"""The folder that ``learn`` fills: its files, what is known of each stage, and which of them are of other documents.

::

    runs/learn-NAME/
      learn.json            what it was begun with, counts, steps, seconds by stage
      index/                of the documents
      questions.jsonl       all that were kept; train.jsonl and held-out.jsonl divide them
      trajectories.jsonl    of train.jsonl
      sft/, grpo/           the trainings
      before.jsonl, sft.jsonl, grpo.jsonl   the held-out questions, answered before and after each
      report.html, report.md
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragr1_lite.assistant import Setup
from ragr1_lite.core.errors import DataError, RunError
from ragr1_lite.evaluation import Evaluation
from ragr1_lite.files.journal import digest
from ragr1_lite.files.writing import refuse_input, write_json, writing
from ragr1_lite.retrieval.bm25.store import MANIFEST, PASSAGES

_LATER = ("questions", "train", "held-out", "trajectories", "before", "sft", "grpo")
_ANEW = "choose another --out, or begin anew with --overwrite."


class LearnFolder:
    """The paths in it, and what ``learn.json`` keeps.

    Attributes:
        known: What is kept: ``given``, ``documents``, ``counts``, ``steps``, ``seconds`` and the like.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.index = path, path / "index"
        self.sft, self.grpo = path / "sft", path / "grpo"
        self._file = path / "learn.json"
        self.known: dict[str, Any] = {}

    @classmethod
    def open(cls, path: Path, documents: Path, given: Mapping[str, Any], *, overwrite: bool = False) -> LearnFolder:
        """Opens the folder, or begins it; what it was ``given`` must be the same, but that a teacher may come later.

        Raises:
            DataError: ``documents`` is no folder, or one of the two lies in the other.
            RunError: It is another folder, was begun otherwise, or its ``learn.json`` is broken.
        """
        if not documents.is_dir():
            raise DataError(f"There is no folder {documents}", "Name the folder that your documents are in.")
        refuse_input(path, (documents,))
        if path.resolve().is_relative_to(documents.resolve()):
            hint = "Choose an --out elsewhere, or it would be read as documents the next time."
            raise DataError(f"{path} lies in {documents}, whose documents are read", hint)
        folder = cls(path)
        with writing(path):
            if not folder._file.exists() and path.is_dir() and any(path.iterdir()):
                raise RunError(f"{path} exists and was not made by `learn`", "Choose another --out.")
            path.mkdir(parents=True, exist_ok=True)
        if folder._file.exists() and not overwrite:
            folder.known = folder._read()
        if overwrite:
            folder.begin_anew()
            shutil.rmtree(folder.index, ignore_errors=True)
        folder._require_same(given)
        folder.keep(given=dict(given))
        return folder

    def _read(self) -> dict[str, Any]:
        try:
            known = json.loads(self._file.read_text(encoding="utf-8"))
            if isinstance(known, dict) and known.pop("digest", None) == digest(known):
                return known
        except (OSError, ValueError, RecursionError):
            pass
        raise RunError(f"{self._file} is broken", f"{_ANEW[0].upper()}{_ANEW[1:]}")

    def file(self, name: str) -> Path:
        """A file of rows by its name, such as ``questions``."""
        return self.path / f"{name}.jsonl"

    @property
    def training(self) -> bool:
        """Whether a training was begun, which no change of the documents undoes."""
        return (self.sft / "recipe.yaml").exists()

    def keep(self, **values: Any) -> None:
        """Adds to what is known."""
        self.known |= values
        write_json(self._file, self.known | {"digest": digest(self.known)})

    def begin_anew(self) -> None:
        """Removes everything but the index."""
        with writing(self.path):
            for name in _LATER:
                file = self.file(name)
                for path in (file, file.with_name(f".{file.name}.journal")):
                    path.unlink(missing_ok=True)
                if (self.path / name).is_dir():
                    shutil.rmtree(self.path / name)
        self.known = {name: value for name, value in self.known.items() if name == "given"}
        self.keep()

    def stale(self, stages: Iterable[str]) -> tuple[str, ...]:
        """Which of the ``stages`` that are finished are of other documents than the index holds now.

        As long as no training was begun all of them are made anew, and none is stale.
        """
        now = json.loads((self.index / MANIFEST).read_text(encoding="utf-8"))["files"][PASSAGES]["sha256"]
        if self.known.get("documents", now) != now:
            if self.training:
                return tuple(stage for stage in stages if stage in self.known.get("seconds", ()))
            self.begin_anew()
        self.keep(documents=now)
        return ()

    def _require_same(self, given: Mapping[str, Any]) -> None:
        before = self.known.get("given", given)
        different = [name for name in given if before.get(name) != given[name]]
        if different == ["teacher"] and not before["teacher"] and not self.training:
            self.begin_anew()
        elif different:
            raise RunError(
                f"{self.path} was begun with {_said(before, different)}, and is to go on with "
                f"{_said(given, different)}",
                f"Give the same, {_ANEW}",
            )


def _said(given: Mapping[str, Any], names: Iterable[str]) -> str:
    return " and ".join(f"--{name} {given.get(name)}" if given.get(name) else f"no --{name}" for name in names)


@dataclass(frozen=True, slots=True)
class Learned:
    """What came of it.

    Attributes:
        folder: Where everything is.
        setup: Who answers: what answered the held-out questions best, or without a training the shipped adapter.
        evaluations: Of the same questions before, after SFT and after GRPO; none where nothing was trained.
        stale: The stages that are of other documents than the index.
        too_few: Why nothing was trained, and what would help; empty where something was.
    """

    folder: LearnFolder
    setup: Setup
    evaluations: tuple[Evaluation, ...] = ()
    stale: tuple[str, ...] = ()
    too_few: str = ""

    @property
    def command(self) -> str:
        """What opens the prompt."""
        names = ("adapter", "index") if self.setup.adapter else ("model", "index", "k")  # a run knows the others
        given = (word for name in names for word in (f"--{name}", str(getattr(self.setup, name))))
        return shlex.join(["ragr1-lite", "ask", *given])

    def to_json(self) -> dict[str, Any]:
        """``{"run", "index", "counts", "rows": {label: figures as of eval}, "adapter", …}``."""
        return {
            "run": str(self.folder.path),
            "index": str(self.folder.index),
            "counts": self.folder.known["counts"],
            "enough": not self.too_few,
            "rows": {one.label: one.to_json() for one in self.evaluations},
            "model": self.setup.model,
            "adapter": self.setup.adapter,
            "ask": self.command,
            "stale": list(self.stale),
            "seconds": {stage: round(seconds, 1) for stage, seconds in self.folder.known["seconds"].items()},
        }

"""Data sets on the Hugging Face hub, read as they stream in; only when a user names one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ragr1_lite.core.errors import DataError
from ragr1_lite.files.rows import Rows, Wanted

PREFIX = "hub:"
FORM = "Name it as hub:OWNER/NAME, hub:OWNER/NAME:CONFIG or hub:OWNER/NAME:CONFIG:SPLIT."
TIMEOUT = 8.0


@dataclass(frozen=True, slots=True)
class HubData:
    """A data set on the hub: ``hub:OWNER/NAME[:CONFIG][:SPLIT]``; an empty ``CONFIG`` means any."""

    name: str
    config: str | None = None
    split: str | None = None

    @classmethod
    def parse(cls, source: str) -> HubData:
        """Raises DataError where ``source`` has another form."""
        name, *more = source.removeprefix(PREFIX).split(":")
        if name.count("/") != 1 or not all(name.split("/")) or len(more) > 2:
            raise DataError(f"{source} is not the name of a data set on the hub", FORM)
        config, split = [*(part or None for part in more), None, None][:2]
        return cls(name, config, split)

    def place(self, number: int) -> str:
        """Names a row, for a message."""
        return f"{self} row {number}"

    def __str__(self) -> str:
        parts = [self.name, self.config or "", self.split or ""]
        return PREFIX + ":".join(parts).rstrip(":")


def read_hub(source: HubData, wanted: Wanted) -> Rows:
    """The rows of a data set, which is not kept; raises DataError where it is missing, unreachable or without text."""
    _check_exists(source)
    rows = _open(source, wanted)
    number = 0
    try:
        for number, row in enumerate(rows, start=1):
            yield number, row
    except Exception as error:  # the clients' own trees, which change between versions
        raise DataError(
            f"{source} broke off after {number} rows ({_why(error)})", "Check the network and try again."
        ) from error


def _check_exists(source: HubData) -> None:
    """Asks the hub once whether it has the data set: ``datasets`` itself tries for half a minute."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        HfApi().dataset_info(source.name, timeout=TIMEOUT)
    except Exception as error:
        if isinstance(error, GatedRepoError):
            why = f"{source} is gated on the hub"
            hint = "Accept its terms on its page and log in with: hf auth login."
        elif isinstance(error, RepositoryNotFoundError):
            why = f"The hub has no data set {source.name}, or it is private"
            hint = "Check the spelling; for a private one: hf auth login."
        else:
            why = f"The hub cannot be reached for {source} ({_why(error)})"
            hint = "Check the network, or name a file on this machine."
        raise DataError(why, hint) from error


def _open(source: HubData, wanted: Wanted) -> Iterable[dict[str, Any]]:
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    try:
        rows = load_dataset(source.name, source.config, split=source.split, streaming=True)
    except Exception as error:
        raise DataError(f"{source} cannot be read ({_why(error)})", FORM) from error
    if isinstance(rows, dict):
        if len(rows) != 1:
            raise DataError(f"{source} has the splits {', '.join(map(str, rows))}", FORM)
        [rows] = rows.values()
    if rows.column_names:
        rows = rows.select_columns([name for name in wanted.keys if name in rows.column_names])
    return rows  # type: ignore[no-any-return]


def _why(error: Exception) -> str:
    return " ".join((str(error).strip() or type(error).__name__).split())[:200].rstrip(".")

"""Several processes, one per GPU, as ``accelerate launch`` starts them.

Each trains on its share of every batch and rolls out its share of the questions; the main process, the first, writes
the run and reports. The launcher sets the environment of each; a single process imports nothing here.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any

from ragr1_lite.core.errors import RunError
from ragr1_lite.models.upstream import lost_connection

PATIENCE = timedelta(hours=2)
"""How long processes wait for each other: as long as one of them may take to download a model."""


def processes() -> int:
    """How many processes train together."""
    return _launcher("WORLD_SIZE", 1)


def rank() -> int:
    """This process's number among all of them, from 0."""
    return _launcher("RANK", 0)


def local_rank() -> int:
    """This process's number on its machine, which is the number of its GPU."""
    return _launcher("LOCAL_RANK", 0)


def sharded() -> bool:
    """Whether the model is sharded over the processes, by FSDP or DeepSpeed's ZeRO stage 3."""
    return os.environ.get("ACCELERATE_USE_FSDP") == "true" or os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") == "3"


def is_main() -> bool:
    """Whether this process writes the run and reports."""
    return rank() == 0


def wait() -> None:
    """Returns when every process has called this."""
    if processes() > 1:
        with together():
            _group().wait_for_everyone()


@contextmanager
def together() -> Iterator[None]:
    """Turns the connection's error into a RunError where another process has ended."""
    try:
        yield
    except RuntimeError as error:
        if processes() == 1 or not lost_connection(error):
            raise
        raise RunError(
            "Another process of this training has ended", "Read its error, then go on with --resume."
        ) from error


@contextmanager
def main_first() -> Iterator[None]:
    """Runs the block in the main process, then in the others, which find in a cache what it fetched."""
    if processes() == 1:
        yield
        return
    with _group().main_process_first():
        yield


def anywhere(flag: bool) -> bool:
    """Whether the flag is set in any process; every process has to call this."""
    return any(gathered([float(flag)]))


def gathered(numbers: Sequence[float]) -> list[float]:
    """The numbers of all processes, in the order of their ranks; every process has to call this with equally many."""
    if processes() == 1:
        return list(numbers)
    import torch
    from accelerate.utils import gather

    found: torch.Tensor = gather(torch.tensor(numbers, dtype=torch.float64, device=_group().device))
    return found.tolist()


def _launcher(name: str, default: int) -> int:
    """What the launcher set; a cluster may set WORLD_SIZE without a launcher, but never LOCAL_RANK."""
    return int(os.environ.get(name, default)) if "LOCAL_RANK" in os.environ else default


def _group() -> Any:
    """The processes' connection, made at the first call."""
    _connect()
    from accelerate import PartialState

    return PartialState()  # the trainer may have put another in place of the first


@cache
def _connect() -> None:
    import torch
    from accelerate import PartialState

    on_cpu = not torch.cuda.is_available()
    if on_cpu:  # accelerate would call it cpu:0, and torch.load, which resumes, knows no such place
        os.environ.setdefault("ACCELERATE_TORCH_DEVICE", "cpu")
    state = PartialState(cpu=on_cpu, timeout=PATIENCE)
    atexit.register(state.destroy_process_group)

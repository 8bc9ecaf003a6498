"""In what is stored and computed, for each kind of machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ragr1_lite.core.errors import ModelError
from ragr1_lite.models import cpu_speed, precision
from ragr1_lite.models.loading import ModelSpec, load_policy

Machine = Callable[[str], None]
MACHINES = {
    # name: a card's compute capability, whether it multiplies bf16 itself, whether the CPU is fast at it
    "slow-bf16-cpu": (None, False, False),
    "fast-bf16-cpu": (None, False, True),
    "pascal": ((6, 1), False, False),
    "t4": ((7, 5), False, False),
    "ampere": ((8, 6), True, False),
}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Lets this machine pass for another."""

    def pass_for(name: str) -> None:
        capability, native, fast = MACHINES[name]
        monkeypatch.setattr(torch.cuda, "is_available", lambda: capability is not None)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
        # torch's own default counts what is only emulated
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native
        )
        monkeypatch.setattr(cpu_speed, "prefers_bf16", lambda: fast)

    return pass_for


@pytest.mark.parametrize(
    ("name", "auto", "small", "nf4"),
    [
        ("slow-bf16-cpu", ("fp32", "fp32"), ("fp32", "fp32"), "fp32"),
        ("fast-bf16-cpu", ("bf16", "bf16"), ("bf16", "bf16"), "bf16"),
        ("pascal", ("nf4", "fp32"), ("fp32", "fp32"), "fp32"),
        ("t4", ("nf4", "fp16"), ("fp16", "fp16"), "fp16"),
        ("ampere", ("nf4", "bf16"), ("bf16", "bf16"), "bf16"),
    ],
)
def test_each_machine_computes_in_what_it_is_fast_at(
    machine: Machine, name: str, auto: tuple[str, str], small: tuple[str, str], nf4: str
) -> None:
    machine(name)
    cuda = MACHINES[name][0] is not None
    assert precision.choose("a/b", "auto", cuda=cuda)[:2] == auto
    assert precision.choose("smollm2-135m", "auto", cuda=cuda)[:2] == small
    assert precision.choose("a/b", "nf4", cuda=cuda)[:2] == ("nf4", nf4)
    assert precision.choose("a/b", "nf4", "bf16", cuda=cuda)[:2] == ("nf4", "bf16"), "as a resumed run began"
    for asked in ("fp32", "bf16", "fp16"):
        assert precision.choose("a/b", asked, cuda=cuda)[:2] == (asked, asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "dtype", "words"),
    [
        ("slow-bf16-cpu", "bf16", "fp32 is the faster on this CPU"),
        ("slow-bf16-cpu", "nf4", "fp32 is the faster on this CPU"),
        ("t4", "auto", "fp16 is the faster on this card"),
    ],
)
def test_what_is_chosen_against_habit_is_said(machine: Machine, name: str, dtype: Any, words: str) -> None:
    machine(name)
    assert words in precision.choose("a/b", dtype, cuda=MACHINES[name][0] is not None)[2]


def test_a_card_without_bitsandbytes_keeps_sixteen_bits(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision.importlib.util, "find_spec", lambda name: None)
    for name, dtype in (("t4", "fp16"), ("ampere", "bf16")):
        machine(name)
        assert precision.choose("a/b", "auto", cuda=True)[:2] == (dtype, dtype)


def test_a_card_that_is_only_planned_for_has_bf16(machine: Machine) -> None:
    machine("slow-bf16-cpu")
    assert precision.choose("a/b", "auto", cuda=True)[:2] == ("nf4", "bf16")


def test_fp16_is_for_cards(tiny_qwen2_folder: Path, machine: Machine) -> None:
    machine("fast-bf16-cpu")
    with pytest.raises(ModelError, match=r"fp16 needs a CUDA device.*model\.dtype to auto"):
        load_policy(ModelSpec(str(tiny_qwen2_folder), dtype="fp16"))

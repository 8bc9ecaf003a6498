"""The real unsloth, by a stand-in for a card: ``make test-unsloth``. Elsewhere these tests are left out, visibly."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ON = os.environ.get("RAGR1_LITE_TEST_UNSLOTH") == "1" and importlib.util.find_spec("unsloth") is not None
if ON:
    from tests.unsloth import stand_in


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves them out, or bears with unsloth's warnings."""
    for item in items:
        if HERE in item.path.parents:
            missing = pytest.mark.skip(reason="needs the unsloth environment: make test-unsloth")
            item.add_marker(pytest.mark.filterwarnings("ignore") if ON else missing)


@pytest.fixture(autouse=True, scope="session")
def _card() -> Iterator[None]:
    """As if there were a card."""
    from ragr1_lite.models import loading

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "_has_cuda", lambda: True)
        yield


@pytest.fixture
def card() -> Callable[..., AbstractContextManager[None]]:
    """Another card for a block: ``card(bf16=False)``."""
    return stand_in.card


@pytest.fixture(scope="session")
def byte_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its tokenizer has a token to spare, as those of real models have."""
    from tests.support import tiny

    tokenizer = tiny.byte_tokenizer(special=("<|im_start|>", "<|spare_pad|>"))
    return tiny.save_byte_model(tmp_path_factory.mktemp("byte") / "tiny-byte", tokenizer)


@pytest.fixture(scope="session")
def plain(byte_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What plain TRL makes of the same recipes, in a process that has never seen unsloth; see ``work.py``."""
    folder = tmp_path_factory.mktemp("plain")
    command = [sys.executable, "-W", "ignore", "-m", "tests.unsloth.work", "transformers", str(byte_model), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parents[1], check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder

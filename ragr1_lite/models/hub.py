"""Finds a model's files: a built-in model, a local folder, or a hub model; and a hub's adapters."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from ragr1_lite.core.errors import ModelError, first_line
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.files.json_lines import json_of
from ragr1_lite.files.writing import CACHE_HINT, require_space, writing
from ragr1_lite.models.builtin import BUILT_IN, BY_HUB_ID, ensure

MODEL_FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")
"""What is fetched from a hub: no pickle, no code."""
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_WEIGHTS = "model.safetensors"
TIMEOUT = 8.0  # seconds after which a silent hub counts as unreachable


def find_folder(name: str, report: Report = ignore) -> Path:
    """Returns the local folder of a model (a built-in name, a folder, or a hub id), fetching it where needed.

    Raises:
        ModelError: There is no such model, it cannot be reached, its terms are not accepted, or its folder is
            incomplete.
        StorageError: It cannot be stored.
    """
    if name in BUILT_IN:
        return ensure(name, report=report)
    return folder_here(name) or _checked(_fetch_from_hub(name, report))


def folder_here(name: str) -> Path | None:
    """A model's folder that is named by its path; None where the name is another's, such as a hub id.

    Raises:
        ModelError: There is no such model, or its folder is incomplete.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return _checked(path)
    if path.is_file():
        raise _no_model(path)
    if name in BUILT_IN or is_hub_id(name):
        return None
    raise ModelError(
        f"There is no model folder {name}",
        f"Give an existing folder, a hub id such as Qwen/Qwen2.5-0.5B-Instruct, or one of {', '.join(BUILT_IN)}.",
    )


def _no_model(path: Path) -> ModelError:
    """That a file or folder holds no model that can be loaded."""
    if path.suffix == ".gguf" or any(path.glob("*.gguf")):
        fix = "Give the folder of a model, such as `export --to merged` makes."
        return ModelError(f"{path} is GGUF, which is for llama.cpp and Ollama", fix)
    fix = "Give the folder of a model; an adapter goes into --adapter or model.adapter."
    return ModelError(f"{path} has no config.json, so it is not a model folder", fix)


def is_hub_id(name: str) -> bool:
    """Whether a name has the form of a hub id: an owner and a name."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and "\\" not in name and ":" not in name


def fetch_adapter(name: str, report: Report = ignore) -> Path:
    """Returns the local folder of a hub's adapter, fetching its two files where needed.

    Raises:
        ModelError: There is no such adapter, or it cannot be reached.
        StorageError: It cannot be stored.
    """
    files = (ADAPTER_CONFIG, ADAPTER_WEIGHTS)
    folder = _fetch_from_hub(name, report, files, lambda cached: all((cached / file).is_file() for file in files))
    if not (folder / ADAPTER_CONFIG).is_file():
        raise ModelError(
            f"{name} on the hub holds no adapter: it has no {ADAPTER_CONFIG}",
            "Give it as the model, or check its name.",
        )
    return folder


@contextmanager
def without_adapter(folder: Path) -> Iterator[Path]:
    """A model's folder without the adapter that may lie in it: transformers would load that, unsloth refuse both."""
    if not (folder / ADAPTER_CONFIG).is_file():
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="ragr1-lite-") as view:
        for path in folder.iterdir():
            if not path.name.startswith("adapter_"):
                (Path(view) / path.name).symlink_to(path.resolve())
        yield Path(view)


def _checked(folder: Path) -> Path:
    """The folder, if it holds a config and all its safetensors weights."""
    if not (folder / "config.json").is_file():
        raise _no_model(folder)
    if any(folder.glob("*.bin")) and not any(folder.glob("*.safetensors*")):
        raise ModelError(f"{folder} has weights only as pickle (.bin)", "Convert them to safetensors.")
    if missing := _missing_weights(folder):
        fix = "Download the model again, or copy the missing files into the folder."
        raise ModelError(f"{folder} lacks weights: {', '.join(missing)}", fix)
    return folder


def _missing_weights(folder: Path) -> list[str]:
    """Files that the folder lacks: the shards of its weight map, else the map or the single file itself."""
    index = folder / f"{_WEIGHTS}.index.json"
    if (folder / _WEIGHTS).is_file():
        return []
    if not index.is_file():
        return [index.name if any(folder.glob("*-of-*.safetensors")) else _WEIGHTS]
    try:
        shards = set(json_of(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError):  # cut off, or no weight map
        return [index.name]
    return sorted(name for name in shards if not (folder / name).is_file())


def _whole_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() and not _missing_weights(folder)


def _fetch_from_hub(
    name: str, report: Report, patterns: Sequence[str] = MODEL_FILES, whole: Callable[[Path], bool] = _whole_model
) -> Path:
    """A hub repository's snapshot folder: from the local cache where it is whole, else downloaded."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        cached = Path(snapshot_download(name, local_files_only=True, allow_patterns=list(patterns)))
        if whole(cached):
            return cached
    except LocalEntryNotFoundError:
        pass
    except ValueError as error:
        raise ModelError(f"{name} is no valid hub id", "A hub id looks like Qwen/Qwen2.5-0.5B-Instruct.") from error
    needed = _ask_hub(name, patterns)
    store = Path(os.environ.get("HF_HUB_CACHE") or os.environ.get("HF_HOME") or Path.home() / ".cache/huggingface")
    with writing(store, CACHE_HINT):
        store.mkdir(parents=True, exist_ok=True)
        require_space(store, needed)
        report(Notice(f"Downloading {name} from the hub: {needed / 2**30:.2f} GB"))
        try:
            return Path(snapshot_download(name, allow_patterns=list(patterns)))
        except (HfHubHTTPError, LocalEntryNotFoundError) as error:
            raise _unreachable(name, first_line(error)) from error


def _ask_hub(name: str, patterns: Sequence[str]) -> int:
    """Asks the hub once whether it has the repository; returns the bytes to fetch."""
    from fnmatch import fnmatch

    from huggingface_hub import HfApi
    from huggingface_hub.constants import ENDPOINT
    from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError

    if not has_route(ENDPOINT):
        raise _unreachable(name, f"no connection to {urlsplit(ENDPOINT).hostname}")
    try:
        files = HfApi().model_info(name, timeout=TIMEOUT, files_metadata=True).siblings or []
    except GatedRepoError as error:
        raise ModelError(
            f"{name} is gated on the hub", "Accept its terms on its page and log in with: hf auth login."
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"The hub has no model {name}, or it is private", "Check the spelling; for a private one: hf auth login."
        ) from error
    except OfflineModeIsEnabled as error:
        raise _unreachable(name, "HF_HUB_OFFLINE is set") from error
    except Exception as error:  # the HTTP client's errors, which changed between versions
        raise _unreachable(name, first_line(error)) from error
    return sum(file.size or 0 for file in files if any(fnmatch(file.rfilename, pattern) for pattern in patterns))


def has_route(endpoint: str) -> bool:
    """Opens one connection, in a thread: looking up a name without a network has no time limit of its own."""
    if any(os.environ.get(key) for key in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    url = urlsplit(endpoint)
    address = (url.hostname or "huggingface.co", url.port or (80 if url.scheme == "http" else 443))
    reached = threading.Event()

    def connect() -> None:
        with suppress(OSError):
            socket.create_connection(address, timeout=TIMEOUT / 2).close()
            reached.set()

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    return reached.is_set()


def _unreachable(name: str, detail: str) -> ModelError:
    twin = BY_HUB_ID.get(name)
    without_hub = f"{twin} is that model, quantized, without a hub" if twin else "The built-in models need no hub"
    return ModelError(
        f"{name} is not on this machine and the hub cannot be reached ({detail})",
        f"Check the network, or give a local folder. {without_hub}: ragr1-lite models list.",
    )

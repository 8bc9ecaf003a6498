"""Uploads a folder to the hub, with the token that ``hf auth login`` or HF_TOKEN left; it is neither kept nor shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from ragr1_lite.core.errors import ConfigError, ModelError, first_line
from ragr1_lite.core.events import Notice, Report, ignore, phase
from ragr1_lite.models.hub import has_route, is_hub_id

_LOG_IN = "Log in with a token that may write: hf auth login, or set HF_TOKEN."


def require_access(name: str) -> None:
    """Makes sure, before anything is made, that the hub can be reached and knows who asks.

    Raises:
        ConfigError: The name is no hub id.
        ModelError: There is no network or no token, or the hub does not take it.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
        owned = is_hub_id(name)
    except ValueError:
        owned = False
    if not owned:
        raise ConfigError(f"{name} is no name of a repository", "Give it as OWNER/NAME.")
    with _explained(name, "Try again with a network, or without --push."):
        HfApi().whoami()


def upload(folder: Path, name: str, *, public: bool = False, report: Report = ignore) -> str:
    """Makes the repository where there is none and uploads the folder in one commit.

    Args:
        folder: What to upload.
        name: OWNER/NAME.
        public: Whether everybody may see a repository that is made here; one that is there stays as it is.
        report: Receives a phase and a notice.

    Returns:
        The repository's address.

    Raises:
        ModelError: There is no network, or no permission.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    again = f"{folder} is whole: hf upload {name} {folder}"
    with phase(report, f"Uploading to {name}"), _explained(name, again):
        made = api.create_repo(name, private=not public, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Exported by ragr1-lite")
    report(Notice(f"{name} is at {made}"))
    return str(made)


@contextmanager
def _explained(name: str, fix: str) -> Iterator[None]:
    """Turns what the hub's library raises into one sentence, with ``fix`` where nothing better is known."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    host = urlsplit(constants.ENDPOINT).hostname
    if not constants.is_offline_mode() and not has_route(constants.ENDPOINT):
        raise ModelError(f"{name} cannot be written: there is no connection to {host}", fix)
    try:
        yield
    except LocalTokenNotFoundError:
        raise ModelError(f"{name} cannot be written: there is no token for {host} on this machine", _LOG_IN) from None
    except OfflineModeIsEnabled:
        raise ModelError(f"{name} cannot be written: HF_HUB_OFFLINE is set", fix) from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        if status == 401:
            raise ModelError(f"{name} cannot be written: {host} does not take the token", _LOG_IN) from error
        if status in (403, 404):
            right = f"Take a token that may write to {name.partition('/')[0]}, or another name. {fix}"
            raise ModelError(f"{name} cannot be written: the token has no permission for it", right) from error
        raise ModelError(f"{name} cannot be written: {first_line(error)}", fix) from error
    except Exception as error:  # the HTTP client's, which changed between versions
        raise ModelError(f"{name} cannot be written: {first_line(error)}", fix) from error

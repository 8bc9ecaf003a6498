"""A model's files: what counts as complete, and what is fetched again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from ragr1_lite.core.errors import ModelError
from ragr1_lite.models import hub

SHARDS = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """A model whose download was interrupted: of three shards one is there."""
    weight_map = {f"layer.{number}": shard for number, shard in enumerate(SHARDS)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / SHARDS[0]).touch()
    return tmp_path


def test_an_interrupted_download_is_fetched_again(sharded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []

    def snapshot_download(name: str, *, local_files_only: bool = False, **_: Any) -> str:
        if not local_files_only:
            fetched.append(name)
            for shard in SHARDS:
                (sharded / shard).touch()
        return str(sharded)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(hub, "_ask_hub", lambda *_: 0)
    assert hub.find_folder("org/sharded") == sharded
    assert fetched == ["org/sharded"] and all((sharded / shard).is_file() for shard in SHARDS)
    assert hub.find_folder("org/sharded") == sharded
    assert fetched == ["org/sharded"]


def test_missing_shards_of_a_local_folder_are_named(sharded: Path) -> None:
    with pytest.raises(ModelError, match=f"lacks weights: {SHARDS[1]}, {SHARDS[2]}. Download the model again"):
        hub.find_folder(str(sharded))


@pytest.mark.parametrize("text", [None, "{", "[]", "{}"], ids=["missing", "cut off", "no object", "no weight map"])
def test_shards_need_their_weight_map(sharded: Path, text: str | None) -> None:
    index = sharded / "model.safetensors.index.json"
    index.unlink()
    if text is not None:
        index.write_text(text, encoding="utf-8")
    for shard in SHARDS:
        (sharded / shard).touch()
    with pytest.raises(ModelError, match=r"lacks weights: model\.safetensors\.index\.json"):
        hub.find_folder(str(sharded))


def test_a_single_file_needs_no_weight_map(sharded: Path) -> None:
    (sharded / "model.safetensors").touch()
    assert hub.find_folder(str(sharded)) == sharded

"""The files of adapters that are looked for and never loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def save_adapter_files(folder: Path, **fields: Any) -> Path:
    """Writes an adapter's two files, ``fields`` into its adapter_config.json, and returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **fields}), encoding="utf-8")
    (folder / "adapter_model.safetensors").touch()
    return folder

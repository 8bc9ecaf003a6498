"""The assistant behind the API of OpenAI's chat completions, for chat clients."""

from __future__ import annotations

from ragr1_lite.serving.api.app import make_app, serve

__all__ = ["make_app", "serve"]

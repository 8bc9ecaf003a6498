"""A page on this machine that takes questions and shows the answers while they grow."""

from __future__ import annotations

from ragr1_lite.serving.page.app import make_app, serve

__all__ = ["make_app", "serve"]

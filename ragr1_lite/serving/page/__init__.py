"""A page on this machine on which questions are asked and answers watched."""

from __future__ import annotations

from ragr1_lite.serving.page.app import make_app, serve

__all__ = ["make_app", "serve"]

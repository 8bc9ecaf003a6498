"""Draws docs/ask.svg, the README's picture, from a real answer: ``python docs/picture.py [QUESTION]``."""

import io
import sys
from pathlib import Path

from rich.console import Console

from ragr1_lite.answer import Assistant
from ragr1_lite.ui import Display
from ragr1_lite.ui.conversation import PrettyConversation

question = " ".join(sys.argv[1:]) or "Which has the higher highest point, Chad or Niger?"
answer = Assistant.open().ask(question)
console = Console(record=True, width=96, file=io.StringIO(), force_terminal=True)
view = PrettyConversation(Display(out=console))
view._stream = lambda: None  # no spinner between the turns
view.begin(question)
view.finish(answer)
svg = console.export_svg(title=f'ragr1-lite ask "{question}"')
Path(__file__).with_name("ask.svg").write_text(svg, encoding="utf-8")

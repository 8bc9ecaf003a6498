"""Ollama's description of a model: the file, the prompt that it was trained with, and where it stops."""

from __future__ import annotations

from pathlib import Path

from ragr1_lite.config import Recipe
from ragr1_lite.core.errors import ModelError
from ragr1_lite.models.chat_template import read_frame
from ragr1_lite.models.tokenizer import ChatTokenizer

_QUESTION = "\ue000question\ue000"


def modelfile(recipe: Recipe, folder: Path) -> str:
    """A Modelfile for the ``model.gguf`` in its folder; what is asked becomes the protocol's prompt, word by word.

    Ollama does not search: it stops where a search is written, and whoever runs it goes on from there.

    Raises:
        ModelError: The prompt cannot be written into one.
    """
    tokenizer = ChatTokenizer.load(folder)
    frame = read_frame(tokenizer.hf)
    before, after = recipe.rollout.protocol().render_prompt(_QUESTION).split(_QUESTION)
    template = f"{frame.before}{before}{{{{ .Prompt }}}}{after}{frame.after}"
    if '"""' in template or "{{" in template.replace("{{ .Prompt }}", ""):
        raise ModelError("The prompt holds what a Modelfile takes for its own", "Export gguf, and write it yourself.")
    ends = [tokenizer.hf.convert_ids_to_tokens(i) for i in tokenizer.eos_ids]
    stops = [*recipe.rollout.protocol().stop, *ends]
    return "\n".join(
        [
            "FROM ./model.gguf",
            f'TEMPLATE """{template}"""',
            *(f'PARAMETER stop "{stop}"' for stop in stops),
            "PARAMETER temperature 0",
            f"PARAMETER num_ctx {recipe.rollout.max_length}",
            "",
        ]
    )

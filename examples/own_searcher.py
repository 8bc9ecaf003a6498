"""Any object with a ``search`` method can answer a model's queries: here, a dictionary of definitions."""

from collections.abc import Sequence
from dataclasses import replace

from ragr1_lite.assistant import Assistant
from ragr1_lite.core.types import Passage

GLOSSARY = {
    "quokka": "A quokka is a small marsupial of south-western Australia. The population of quokkas is about 10,000.",
    "axolotl": "An axolotl is a salamander of Mexico that keeps its gills. The population of axolotls is about 1,000.",
}


class Glossary:
    """Finds the entries whose word occurs in the query."""

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Passage, ...]]:
        """One tuple of passages per query, in order."""
        return [
            tuple(Passage(word, word, text, 1.0) for word, text in GLOSSARY.items() if word in query.lower())[:k]
            for query in queries
        ]


assistant = replace(Assistant.open(), searcher=Glossary())
print(assistant.ask("Of which are there more, quokkas or axolotls?").to_json())

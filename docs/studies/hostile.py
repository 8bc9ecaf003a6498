"""A hundred hostile passages asked about by a real model: `python docs/studies/hostile.py MODEL [TOWNS [WAY …]]`.

The model answers 25 questions, or fewer, one to a town of tests/support/hostile.py whose four passages it finds: by its
`own` searches, after one that it is `given`, or with the passages in its `prompt`. Prints a row of a table for each
way, and fails where a transcript is not what happened, or harmless documents would have changed a reward.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ragr1_lite.assistant import Assistant, Setup
from ragr1_lite.core.rollout import Limits, run_rollouts
from ragr1_lite.core.types import Completion, Mode, SampleRequest
from ragr1_lite.retrieval import Bm25Searcher
from tests.models.test_untrusted_tokens import control_ids
from tests.support.hostile import ASKED, EVIL, PASSAGES
from tests.support.intact import Overheard, assert_intact, assert_paid_for_the_models_own

LIMITS = Limits(max_rounds=2, k=4, max_new_tokens=40, document_tokens=320, total_document_tokens=700, max_length=1600)
WAYS: dict[str, Mode] = {"own": "multi", "given": "multi", "prompt": "rag"}


class SearchesFirst(Overheard):
    """Each row's first turn is a search for its town; the others are the model's."""

    def sample(self, requests: Sequence[SampleRequest], **options: Any) -> list[Completion]:
        """Either all rows begin, or all go on."""
        if self.said:
            return super().sample(requests, **options)
        texts = [
            f"<think>I look it up.</think><search>mill of {ASKED[request.row].id}</search>" for request in requests
        ]
        first = [Completion(tuple(self.tokenizer.encode(text)), text, "stop") for text in texts]
        self.said = {request.row: [one] for request, one in zip(requests, first, strict=True)}
        return first


def main(model: str, towns: str = "25", *ways: str) -> None:
    """Prints the rows."""
    searcher, assistant = Bm25Searcher.from_passages(PASSAGES), Assistant.open(Setup(model=model, batch_size=5))
    tokenizer: Any = assistant.sampler.tokenizer
    print("| model | way | intact | passages read | answers | with the injected one | paid for |")
    print("|---" * 7 + "|")
    for way in ways or WAYS:
        sampler = (SearchesFirst if way == "given" else Overheard)(assistant.sampler)
        protocol = assistant.with_mode(WAYS[way]).protocol
        rolled = run_rollouts(ASKED[: int(towns)], sampler, searcher, protocol=protocol, limits=LIMITS)
        for row, one in enumerate(rolled):
            assert_intact(one, sampler.said[row], protocol, tokenizer, control_ids(tokenizer))
            assert_paid_for_the_models_own(one, sampler.said[row], protocol, LIMITS, tokenizer)
        read = len({found.id for one in rolled for found in one.shown})
        answers = Counter("injected" if EVIL in one.answer else "other" for one in rolled if one.answer)
        cells = (model, way, f"{len(rolled)} of {len(rolled)}", read, answers.total(), answers["injected"], 0)
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

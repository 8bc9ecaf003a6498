"""The part of a model card that says how the model is asked: by ragr1-lite, and by what everybody has."""

from __future__ import annotations

import json

from ragr1_lite.core.protocol import Protocol
from ragr1_lite.serving.hub.facts import Facts, Wanted

_BY_US = """\
By ragr1-lite, over an index of your documents (`ragr1-lite index build FOLDER --out INDEX`):

```console
$ {command}
```
"""
_OWN_PROMPT = "Its prompt is one of its maker's own, which `ragr1-lite ask` has in the run's folder alone.\n"
_SNIPPET = """\
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

PROMPT = {prompt}

tokenizer = AutoTokenizer.from_pretrained({name})
model = AutoModelForCausalLM.from_pretrained({model}){adapter}
config = GenerationConfig.from_pretrained({name})  # with every token that ends a turn
messages = [{{"role": "user", "content": PROMPT.replace("{{question}}", "YOUR QUESTION")}}]
framed = {{"add_generation_prompt": True, "return_dict": True, "return_tensors": "pt"}}
inputs = tokenizer.apply_chat_template(messages, **framed)
stops = {{"stop_strings": {stops}, "max_new_tokens": {tokens}}}
output = model.generate(**inputs, generation_config=config, tokenizer=tokenizer, **stops)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :]))"""
_SEARCHES = """
Where its turn ends in `</search>`, search for the queries in it, append what was found as below, and generate again,
until there is an `<answer>`.

```text
{found}
```
"""
_READS_FIRST = """
What a search for the question finds goes in place of `{documents}`, as `Doc 1: TITLE. TEXT Doc 2: TITLE. TEXT`.
"""


def usage(wanted: Wanted, facts: Facts) -> str:
    """The section of a card; its code runs as it stands where the base model has a hub id."""
    protocol, name = facts.asked.rollout.protocol(), json.dumps(wanted.name)
    base = facts.hub_id or f"PATH/TO/{facts.base}"
    adapter = f"\nmodel = PeftModel.from_pretrained(model, {name})"
    snippet = _SNIPPET.format(
        prompt=json.dumps(protocol.render_prompt("{question}", "{documents}"), ensure_ascii=False),
        name=name,
        model=name if wanted.merged else json.dumps(base),
        adapter="" if wanted.merged else adapter,
        stops=json.dumps(list(protocol.stop)),
        tokens=facts.asked.rollout.max_new_tokens,
    )
    by_us = _OWN_PROMPT if protocol.template else _BY_US.format(command=_command(wanted, facts, protocol))
    libraries = "transformers" if wanted.merged else "transformers and peft"
    snippet = snippet if wanted.merged else f"from peft import PeftModel\n{snippet}"
    section = f"## Ask it\n\n{by_us}\nBy {libraries}, one turn:\n\n```python\n{snippet}\n```\n"
    if protocol.reads_first:
        return section + _READS_FIRST
    if not protocol.searches:
        return section
    found = protocol.render_information(["QUERY"], ["Doc 1: TITLE. TEXT Doc 2: TITLE. TEXT"])
    return section + _SEARCHES.format(found=found.strip())


def _command(wanted: Wanted, facts: Facts, protocol: Protocol) -> str:
    parts = ['ragr1-lite ask "YOUR QUESTION"']
    parts += [f"--model {wanted.name} --adapter none"] if wanted.merged else [f"--adapter {wanted.name}"]
    if not (wanted.merged or facts.hub_id):
        parts.append(f"--model PATH/TO/{facts.base}")
    caps = protocol.max_queries
    queries = ",".join(map(str, caps)) if isinstance(caps, tuple) else caps
    parts += ["--index INDEX", f"--mode {protocol.mode} --max-queries {queries} --k {facts.asked.retrieval.k}"]
    return " ".join(parts)

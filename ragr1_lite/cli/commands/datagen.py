"""Making training data: trajectories by a teacher, questions that GRPO can learn from, questions of your documents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Context, Option

from ragr1_lite.cli.commands import options as opt
from ragr1_lite.cli.session import session

app = opt.Group()

_GENERATE_TEACHER = "Who writes: the sets' own decompositions and supporting facts, a local model, or an endpoint."
_UNANSWERABLE = "Share asked once more with its gold passages hidden, for *not in your documents*; gold alone does it."
_MODE = "How the trajectories search. [default: the run's own, else multi]"
_GENERATE_TEMPERATURE = "Sampling temperature. [default: 0 for one try, 1 for several]"
_KEEP = "Right answers by exact match, by F1, or any answer."
Price = Annotated[float | None, Option(min=0, metavar="PRICE", help="Price of a million tokens at an endpoint.")]
_SELECT_QUESTIONS = "Question files or hub:OWNER/NAME (see `data inspect`), or `world`."
_SELECT_TEACHER = "Whose rollouts: a built-in name, a folder, a hub id, an endpoint. [default: a built-in one]"
_BY = "Right in a later try and a share of what is right at first; or neither always nor never."
_SELECT_TEMPERATURE = "Sampling temperature. [default: 1.2; for pass-rate 1, as `grpo` samples]"
_EASY = "first-right: share kept of what is right at first."
_BETWEEN = "pass-rate: the range of rates to keep. [default: all but 0 and 1]"
_VALIDATION = "Share of the kept questions that goes to FILE.validation.jsonl."
_FACTS = "Subject, relation and object, as JSON lines, CSV or TSV. [default: what the passages hold]"
_MAKE_TEACHER = (
    "Writes more, of prose; with --facts, only judges them. A local model, or an OpenAI-compatible endpoint. "
    "[default: none]"
)
_KINDS = "Of one-hop, bridge and comparison."


@app.add(
    "generate",
    "ragr1-lite data generate questions.jsonl --index runs/books --out gold.jsonl",
    "ragr1-lite data generate questions.jsonl --index runs/books --out traj.jsonl \\",
    "    --teacher http://127.0.0.1:8000/v1 --tries 4 --concurrency 16",
    "ragr1-lite data generate questions.jsonl --index runs/books --out traj.jsonl \\",
    "    --teacher Qwen/Qwen2.5-7B-Instruct --rejected rejected.jsonl --resume",
)
def data_generate(
    context: Context,
    questions: opt.Questions,
    index: Annotated[list[str], Option(metavar="INDEX", help="An index folder or URL, or `world`; may be repeated.")],
    out: Annotated[Path, Option(metavar="FILE.jsonl", help="The trajectory file to write.")],
    teacher: Annotated[str, Option(metavar="gold|MODEL|URL", help=_GENERATE_TEACHER)] = "gold",
    teacher_model: opt.TeacherModel = None,
    adapter: opt.Adapter = None,
    mode: Annotated[Literal["multi", "single"] | None, Option(help=_MODE)] = None,
    keep: Annotated[Literal["em", "f1", "any"], Option(help=_KEEP)] = "em",
    threshold: Annotated[float, Option(min=0, max=1, metavar="F1", help="The least that --keep f1 keeps.")] = 0.8,
    tries: Annotated[int, Option(min=1, metavar="N", help="Tries per question, at most.")] = 1,
    temperature: Annotated[float | None, Option(min=0, metavar="T", help=_GENERATE_TEMPERATURE)] = None,
    seed: opt.Seed = 0,
    limit: opt.Limit = None,
    k: opt.K = None,
    max_queries: opt.MaxQueries = None,
    batch_size: opt.BatchSize = 16,
    unanswerable: Annotated[float, Option(min=0, max=1, metavar="SHARE", help=_UNANSWERABLE)] = 0.0,
    concurrency: opt.Concurrency = 8,
    timeout: opt.Timeout = 300.0,
    price_in: Price = None,
    price_out: Price = None,
    rejected: Annotated[
        Path | None, Option(metavar="FILE.jsonl", help="Where the rejected ones go, with the reason.")
    ] = None,
    resume: opt.Resume = False,
    overwrite: opt.Overwrite = False,
    as_json: opt.AsJson = False,
) -> None:
    """Write trajectories for `sft` by a teacher, with real retrieval results; keep those worth imitating.

    Kept is what ends in a right answer, keeps the protocol, and answers from what was retrieved. An endpoint is an
    OpenAI-compatible one (vLLM, Ollama, llama.cpp, a provider); its key is OPENAI_API_KEY's.

    JSON: {"questions", "kept", "rejected": {REASON: n}, "rounds", "queries", "by_kind": {KIND: n}}; rounds and queries
    are means of what is kept. An endpoint adds "usage": {"requests", "prompt_tokens", "completion_tokens", "cost"}.
    """
    with session(context, as_json=as_json) as display:
        from ragr1_lite.assistant import Setup
        from ragr1_lite.datagen.endpoint import Connection
        from ragr1_lite.datagen.generate import Sampling, generate
        from ragr1_lite.datagen.rejection import Criteria
        from ragr1_lite.ui.tables import counts_table

        setup = Setup(
            model=teacher, adapter=adapter, index=index, mode=mode, k=k, max_queries=max_queries, batch_size=batch_size
        )
        counts = generate(
            questions,
            setup,
            out=out,
            connection=Connection(teacher_model, concurrency, timeout, price_in=price_in, price_out=price_out),
            limit=limit,
            sampling=Sampling(seed, tries, temperature),
            criteria=Criteria(keep, threshold),
            unanswerable=unanswerable,
            rejected=rejected,
            resume=resume,
            overwrite=overwrite,
            report=display,
        )
        shown = {name: value for name, value in counts.items() if name != "usage"}
        display.show(counts_table(shown), json=counts)


@app.add(
    "select",
    "ragr1-lite data select questions.jsonl --index runs/books --out rl.jsonl",
    "ragr1-lite data select world --by pass-rate --tries 4 --limit 200 --out rl.jsonl",
    "ragr1-lite grpo mine.yaml --set data.train=rl.jsonl --set data.order=easy-first",
)
def data_select(
    context: Context,
    questions: Annotated[list[str], Argument(metavar="QUESTIONS", help=_SELECT_QUESTIONS)],
    out: Annotated[Path, Option(metavar="FILE.jsonl", help="The questions to train on.")],
    index: opt.Indexes = None,
    teacher: Annotated[str | None, Option("--model", "--teacher", metavar="MODEL|URL", help=_SELECT_TEACHER)] = None,
    teacher_model: opt.TeacherModel = None,
    adapter: opt.Adapter = None,
    by: Annotated[Literal["first-right", "pass-rate"], Option(help=_BY)] = "first-right",
    tries: Annotated[int, Option(min=1, metavar="N", help="Rollouts per question, at most.")] = 10,
    rounds: Annotated[int, Option(min=0, metavar="N", help="Retrieval rounds per rollout, at most.")] = 10,
    temperature: Annotated[float | None, Option(metavar="T", help=_SELECT_TEMPERATURE)] = None,
    easy_share: Annotated[float, Option(min=0, max=1, metavar="SHARE", help=_EASY)] = 0.25,
    keep_between: Annotated[tuple[float, float] | None, Option(metavar="LOW HIGH", help=_BETWEEN)] = None,
    validation: Annotated[float, Option(min=0, max=0.5, metavar="SHARE", help=_VALIDATION)] = 0.05,
    split: Annotated[Literal["train", "dev"], Option(help="Split of the embedded world.")] = "train",
    limit: opt.Limit = None,
    mode: opt.AskedMode = None,
    k: opt.K = None,
    max_queries: opt.MaxQueries = None,
    batch_size: opt.BatchSize = 16,
    concurrency: opt.Concurrency = 8,
    timeout: opt.Timeout = 300.0,
    seed: opt.Seed = 0,
    resume: opt.Resume = False,
    overwrite: opt.Overwrite = False,
    as_json: opt.AsJson = False,
) -> None:
    """Select the questions that GRPO can learn from, by a model's own rollouts.

    JSON: {"kept", "histogram": [n ...], "questions", "right_first", "hard_kept", "easy_kept", "train", "validation",
    "seconds"}. The histogram counts questions: right at first, in try 1, 2 ..., never; or by the number of right
    rollouts, from 0.
    """
    with session(context, as_json=as_json) as display:
        from ragr1_lite.assistant import Setup
        from ragr1_lite.datagen.endpoint import Connection
        from ragr1_lite.datagen.selection import Rule, run
        from ragr1_lite.ui.tables import counts_table, histogram

        setup = Setup(
            model=teacher, adapter=adapter, index=index, mode=mode, k=k, max_queries=max_queries, batch_size=batch_size
        )
        selection = run(
            questions,
            out,
            setup,
            rule=Rule(by, tries, temperature, rounds, seed, easy_share, keep_between, validation),
            connection=Connection(teacher_model, concurrency, timeout),
            split=split,
            limit=limit,
            resume=resume,
            overwrite=overwrite,
            report=display,
        )
        counts = selection.to_json()
        rest = {name: value for name, value in counts.items() if name != "histogram"}
        display.show(histogram(selection.histogram), counts_table(rest), json=counts)


@app.add(
    "make-questions",
    "ragr1-lite data make-questions runs/notes --out questions.jsonl",
    "ragr1-lite data make-questions runs/notes --facts facts.csv --out questions.jsonl",
    "ragr1-lite data make-questions runs/notes --out questions.jsonl \\",
    "    --teacher http://127.0.0.1:8000/v1",
)
def data_make_questions(
    context: Context,
    index: Annotated[str, Argument(metavar="INDEX", help="An index folder, `world`, or with facts a URL.")],
    out: Annotated[Path, Option(metavar="FILE.jsonl", help="The question file to write.")],
    facts: Annotated[Path | None, Option(metavar="FILE", help=_FACTS)] = None,
    teacher: Annotated[str | None, Option(metavar="MODEL|URL", help=_MAKE_TEACHER)] = None,
    teacher_model: opt.TeacherModel = None,
    adapter: opt.Adapter = None,
    kinds: Annotated[str, Option(metavar="KIND,KIND,…", help=_KINDS)] = "one-hop,bridge,comparison",
    limit: opt.Limit = None,
    k: opt.K = None,
    seed: opt.Seed = 0,
    concurrency: opt.Concurrency = 8,
    timeout: opt.Timeout = 300.0,
    resume: opt.Resume = False,
    overwrite: opt.Overwrite = False,
    as_json: opt.AsJson = False,
) -> None:
    """Make one-hop, bridge and comparison questions from your own documents.

    By rule, from facts: `Key: value` lines, tables and a few sure sentences of the passages, or a file of facts. Each
    question's passages must be found again by search among the first k.

    JSON: {"passages", "facts", "questions", "kept", "rejected": {REASON: n}, "by_kind": {KIND: n}}.
    """
    with session(context, as_json=as_json) as display:
        from ragr1_lite.datagen.endpoint import Connection
        from ragr1_lite.datagen.questions import make_questions
        from ragr1_lite.ui.tables import counts_table

        counts = make_questions(
            index,
            out=out,
            facts=facts,
            teacher=teacher,
            adapter=adapter,
            connection=Connection(teacher_model, concurrency, timeout),
            kinds=[kind.strip() for kind in kinds.split(",")],
            limit=limit,
            seed=seed,
            k=k,
            resume=resume,
            overwrite=overwrite,
            report=display,
        )
        display.show(counts_table(counts), json=counts)

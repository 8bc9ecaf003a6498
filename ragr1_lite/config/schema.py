"""What a recipe may say. A field's default stands here and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ragr1_lite.config import yaml_text
from ragr1_lite.core.errors import ConfigError
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import Mode
from ragr1_lite.core.urls import COMMAND, is_address, refuse_password
from ragr1_lite.files.json_lines import whole_text

WORLD = "world"  # the name of the embedded world, as a data set and as an index
SHIPPED = "shipped"  # as ``model.adapter``: the adapter that comes with the package for the model

ALL_LINEAR = "all-linear"  # among ``lora.targets``: every linear layer but the output's, as peft has it

Order = Literal["random", "easy-first", "hard-first", "few-hops-first"]
Weights = Literal["even", "signal", "hops"]
RewardPart = Literal["em", "f1", "cover_em", "evidence", "format", "shaped_format", "length", "retrieval"]


class Section(BaseModel):
    """Unknown keys are errors; nothing changes afterwards."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,  # it may be a password
    )


class ModelConfig(Section):
    """The base model and how it is loaded."""

    name: str = "smollm2-135m"  # a built-in name (``smollm2-135m``), a local folder or a hub id
    # ``auto``: 4-bit NF4 on a GPU; on a CPU bf16 where the CPU is fast at it, else fp32. fp16 is for GPUs.
    dtype: Literal["auto", "fp32", "bf16", "fp16", "nf4"] = "auto"
    # ``auto``: unsloth on a GPU where it is installed, else transformers and peft.
    engine: Literal["auto", "unsloth", "transformers"] = "auto"
    # The adapter to start from: a run's folder, an adapter's, a checkpoint, a hub id, or ``shipped``, the one that
    # comes with the package for the model.
    adapter: str | None = None


def _names(value: Any) -> Any:
    """One name, or several with commas between them, is a list of names, too."""
    return tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else value


class LoraConfig(Section):
    """The trained part."""

    r: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    saved_as: Literal["fp32", "bf16"] = "fp32"  # how the final adapter is written; bf16 takes half the space
    targets: Annotated[tuple[str, ...], BeforeValidator(_names)] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )  # layers by the last part of their names, or ``all-linear``

    @property
    def target_modules(self) -> str | list[str]:
        """The targets as peft takes them."""
        return ALL_LINEAR if ALL_LINEAR in self.targets else list(self.targets)


class DataConfig(Section):
    """Questions to train on."""

    # ``world``, a trajectory file for ``sft``, or a question file (JSON lines: question, answers) for ``grpo``.
    train: str = WORLD
    # Where ``grpo.expert`` finds its trajectories: a trajectory file, or ``world``, whose own gold ones are meant.
    expert: str | None = None
    limit: int | None = Field(None, ge=1)  # at most this many questions
    mix: dict[str, float] = {}  # weights by kind, for the embedded world
    # When a training meets its questions: ``random``; ``easy-first`` or ``hard-first`` by pass rate, from its first
    # step to its last; ``few-hops-first``. `data select` measures pass rates.
    order: Order = "random"
    # How often it meets each: ``even``; ``signal``, by p(1-p) of the pass rate p, the variance of a reward of 0 or 1,
    # without which GRPO learns nothing; ``hops``, by their number.
    weights: Weights = "even"
    # Share of the questions that are asked once more with their gold passages hidden, drawn by ``train.seed``: the
    # right answer is then *not in your documents*. ``sft`` takes it with ``world``; into a file
    # `data generate --unanswerable` puts them.
    unanswerable: float = Field(0.0, ge=0, le=1)


def name_index(section: Any) -> Any:
    """A ``retrieval`` section with ``url`` under its first name, ``index``; both values where it has both."""
    if not isinstance(section, dict) or "url" not in section:
        return section
    rest = {key: value for key, value in section.items() if key not in ("index", "url")}
    given = {key: section[key] for key in ("index", "url") if section.get(key) is not None}
    return rest | ({"index": given if len(given) > 1 else next(iter(given.values()))} if given else {})


def index_names(index: str | Sequence[str]) -> tuple[str, ...]:
    """One name, or several, as several.

    >>> index_names("world"), index_names(["world", "indexes/books"])
    (('world',), ('world', 'indexes/books'))
    """
    return (index,) if isinstance(index, str) else tuple(index)


def _checked_index(index: Any) -> Any:
    if isinstance(index, dict):
        raise ValueError("is given next to `url`, its other name: keep one of the two")
    names = index if isinstance(index, list | tuple) else [index]
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError("input should be a valid string, or a list of such")
    for name in names:
        if is_address(name) and not name.startswith(COMMAND):
            try:
                refuse_password(name)
            except ConfigError as error:
                raise ValueError(str(error)) from None
    return names[0] if len(names) == 1 else tuple(names)


class RetrievalConfig(Section):
    """The index that answers searches."""

    # ``world``, an index folder, a search server's URL or ``mcp+stdio:COMMAND``; a recipe may name it ``url``, too. A
    # list of several is searched together.
    index: Annotated[str | tuple[str, ...], BeforeValidator(_checked_index)] = WORLD
    k: int = Field(3, ge=1)  # passages per query

    @model_validator(mode="before")
    @classmethod
    def _url_names_the_index(cls, fields: Any) -> Any:
        return name_index(fields)

    @property
    def indexes(self) -> tuple[str, ...]:
        """The index's name, or those of all that are searched together."""
        return index_names(self.index)


def _caps(value: Any) -> Any:
    """A number, or several that do not rise; a text has commas between them."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    caps: list[Any] = [int(part) if isinstance(part, str) and part.strip().isdecimal() else part for part in parts]
    if not caps or any(type(cap) is not int or cap < 1 for cap in caps) or caps != sorted(caps, reverse=True):
        raise ValueError("must be a number from 1 up, or a list that does not rise, such as [3, 2, 1]")
    return caps[0] if len(caps) == 1 else tuple(caps)


class RolloutConfig(Section):
    """Protocol and budgets of a rollout."""

    # ``multi``, ``single``, ``cot-rag``, ``rag`` or ``direct``. The prompts of the last three ask for no tag, which a
    # reward wants: SFT teaches it, or a ``template`` asks for it.
    mode: Mode = "multi"
    # Parallel queries per search in ``multi`` mode: one number, or one a search, such as ``[3, 2, 1]``, of which the
    # last holds on. The prompt names the first, so none may be above the one before it.
    max_queries: Annotated[int | tuple[int, ...], BeforeValidator(_caps)] = 3
    template: Path | None = None  # a file with a prompt of your own; ``{question}`` in it is replaced
    max_rounds: int = Field(4, ge=0)  # retrieval rounds; one more generation follows in which to answer
    max_new_tokens: int = Field(500, ge=1)  # tokens per generation
    document_tokens: int = Field(1000, ge=1)  # tokens of documents per query
    total_document_tokens: int = Field(6000, ge=1)  # tokens of documents per trajectory
    max_length: int = Field(8192, ge=64)  # tokens of the whole sequence
    batch_size: int = Field(16, ge=1)  # rows sampled together
    # Who samples while ``grpo`` trains; ``auto``: vLLM on a GPU where it is installed, else transformers.
    engine: Literal["auto", "transformers", "vllm"] = "auto"
    gpu_share: float = Field(0.3, gt=0, lt=1)  # share of the GPU's memory that vLLM may take

    def protocol(self) -> Protocol:
        """The protocol these settings describe; reads the template file."""
        return Protocol(
            self.mode, self.max_queries, read_text(self.template, "prompt template") if self.template else None
        )

    def limits(self, k: int) -> Limits:
        """The budgets these settings describe."""
        return Limits(
            max_rounds=self.max_rounds,
            k=k,
            max_new_tokens=self.max_new_tokens,
            document_tokens=self.document_tokens,
            total_document_tokens=self.total_document_tokens,
            max_length=self.max_length,
        )


def _trackers(value: Any) -> Any:
    return () if value is None else _names(value)


class TrainConfig(Section):
    """The optimizer's side; one step is one update of the weights."""

    steps: int = Field(100, ge=1)
    batch_size: int = Field(8, ge=1)  # trajectories per step; for ``grpo``: questions x group_size
    micro_batch: int = Field(4, ge=1)  # trajectories per forward pass; divides batch_size
    learning_rate: float = Field(1e-4, gt=0)
    # Steps before the first one at the full learning rate; step i of them has i/(warmup_steps + 1) of it.
    warmup_steps: int = Field(5, ge=0)
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    max_grad_norm: float = Field(1.0, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    seed: int = 0
    save_every: int = Field(50, ge=1)  # steps between checkpoints
    keep: int = Field(2, ge=1)  # checkpoints kept
    # Trackers next to ``metrics.jsonl``: ``tensorboard``, ``wandb``, ``trackio`` or another of transformers'.
    report_to: Annotated[tuple[str, ...], BeforeValidator(_trackers)] = ()

    @model_validator(mode="after")
    def _divides(self) -> TrainConfig:
        if self.batch_size % self.micro_batch:
            raise ValueError(f"micro_batch {self.micro_batch} does not divide batch_size {self.batch_size}")
        return self


class EvalConfig(Section):
    """The fixed held-out questions that the quickstart measures before and after, and a training on its way."""

    data: str = WORLD  # ``world`` or a question file
    split: Literal["dev", "test"] = "dev"
    questions: int = Field(0, ge=0)
    mix: dict[str, float] = {}  # weights by kind, for the embedded world
    # Steps between measurements while training; the adapter that did best is kept as ``best``. 0: none.
    every: int = Field(0, ge=0)


class GrpoConfig(Section):
    """Group-relative policy optimization (TRL's), as far as this project sets it."""

    group_size: int = Field(8, ge=2)  # rollouts per question
    # Of the rollouts; no top-p or top-k, so that sampling and training distributions agree.
    temperature: float = Field(1.0, gt=0)
    beta: float = Field(0.001, ge=0)  # weight of the KL to the starting policy
    # TRL's losses by their names; ``gspo`` is ``grpo`` with one importance weight per sequence.
    loss_type: Literal["dapo", "grpo", "gspo", "bnpo", "dr_grpo", "cispo", "luspo", "sapo", "vespo"] = "dapo"
    # How far an importance weight may be from 1 before it is clipped. By default 0.2; for ``gspo``, whose weights are
    # those of whole sequences, 3e-4 below and 4e-4 above, as its authors (arXiv 2507.18071) have it.
    epsilon: float | None = Field(None, gt=0)
    iterations: int = Field(1, ge=1)  # updates per batch of rollouts
    # How often groups whose rollouts all earned the same are replaced by those of other questions.
    resample: int = Field(0, ge=0)
    # Of each group so many are not sampled: gold trajectories of the question, from ``data.expert``.
    expert: int = Field(0, ge=0)
    # Of a group without a right answer, so many rollouts are replaced by others that go on from where the one that
    # was shown most gold passages had seen them. The questions must name their gold passages.
    continue_near_misses: int = Field(0, ge=0)


class GuardConfig(Section):
    """What ends a collapse.

    A breach warns; one that lasts rolls back to the last good adapter at half the learning rate, once.
    """

    enabled: bool = True
    patience: int = Field(3, ge=1)  # steps in a row with a breach before the roll-back
    # Nats per token. 0: not watched, since a model that is sure of its format is near 0.
    min_entropy: float = Field(0.0, ge=0)
    max_kl: float = Field(1.0, gt=0)  # nats per token from the starting policy; measured where ``grpo.beta`` is above 0
    max_length_growth: float = Field(3.0, gt=1)  # sampled tokens per rollout over those of the first steps
    # Share of rollouts that end in no usable turn, above what it was in the first steps.
    max_invalid: float = Field(0.5, gt=0, le=1)
    max_dead: float = Field(1.0, gt=0, le=1)  # share of groups without signal


class RewardConfig(Section):
    """Weights of the reward's parts; the paper's reward is exact match alone."""

    em: float = 1.0
    f1: float = 0.0
    cover_em: float = 0.0  # 1 where an accepted answer stands inside the answer
    evidence: float = 0.0  # share of the gold passages that the model was shown, where the questions name them
    format: float = 0.0  # 1 for a well-formed trajectory
    shaped_format: float = 0.0  # share of well-formed turns, for cold starts
    length: float = 0.0  # per 100 sampled tokens; negative to shorten
    retrieval: float = 0.0  # per query; negative to spare searches
    # A reward of your own, ``module:function``, from a trajectory to a number; the module is imported.
    function: str | None = None
    function_weight: float = 1.0
    # After so many steps, these weights in place of all above: a part that a stage does not name weighs nothing in
    # it, such as ``{0: {em: 1, evidence: 0.5}, 30: {em: 1}}``. The weight of a function of your own stays.
    stages: dict[Annotated[int, Field(ge=0)], dict[RewardPart, float]] = {}

    @property
    def weights(self) -> dict[str, float]:
        """Weights by the names of the parts, before the first stage."""
        return {name: getattr(self, name) for name in get_args(RewardPart)}

    def weights_at(self, step: int) -> dict[str, float]:
        """Weights by the names of the parts after so many steps."""
        begun = [first for first in self.stages if first <= step]
        return (
            {name: self.stages[max(begun)].get(name, 0.0) for name in get_args(RewardPart)} if begun else self.weights
        )


class Recipe(Section):
    """Everything a training run needs to know."""

    task: Literal["sft", "grpo"]
    output: Path = Path("runs/latest")  # the run's folder
    model: ModelConfig = ModelConfig()
    lora: LoraConfig = LoraConfig()
    data: DataConfig = DataConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    rollout: RolloutConfig = RolloutConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()
    grpo: GrpoConfig = GrpoConfig()
    guard: GuardConfig = GuardConfig()
    reward: RewardConfig = RewardConfig()

    @model_validator(mode="after")
    def _hides_what_is_read(self) -> Recipe:
        if self.data.unanswerable and self.rollout.mode == "direct":
            raise ValueError("data.unanswerable hides passages, and mode direct reads none")
        if self.data.unanswerable and self.task == "sft" and self.data.train != WORLD:
            raise ValueError("data.unanswerable is for `world`: make the file by `data generate --unanswerable`")
        return self

    @model_validator(mode="after")
    def _groups_add_up(self) -> Recipe:
        if self.task != "grpo":
            return self
        size, expert, continued = self.grpo.group_size, self.grpo.expert, self.grpo.continue_near_misses
        if self.train.batch_size % size:
            raise ValueError(f"train.batch_size must be a multiple of grpo.group_size ({size})")
        if expert >= size:
            raise ValueError(f"grpo.expert {expert} leaves nothing to sample in groups of {size}")
        if expert and not self.data.expert:
            raise ValueError("grpo.expert needs data.expert: `world`, or a file that `data generate` wrote")
        if continued and expert + continued >= size:
            raise ValueError(f"grpo.continue_near_misses {continued} leaves no near miss among {size - expert} sampled")
        if continued and not Protocol(self.rollout.mode).searches:
            raise ValueError(f"grpo.continue_near_misses needs searches, and mode {self.rollout.mode} has none")
        return self

    @property
    def groups_needed(self) -> int:
        """The groups of a whole ``grpo`` training."""
        batches = math.ceil(self.train.steps / self.grpo.iterations)
        return batches * (self.train.batch_size // self.grpo.group_size)

    def dump(self) -> str:
        """The resolved recipe as YAML."""
        return to_yaml(self.model_dump(mode="json"))


def read_text(path: Path, what: str) -> str:
    """The text of a file; ``what`` names it in errors.

    Raises:
        ConfigError: It is missing or no UTF-8 text.
    """
    try:
        return whole_text(path)
    except FileNotFoundError:
        raise ConfigError(f"The {what} {path} does not exist", "Check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The {what} {path} cannot be read ({error})", "It must be a UTF-8 text file.") from None


def to_yaml(fields: dict[str, Any]) -> str:
    """A recipe's fields as the text of a file, in their order."""
    return yaml_text.dump(fields)

"""What a recipe may say. A field's default stands here, or for GRPO in ``grpo.py``, and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from ragr1_lite.config import yaml_text
from ragr1_lite.config.grpo import GrpoConfig, GuardConfig, RewardConfig
from ragr1_lite.config.section import Section
from ragr1_lite.core.errors import ConfigError
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import Mode
from ragr1_lite.core.urls import COMMAND, is_address, refuse_password
from ragr1_lite.files.json_lines import whole_text

WORLD = "world"
"""The name of the embedded world, as a data set and as an index."""
SHIPPED = "shipped"
"""As ``model.adapter``: the adapter that comes with the package for the model."""

ALL_LINEAR = "all-linear"
"""Among ``lora.targets``: every linear layer but the output's, as peft has it."""

Order = Literal["random", "easy-first", "hard-first", "few-hops-first"]
Weights = Literal["even", "signal", "hops"]


class ModelConfig(Section):
    """The base model and how it is loaded."""

    name: str = "smollm2-135m"
    """A built-in name (``smollm2-135m``), a local folder or a hub id."""
    dtype: Literal["auto", "fp32", "bf16", "fp16", "nf4"] = "auto"
    """``auto``: 4-bit NF4 on a GPU; on a CPU bf16 where the CPU is fast at it, else fp32. fp16 is for GPUs."""
    engine: Literal["auto", "unsloth", "transformers"] = "auto"
    """``auto``: unsloth on a GPU where it is installed, else transformers and peft."""
    adapter: str | None = None
    """The adapter to start from: a run's folder, an adapter's, a checkpoint, a hub id, or ``shipped``, the one that
    comes with the package for the model."""


def _names(value: Any) -> Any:
    """One name, or several with commas between them, is a list of names, too."""
    return tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else value


class LoraConfig(Section):
    """The trained part."""

    r: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    saved_as: Literal["fp32", "bf16"] = "fp32"
    """How the final adapter is written; bf16 takes half the space."""
    targets: Annotated[tuple[str, ...], BeforeValidator(_names)] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )
    """Layers by the last part of their names, or ``all-linear``."""

    @property
    def target_modules(self) -> str | list[str]:
        """The targets as peft takes them."""
        return ALL_LINEAR if ALL_LINEAR in self.targets else list(self.targets)


class DataConfig(Section):
    """Questions to train on."""

    train: str = WORLD
    """``world``, a trajectory file for ``sft``, or a question file (JSON lines: question, answers) for ``grpo``."""
    expert: str | None = None
    """Where ``grpo.expert`` finds its trajectories: a trajectory file, or ``world``, whose own gold ones are meant."""
    limit: int | None = Field(None, ge=1)
    """At most this many questions."""
    mix: dict[str, float] = {}
    """Weights by kind, for the embedded world."""
    order: Order = "random"
    """When a training meets its questions: ``random``; ``easy-first`` or ``hard-first`` by pass rate, from its first
    step to its last; ``few-hops-first``. `data select` measures pass rates."""
    weights: Weights = "even"
    """How often it meets each: ``even``; ``signal``, by p(1-p) of the pass rate p, the variance of a reward of 0 or 1,
    without which GRPO learns nothing; ``hops``, by their number."""
    unanswerable: float = Field(0.0, ge=0, le=1)
    """Share of the questions that have their gold passages hidden, drawn by ``train.seed``: the right answer is *not in
    your documents*. ``sft`` takes it with ``world``; into a file `data generate --unanswerable` puts them."""


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

    index: Annotated[str | tuple[str, ...], BeforeValidator(_checked_index)] = WORLD
    """``world``, an index folder, a search server's URL or ``mcp+stdio:COMMAND``; a recipe may name it ``url``, too. A
    list of several is searched together."""
    k: int = Field(3, ge=1)
    """Passages per query."""

    @model_validator(mode="before")
    @classmethod
    def _url_names_the_index(cls, fields: Any) -> Any:
        return name_index(fields)

    @property
    def indexes(self) -> tuple[str, ...]:
        """The index's name, or those of all that are searched together."""
        return index_names(self.index)

    @property
    def url(self) -> str | None:
        """The index's name where it is one URL or command."""
        return self.index if isinstance(self.index, str) and is_address(self.index) else None


def _caps(value: Any) -> Any:
    """A number, or several that do not rise; a text has commas between them."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    caps: list[Any] = [int(part) if isinstance(part, str) and part.strip().isdecimal() else part for part in parts]
    if not caps or any(type(cap) is not int or cap < 1 for cap in caps) or caps != sorted(caps, reverse=True):
        raise ValueError("must be a number from 1 up, or a list that does not rise, such as [3, 2, 1]")
    return caps[0] if len(caps) == 1 else tuple(caps)


class RolloutConfig(Section):
    """Protocol and budgets of a rollout."""

    mode: Mode = "multi"
    """``multi``, ``single``, ``cot-rag``, ``rag`` or ``direct``. The prompts of the last three ask for no tag, which a
    reward wants: SFT teaches it, or a ``template`` asks for it."""
    max_queries: Annotated[int | tuple[int, ...], BeforeValidator(_caps)] = 3
    """Parallel queries per search in ``multi`` mode: one number, or one a search, such as ``[3, 2, 1]``, of which the
    last holds on. The prompt names the first, so none may be above the one before it."""
    template: Path | None = None
    """A file with a prompt of your own; ``{question}`` in it is replaced."""
    max_rounds: int = Field(4, ge=0)
    """Retrieval rounds; one more generation follows in which to answer."""
    max_new_tokens: int = Field(500, ge=1)
    """Tokens per generation."""
    document_tokens: int = Field(1000, ge=1)
    """Tokens of documents per query."""
    total_document_tokens: int = Field(6000, ge=1)
    """Tokens of documents per trajectory."""
    max_length: int = Field(8192, ge=64)
    """Tokens of the whole sequence."""
    batch_size: int = Field(16, ge=1)
    """Rows sampled together."""
    engine: Literal["auto", "transformers", "vllm"] = "auto"
    """Who samples while ``grpo`` trains; ``auto``: vLLM on a GPU where it is installed, else transformers."""
    gpu_share: float = Field(0.3, gt=0, lt=1)
    """Share of the GPU's memory that vLLM may take."""

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
    batch_size: int = Field(8, ge=1)
    """Trajectories per step; for ``grpo``: questions x group_size."""
    micro_batch: int = Field(4, ge=1)
    """Trajectories per forward pass; divides batch_size."""
    learning_rate: float = Field(1e-4, gt=0)
    warmup_steps: int = Field(5, ge=0)
    """Steps before the first one at the full learning rate; step i of them has i/(warmup_steps + 1) of it."""
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    max_grad_norm: float = Field(1.0, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    seed: int = 0
    save_every: int = Field(50, ge=1)
    """Steps between checkpoints."""
    keep: int = Field(2, ge=1)
    """Checkpoints kept."""
    report_to: Annotated[tuple[str, ...], BeforeValidator(_trackers)] = ()
    """Trackers next to ``metrics.jsonl``: ``tensorboard``, ``wandb``, ``trackio`` or another of transformers'."""

    @model_validator(mode="after")
    def _divides(self) -> TrainConfig:
        if self.batch_size % self.micro_batch:
            raise ValueError(f"micro_batch {self.micro_batch} does not divide batch_size {self.batch_size}")
        return self


class EvalConfig(Section):
    """The fixed held-out questions that the quickstart measures before and after, and a training on its way."""

    data: str = WORLD
    """``world`` or a question file."""
    split: Literal["dev", "test"] = "dev"
    questions: int = Field(0, ge=0)
    mix: dict[str, float] = {}
    """Weights by kind, for the embedded world."""
    every: int = Field(0, ge=0)
    """Steps between measurements while training; the adapter that did best is kept as ``best``. 0: none."""


class Recipe(Section):
    """Everything a training run needs to know."""

    task: Literal["sft", "grpo"]
    output: Path = Path("runs/latest")
    """The run's folder."""
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

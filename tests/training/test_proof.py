"""The proof at start-up: what it shows, that it changes nothing, and that each thing it is for stops a training."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import typing
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import trl
from trl import GRPOTrainer

from ragr1_lite import versions
from ragr1_lite.config import GrpoConfig, Recipe
from ragr1_lite.core.errors import RunError
from ragr1_lite.core.events import Notice, StepFinished, ignore
from ragr1_lite.core.types import Completion, SampleRequest
from ragr1_lite.models.loading import Policy
from ragr1_lite.models.lora import save_adapter
from ragr1_lite.models.sampler import TransformersSampler
from ragr1_lite.training import grpo
from ragr1_lite.training.grpo import proof, trainer
from ragr1_lite.training.run_folder import Run
from ragr1_lite.training.trainer import fit
from tests.support import tiny

SEARCH = "<think>Search.</think><search>Chad, Oman</search>"
LATER = "<think>It is.</think><answer>Mali</answer>"
AT_ONCE = "<think>It is.</think><answer>Chad</answer>"
Change = Callable[[Any], Any]


@pytest.fixture(scope="module")
def byte_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_byte_model(tmp_path_factory.mktemp("byte") / "tiny-byte")


@pytest.fixture(scope="module")
def adapter(byte_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that does something, as SFT leaves it."""
    folder = tmp_path_factory.mktemp("sft")
    policy = tiny.load(tiny.make_recipe("sft", byte_model, folder / "run"))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in policy.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.1, generator=generator)
    return save_adapter(policy, folder / "adapter")


class Honest(tiny.Script):
    """Searches in every second row, answers, and gives how likely the policy is to say so at a temperature."""

    def __init__(self, policy: Policy, temperature: float = 1.0, change: Change = lambda logits: logits) -> None:
        super().__init__(policy.tokenizer, lambda row, turn: AT_ONCE if row % 2 else LATER if turn else SEARCH)
        self._policy, self._temperature, self._change = policy, temperature, change
        self.without_adapter = False

    def sample(self, requests: Sequence[SampleRequest], **_: Any) -> list[Completion]:
        said = super().sample(requests)
        return [self._judged(request, completion) for request, completion in zip(requests, said, strict=True)]

    def _judged(self, request: SampleRequest, completion: Completion) -> Completion:
        model: Any = self._policy.model
        ids = torch.tensor([[*request.token_ids, *completion.token_ids]])
        with torch.no_grad(), model.disable_adapter() if self.without_adapter else nullcontext():
            logits = model(input_ids=ids).logits[0, len(request.token_ids) - 1 : -1]
        shares = self._change(logits / self._temperature).log_softmax(-1)
        chosen = shares.gather(-1, ids[0, len(request.token_ids) :, None])[:, 0]
        return Completion(completion.token_ids, completion.text, completion.finish, tuple(chosen.tolist()))


@pytest.fixture
def honest(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts an :class:`Honest` sampler in the place of the real one."""

    def use(**options: Any) -> None:
        monkeypatch.setattr(trainer, "make_sampler", lambda policy, *_: Honest(policy, **options))

    return use


class Start:
    """A GRPO training about to begin, and what it reports."""

    def __init__(self, folder: Path, output: Path, **sections: dict[str, Any]) -> None:
        merged = {"train": {"steps": 1}, "grpo": {}} | sections
        self.recipe: Recipe = tiny.make_recipe("grpo", folder, output, **merged)
        self.policy = tiny.load(self.recipe)
        self.run = Run.start(self.recipe)
        self.reported: list[str] = []
        self.trainer = grpo.make_trainer(
            self.policy, tiny.EXAMPLES[:2], tiny.OnePassage(), self.recipe, self.run, self.report
        )

    def report(self, event: object) -> None:
        if isinstance(event, Notice):
            self.reported.append(event.text)

    def fit(self) -> list[str]:
        """What was proved."""
        fit(self.trainer, self.policy, self.recipe, self.run, ignore, resume=False)
        return [text for text in self.reported if text.startswith("Proved")]

    def refused(self) -> str:
        """What stopped it; the versions are looked at here."""
        weights = [weight.clone() for weight in self.policy.model.parameters()]
        with pytest.raises(RunError) as caught:
            self.fit()
        assert all(torch.equal(old, new) for old, new in zip(weights, self.policy.model.parameters(), strict=True))
        pair, _, problem = caught.value.message.partition(": ")
        assert pair == " with ".join(f"{name} {importlib.metadata.version(name)}" for name in ("trl", "transformers"))
        assert "tested" in caught.value.hint
        return problem


# --- what is shown -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss_type", "beta"),
    [("dapo", 0.0), *((name, 0.05) for name in typing.get_args(GrpoConfig.model_fields["loss_type"].annotation))],
)
def test_what_is_reported(byte_model: Path, tmp_path: Path, honest: Any, loss_type: str, beta: float) -> None:
    """With every loss, each of which makes a step then."""
    honest()
    start = Start(byte_model, tmp_path / "run", grpo={"loss_type": loss_type, "beta": beta})
    (reported,) = start.fit()
    first = start.trainer._buffered_inputs[0]
    written = int((first["tool_mask"] * first["completion_mask"]).sum())
    retrieved = int(first["completion_mask"].sum()) - written
    assert f"{written} tokens of the model have gradient" in reported
    assert (
        f"{retrieved} of the environment none" if retrieved else "none of the environment is among them"
    ) in reported
    assert float(reported.partition("differ by ")[2].split()[0]) < proof.BOUNDS["fp32"][0]
    assert "14 weights move" in reported, "half of a fresh adapter's have no gradient yet"
    (line,) = tiny.metrics_of(start.recipe.output)
    assert line["grad_norm"] > 0
    trained = [weight for name, weight in start.policy.model.named_parameters() if "lora_B" in name]
    assert all(weight.any() for weight in trained)


def test_real_sampler_at_another_temperature(byte_model: Path, tmp_path: Path, adapter: Path) -> None:
    start = Start(byte_model, tmp_path / "run", model={"adapter": str(adapter)}, grpo={"temperature": 0.7})
    (reported,) = start.fit()
    assert "differ by 0.00" in reported
    assert "28 weights move" in reported


def test_sampler_that_gives_nothing(byte_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "make_sampler", lambda policy, *_: tiny.Script(policy.tokenizer, lambda *_: AT_ONCE))
    (reported,) = Start(byte_model, tmp_path / "run").fit()
    assert "no log-probabilities to compare" in reported


def test_prompts_that_do_not_fit_are_left_to_the_next_pass(byte_model: Path, tmp_path: Path, honest: Any) -> None:
    honest()
    start = Start(byte_model, tmp_path / "run", train={"steps": 2, "micro_batch": 1})
    rollouts = start.trainer.rollout_func
    cut: list[int] = []

    def first_one_empty(prompts: list[str], own: Any) -> dict[str, Any]:
        handed: dict[str, Any] = rollouts(prompts, own)
        if not cut:
            cut.append(1)
            for number in range(4):
                trajectory = rollouts.trajectories[number]
                rollouts.trajectories[number] = type(trajectory)(
                    trajectory.example, trajectory.segments[:1], (), "context"
                )
            handed |= rollouts.handed()
        return handed

    start.trainer.rollout_func = first_one_empty
    (reported,) = start.fit()
    assert start.trainer.state.global_step == 2


# --- nothing is changed --------------------------------------------------------------------------------------------


def test_a_run_is_the_same_with_and_without(
    byte_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adapter: Path
) -> None:
    """To the bit, with dropout, which draws random numbers in every pass, and with a KL."""
    sections: dict[str, Any] = {
        "train": {"steps": 3, "learning_rate": 0.01},
        "grpo": {"beta": 0.05, "group_size": 4},
        "reward": {"em": 0.0, "length": 1.0},
    }
    config = adapter / "adapter_config.json"
    fields = json.loads(config.read_text(encoding="utf-8")) | {"lora_dropout": 0.3}
    with_dropout = Path(shutil.copytree(adapter, tmp_path / "adapter"))
    (with_dropout / config.name).write_text(json.dumps(fields), encoding="utf-8")
    sections["model"] = {"adapter": str(with_dropout)}
    proved = Start(byte_model, tmp_path / "proved", **sections)
    assert len(proved.fit()) == 1
    monkeypatch.setattr(trainer, "prove_first", lambda *_: None)
    plain = Start(byte_model, tmp_path / "plain", **sections)
    assert plain.fit() == []
    assert tiny.same_adapter(tmp_path / "proved" / "adapter", tmp_path / "plain" / "adapter")
    timeless = [
        [{name: value for name, value in line.items() if "second" not in name and "memory" not in name} for line in run]
        for run in (tiny.metrics_of(tmp_path / "proved"), tiny.metrics_of(tmp_path / "plain"))
    ]
    assert timeless[0] == timeless[1]
    assert timeless[0][0]["grad_norm"] > 0
    assert any(isinstance(module, torch.nn.Dropout) for module in proved.policy.model.modules())


def test_a_resumed_run_proves_itself_again(byte_model: Path, tmp_path: Path, honest: Any) -> None:
    honest()
    start = Start(byte_model, tmp_path / "run", train={"steps": 3, "save_every": 1})

    def crash(event: object) -> None:
        if isinstance(event, StepFinished) and event.step == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fit(start.trainer, start.policy, start.recipe, start.run, crash, resume=False)
    reported: list[object] = []
    run = Run.start(start.recipe, resume=True)
    policy = tiny.load(start.recipe)
    again = grpo.make_trainer(policy, tiny.EXAMPLES[:2], tiny.OnePassage(), start.recipe, run, reported.append)
    fit(again, policy, start.recipe, run, ignore, resume=True)
    assert sum(isinstance(event, Notice) and event.text.startswith("Proved") for event in reported) == 1
    assert sum(text.startswith("Proved") for text in start.reported) == 1


# --- what is refused: hooks and masks ------------------------------------------------------------------------------


def test_rollout_func_that_is_never_called(byte_model: Path, tmp_path: Path) -> None:
    start = Start(byte_model, tmp_path / "run", rollout={"max_length": 64})
    start.trainer.rollout_func = None  # TRL's own generation then
    assert start.refused() == "rollout_func is never called"


def test_trainer_that_knows_no_rollout_func(byte_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Old(GRPOTrainer):  # type: ignore[misc]
        def __init__(self, model: Any, reward_funcs: Any, args: Any, train_dataset: Any, processing_class: Any) -> None:
            raise AssertionError

    monkeypatch.setattr(trl, "GRPOTrainer", Old)
    with pytest.raises(RunError, match=r"trl .* with transformers .*: its GRPO takes no 'rollout_func'.*tested"):
        Start(byte_model, tmp_path / "run")


def in_loss(change: Callable[[dict[str, Any]], dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the trainer's loss see changed inputs."""
    plain = GRPOTrainer._compute_loss
    monkeypatch.setattr(GRPOTrainer, "_compute_loss", lambda self, model, inputs: plain(self, model, change(inputs)))


def in_batch(change: Callable[[dict[str, Any]], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the trainer change what it made of the rollouts."""
    plain = GRPOTrainer._generate_and_score_completions

    def changed(self: Any, inputs: Any) -> dict[str, Any]:
        batch: dict[str, Any] = plain(self, inputs)
        change(batch)
        return batch

    monkeypatch.setattr(GRPOTrainer, "_generate_and_score_completions", changed)


def test_mask_that_the_loss_ignores(
    byte_model: Path, tmp_path: Path, honest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest()
    in_loss(lambda inputs: {name: value for name, value in inputs.items() if name != "tool_mask"}, monkeypatch)
    assert Start(byte_model, tmp_path / "run").refused() == "masked tokens are trained"


def test_mask_that_is_dropped(byte_model: Path, tmp_path: Path, honest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    honest()
    in_batch(lambda batch: batch.pop("tool_mask"), monkeypatch)
    assert Start(byte_model, tmp_path / "run").refused() == "the mask of what the environment wrote is dropped"


def test_mask_of_other_tokens(byte_model: Path, tmp_path: Path, honest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    honest()
    in_batch(lambda batch: batch.update(tool_mask=torch.ones_like(batch["tool_mask"])), monkeypatch)
    start = Start(byte_model, tmp_path / "run", train={"steps": 1, "micro_batch": 4})
    assert start.refused() == "other tokens are masked than those that the environment wrote"


def test_mask_next_to_its_tokens(
    byte_model: Path, tmp_path: Path, honest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Off by one in the loss: a token of the environment takes part, and its log-probability is tens of nats off."""
    honest()
    in_loss(lambda inputs: inputs | {"tool_mask": inputs["tool_mask"].roll(1, dims=1)}, monkeypatch)
    start = Start(byte_model, tmp_path / "run", train={"steps": 1, "micro_batch": 4})
    assert start.refused().startswith("sampler and trainer differ by")


def test_mask_that_gates_whole_rows(
    byte_model: Path, tmp_path: Path, honest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest()
    whole = lambda mask: mask.any(1, keepdim=True).expand_as(mask).long()  # noqa: E731
    in_loss(lambda inputs: inputs | {"tool_mask": whole(inputs["tool_mask"])}, monkeypatch)
    start = Start(byte_model, tmp_path / "run", train={"steps": 1, "micro_batch": 4})
    assert start.refused().startswith("sampler and trainer differ by")


def test_mask_that_does_not_decide(
    byte_model: Path, tmp_path: Path, honest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss goes by a mask of its own, kept from before."""
    kept: list[torch.Tensor] = []

    def own_mask(inputs: dict[str, Any]) -> dict[str, Any]:
        return inputs | {"tool_mask": inputs["tool_mask"] * kept[0]}

    honest()
    in_batch(lambda batch: kept.append(batch["tool_mask"]), monkeypatch)
    monkeypatch.setattr("trl.trainer.grpo_trainer.shuffle_sequence_dict", lambda batch: batch)
    in_loss(own_mask, monkeypatch)
    start = Start(byte_model, tmp_path / "run", train={"steps": 1, "micro_batch": 4})
    assert start.refused() == "the mask does not decide what is trained"


def test_tokens_encoded_anew(byte_model: Path, tmp_path: Path, honest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def last_one_changed(batch: dict[str, Any]) -> None:
        batch["completion_ids"][:, 0] += 1

    honest()
    in_batch(last_one_changed, monkeypatch)
    assert Start(byte_model, tmp_path / "run").refused() == "other tokens are trained than those of the rollouts"


# --- what is refused: gradients ------------------------------------------------------------------------------------


def test_base_weight_with_gradient(byte_model: Path, tmp_path: Path, honest: Any) -> None:
    honest()
    start = Start(byte_model, tmp_path / "run")
    name, weight = next((n, w) for n, w in start.policy.model.named_parameters() if "norm" in n)
    weight.requires_grad_(True)
    assert start.refused() == f"{name} would be trained next to the adapter"


def test_adapter_without_gradient(byte_model: Path, tmp_path: Path, honest: Any) -> None:
    """As where a 4-bit layer was repacked for inference: what lies before it is cut off."""
    honest()
    start = Start(byte_model, tmp_path / "run")
    base: Any = start.policy.model.get_base_model()
    base.model.layers[0].register_forward_hook(lambda _, args, hidden: hidden.detach())
    problem = start.refused()
    assert "layers.0." in problem
    assert problem.endswith("of the adapter gets no gradient")


def test_loss_without_gradient(byte_model: Path, tmp_path: Path, honest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = GRPOTrainer._compute_loss
    honest()
    monkeypatch.setattr(GRPOTrainer, "_compute_loss", lambda *args: plain(*args) * 0)
    assert Start(byte_model, tmp_path / "run").refused() == "what the model wrote has no gradient"


# --- what is refused: a sampler of other probabilities -------------------------------------------------------------


def top_p(logits: torch.Tensor) -> torch.Tensor:
    """The likeliest tokens of nine tenths together, and the one that was said."""
    ordered, places = logits.softmax(-1).sort(-1, descending=True)
    unlikely = ordered.cumsum(-1) - ordered > 0.9
    return logits.masked_fill(unlikely.gather(-1, places.argsort(-1)), -8.0)


@pytest.mark.parametrize(
    "options", [{"temperature": 0.9}, {"temperature": 1.1}, {"change": top_p}], ids=["cooler", "hotter", "top-p"]
)
def test_sampler_of_other_probabilities(byte_model: Path, tmp_path: Path, honest: Any, options: Any) -> None:
    honest(**options)
    assert Start(byte_model, tmp_path / "run").refused().startswith("sampler and trainer differ by")


def test_real_sampler_with_top_k(byte_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = TransformersSampler._choose

    def among_forty(self: TransformersSampler, logits: torch.Tensor) -> Any:
        return plain(self, logits.masked_fill(logits < logits.topk(40, -1).values[:, -1:], -torch.inf))

    monkeypatch.setattr(TransformersSampler, "_choose", among_forty)
    assert Start(byte_model, tmp_path / "run").refused().startswith("sampler and trainer differ by")


def test_sampler_of_older_weights(
    byte_model: Path, tmp_path: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_adapter(policy: Policy, *_: Any) -> Honest:
        sampler = Honest(policy)
        sampler.without_adapter = True
        return sampler

    monkeypatch.setattr(trainer, "make_sampler", without_adapter)
    start = Start(byte_model, tmp_path / "run", model={"adapter": str(adapter)})
    assert start.refused().startswith("sampler and trainer differ by")


# --- what has to be known of others --------------------------------------------------------------------------------


def test_versions_are_named_and_tested_ones_advised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"9.{name}")
    error = proof.version_error("unsloth", "x")
    assert error.message == "trl 9.trl with transformers 9.transformers with unsloth 9.unsloth: x"
    pins = versions.tested_versions()
    assert f'pip install "trl=={pins["trl"]}" "transformers=={pins["transformers"]}" ' in error.hint
    assert f'"unsloth=={pins["unsloth"]}"' in error.hint


@pytest.mark.parametrize(("engine", "fix"), [("unsloth", "model.engine=transformers"), ("transformers", "report it")])
def test_installed_versions_are_not_advised(engine: str, fix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", versions.tested_versions().__getitem__)
    hint = proof.version_error(engine, "x").hint
    assert "These are the tested versions" in hint and fix in hint and "install" not in hint


def test_unsloths_places() -> None:
    """It moves each row's padding to the right and looks from the first column in which a completion begins."""
    own = proof._Proof.__new__(proof._Proof)
    prompts, values = torch.tensor([[0, 0, 1], [0, 1, 1], [1, 1, 1]]), torch.arange(6.0).view(3, 2)
    own.policy = SimpleNamespace(engine="transformers")  # type: ignore[assignment]
    assert own._in_place(values, prompts) is values
    own.policy = SimpleNamespace(engine="unsloth")  # type: ignore[assignment]
    gap = proof._UNLIKELY
    assert own._in_place(values, prompts).tolist() == [[0, 1, gap, gap], [gap, 2, 3, gap], [gap, gap, 4, 5]]


@pytest.mark.parametrize("sharded", ["is_deepspeed_enabled", "is_fsdp_enabled"])
def test_sharded_weights_are_not_looked_at(sharded: str) -> None:
    reported: list[object] = []
    flags = {"is_deepspeed_enabled": False, "is_fsdp_enabled": False} | {sharded: True}
    theirs: Any = SimpleNamespace(compute_loss="its own", **flags)
    proof.prove_first(theirs, None, None, None, proof.OTHER_KERNELS, reported.append)  # type: ignore[arg-type]
    (notice,) = reported
    assert isinstance(notice, Notice)
    assert notice.level == "warning"
    assert theirs.compute_loss == "its own"

"""Sampling by vLLM, against a stand-in that takes what vLLM 0.30 documents and answers in its form; nothing here shows
that vLLM itself works, which tests/gpu does where there is a card."""

from __future__ import annotations

import gc
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Self

import numpy
import pytest
import torch
from pydantic import BaseModel, model_validator

from ragr1_lite.core.errors import ModelError
from ragr1_lite.core.events import Notice
from ragr1_lite.core.types import Completion, SampleRequest, SessionSampler
from ragr1_lite.models import cpu_speed, vllm_sampler
from ragr1_lite.models.loading import Policy
from tests.support import tiny

STOP = ("</search>", "</answer>")
PLUGINS: list[str] = []
"""Quantizations that vLLM knows once its plugins are loaded."""


@dataclass
class SamplingParams:
    """The fields that are used, with vLLM's defaults where they differ from ours."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: list[str] = field(default_factory=list)
    stop_token_ids: list[int] = field(default_factory=list)
    include_stop_str_in_output: bool = False
    max_tokens: int = 16
    logprobs: int | None = None
    detokenize: bool = True


@dataclass(frozen=True)
class LoRARequest:
    lora_name: str
    lora_int_id: int
    lora_path: str


@dataclass
class Logprob:
    logprob: float
    rank: int = 1


@dataclass
class CompletionOutput:
    token_ids: list[int]
    logprobs: list[dict[int, Logprob]]
    finish_reason: str
    stop_reason: int | str | None
    text: str = "vLLM's own decoding is not used"


@dataclass
class RequestOutput:
    outputs: list[CompletionOutput]


class Settings(BaseModel):
    """What vLLM checks of its options, in pydantic's way."""

    rank: Literal[8, 16] = 8
    length: int = 1

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.length > 8:
            raise ValueError(f"{self.length} tokens are too many")
        return self


@dataclass
class Call:
    prompts: list[list[int]]
    parameters: list[SamplingParams]
    request: LoRARequest
    adapter: dict[str, torch.Tensor]


class Engine:
    """vllm.LLM, which writes what the test has put in ``writes``; the environment of its start is kept."""

    writes: Callable[[int], tuple[list[int], str, int | str | None]]
    started: list[dict[str, Any]]
    calls: list[Call]

    def __init__(self, **options: Any) -> None:
        import os

        kept = {name: os.environ.get(name) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT")}
        Engine.started.append(options | kept)
        torch.manual_seed(0), random.seed(0), numpy.random.seed(0), torch.set_num_threads(1)  # as its worker does
        gc.freeze()

    def generate(
        self, prompts: list[Any], sampling_params: list[SamplingParams], *, use_tqdm: bool, lora_request: LoRARequest
    ) -> list[RequestOutput]:
        assert use_tqdm is False
        adapter = tiny.adapter_of(Path(lora_request.lora_path))
        Engine.calls.append(
            Call([prompt["prompt_token_ids"] for prompt in prompts], sampling_params, lora_request, adapter)
        )
        outputs = []
        for i in range(len(prompts)):
            ids, finish, stop = Engine.writes(i)
            logprobs = [{token: Logprob(-0.1 * (place + 1)), 999: Logprob(-9.0)} for place, token in enumerate(ids)]
            outputs.append(RequestOutput([CompletionOutput(ids, logprobs, finish, stop)]))
        return outputs


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM, as far as this package sees it; bitsandbytes is a plugin of it."""
    methods: list[str] = ["fp8"]
    contents: dict[str, dict[str, Any]] = {
        "vllm": {"LLM": Engine, "SamplingParams": SamplingParams},
        "vllm.lora.request": {"LoRARequest": LoRARequest},
        "vllm.model_executor.layers.quantization": {"QUANTIZATION_METHODS": methods},
        "vllm.plugins": {"load_general_plugins": lambda: methods.extend(PLUGINS)},
    }
    for name in ("vllm.lora", "vllm.model_executor", "vllm.model_executor.layers", *contents):
        module = ModuleType(name)
        vars(module).update(contents.get(name, {}))
        monkeypatch.setitem(sys.modules, name, module)
    PLUGINS[:] = ["bitsandbytes"]
    monkeypatch.setattr(vllm_sampler, "_installed", lambda: True)
    monkeypatch.setattr(vllm_sampler, "_has_cuda", lambda: True)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    Engine.started, Engine.calls = [], []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_byte_model(tmp_path_factory.mktemp("byte") / "tiny-byte")


@pytest.fixture
def policy(folder: Path, tmp_path: Path) -> Policy:
    return tiny.load(tiny.make_recipe("grpo", folder, tmp_path / "run"))


DEFAULTS: dict[str, Any] = {"temperature": 0.7, "max_length": 512, "batch_size": 4, "gpu_share": 0.3}


def opened(policy: Policy, **options: Any) -> vllm_sampler.VllmSampler:
    return vllm_sampler.VllmSampler(policy, **(DEFAULTS | options))


def sample(sampler: vllm_sampler.VllmSampler, prompts: list[list[int]]) -> list[Completion]:
    requests = [SampleRequest(row, ids) for row, ids in enumerate(prompts)]
    return sampler.sample(requests, stop=STOP, max_new_tokens=8)


def test_rows_and_completions(policy: Policy) -> None:
    """Ids go in and come out as they are; a token that runs past the stop is kept, and the end token is recognised."""
    encode, end = policy.tokenizer.encode, policy.tokenizer.eos_ids[0]
    answers = [
        (encode("<search>a</search> "), "stop", "</search>"),
        ([*encode("<answer>b</answer>"), end], "stop", end),
        ([*encode("hm"), end], "stop", None),  # the model's own end token has no stop_reason
        (encode("so so so"), "length", None),
    ]
    Engine.writes = staticmethod(lambda row: answers[row])
    sampler = opened(policy)
    prompts = [[1, 2, 3], [1, 2, 3], [4], [5, 6]]
    found = sample(sampler, prompts)
    assert Engine.calls[0].prompts == prompts
    assert [one.token_ids for one in found] == [tuple(ids) for ids, _, _ in answers]
    assert [one.finish for one in found] == ["stop", "eos", "eos", "length"]
    assert [one.text for one in found] == ["<search>a</search> ", "<answer>b</answer>", "hm", "so so so"]
    for one in found:
        assert one.logprobs == pytest.approx([-0.1 * (place + 1) for place in range(len(one.token_ids))])
    assert sampler.sample([], stop=STOP, max_new_tokens=8) == []
    assert isinstance(sampler, SessionSampler)


def test_nothing_but_softmax_decides(policy: Policy) -> None:
    Engine.writes = staticmethod(lambda row: ([7], "length", None))
    sample(opened(policy), [[1], [1]])
    for one in Engine.calls[0].parameters:
        assert (one.temperature, one.top_p, one.top_k, one.min_p, one.repetition_penalty) == (0.7, 1.0, 0, 0.0, 1.0)
        assert (one.stop, one.include_stop_str_in_output, one.detokenize) == (list(STOP), True, True)
        assert one.stop_token_ids == list(policy.tokenizer.eos_ids)
        assert (one.max_tokens, one.logprobs) == (8, 0)
    (options,) = Engine.started
    assert (options["logprobs_mode"], options["generation_config"]) == ("processed_logprobs", "vllm")
    assert (options["max_model_len"], options["gpu_memory_utilization"]) == (512, 0.3)
    assert options["use_tqdm_on_load"] is False
    assert options["enable_prefix_caching"] is options["enable_lora"] is True
    assert (options["dtype"], options["quantization"], options["max_lora_rank"]) == ("float32", None, 8)


def test_rows_draw_for_themselves_and_alike_when_repeated(policy: Policy) -> None:
    """Members of a group have equal prompts. A resumed run has the global generator's state back, and no other one."""
    Engine.writes = staticmethod(lambda row: ([7], "length", None))
    sampler = opened(policy)
    sample(sampler, [[1]])  # starts vLLM, which seeds the global generators
    state = torch.get_rng_state()
    sample(sampler, [[1]] * 8)
    torch.set_rng_state(state)
    sample(opened(policy), [[1]] * 8)
    first, again = ([one.seed for one in call.parameters] for call in Engine.calls[1:])
    assert first == again
    assert len(set(first)) == 8


def test_starting_leaves_the_process_alone(policy: Policy) -> None:
    """vLLM seeds generators with the same number in every process, which would then all draw the same; it takes threads
    from torch, with which the trainer goes on, and what there is from garbage collection, which is to find trainers."""
    threads = torch.get_num_threads()
    Engine.writes = staticmethod(lambda row: ([7], "length", None))
    sampler = opened(policy, seed=1)
    torch.manual_seed(5), random.seed(5), numpy.random.seed(5)
    torch.set_num_threads(3)
    sample(sampler, [[1]])
    kept = torch.get_num_threads()
    assert gc.get_freeze_count() == 0
    torch.set_num_threads(threads)
    assert kept == 3
    drawn = torch.rand(()).item(), random.random(), numpy.random.rand()
    torch.manual_seed(5), random.seed(5), numpy.random.seed(5)
    assert drawn == (torch.rand(()).item(), random.random(), numpy.random.rand())


def test_processes_with_one_seed_draw_differently(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    Engine.writes = staticmethod(lambda row: ([7], "length", None))
    for rank in ("0", "1", "0"):
        monkeypatch.setenv("LOCAL_RANK", rank)
        monkeypatch.setenv("RANK", rank)
        sample(opened(policy, seed=3), [[1], [1]])
    main, other, again = ([one.seed for one in call.parameters] for call in Engine.calls)
    assert main == again != other


def test_the_adapter_is_handed_over_as_it_is(policy: Policy) -> None:
    """A new name for new weights, once a session; the folder of the old ones goes, and all of them with the sampler."""
    Engine.writes = staticmethod(lambda row: ([7], "length", None))
    sampler = opened(policy)
    with sampler.session():
        sample(sampler, [[1]])
        sample(sampler, [[1]])
    weights = [weight for name, weight in policy.model.named_parameters() if "lora_B" in name]
    with torch.no_grad():
        for weight in weights:
            weight.fill_(0.5)
    with sampler.session():
        sample(sampler, [[1]])
    first, same, changed = Engine.calls
    assert first.request == same.request
    assert (first.request.lora_int_id, changed.request.lora_int_id) == (1, 2)
    assert first.request.lora_name != changed.request.lora_name, "vLLM finds cached blocks by the name"
    assert not Path(first.request.lora_path).exists()
    assert all(not weight.any() for name, weight in first.adapter.items() if "lora_B" in name)
    assert all((weight == 0.5).all() for name, weight in changed.adapter.items() if "lora_B" in name)
    sample(sampler, [[1]])
    assert Engine.calls[3].request.lora_int_id == 3, "without a session the weights may have changed"
    folder = Path(Engine.calls[3].request.lora_path).parent
    assert folder.is_dir()
    del sampler
    assert not folder.exists()


def test_little_memory_for_files(policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_sampler, "MEMORY", tmp_path)
    assert vllm_sampler._memory_for(policy) == tmp_path
    monkeypatch.setattr(vllm_sampler.shutil, "disk_usage", lambda path: type("usage", (), {"free": 1000}))
    assert vllm_sampler._memory_for(policy) is None
    monkeypatch.setattr(vllm_sampler, "MEMORY", tmp_path / "none")
    assert vllm_sampler._memory_for(policy) is None


def test_a_quantized_base_stays_quantized(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_speed, "prefers_bf16", lambda: True)
    Engine.writes = staticmethod(lambda row: ([7], "length", None))
    recipe = tiny.make_recipe("grpo", folder, tmp_path / "run", model={"dtype": "nf4"}, lora={"r": 20})
    sample(opened(tiny.load(recipe)), [[1]])
    (options,) = Engine.started
    assert (options["quantization"], options["dtype"], options["max_lora_rank"]) == ("bitsandbytes", "bfloat16", 32)
    assert {weight.dtype for weight in Engine.calls[0].adapter.values()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("batch_size", "max_length", "at_once"), [(4, 512, 2048), (32, 8192, 4096), (1, 8192, 4096), (5000, 512, 5000)]
)
def test_memory_is_taken_for_what_is_sampled_together(
    policy: Policy, batch_size: int, max_length: int, at_once: int
) -> None:
    """vLLM's own defaults, up to 1,024 rows and 16,384 tokens, may need more than its share."""
    Engine.writes = staticmethod(lambda row: ([7], "length", None))
    sample(opened(policy, batch_size=batch_size, max_length=max_length), [[1]])
    (options,) = Engine.started
    assert (options["max_num_seqs"], options["max_num_batched_tokens"]) == (batch_size, at_once)


def test_a_vllm_without_4_bit_weights(folder: Path, tmp_path: Path) -> None:
    """From 0.28 on they are read by a plugin of its own."""
    PLUGINS.clear()
    opened(tiny.load(tiny.make_recipe("grpo", folder, tmp_path / "plain")))
    policy = tiny.load(tiny.make_recipe("grpo", folder, tmp_path / "run", model={"dtype": "nf4"}))
    with pytest.raises(ModelError, match=r'no 4-bit weights\. pip install "vllm-bnb-plugin", or set rollout\.engine'):
        opened(policy)


@pytest.mark.parametrize("beyond", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"alpha_pattern": {"q": 3}}])
def test_an_adapter_that_vllm_does_not_apply(policy: Policy, beyond: dict[str, Any]) -> None:
    config: Any = policy.model.peft_config
    vars(config["default"]).update(beyond)
    with pytest.raises(ModelError, match=rf"vLLM does not apply {next(iter(beyond))} of an adapter\. Set rollout"):
        opened(policy)


def test_the_environment_of_its_start(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts as a launcher's process would; left behind, that would make the trainer wait for others."""
    import os

    Engine.writes = staticmethod(lambda row: ([7], "length", None))
    monkeypatch.setenv("MASTER_PORT", "1")
    sample(opened(policy), [[1]])
    alone = Engine.started[0]
    assert (alone["RANK"], alone["LOCAL_RANK"], alone["WORLD_SIZE"]) == ("0", "0", "1")
    assert alone["MASTER_PORT"] != "1" == os.environ["MASTER_PORT"]
    assert "LOCAL_RANK" not in os.environ
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    sample(opened(policy), [[1]])
    assert [Engine.started[1][name] for name in ("RANK", "WORLD_SIZE", "MASTER_PORT")] == ["1", "2", "29500"]
    assert os.environ["LOCAL_RANK"] == "1"


def test_notice_and_errors_a_user_sees(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[object] = []
    opened(policy, report=events.append)
    assert [event.text for event in events if isinstance(event, Notice)] == [
        "Rollouts by vLLM, which may take 30% of the GPU's memory (rollout.gpu_share)"
    ]

    def full(self: Engine, **_: object) -> None:
        raise ValueError("Free memory on device (3.1/8.0 GiB) is too little.\nMore.")

    monkeypatch.setattr(Engine, "__init__", full)
    with pytest.raises(ModelError, match=r"cannot load .*tiny-byte: Free memory .* too little\. Change rollout.gpu_sh"):
        sample(opened(policy), [[1]])
    assert vllm_sampler.available()
    monkeypatch.setattr(vllm_sampler, "_has_cuda", lambda: False)
    assert not vllm_sampler.available()
    with pytest.raises(ModelError, match="needs a CUDA device"):
        opened(policy)
    monkeypatch.setattr(vllm_sampler, "_installed", lambda: False)
    with pytest.raises(ModelError, match='not installed.*pip install "vllm>='):
        opened(policy)


@pytest.mark.parametrize(
    ("option", "problem"), [({"rank": 7}, "rank: Input should be 8 or 16"), ({"length": 9}, "9 tokens are too many")]
)
def test_what_vllm_checks_is_named(
    policy: Policy, option: dict[str, Any], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "__init__", lambda self, **_: Settings(**option))
    with pytest.raises(ModelError, match=f"tiny-byte: {problem}\\. Set rollout.engine to transformers"):
        sample(opened(policy), [[1]])


def test_a_vllm_that_cannot_be_imported(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """One built for another PyTorch."""
    monkeypatch.setitem(sys.modules, "vllm.plugins", None)
    with pytest.raises(ModelError, match=r'cannot be imported: .*vllm\.plugins.* pip install "vllm>=.*", or set'):
        opened(policy)

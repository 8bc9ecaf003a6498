"""Sampling by vLLM in the trainer's own process. The only importer of vllm.

vLLM holds a second copy of the base model, quantized as the trainer's is, and applies the adapter as LoRA. For each
batch of rollouts the adapter is written into main memory and requested under a new name and number: a few MB are moved,
and the prefix cache, which goes by the name, takes no block of an older adapter. Merging it into vLLM's weights, as TRL
does, would move the whole model and round a 4-bit base each time. vLLM computes in the base model's precision, so its
log-probabilities differ a little from the trainer's.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import random
import shutil
import socket
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ragr1_lite.core.errors import ModelError, first_line
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.core.types import Completion, Finish, SampleRequest
from ragr1_lite.models import precision, upstream
from ragr1_lite.models.hub import find_folder
from ragr1_lite.models.loading import Policy
from ragr1_lite.models.lora import save_adapter
from ragr1_lite.models.processes import rank
from ragr1_lite.models.tokenizer import ChatTokenizer
from ragr1_lite.versions import VLLM, VLLM_4BIT, pip_line

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM has kernels for."""
BEYOND = ("use_dora", "lora_bias", "modules_to_save", "trainable_token_indices", "rank_pattern", "alpha_pattern")
"""What peft's adapters may have and vLLM refuses or, the patterns, overlooks."""
MEMORY = Path("/dev/shm")
"""Linux keeps it in main memory; a container may have little of it."""
PREFILL = 4096
"""Tokens that vLLM computes at once, at most: memory for them is taken from its share when it starts."""
_OURS = "set rollout.engine to transformers."


def available() -> bool:
    """Whether vLLM is installed and there is a CUDA device; does not import vLLM."""
    return _installed() and _has_cuda()


def _installed() -> bool:
    return importlib.util.find_spec("vllm") is not None


def _has_cuda() -> bool:
    return torch.cuda.is_available()


def _require(policy: Any) -> None:
    """Raises ModelError where this vLLM cannot sample from that model with that adapter here."""
    if not _installed():
        raise ModelError("vLLM is not installed", f"{pip_line([VLLM])}, or {_OURS}")
    if not _has_cuda():
        raise ModelError("vLLM needs a CUDA device", _OURS.capitalize())
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    try:  # all of it, before there is a trainer: for packages that it misses it keeps errors and thus who imported it
        from vllm import LLM, SamplingParams  # noqa: F401
        from vllm.model_executor.layers.quantization import QUANTIZATION_METHODS
        from vllm.plugins import load_general_plugins

        load_general_plugins()
    except Exception as error:  # built for another PyTorch, or a library of its own that is missing
        raise ModelError(f"vLLM cannot be imported: {first_line(error)}", f"{pip_line([VLLM])}, or {_OURS}") from error
    if policy.dtype == "nf4" and "bitsandbytes" not in QUANTIZATION_METHODS:
        raise ModelError("This vLLM reads no 4-bit weights", f"{pip_line([VLLM_4BIT])}, or {_OURS}")
    if found := [name for name in BEYOND if getattr(policy.model.peft_config["default"], name, None)]:
        raise ModelError(f"vLLM does not apply {' and '.join(found)} of an adapter", _OURS.capitalize())


class VllmSampler:
    """A :class:`ragr1_lite.core.types.SessionSampler` by vLLM, which starts when it is first needed, next to a trainer.

    vLLM's prefix cache computes beginnings once. Completions carry the log-probability of each id under the
    distribution it was drawn from.

    Args:
        policy: The model in training, with its adapter.
        temperature: 0 takes the likeliest token; above, tokens are drawn from ``softmax(logits / temperature)``.
        max_length: Tokens of the longest sequence.
        batch_size: Rows sampled together, at most.
        gpu_share: Share of the GPU's memory that vLLM may take.
        seed: Of this sampler's own draws; None draws from torch's global generator, which a checkpoint keeps.
        report: Receives a notice.

    Raises:
        ModelError: vLLM is not installed, cannot be imported, or knows no 4-bit weights or parts of an adapter that the
            model has; or there is no CUDA device.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        temperature: float,
        max_length: int,
        batch_size: int,
        gpu_share: float,
        seed: int | None = None,
        report: Report = ignore,
    ) -> None:
        _require(policy)
        report(Notice(f"Rollouts by vLLM, which may take {gpu_share:.0%} of the GPU's memory (rollout.gpu_share)"))
        self._policy, self._temperature = policy, temperature
        self._max_length, self._batch_size, self._gpu_share = max_length, batch_size, gpu_share
        self._generator = None if seed is None else torch.Generator().manual_seed(seed + rank())
        self._folder = Path(tempfile.mkdtemp(prefix="ragr1-lite-", dir=_memory_for(policy)))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._handed_over = 0
        self._in_session: Any = None

    @property
    def tokenizer(self) -> ChatTokenizer:
        """The tokenizer of the model that samples."""
        return self._policy.tokenizer

    @contextmanager
    def session(self) -> Iterator[None]:
        """Hands the adapter over once for all that is sampled in the block; its weights must not change meanwhile."""
        outer, self._in_session = self._in_session, self._hand_over()
        try:
            yield
        finally:
            self._in_session = outer

    def sample(
        self, requests: Sequence[SampleRequest], *, stop: Sequence[str], max_new_tokens: int, report: Report = ignore
    ) -> list[Completion]:
        """Continues each row until a stop string is in its new text, an end token, or the limit."""
        if not requests:
            return []
        from vllm import SamplingParams

        # With one seed for all, equal rows would be continued alike.
        seeds = torch.randint(2**31, (len(requests),), generator=self._generator).tolist()
        parameters = [
            SamplingParams(
                temperature=self._temperature,
                top_p=1.0,
                top_k=0,
                min_p=0.0,
                repetition_penalty=1.0,
                seed=seed,
                stop=list(stop),
                stop_token_ids=list(self.tokenizer.eos_ids),
                include_stop_str_in_output=True,
                max_tokens=max_new_tokens,
                logprobs=0,  # the sampled token's alone
                detokenize=True,  # stop strings are looked for in the text
            )
            for seed in seeds
        ]
        outputs = self._engine.generate(
            [{"prompt_token_ids": list(request.token_ids)} for request in requests],
            parameters,
            use_tqdm=False,
            lora_request=self._in_session or self._hand_over(),
        )
        return [self._completion(output.outputs[0]) for output in outputs]

    def _completion(self, output: Any) -> Completion:
        ids = tuple(output.token_ids)
        finish: Finish = "stop" if output.finish_reason == "stop" else "length"
        if ids and ids[-1] in self.tokenizer.eos_ids:
            finish = "eos"
        logprobs = tuple(place[token].logprob for token, place in zip(ids, output.logprobs, strict=True))
        return Completion(ids, self.tokenizer.decode(ids), finish, logprobs)

    def _hand_over(self) -> Any:
        """Writes the current adapter and returns the request that names it."""
        from vllm.lora.request import LoRARequest

        shutil.rmtree(self._folder / str(self._handed_over), ignore_errors=True)
        self._handed_over += 1
        dtype: Any = "bf16" if self._policy.compute == "bf16" else "fp32"  # vLLM rounds to the base's precision anyway
        folder = save_adapter(self._policy, self._folder / str(self._handed_over), dtype=dtype)
        return LoRARequest(f"policy-{self._handed_over}", self._handed_over, str(folder))

    @cached_property
    def _engine(self) -> Any:
        """The engine, in this process and on its GPU; ModelError where it does not know the model or lacks memory."""
        from vllm import LLM

        policy: Any = self._policy
        wanted = policy.model.peft_config["default"].r
        try:
            with _launched(), _process_kept():
                return LLM(
                    model=str(find_folder(policy.spec.name)),
                    dtype=precision.TORCH[policy.compute],
                    quantization="bitsandbytes" if policy.dtype == "nf4" else None,
                    max_model_len=self._max_length,
                    max_num_seqs=self._batch_size,
                    max_num_batched_tokens=max(self._batch_size, min(PREFILL, self._batch_size * self._max_length)),
                    gpu_memory_utilization=self._gpu_share,
                    enable_prefix_caching=True,
                    enable_lora=True,
                    max_loras=1,
                    max_lora_rank=min((known for known in RANKS if known >= wanted), default=wanted),
                    logprobs_mode="processed_logprobs",  # of what is drawn from, temperature and all
                    generation_config="vllm",  # not the model's own top-k and top-p
                    distributed_executor_backend="external_launcher",  # in this process
                    use_tqdm_on_load=False,
                )
        except Exception as error:  # a ValueError for an option or memory, else whatever its loader meets
            problem = first_line(error)
            fix = f"Change rollout.gpu_share, or {_OURS}" if "memory" in problem.lower() else _OURS.capitalize()
            raise ModelError(f"vLLM cannot load {policy.spec.name}: {problem}", fix) from error


@contextmanager
def _process_kept() -> Iterator[None]:
    """Restores what vLLM's start sets for the whole process: generators, alike in every one, and a single thread.

    It also takes all that there is from garbage collection, which is to free a trainer that ran out of memory.
    """
    import numpy

    python, numbers = random.getstate(), numpy.random.get_state()
    set_threads, threads = torch.set_num_threads, torch.get_num_threads()  # on a CPU it replaces the function, too
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if torch.cuda.is_available() else []):
        yield
    random.setstate(python)
    numpy.random.set_state(numbers)
    set_threads(threads)
    gc.unfreeze()


def _memory_for(policy: Policy) -> Path | None:
    """Main memory as a folder, where it has room for an adapter; else None, for the default temporary folder."""
    needed = 4 * sum(weight.nbytes for name, weight in policy.model.named_parameters() if upstream.of_adapter(name))
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > needed else None


@contextmanager
def _launched() -> Iterator[None]:
    """Sets the environment that vLLM expects of a launcher, and restores it: the trainer would go by it, too."""
    from accelerate.utils import patch_environment

    if "LOCAL_RANK" in os.environ:
        yield
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with patch_environment(RANK=0, LOCAL_RANK=0, WORLD_SIZE=1, MASTER_ADDR="127.0.0.1", MASTER_PORT=port):
        yield

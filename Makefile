# One command for each thing a person does here; `make help` lists them.
#
# `make run` and `make test` need Python 3.11 or newer and nothing else: they make .venv and install into it what is
# pinned in requirements-dev.txt. They do so again only when a file that says what to install has changed.
#
#   make test PYTHON=python3.13 VENV=.venv-3.13      another Python, beside the usual one
#   make run BROKER=streaming                        events over NATS Streaming, instead of JetStream
#   make simulate SEED=4711                          that schedule again, to the byte
#   make mutants MUTANTS="new-key-on-retry"          this one only
#   make mutants PART=2/6                            the second of six parts of all

VENV   ?= .venv
# The first of these that runs and is new enough: a version manager's `python3` may be there and refuse to run.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 /usr/bin/python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)

BROKER ?= jetstream

# What `make simulate` runs by itself, and how many schedules cover the core.
FULL_SEEDS ?= 100000
COVERAGE_SEEDS ?= 4000

BIN  := $(VENV)/bin
PY   := $(BIN)/python
WHAT := setup.cfg pyproject.toml requirements.txt requirements-dev.txt

.DEFAULT_GOAL := help
.PHONY: help run test all lint types fast core slow long coverage coverage-floor docs docs-check format simulate frozen simulate-coverage mutants bench profile bench-streaming torture requirements clean

help:  ## What there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.for-run  ## Run the service with everything it stands on, and show how to pay an order
	@exec $(PY) -m payment.devstack run --die-with-parent --broker "$(BROKER)"

# In CI the suites of `make test` measure what they cover; elsewhere they do so by `make coverage` alone, for they take
# longer then.
MEASURED ?= $(filter true,$(CI))
MEASURE   = $(if $(MEASURED),--cov --cov-branch --cov-report=)
COVERED  := $(CURDIR)/build/coverage

# Percent of the statements and branches of payment/ that core, fast and slow cover: 94.0, and 97.4 without the stack of
# `make run`, which the tests start as processes. A run may differ by some tenths. Raise it when they cover more.
COVERAGE_FLOOR := 93

test: lint types docs-check core fast slow $(if $(MEASURED),coverage-floor)  ## All checks: lint, types, documents, tests (the fast ones first)

all: test long  ## All checks, and the long tests too

lint: $(VENV)/.for-test  ## Ruff, and hadolint on the Dockerfile
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint --no-color Dockerfile

types: $(VENV)/.for-test  ## mypy --strict over the service, the tests, the bench and the tools
	$(BIN)/mypy

core: $(VENV)/.for-test  ## The core's tests, with every branch of it covered
	COVERAGE_FILE=$(COVERED)/core $(PY) -m pytest tests/unit/core --numprocesses 2 --cov=payment.core --cov-branch --cov-report=term-missing --cov-fail-under=100

fast: $(VENV)/.for-test  ## The other tests that need no server
	COVERAGE_FILE=$(COVERED)/fast $(PY) -m pytest -m "not servers and not slow" --ignore=tests/unit/core --numprocesses 2 --dist loadscope $(MEASURE)

# They mostly wait for processes, so there are three workers for each core; each module stays on one, for its servers.
slow: $(VENV)/.for-test  ## The tests with real servers and processes
	COVERAGE_FILE=$(COVERED)/slow $(PY) -m pytest -m "(servers or slow) and not long" --ignore=tests/unit/core --numprocesses 6 --dist loadscope $(MEASURE)

long: $(VENV)/.for-test  ## The tests that take minutes, for one kind of fault, or need the package registry
	$(PY) -m pytest -m long --numprocesses 4 --dist load

coverage: $(VENV)/.for-test  ## The branches of payment/ that core, fast and slow cover, held to a floor
	$(MAKE) --no-print-directory core fast slow coverage-floor MEASURED=true

coverage-floor: $(VENV)/.for-test
	$(PY) -m coverage combine --keep --quiet --data-file=$(COVERED)/all $(COVERED)/core $(COVERED)/fast $(COVERED)/slow
	$(PY) -m coverage report --data-file=$(COVERED)/all --fail-under=$(COVERAGE_FLOOR)

# Without SEED or SEEDS it is a full run. What it met is written to REPORT; tests/FAULTS.md is made from the one in git:
# REPORT=tests/simulation/report.json replaces that.
REPORT ?= build/simulation-report.json
simulate: $(VENV)/.for-test  ## Schedules full of faults, in virtual time; SEED=… replays one, SEEDS=… runs that number
ifdef SEED
	$(PY) -m tests.simulation --seed $(SEED)
else ifdef SEEDS
	$(PY) -m tests.simulation --seeds $(SEEDS)
else
	$(PY) -m tests.simulation --seeds $(FULL_SEEDS) --report $(REPORT)
endif

# What moves or renames code leaves this file as it was: compare the one before with the one after.
FROZEN ?= build/frozen.txt
frozen: $(VENV)/.for-test  ## Write what 1,000 seeds of the simulation do to FROZEN, without the code's names
	$(PY) -m tests.simulation --seeds $(or $(SEEDS),1000) --frozen $(FROZEN)

simulate-coverage: $(VENV)/.for-test  ## How much of the core the simulation alone covers, by branches
	$(PY) -m coverage run --rcfile=tests/simulation/coverage.cfg --data-file=.coverage.simulation --source=payment.core \
		-m tests.simulation --in-process --seeds $(COVERAGE_SEEDS)
	$(PY) -m coverage report --rcfile=tests/simulation/coverage.cfg --data-file=.coverage.simulation --fail-under=100

mutants: $(VENV)/.for-test  ## Plant small bugs in copies of the code, and see that the tests catch each
	$(PY) -m tests.mutants $(if $(PART),--part $(PART)) $(MUTANTS)

# cog runs the calls of tools.generated that stand in comments of these documents.
COG       = $(PY) -m cogapp -p "from tools import generated"
DOCUMENTS = README.md ARCHITECTURE.md $(wildcard docs/*.md) tests/FAULTS.md

docs: $(VENV)/.for-test  ## Write the parts of the documents that are generated from the code
	$(COG) -r $(DOCUMENTS)

docs-check: $(VENV)/.for-test  ## Fail where a document says something else than the code
	$(COG) --check --check-fail-msg="Run make docs." $(DOCUMENTS)
	$(PY) -m tools.route --check

format: $(VENV)/.for-test  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# ONLY=cpu,lone selects scenarios; QUICK=1 does fewer rounds. Takes some 20 minutes, and wants the machine for itself.
# RESULTS=bench/results replaces the results in git.
RESULTS ?= build/bench
bench: $(VENV)/.for-test  ## Measure the service beside others, every goal in one table (bench/README.md)
	$(PY) -m bench --results $(RESULTS) $(if $(ONLY),--only "$(ONLY)") $(if $(QUICK),--quick) $(if $(BEFORE),--before "$(BEFORE)")

profile: $(VENV)/.for-test  ## Where the time of a charge goes, by layer and by function
	$(PY) -m bench.where

bench-streaming: $(VENV)/.for-test  ## Measure events over NATS Streaming, beside node-nats-streaming (bench/README.md)
	$(PY) -m bench.streaming --results $(RESULTS)

# A round that failed is played again by ROUNDS=1 and its SEED. RECORD is the file that the rounds are added to:
# RECORD=tests/chaos/record.json is the one in git.
RECORD ?= build/torture-record.json
ROUNDS ?= 10
AT_ONCE ?= 1
torture: $(VENV)/.for-test  ## kill -9 and SIGSTOP of everything under load, ROUNDS times; then the four laws
	$(PY) -m tests.chaos --rounds $(ROUNDS) --at-once $(AT_ONCE) $(if $(SEED),--seed $(SEED)) --record $(RECORD)

requirements:  ## Resolve setup.cfg afresh and pin what comes of it
	.ci/pin $(PYTHON)

clean:  ## Remove what make has made, but for the data in .embedded
	rm -rf .venv* build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.simulation
	find payment tests -name __pycache__ -type d -prune -exec rm -rf {} +

# What `make test` installs holds what `make run` needs, so the first may stand for the second.
$(VENV)/.for-run: $(VENV)/.made $(WHAT)
	@$(PY) tools/install.py --constraint requirements-dev.txt --editable ".[embedded]"
	@touch $@

$(VENV)/.for-test: $(VENV)/.made $(WHAT)
	@$(PY) tools/install.py --constraint requirements-dev.txt --editable ".[embedded,dev]"
	@touch $@ $(VENV)/.for-run

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer was found: name one with PYTHON=…" >&2; exit 69; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) does not run, or is older than 3.11." >&2; exit 69; }
	@echo "Making $(VENV) with $(PYTHON)" >&2; rm -rf "$(VENV)"
	@"$(PYTHON)" -m venv "$(VENV)" \
		|| { echo "$(PYTHON) can't make a virtual environment (Debian, Ubuntu: apt install python3-venv)." >&2; exit 69; }
	@touch $@

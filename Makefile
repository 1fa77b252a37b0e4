# One command each; `make` alone lists them. Everything runs from .venv, which is made from the lock file.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

PYTHON ?= python3
RUNS ?= 10
UV := uv==0.13.9
VENV := .venv/.made
RUN := PYTHONPATH=operator:tests:. .venv/bin
FUZZ ?= 60
SEEDS ?= $(if $(filter sim,$(MAKECMDGOALS)),300,1000)
FROM ?= 1
CYCLES ?= 10
SEED ?= 1
PURE := $(wildcard tests/unit tests/scenarios tests/contract tests/fuzz)
# These only compute: no clock, port or namespace. With the lab they run behind its stories, which wait (tests/beside.py).
COMPUTING := tests/scenarios tests/unit/api tests/unit/core tests/unit/publish tests/unit/simulator

.PHONY: help
help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 24

.PHONY: simulate
simulate: $(VENV) ## the stories of what can go wrong, or STORY=a1-network-cut played in virtual time: seconds, no root
	@$(RUN)/ringfence simulate $(STORY)

.PHONY: demo
demo: $(VENV) ## the main job: a node is cut off, its VM ticks on elsewhere (root; the first time builds for up to 30 min)
	@$(RUN)/python -m lab demo

.PHONY: test
test: lint docs prepare ## lint, types, docs and tests, the lab included: under an hour (root; the first time builds)
	@$(RUN)/python -m beside $(COMPUTING) -- -m "not more" --durations=40

.PHONY: test-all
test-all: lint docs prepare ## the same and the further cases of the lab's stories: another half hour (root)
	@$(RUN)/python -m beside $(COMPUTING) -- --durations=40

.PHONY: check
check: lint docs ## lint, types, import contracts, docs, unit and scenario tests; no lab, no root, a few minutes
	@$(RUN)/pytest $(PURE) -m "not lab and not apiserver and not fences and not long"

.PHONY: lint
lint: $(VENV)
	@$(RUN)/ruff check
	@$(RUN)/ruff format --check
	@$(RUN)/mypy
	@$(RUN)/lint-imports

.PHONY: fmt
fmt: $(VENV) ## mend what ruff can mend
	@$(RUN)/ruff check --fix
	@$(RUN)/ruff format

.PHONY: docs
docs: $(VENV) ## build the documentation as a site into site/; a broken link is an error
	@env -u VIRTUAL_ENV UV_PROJECT_ENVIRONMENT=.venv-docs UV_PYTHON_DOWNLOADS=never .venv/bin/uv sync --quiet --frozen --only-group docs
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet --strict

.PHONY: published
published: $(VENV) ## write anew what is made from code: the board, the API reference, every verdict and refusal, the Containerfile, the chart's defaults (unit tests fail when they differ)
	@$(RUN)/python -m publish.board > charts/ringfence/files/board.json
	@$(RUN)/python -m publish.api_reference > docs/api-reference.md
	@$(RUN)/python -m publish.containerfile > Containerfile
	@$(RUN)/python -m publish.defaults > charts/ringfence/files/defaults.yaml
	@$(RUN)/python -m publish.verdicts > docs/every-verdict.md
	@$(RUN)/python -m publish.refusals > docs/every-refusal.md

.PHONY: crds
crds: $(VENV) ## write crds/ anew from operator/ringfence/api (a unit test fails when they differ)
	@$(RUN)/python -m ringfence.api.schema crds

.PHONY: prepare
prepare: $(VENV) ## download and build what the lab needs into its cache, and do nothing else
	@$(RUN)/python -m lab prepare

.PHONY: image
image: $(VENV) ## build ringfence's image as a docker-archive, without a container engine (root)
	@$(RUN)/python -m lab.image

.PHONY: lab-up
lab-up: $(VENV) ## a KubeVirt cluster on this machine to play with (root)
	@$(RUN)/python -m lab up

.PHONY: lab-down
lab-down: $(VENV) ## take it down without a trace, also after a crash
	@$(RUN)/python -m lab down

.PHONY: lab-status
lab-status: $(VENV) ## what runs of it
	@$(RUN)/python -m lab status

.PHONY: kind-up
kind-up: $(VENV) ## a kind cluster with KubeVirt, ringfence and a BMC for each worker, for those who have docker
	@$(RUN)/python -m kind up

.PHONY: kind-demo
kind-demo: $(VENV) ## there: a worker's plug is pulled, another's network cut, and the VM runs elsewhere
	@$(RUN)/python -m kind demo

.PHONY: kind-down
kind-down: $(VENV) ## take it away, its BMCs too
	@$(RUN)/python -m kind down

.PHONY: bench-failover
bench-failover: prepare ## measure failovers, RUNS=10 of each fault, into bench/out/failover.json (root)
	@$(RUN)/python bench/failover.py --runs $(RUNS)

.PHONY: chaos
chaos: prepare ## CYCLES=10 of faults drawn from SEED=1 against one protected VM, or CYCLE=I of them again: 1 min each (root)
	@$(RUN)/python -m lab.chaos --cycles $(CYCLES) --seed $(SEED) $(if $(CYCLE),--cycle $(CYCLE))

.PHONY: bench-volumes
bench-volumes: prepare ## a ReadWriteOnce volume of a dead node with and without us, into bench/out/volumes.json: 12 min (root)
	@$(RUN)/python bench/volumes.py

.PHONY: bench-fencing
bench-fencing: $(VENV) ## measure fences, by their parts, into bench/out/fencing.json: 10 min (root)
	@$(RUN)/python bench/fencing.py

.PHONY: fuzz
fuzz: $(VENV) ## fuzz everything that reads bytes from outside, FUZZ=60 seconds each, into tests/fuzz/corpus
	@env -u VIRTUAL_ENV UV_PROJECT_ENVIRONMENT=.venv UV_PYTHON_DOWNLOADS=never .venv/bin/uv sync --quiet --frozen --all-extras --group fuzz
	@for target in message datagram machine networks view roster delta slot; do $(RUN)/python -m fuzz $$target --seconds $(FUZZ); done

.PHONY: bench-detector
bench-detector: $(VENV) ## measure detection beside Serf into bench/out/detector.json: 40 min, FULL=1 four hours (root)
	@$(RUN)/python bench/detector.py

.PHONY: trace
trace: $(VENV) ## record one detection on real sockets into docs/pictures/detection.json, a minute, and draw it (root)
	@$(RUN)/python bench/detection.py
	@$(MAKE) picture

.PHONY: picture
picture: $(VENV) ## draw docs/pictures/detection.svg from the recorded detection beside it
	@$(RUN)/python bench/picture.py docs/pictures/detection.json

.PHONY: bench-slots
bench-slots: $(VENV) ## what the storage heartbeat costs at 50 nodes, into bench/out/slots.json: 3 min (root)
	@$(RUN)/python bench/slots.py

.PHONY: bench-scale
bench-scale: $(VENV) ## what 1,000 nodes and 20,000 VMs cost the controller, on a real API server, into bench/out/scale.json: 15 min
	@$(RUN)/python bench/scale.py

.PHONY: sim-ring
sim-ring: $(VENV) ## the ring in virtual time: SEEDS=1000 random fault scripts on 100 nodes each, against the invariants
	@$(RUN)/python -m simulator fuzz --seeds $(SEEDS)

.PHONY: sim
sim: $(VENV) ## the whole system in virtual time: SEEDS=300 fault schedules FROM=1; LEDGER=FILE to go on later, REPORT=FILE gets a row, REAL=all|some|none
	@$(RUN)/python -m simulator.system play --from $(FROM) --seeds $(SEEDS) $(if $(LEDGER),--ledger $(LEDGER)) $(if $(REPORT),--report $(REPORT)) \
		$(if $(REAL),--real $(REAL))

.PHONY: clean
clean: ## remove .venv and what tools leave behind; the lab's cache stays
	@rm -rf .venv .venv-docs site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# Debian splits venv off its Python: as root it is installed here, so that a fresh machine needs no other step.
$(VENV): uv.lock pyproject.toml
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || (echo "make: installing python3-venv"; apt-get update -qq; \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends python3-venv)
	@test -x .venv/bin/pip || { echo "make: making .venv from uv.lock"; rm -rf .venv; $(PYTHON) -m venv .venv; }
	@test "$$(.venv/bin/uv --version 2>/dev/null | cut -d' ' -f2)" = "$(UV:uv==%=%)" || .venv/bin/pip install --quiet $(UV)
	@env -u VIRTUAL_ENV UV_PROJECT_ENVIRONMENT=.venv UV_PYTHON_DOWNLOADS=never .venv/bin/uv sync --quiet --frozen --all-extras
	@touch $@

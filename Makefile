# The site on this machine, or with STACK=dev or prod on AWS. `make` alone lists what there is.

NAME ?=
export STACK

lab := .venv/bin/python -m lab
clients := .venv/bin/python -m tests.lab.clients
sources := __main__.py app benchmarks components examples hosts lab policies scripts tests
python := $(wildcard $(sources))
shell_scripts := .ci/run lab/bootstrap lab/ground

# These share nothing but the processors, and the longest come first; the lab tier has one lab.
without_machines := tests/engine tests/hosts tests/lab/unit tests/scripts tests/components

.PHONY: help up preview down destroy status url ca env shell logs install venv test soak bench docs check fast format ground
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { gsub(/[$$][$$]/, "$$", $$2); printf "%-8s  %s\n", $$1, $$2 }' Makefile

up: ground venv ## build the site, or bring it to what the program says; ends with its URL
	@$(lab) up

preview: ground venv ## show what up would change
	@$(lab) preview

down: venv ## remove the site; the lab goes at once with everything in it
	@$(lab) down

destroy: venv ## pulumi destroy: every resource in its turn, each machine drained
	@$(lab) destroy

status: venv ## how the site is, what is wrong and what to do; 1 if anything is
	@$(lab) status

url: venv ## where the site is, the URL alone
	@$(lab) url

ca: venv ## the file that a client has to trust, as in curl --cacert FILE
	@$(lab) ca

env: venv ## what a shell sets to use pulumi, aws and python -m scripts.…: eval "$$(make -s env)"
	@$(lab) env

shell: venv ## a shell in a machine: make shell NAME=database-1
	@$(if $(NAME),,$(error NAME is missing: say which machine, as in `make shell NAME=database-1`))$(lab) shell $(NAME)

logs: venv ## the journal of a machine, of a dead one too: make logs NAME=app-server-1
	@$(if $(NAME),,$(error NAME is missing: say which machine, as in `make logs NAME=app-server-1`))$(lab) logs $(NAME)

install: ground venv ## install what the lab needs, and start nothing
	@$(lab) install

test: install ## all four tiers, the last on real machines
	@$(clients) h2load
	.venv/bin/python -m pytest --numprocesses 2 --dist loadgroup --no-loadscope-reorder \
		-m "not thorough" $(without_machines)
	.venv/bin/python -m pytest -m "not thorough" --ignore tests/lab/unit tests/lab

soak: install ## what takes longer: faults, the model's 10,000 histories, random faults (COUNT=30, SEED=...)
	@$(clients) chromium-headless-shell
	.venv/bin/python -m pytest -m thorough tests/engine tests/lab
	HISTORIES=10000 .venv/bin/python -m pytest -q tests/hosts/test_pair_model.py -k TestSite
	@.venv/bin/python -m tests.lab.soak

bench: install ## measure the README's first table and write it there
	.venv/bin/python -m benchmarks

docs: venv ## write docs/settings.md anew
	@.venv/bin/python -m scripts.settings_page

check: venv fast ## format, lint, types and the fast tests
	.venv/bin/ruff format --check $(python)
	.venv/bin/ruff check $(python)
	.venv/bin/pyright
	@command -v shellcheck >/dev/null || { echo "shellcheck is not there: apt-get install shellcheck"; exit 1; }
	shellcheck $(shell_scripts)

fast:
	.venv/bin/python -m pytest -q tests/components tests/scripts tests/lab/unit

format: venv ## write the code as check wants it
	.venv/bin/ruff format $(python)
	.venv/bin/ruff check --fix $(python)

ground:
	@sh lab/ground

venv: .venv/.locked ## Python's packages, as locked

.venv/.locked: requirements.lock lab/bootstrap
	@sh lab/bootstrap

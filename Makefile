# make run    installs pinode into .venv, starts three nodes here and deploys an example app
# make test   every check that must hold, in at most 15 minutes
# make check  lint, types, house rules and the fast tests
# make bench  what three idle nodes cost, and gossip and the queue beside programs of their kind
# make soak   the long versions: hours of simulation, millions of fuzzed inputs, half an hour against beanstalkd
# make mutants  plants bugs in a copy of the sources; each must turn its test red
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
# What was compiled is kept: every test starts processes of ours.
unexport PYTHONDONTWRITEBYTECODE
PY := $(VENV)/bin/python
DEBIAN_FOR_TESTS := git bubblewrap nftables iproute2 util-linux chromium gcc libc6-dev beanstalkd faketime
DEBIAN_FOR_BENCH := nats-server serf curl
PIKU := $(VENV)/peers/piku.py

.PHONY: help run test check bench mutants install dev debian clean

help:
	@sed -n "s/^# //p" Makefile

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "pinode needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.11 run"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

install: $(VENV)/.installed
dev: $(VENV)/.installed-dev

run: install
	@exec $(VENV)/bin/pinode demo

debian:
	@missing=$$(for p in $(DEBIAN_FOR_TESTS); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	  else echo "the tests need these Debian packages:" $$missing; echo "install them with: sudo apt-get install" $$missing; exit 1; fi; fi

LINT = $(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy

check: dev
	$(LINT)
	$(PY) -m pytest -m 'not multi_host and not browser and not netns and not soak' -n 2

test: debian dev
	$(LINT)
	$(PY) -m pytest -m 'not multi_host and not browser and not netns and not soak' -n 2
	$(PY) -m pytest -m '(multi_host or browser or netns) and not soak' --timeout 300

mutants: dev
	$(PY) -m tests.mutants.run

soak: debian dev
	$(PY) -m tests.gossip.soak
	$(PY) -m tests.simulation.lives
	$(PY) -m tests.simulation.fuzzed_decoders
	$(PY) -m pytest -m soak
	$(PY) -m tests.multi_host.deploy_faults --rounds 20
	$(PY) -m tests.multi_host.many_deploys

bench: dev
	@$(MAKE) --no-print-directory debian DEBIAN_FOR_TESTS="$(DEBIAN_FOR_TESTS) $(DEBIAN_FOR_BENCH)"
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	mkdir -p $(VENV)/peers
	test -f $(PIKU) || curl -fsSL -o $(PIKU) https://raw.githubusercontent.com/piku/piku/master/piku.py
	$(PY) -m benchmarks.idle
	$(PY) -m benchmarks.gossip
	$(PY) -m benchmarks.queue
	$(PY) -m benchmarks.deploys --piku $(PIKU)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache

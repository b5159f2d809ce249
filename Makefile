# The two commands: `make serve` runs wit, `make test` tests it. Both set up what they need.

VENV   ?= .venv
PYTHON := $(VENV)/bin/python
HTTP   ?= tcp:3000:interface=127.0.0.1
SSH    ?= tcp:2222:interface=127.0.0.1
DATA   ?= ./var
JOBS   ?= auto

.PHONY: serve test bench lint format clean setup setup-dev

serve: setup
	$(VENV)/bin/twistd -n --pidfile= wit --data-dir $(DATA) --http $(HTTP) --ssh $(SSH)

test: setup-dev
	$(PYTHON) -m pytest -n $(JOBS) --dist loadfile $(TESTS)

bench: setup-dev
	$(PYTHON) -m bench $(BENCH)

lint: setup-dev
	$(VENV)/bin/ruff check wit tests bench twisted
	$(VENV)/bin/ruff format --check wit tests bench twisted
	$(VENV)/bin/mypy

format: setup-dev
	$(VENV)/bin/ruff check --fix wit tests bench twisted
	$(VENV)/bin/ruff format wit tests bench twisted

setup:
	@scripts/setup serve $(VENV)

setup-dev:
	@scripts/setup dev $(VENV)

clean:
	rm -rf $(VENV) .cache build *.egg-info tests/real/node/node_modules tests/real/npm_verdaccio/node_modules

# Each target works on a fresh machine with Python 3.11 and pip, in a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

NEXT := .venv-next
.PHONY: demo test test-slow test-torch-next docs lint bench clean

demo: $(READY)  ## compare on the embedded digits; prints the verdict and where the report lies
	$(BIN)/secateur compare --model wrn-16-1 --data digits --budget params=50% --budget params=25% \
		--epochs 30 --prune-every 5 --seeds 3 --out demo

test: $(READY)  ## the default suite
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slow: $(READY)  ## the longer tier too
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m ""

test-torch-next: $(NEXT)/.ready  ## the default suite on the next torch, with torchvision and timm: 5.6 GB
	$(NEXT)/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not pinned"

docs: $(READY)  ## the site, in build/site, and its tests; a warning is an error
	$(BIN)/sphinx-build -W --keep-going --quiet --fresh-env -d build/doctrees docs build/site
	SECATEUR_SITE=build/site $(BIN)/pytest -q -n 0 -m "" tests/test_site.py
	@echo "open build/site/index.html: no page needs a network"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)  ## every claim of speed, measured here: leave the machine alone meanwhile
	$(BIN)/python -m benchmarks all

clean:
	rm -rf $(VENV) $(NEXT) demo build src/*.egg-info

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

$(NEXT)/.ready: pyproject.toml constraints-next.txt
	$(PYTHON) -m venv $(NEXT)
	$(NEXT)/bin/pip install --quiet --disable-pip-version-check --constraint constraints-next.txt --editable '.[field]'
	touch $@

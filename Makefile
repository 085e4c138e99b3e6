# Each target works on a fresh machine with Python 3.11 and pip, in a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

NEXT := .venv-next
RELEASE := .venv-release
WHOLE := .venv-whole
.PHONY: demo test test-slow test-torch-next test-torch-next-quick docs lint bench dist sbom licences check-licences audit clean

demo: $(READY)  ## compare on the embedded digits; prints the verdict and where the report lies
	$(BIN)/secateur compare --model wrn-16-1 --data digits --budget params=50% --budget params=25% \
		--epochs 30 --prune-every 5 --seeds 3 --out demo

test: $(READY)  ## the default suite
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slow: $(READY)  ## the longer tier too
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m ""

test-torch-next: $(NEXT)/.ready  ## the default suite on the next torch, with torchvision and timm: 5.6 GB
	$(NEXT)/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not pinned"

test-torch-next-quick:  ## of that the part that a new torch breaks first; left out, in a line, where its wheels cannot be had
	$(PYTHON) tools/torch_next.py

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

dist: $(RELEASE)/.ready  ## sdist and wheel: built, looked into, installed in an empty environment, tried
	$(RELEASE)/bin/python tools/release_check.py

sbom: $(RELEASE)/.ready $(WHOLE)/.ready  ## dist/secateur.cdx.json: what secateur[all] brings, as CycloneDX
	mkdir -p dist
	$(RELEASE)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --validate \
		--output-file dist/secateur.cdx.json $(WHOLE)/bin/python

licences: $(RELEASE)/.ready $(WHOLE)/.ready  ## docs/licences.md, of what secateur[all] brings
	$(RELEASE)/bin/python tools/licences.py $(WHOLE)/bin/python

check-licences: $(READY)  ## whether that page is of the pinned versions
	$(BIN)/python tools/licences.py --check

audit: $(RELEASE)/.ready  ## known weaknesses of the pinned versions; needs a network that reaches PyPI's JSON service
	$(RELEASE)/bin/python tools/audit.py $(AUDIT)

clean:
	rm -rf $(VENV) $(NEXT) $(RELEASE) $(WHOLE) demo build dist src/*.egg-info

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

$(NEXT)/.ready: pyproject.toml constraints-next.txt
	$(PYTHON) -m venv $(NEXT)
	$(NEXT)/bin/pip install --quiet --disable-pip-version-check --no-compile --constraint constraints-next.txt --editable '.[field]'
	touch $@

$(RELEASE)/.ready: constraints-release.txt
	$(PYTHON) -m venv $(RELEASE)
	$(RELEASE)/bin/pip install --quiet --disable-pip-version-check --requirement constraints-release.txt
	touch $@

$(WHOLE)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(WHOLE)
	$(WHOLE)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt '.[all]'
	touch $@

# Two commands: `make demo` and `make test`. Each makes .venv when it is not there; both are quick when repeated.
PYTHON ?= python3
VENV := .venv
# What an installation is made from: it is repeated when one of these changes.
INSTALLED_FROM := pyproject.toml constraints.txt $(wildcard metrics/sliced/native/*)
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
PYTEST_WORKERS ?= 2

.PHONY: demo test lint format docs clean

demo: $(VENV)/.installed
	@mkdir -p demo
	$(BIN)/celebahq build --out demo/sample.h5 --recipe plain --jobs 2
	$(BIN)/celebahq sheet demo/sample.h5 -o demo/sample.png
	$(BIN)/celebahq info demo/sample.h5
	test -d demo/run || $(BIN)/pgan fit --data demo/sample.h5 --out demo/run --preset demo
	$(BIN)/pgan status demo/run
	$(BIN)/pgan video demo/run --strip demo/run/interpolation.png --quiet
	$(BIN)/metrics swd demo/sample.h5 demo/run --res 32 --n 12 --quiet --out demo/swd.json
	$(BIN)/metrics report demo/run demo/swd.json --data demo/sample.h5 -o demo/report.html

test: $(VENV)/.installed-test
	$(BIN)/celebahq weights get realesrgan
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-docs
	$(BIN)/mkdocs build --strict --quiet -f docs/site/mkdocs.yml
	@echo build/site/index.html

clean:
	rm -rf $(VENV) demo build *.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(INSTALLED_FROM) | $(BIN)/python
	$(PIP) -e '.[report]'
	@touch $@

$(VENV)/.installed-test: $(INSTALLED_FROM) | $(BIN)/python
	$(PIP) -e '.[test]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: $(INSTALLED_FROM) | $(BIN)/python
	$(PIP) -e '.[docs]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-dev: $(INSTALLED_FROM) | $(BIN)/python
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.installed-test $(VENV)/.installed

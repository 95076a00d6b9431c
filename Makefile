# make demo | test | lint | docs | bench | chaos. Each sets up .venv by itself, and again when sources or requirements change.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check --quiet
# Folders count as well: they are newer when a module was deleted.
PACKAGE := __init__.py $(wildcard __main__.py) py.typed pyproject.toml constraints.txt README.md LICENSE \
	$(shell find pipeline tasks workflows cluster -not -path '*/__pycache__*' -not -name '.*')

# What is tested and run is the installed wheel: the working directory never comes before it.
export PYTHONSAFEPATH := 1

.PHONY: demo test lint docs bench chaos clean

demo: $(VENV)/for-demo
	$(VENV)/bin/petavox demo --out demo

test: $(VENV)/for-test
	$(RUN) -c "import petavox, sys; sys.exit('site-packages' not in petavox.__file__)"
	$(RUN) -m pytest tests --numprocesses auto --dist loadgroup

lint: $(VENV)/for-lint $(VENV)/tree
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	cd $(VENV)/tree && ../bin/mypy --config-file $(CURDIR)/pyproject.toml -p petavox

# A warning is an error: a link to a page or heading that is not there, a page that no table of contents names.
docs: $(VENV)/for-docs
	$(RUN) -m sphinx --fail-on-warning --keep-going --quiet --builder html docs site
	@echo "site/index.html"

bench: $(VENV)/for-bench
	PYTHONSAFEPATH= $(RUN) -m benchmarks

chaos: $(VENV)/for-demo
	PYTHONSAFEPATH= $(RUN) -m benchmarks.chaos

clean:
	rm -rf $(VENV) build dist site petavox.egg-info

$(RUN):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "petavox needs Python 3.11 or newer: make PYTHON=…")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/wheel: $(PACKAGE) | $(RUN)
	rm -rf build dist petavox.egg-info
	$(PIP) wheel --no-deps --wheel-dir dist .
	rm -rf build petavox.egg-info
	@touch $@

# The wheel, and what it and the target need.
EXTRA_test := [test]
EXTRA_lint := [dev]
EXTRA_docs := [docs]
EXTRA_bench := [bench]
$(VENV)/for-%: $(VENV)/wheel
	$(PIP) install --constraint constraints.txt "$$(echo dist/petavox-*.whl)$(EXTRA_$*)"
	$(PIP) install --no-deps --force-reinstall dist/petavox-*.whl
	@touch $@

# mypy finds the rooms of the working tree, without tests and benchmarks, under the package's name.
$(VENV)/tree: | $(RUN)
	mkdir -p $@/petavox
	ln -sfn $(addprefix $(CURDIR)/,__init__.py py.typed pipeline tasks workflows cluster) $@/petavox/

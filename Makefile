# make demo [FILE=path]   share a file between two peers on this machine
# make test               everything that has to hold: format, lint, types, imports, tests
# make check              the same without the tests
# make bench              measure, beside stock aiortc and the line: half an hour
# make fuzz               try what a stranger's bytes can do: each target for a minute (SECONDS=60)
# make format             put the code in shape
# make clean              remove what make and the tools have made
#
# Needs Python 3.11 or newer and make. The rest is installed into .venv, and made anew when
# pyproject.toml changes. PYTHON=... chooses the interpreter, PYTEST_ARGS=... goes to pytest.

# Recipes quote nothing but relative paths: the checkout may lie in any folder, spaces included.
# The checks print in order, and share the .venv that they may have to build: one at a time.
.NOTPARALLEL:
.SUFFIXES:
.DELETE_ON_ERROR:
SHELL := /bin/sh

PYTHON ?=
PYTEST_ARGS ?=
SECONDS ?= 60
VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/installed
INSTALLED_DEV := $(VENV)/installed-dev
PIP := $(RUN) -m pip --disable-pip-version-check -qq
# pip before 25.1 knows no --group, and Python 3.11 brings an older one.
GROUP = import tomllib; \
	print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["$(1)"], sep="\n")

# The name as it was typed, for the shell to expand: a "$" in a file's name is the name's own.
override FILE := $(value FILE)
export FILE

.PHONY: help demo test check bench fuzz format clean system-packages anew
help:
	@sed -n -e '/^$$/q' -e 's/^# \{0,1\}//p' Makefile

demo: $(INSTALLED)
	@$(RUN) examples/demo.py $${FILE:+"$$FILE"}

test: system-packages check
	@echo "== tests"
	@$(RUN) -m pytest $(PYTEST_ARGS)

check: $(INSTALLED_DEV)
	@echo "== format"
	@$(RUN) -m ruff format --check .
	@echo "== lint"
	@$(RUN) -m ruff check .
	@echo "== types"
	@$(RUN) -m mypy
	@echo "== imports"
	@$(RUN) $(VENV)/bin/lint-imports --no-logo --no-cache

bench: $(INSTALLED_DEV)
	@$(RUN) -m benchmarks

fuzz: $(INSTALLED_DEV)
	@$(RUN) -c '$(call GROUP,fuzz)' > $(VENV)/fuzz.txt
	@$(PIP) install --requirement $(VENV)/fuzz.txt
	@$(RUN) -m fuzz all --seconds $(SECONDS)

format: $(INSTALLED_DEV)
	@$(RUN) -m ruff check --fix --select I .
	@$(RUN) -m ruff format .

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

system-packages:
	@sh tests/system-packages.sh

# A venv holds the path of its checkout: one that was moved or copied is made anew.
ifneq "$(shell cat $(INSTALLED) 2>/dev/null)" "$(CURDIR)"
$(INSTALLED): anew
endif
$(INSTALLED): pyproject.toml
	@set -e; python=; \
	for name in $${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do \
		if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
		then python=$$name; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "p2pshare needs Python 3.11 or newer, and $${PYTHON:-this machine} is or has none." >&2; \
		echo "Name one: make PYTHON=/path/to/python3.11" >&2; exit 1; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "$$python cannot make a venv. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; \
	fi; \
	if [ -e $@ ] && [ "$$(cat $@)" != "$$(pwd -P)" ]; then rm -rf $(VENV); fi; \
	echo "== .venv ($$("$$python" --version))"; \
	"$$python" -m venv $(VENV)
	@$(PIP) install --editable .
	@pwd -P > $@

$(INSTALLED_DEV): $(INSTALLED)
	@echo "== .venv, tools for development"
	@$(RUN) -c '$(call GROUP,dev)' > $(VENV)/dev.txt
	@$(PIP) install --requirement $(VENV)/dev.txt
	@touch $@

# SPDX-License-Identifier: GPL-2.0
# make demo           set up, and demonstrate the module in a guest
# make setup          set up only: packages that this host lacks, and .venv
# make check          style, types and the tests that need no guest; needs only .venv
# make test           check, the module's contract in a guest, and a part of the harness's tests
# make soak           the rest of the tests; SOAK=10 makes those that repeat last ten times as long,
#                     SOAK=0.25 a quarter as long, and leaves out variants of the same test
# make test-all       the tests in every guest, which takes hours; ends with a table;
#                     SCHEDULER=tcp://HOST:PORT has the workers of a Dask scheduler run them
# make mutants        break the module in many ways, and check that the tests notice; takes an hour
# make test-journeys  tests that take minutes each: fresh machines, Vagrant, DKMS, SSH only
# make lint           style and types of all files, with programs that host-setup installs
# make container      make demo in a container (podman or docker); RUN="make test" for another command
# make clean          remove what was set up here (the image cache stays: ~/.cache/pyharness)

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
HOST := $(VENV)/.host
RUN ?= make demo
SOAK ?= 1
REPORTS = --junitxml=artifacts/all-guests.xml --results=artifacts/all-guests.json
# Other tests than those of make test in a guest, such as TESTS=tests/contract/test_death.py.
TESTS ?= tests/contract tests/harness -m "not endurance and (contract or smoke)"

# .ready has the folder that .venv was made in, which its programs name. After the checkout has
# moved or the system's Python has changed, .venv is made again.
IS_READY := [ "$$(cat $(READY))" = "$$(pwd -P)" ] && $(VENV)/bin/python -P -c "import pyharness"
$(shell { $(IS_READY); } >/dev/null 2>&1 || rm -f $(READY) $(HOST))

help:
	@sed -n 's/^# \(make .*\|   .*\)/\1/p' Makefile

setup: $(HOST)

demo: $(HOST)
	$(VENV)/bin/pyharness demo

check: style
	PYTEST_ADDOPTS= $(VENV)/bin/pytest -n 2 tests/unit

test: $(HOST) check
	$(VENV)/bin/pytest -n 2 --dist worksteal $(TESTS)

soak: $(HOST)
	vm/host-setup debug
	$(VENV)/bin/pytest -n 2 --dist worksteal --soak=$(SOAK) -m "not smoke and (endurance or not contract)" \
	    tests/contract tests/harness tests/soak

test-all: $(HOST)
ifdef SCHEDULER
	$(VENV)/bin/python tests/support/spread.py $(SCHEDULER)
else
	vm/host-setup arm64 debug
	$(VENV)/bin/pytest -n 2 --guest=all --matrix=full $(REPORTS) tests/contract tests/harness tests/soak
endif

mutants: $(HOST)
	$(VENV)/bin/python tests/support/mutants.py

test-journeys: $(HOST)
	vm/host-setup browser vagrant
	$(VENV)/bin/pytest tests/journeys

style: $(READY)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

lint: $(HOST) style
	vm/host-setup lint
	git grep -lE '^#!.*\<(ba)?sh$$' -- ':!*.md' | xargs shellcheck --exclude=SC1091 # files of guests
	shellcheck --shell=bash module/interceptorctl.bash
	vm/checkpatch module/*.c module/*.h

# One step after the other, also by make -j: two of them make .venv if it is missing.
.NOTPARALLEL:

# Editable: the commands run the code of this checkout.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
	    '$(PYTHON) is not Python 3.11 or later: name one, such as make PYTHON=python3.12' >&2; exit 3; }
	@[ ! -e $(VENV) ] || { [ -d $(VENV) ] && [ -w $(VENV) ]; } || { echo \
	    '$(VENV) is not a folder that you may write to: remove it, by sudo rm -r $(VENV)' >&2; exit 3; }
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/pip install --disable-pip-version-check --editable '.[dev]'
	@pwd -P > $@

# With the packages that the host lacks, among them Python's own.
$(HOST): pyproject.toml vm/host-setup vm/host-packages
	vm/host-setup
	@$(MAKE) --no-print-directory $(READY)
	@touch $@

container:
	vm/in-container $(RUN)

clean:
	rm -rf $(VENV)

.PHONY: help setup demo style check test soak test-all mutants test-journeys lint container clean

# SPDX-License-Identifier: GPL-2.0
# make demo   set up, and show the main job in a guest
# make setup  set up alone: Debian packages that are missing, and .venv
# make test   set up, and run all tests
# make test-all  likewise in every guest, which takes hours; ends with a table
# make test-journeys  what takes minutes each: Vagrant, DKMS, a guest known by SSH alone
# make lint   the checks of style and types
# make clean  remove what was set up here (the image cache stays: ~/.cache/pyharness)

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready

setup: $(READY)

demo: $(READY)
	$(VENV)/bin/pyharness demo

test: $(READY)
	$(VENV)/bin/pytest -n 2 --dist worksteal

test-all: $(READY)
	vm/host-setup arm64
	$(VENV)/bin/python tests/all_guests.py

test-journeys: $(READY)
	vm/host-setup vagrant
	$(VENV)/bin/pytest tests/journeys

lint: $(READY)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	vm/checkpatch module/*.c module/*.h

# Editable: the commands run what stands in this checkout.
$(READY): pyproject.toml vm/host-setup
	vm/host-setup
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV)

.PHONY: setup demo test test-all test-journeys lint clean

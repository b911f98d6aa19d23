# SPDX-License-Identifier: GPL-2.0
# make demo   set up, and show the main job in a guest
# make test   set up, and run all tests
# make test-all  likewise in every guest, which takes hours; ends with a table
# make lint   the checks of style and types
# make clean  remove what was set up here (the image cache stays: ~/.cache/pyharness)

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready

demo: $(READY)
	$(VENV)/bin/pyharness demo

test: $(READY)
	$(VENV)/bin/pytest -n 2 --dist worksteal

test-all: $(READY)
	vm/host-setup arm64
	$(VENV)/bin/python tests/all_guests.py

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

.PHONY: demo test test-all lint clean

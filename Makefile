# SPDX-License-Identifier: GPL-2.0
# make demo   set up, and show the main job in a guest
# make setup  set up alone: packages that this host lacks, and .venv
# make test   set up, and run the tests, but for those that repeat at length (endurance)
# make test-all  run the tests in every guest, which takes hours; ends with a table
# make mutants  break the module in many ways, and see the tests notice; takes an hour
# make test-journeys  tests that take minutes each: fresh machines, Vagrant, DKMS, SSH alone
# make lint   check style and types
# make container [RUN="make test"]  make demo, or RUN, in a container (podman or docker)
# make clean  remove what was set up here (the image cache stays: ~/.cache/pyharness)

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
RUN ?= make demo

# .ready has the folder that .venv was made in, which its programs name. After the checkout has
# moved or the system's Python has changed, .venv is made again.
IS_READY := [ "$$(cat $(READY))" = "$$(pwd -P)" ] && $(VENV)/bin/python -P -c "import pyharness"
$(shell { $(IS_READY); } >/dev/null 2>&1 || rm -f $(READY))

setup: $(READY)

demo: $(READY)
	$(VENV)/bin/pyharness demo

test: $(READY)
	$(VENV)/bin/pytest -n 2 --dist worksteal -m "not endurance"

test-all: $(READY)
	vm/host-setup arm64
	$(VENV)/bin/python tests/support/all_guests.py

mutants: $(READY)
	$(VENV)/bin/python tests/support/mutants.py

test-journeys: $(READY)
	vm/host-setup vagrant
	$(VENV)/bin/pytest tests/journeys

lint: $(READY)
	vm/host-setup lint
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	git grep -lE '^#!.*\<(ba)?sh$$' | xargs shellcheck --exclude=SC1091 # files of guests
	shellcheck --shell=bash module/interceptorctl.bash
	vm/checkpatch module/*.c module/*.h

# Editable: the commands run the code of this checkout.
$(READY): pyproject.toml vm/host-setup vm/host-packages
	vm/host-setup
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
	    '$(PYTHON) is not Python 3.11 or later: name one, such as make PYTHON=python3.12' >&2; exit 3; }
	@[ ! -e $(VENV) ] || { [ -d $(VENV) ] && [ -w $(VENV) ]; } || { echo \
	    '$(VENV) is no folder that you may write to: remove it, by sudo rm -r $(VENV)' >&2; exit 3; }
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/pip install --disable-pip-version-check --editable '.[dev]'
	@pwd -P > $@

container:
	vm/in-container $(RUN)

clean:
	rm -rf $(VENV)

.PHONY: setup demo test test-all mutants test-journeys lint container clean

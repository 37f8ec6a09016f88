# Two commands matter: `make demo` and `make test`. Each starts from a machine with Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.PHONY: demo test check bench faults config-edits broker-outages format install install-dev clean help

help:
	@echo "make demo   see vqwatch work: test feeds go bad, alerts come and clear"
	@echo "make test   everything that is tested"
	@echo "make check  formatter, linter, types, import contracts"
	@echo "make bench  how many streams this machine holds"
	@echo "make config-edits   a thousand edits of a running monitor's configuration, and two hundred invalid ones"
	@echo "make broker-outages   ten minutes without a broker, one message a second, and more; half an hour"
	@echo "make faults every fault many times, for real; writes docs/fault-report.md and .json"

demo: install
	$(BIN)/vqwatch demo $(ARGS)

# System packages (ffmpeg, mosquitto, gst-rtsp-server, chromium) are installed where that is allowed; tests that need
# one that is missing skip and say so.
test: install-dev
	-@scripts/test-packages
	$(MAKE) --no-print-directory check
	$(BIN)/python -m pytest $(ARGS)

check: install-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install
	$(BIN)/vqwatch bench $(ARGS)

# Half an hour on a machine that does nothing else, and less with more FAULT_AT_ONCE on a large one.
FAULT_RUNS ?= 20
FAULT_AT_ONCE ?= 4
FAULT_SEED ?= 1
faults: install-dev
	VQWATCH_FAULT_RUNS=$(FAULT_RUNS) VQWATCH_FAULT_SEED=$(FAULT_SEED) VQWATCH_FAULT_STRICT=1 \
	VQWATCH_FAULT_AT_ONCE=$(FAULT_AT_ONCE) \
	VQWATCH_FAULT_REPORT=docs VQWATCH_FAULT_OPENS=84 VQWATCH_FAULT_LAG_MS=50 \
		$(BIN)/python -m pytest -m faults -s $(ARGS)

CONFIG_VALID ?= 1000
CONFIG_INVALID ?= 200
CONFIG_SEED ?= 1
config-edits: install-dev
	VQWATCH_CONFIG_VALID=$(CONFIG_VALID) VQWATCH_CONFIG_INVALID=$(CONFIG_INVALID) VQWATCH_CONFIG_SEED=$(CONFIG_SEED) \
		$(BIN)/python -m pytest -k random_edits tests/monitor/test_config_reload.py $(ARGS)

broker-outages: install-dev
	VQWATCH_OUTAGE_ALERTS=200 VQWATCH_OUTAGE_DOWN_S=600 VQWATCH_OUTAGE_PACE_S=1 \
		$(BIN)/python -m pytest tests/monitor/publish/test_mqtt_slow_broker.py $(ARGS)

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vqwatch needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV) || scripts/venv-package $(PYTHON) $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(PIP) install -e .
	touch $@

# torch is named first and exactly: a CPU build of it stays what it is, and the extras are satisfied by it.
$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(PIP) install torch==2.13.0
	$(PIP) install -e '.[train,dev]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

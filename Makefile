# Two commands matter: `make demo` and `make test`. Each starts from a machine with Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.PHONY: demo test check bench long faults soak kills config-edits broker-outages format install install-dev clean help

help:
	@echo "make demo   see vqwatch work: test feeds go bad, alerts come and clear"
	@echo "make test   everything that is tested"
	@echo "make check  formatter, linter, types, import contracts"
	@echo "make bench  how many streams this machine holds; writes docs/benchmarks.md and benchmarks-live.md"
	@echo "make long   what the tests try a few times, many times"
	@echo "make soak   alert rules: 10,000 random traces and 100,000 stream-hours against the oracle"
	@echo "make kills  the process killed 200 times while alerts come and go"
	@echo "make config-edits   a thousand edits of a running monitor's configuration, and two hundred invalid ones"
	@echo "make broker-outages   ten minutes without a broker, one message a second, and more; half an hour"
	@echo "make faults every fault many times, for real; writes docs/fault-report.md and .json"

demo: install
	$(BIN)/vqwatch demo $(ARGS)

# System packages (ffmpeg, mosquitto, gst-rtsp-server, prometheus, chromium) are installed where that is allowed; tests that need
# one that is missing skip and say so. In two processes (TEST_AT_ONCE=0: in this one), each with one thread of linear
# algebra: what waits for a clock does so beside what computes. tests/conftest.py says what goes together. A process that dies
# ends the run: pytest-xdist 3.8 would wait forever for the tests that the next one takes over.
TEST_AT_ONCE ?= 2
test: install-dev
	-@scripts/test-packages
	$(MAKE) --no-print-directory check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_AT_ONCE) --dist loadfile --no-loadscope-reorder --max-worker-restart 0 $(ARGS)

check: install-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install
	$(BIN)/vqwatch bench --write docs/benchmarks.md $(ARGS)
	$(BIN)/python -m benchmarks.live --write docs/benchmarks-live.md

# What `make test` tries a few times, many times: random alert traces, kills of writers, hours of samples.
long: install-dev
	VQWATCH_RANDOM=1 VQWATCH_TRACES=10000 VQWATCH_KILLS=100 VQWATCH_SAMPLES=1000000 $(BIN)/python -m pytest --timeout 3600 \
		tests/monitor/core tests/monitor/store tests/monitor/test_webhooks.py $(ARGS)

# Over an hour on a machine that does nothing else. FAULT_AT_ONCE stalls run side by side; ARGS='-k damage' (fuzz, hung,
# neighbours, protocols, reconnects, stalls) makes one campaign alone.
FAULT_RUNS ?= 20
FAULT_AT_ONCE ?= 4
FAULT_SEED ?= 1
FAULT_DAMAGE_S ?= 600
FAULT_PACKETS ?= 100000
FAULT_FILES ?= 1000
FAULT_RECONNECTS ?= 1000
FAULT_GOOD ?= 12
FAULT_NEIGHBOUR_S ?= 60
FAULT_PROTOCOL_S ?= 60
faults: install-dev
	VQWATCH_FAULT_RUNS=$(FAULT_RUNS) VQWATCH_FAULT_SEED=$(FAULT_SEED) VQWATCH_FAULT_STRICT=1 \
	VQWATCH_FAULT_AT_ONCE=$(FAULT_AT_ONCE) VQWATCH_FAULT_DAMAGE_S=$(FAULT_DAMAGE_S) \
	VQWATCH_FAULT_FUZZ_PACKETS=$(FAULT_PACKETS) VQWATCH_FAULT_FUZZ_FILES=$(FAULT_FILES) \
	VQWATCH_FAULT_RECONNECTS=$(FAULT_RECONNECTS) \
	VQWATCH_FAULT_GOOD=$(FAULT_GOOD) VQWATCH_FAULT_NEIGHBOUR_S=$(FAULT_NEIGHBOUR_S) \
	VQWATCH_FAULT_PROTOCOL_S=$(FAULT_PROTOCOL_S) \
	VQWATCH_FAULT_REPORT=docs VQWATCH_FAULT_OPENS=84 VQWATCH_FAULT_LAG_MS=50 \
		$(BIN)/python -m pytest -m faults -s $(ARGS)

# On a fake clock, on all cores; docs/operations.md has measured times.
SOAK_TRACES ?= 10000
SOAK_HOURS ?= 100000
SOAK_SEED ?= 1
soak: install-dev
	VQWATCH_TRACES=$(SOAK_TRACES) $(BIN)/python -m pytest tests/monitor/core/test_alert_traces.py --timeout 7200 $(ARGS)
	$(BIN)/python -m tests.monitor.core.alert_hours --hours $(SOAK_HOURS) --seed $(SOAK_SEED)

# Real processes, a real broker, real feeds: about half an hour on a machine that does nothing else.
KILLS ?= 200
KILL_SEED ?= 1
kills: install-dev
	VQWATCH_KILLS=$(KILLS) VQWATCH_KILL_SEED=$(KILL_SEED) VQWATCH_KILL_STRICT=1 \
		$(BIN)/python -m pytest tests/e2e/test_kills.py -s $(ARGS)

CONFIG_VALID ?= 1000
CONFIG_INVALID ?= 200
CONFIG_SEED ?= 1
config-edits: install-dev
	VQWATCH_CONFIG_VALID=$(CONFIG_VALID) VQWATCH_CONFIG_INVALID=$(CONFIG_INVALID) VQWATCH_CONFIG_SEED=$(CONFIG_SEED) \
		$(BIN)/python -m pytest -k random_edits tests/monitor/test_config_reload.py -s $(ARGS)

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

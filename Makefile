# make search   a whole search on scikit-learn's digits: front, retrained cells, pictures
# make test     lint, types and every test
# make campaign damaged and hostile files, kills, races, signals, full disks, lost processes: docs/results/reliability.md
# make audit    known vulnerabilities of what requirements.txt pins, asked of the package index
# make docs     the documentation as a site, in site/; needs no network
# make screenshots  its pictures, from a search
# All set up .venv first.

PYTHON ?= python3
BIN := .venv/bin
export OMP_WAIT_POLICY ?= PASSIVE
# Where it is set, each process compiles PyTorch's own sources anew: 10 s to 20 s.
unexport PYTHONDONTWRITEBYTECODE

ifndef RUN
RUN := runs/digits-$(shell date +%Y%m%d-%H%M%S)
endif

.PHONY: search test docs screenshots campaign audit completions format clean
.DELETE_ON_ERROR:

search: .venv/installed
	$(BIN)/python search.py digits --epochs 80 --warmup-epochs 40 --finalists 100 --out $(RUN)
	$(BIN)/python -m nas family $(RUN) --cells 3 --epochs 12
	@echo "Everything lies in $(RUN): report.html, front.svg, front.csv, cells/, genotypes/, retrained/."

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

campaign: export MUTANTS ?= 300
campaign: export FUZZED ?= 100000
campaign: export RANKS ?= 5
campaign: export FLIPS ?= 2000
campaign: export FAULTS ?= 24
# Kills and full disks are tried in memory where there is some for files.
campaign: export TMPDIR ?= $(shell test -w /dev/shm && echo /dev/shm || echo /tmp)
campaign: .venv/installed
	$(BIN)/python -m pytest -q -n auto --maxprocesses 8 tests/campaign

# pip-audit has a place of its own, so that it changes no package that the program runs with.
AUDIT := .venv/audit/bin/python
# --strict: an index that does not know a package would count as one without vulnerabilities.
audit: .venv/installed
	@test -x .venv/audit/bin/pip-audit || { $(BIN)/python -m venv .venv/audit && \
	  $(AUDIT) -m pip install --quiet --disable-pip-version-check pip-audit; } || \
	  { echo "no package index answers: pip-audit cannot be installed, nothing was audited"; exit 1; }
	@rm -f .venv/audit/report
	@$(AUDIT) -m pip_audit -r requirements.txt --no-deps --disable-pip --strict \
	  --progress-spinner off --output .venv/audit/report 2> .venv/audit/log; code=$$?; \
	  if test -e .venv/audit/report; then cat .venv/audit/log .venv/audit/report; exit $$code; fi; \
	  if test $$code = 0; then tail -n 1 .venv/audit/log; exit 0; fi; \
	  echo "no index answers for all packages, nothing was audited: $$(tail -n 1 .venv/audit/log)"; exit 1

completions: .venv/installed
	PYTHONPATH=. $(BIN)/python docs/completions.py

docs: .venv/installed
	PYTHONPATH=. $(BIN)/python docs/pages.py --out site

# RUN=runs/x takes that search, else one is run; OTHER=runs/y takes the page that compares both, too.
screenshots: .venv/installed
	@test -e $(RUN)/report.html || $(MAKE) search RUN=$(RUN)
	PYTHONPATH=. $(BIN)/python docs/screenshots.py $(RUN) $(OTHER)

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv build site *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --no-compile: Python compiles what is imported, far less than what is installed.
.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is %d.%d: name one with make PYTHON=…" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -r requirements.txt
	touch $@

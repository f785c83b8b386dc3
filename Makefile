# Every target sets up what it needs by itself: a virtual environment in .venv, pinned requirements, and for the tests the
# Debian packages named in scripts/need.sh (installed when root, otherwise named in a clear sentence).
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
KEEP   ?=
FLEET  ?=
JOBS   ?= auto

# The way from octets that anybody may send to octets that are answered: every branch of it is tested.
ANSWER_TESTS := $(addprefix tests/dns/test_,$(addsuffix .py,responder response query query_pattern cookie rate_limit client_subnet answer_memo alike))
ANSWER_FILES := cdn/dns/answer.py,cdn/dns/answer_memo.py,cdn/dns/query.py,cdn/dns/query_pattern.py,cdn/dns/response.py,cdn/dns/cookie.py,cdn/dns/siphash.py,cdn/dns/rate_limit.py,cdn/dns/client.py,cdn/dns/client_subnet.py

.PHONY: demo check test clients conformance soak bench format clean

$(VENV)/runtime: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

$(VENV)/fleet: requirements-fleet.txt $(VENV)/runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-fleet.txt
	touch $@

$(VENV)/dev: requirements-dev.txt requirements-fleet.txt $(VENV)/runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

$(VENV)/aws-cli/installed: requirements-aws.txt
	$(PYTHON) -m venv $(VENV)/aws-cli
	$(VENV)/aws-cli/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-aws.txt
	touch $@

$(VENV)/clients/installed: requirements-clients.txt
	$(PYTHON) -m venv $(VENV)/clients
	$(VENV)/clients/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-clients.txt
	touch $@

$(VENV)/caddy/installed: requirements-caddy.txt
	$(PYTHON) -m venv $(VENV)/caddy
	$(VENV)/caddy/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-caddy.txt
	touch $@

demo: $(VENV)/runtime $(if $(FLEET),$(VENV)/fleet)
	$(BIN)/python -m examples.$(if $(FLEET),fleet,demo) $(if $(KEEP),--keep)

check: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: $(VENV)/dev $(VENV)/aws-cli/installed $(VENV)/clients/installed $(VENV)/bundler/installed
	sh scripts/need.sh chromium strace systemd-analyze openssl gcc dig kdig delv unbound dnsviz pebble testssl openssl/ssl.h h2load curl
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not soak" -q
	$(BIN)/python -m pytest tests/http tests/sites tests/fleet -m "not soak" -q --cov=cdn/http --cov=cdn/sites --cov=cdn/fleet --cov-branch --cov-report=term-missing:skip-covered --cov-fail-under=100
	$(BIN)/python -m pytest $(ANSWER_TESTS) -m "not soak" -q --cov=cdn/dns --cov-branch --cov-report=
	$(BIN)/python -m coverage report --show-missing --skip-covered --fail-under=100 --include=$(ANSWER_FILES)

$(VENV)/node: requirements-conformance.txt $(VENV)/dev
	command -v node >/dev/null && command -v npm >/dev/null || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-conformance.txt
	touch $@

$(VENV)/bundler/installed: tests/browser/package.json $(VENV)/node
	$(BIN)/python -m tests.browser.bundler
	touch $@

$(VENV)/clients-npm/installed: tests/clients/package.json $(VENV)/node
	$(BIN)/python -m tests.clients.npm_clients
	touch $@

clients: $(VENV)/clients-npm/installed
	$(BIN)/python -m pytest tests/clients/npm_run.py -q

conformance: $(VENV)/node
	$(BIN)/python -m tests.conformance --save conformance-results.json
	$(BIN)/python -m tests.conformance --workers 2

soak: $(VENV)/dev
	sh scripts/need.sh strace openssl gcc dig kdig delv unbound dnsviz pebble testssl
	$(BIN)/python -m pytest -m soak -q

bench: $(VENV)/dev $(VENV)/aws-cli/installed $(VENV)/caddy/installed
	sh scripts/need.sh nginx wrk dnsperf gdnsd pdns_server pebble varnishd h2load gcc openssl/ssl.h
	$(BIN)/python -m bench

format: $(VENV)/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info

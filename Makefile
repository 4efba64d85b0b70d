# `make demo` shows the product on this machine, `make test` proves it. Both set up all that they need.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test check campaign clean

help:
	@echo "make demo      three simulated sites on this machine: who is answered by which, a site dies, a new model"
	@echo "make test      all checks and tests that this machine can run"
	@echo "make campaign  100 kills of engine, edge, plugins, program, cloud between two AWS calls: an hour or more"
	@echo "make clean     stop the local cloud; remove .localcloud and .venv"

demo:
	@tools/setup.sh requirements-edge.txt
	@.venv/bin/python -m automation.demo

test:
	@tools/setup.sh requirements-dev.txt
	@tools/check.sh
	@.venv/bin/python -m pytest tests/unit -n 2 --dist worksteal
	@.venv/bin/python -m pytest tests/host
	@.venv/bin/python -m automation.provision.engine || true # the tests say what they skip without it
	@.venv/bin/python -m pytest tests/engine -n 2 --dist loadfile

check:
	@tools/setup.sh requirements-dev.txt
	@tools/check.sh

campaign:
	@tools/setup.sh requirements-dev.txt
	@.venv/bin/python tests/engine/campaign.py

clean:
	@if [ -x .venv/bin/edge ]; then .venv/bin/edge cloud stop; fi
	@chmod -R u+w .localcloud 2>/dev/null || true
	rm -rf .localcloud .venv

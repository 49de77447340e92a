# Everything happens inside this checkout: Python packages in .venv, builds in target and .aws-sam,
# notes of the last test run in .local. Needs Rust, Python 3.11 or later, make and a C compiler.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := help

HOST_ARCHITECTURE := $(if $(filter aarch64 arm64,$(shell uname -m)),arm64,x86_64)
HAS_NEXTEST := $(shell cargo nextest --version >/dev/null 2>&1 && echo yes)

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export SAM_CLI_TELEMETRY := 0
export __SAM_CLI_APP_DIR := $(CURDIR)/.local/sam
export PYTHONUNBUFFERED := 1
# A bytecode cache in tests/ would only be in the way of those who read it.
export PYTHONDONTWRITEBYTECODE := 1

# What the functions are built from.
SOURCES := Cargo.toml Cargo.lock $(shell find functions shared -name '*.rs' -o -name Cargo.toml -o -name '*.yaml')
FUNCTIONS := $(sort $(dir $(wildcard functions/*/Cargo.toml)))

# --- help ---------------------------------------------------------------------------------------

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z.-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-13s %s\n", $$1, $$2 }'

# --- set-up -------------------------------------------------------------------------------------

# The packages are pinned with versions for these; the plain name comes last, it may be anything.
PYTHONS := python3.11 python3.12 python3.13 python3

.venv: .venv/.stamp ## Set up the Python environment of tests and demo (only when its list changed)
.PHONY: .venv

.venv/.stamp: tests/requirements.txt
	@for python in $(PYTHONS); do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$${found:-}" ]; then echo "error: no Python 3.11 or later found; install one (Debian: apt install python3 python3-venv)" >&2; exit 1; fi; \
	echo "Setting up .venv with $$("$$found" --version); about a minute the first time"; \
	"$$found" -m venv .venv || { echo "error: $$found can't make a virtual environment (Debian: apt install python3-venv)" >&2; exit 1; }
	@.venv/bin/python -m pip install --disable-pip-version-check -r tests/requirements.txt | sed -un 's/^Collecting \([^ ]*\).*/  \1/p'
	@touch $@

# --- build --------------------------------------------------------------------------------------

# `sam build` hides what cargo does until it fails, and can't pass --locked; so cargo goes first, as
# sam calls it, and sam then finds everything built.
define compile
@for function in $(FUNCTIONS); do \
  echo "Compiling $$function for $(1)"; \
  (cd "$$function" && cargo lambda build --release --locked $(if $(filter arm64,$(1)),--arm64)); \
done
endef

.PHONY: build
build: .aws-sam/local/template.yaml ## Build the functions for this machine, as the local AWS runs them

.aws-sam/local/template.yaml: template.yaml samconfig.toml .venv/.stamp $(SOURCES)
	$(call compile,$(HOST_ARCHITECTURE))
	@sam build --config-env local --parameter-overrides Architecture=$(HOST_ARCHITECTURE) | sed '/^Commands you can use next/,$$d'
	@touch $@

# What the template has by default, where this machine can build it.
ARCHITECTURE ?= $(if $(shell rustup target list --installed 2>/dev/null | grep aarch64-unknown-linux-gnu),arm64,$(HOST_ARCHITECTURE))

.PHONY: package
package: .venv/.stamp ## Check the template and build what `sam deploy` puts into an account (ARCHITECTURE=arm64|x86_64)
	@sam validate --lint
	$(call compile,$(ARCHITECTURE))
	@sam build --parameter-overrides Architecture=$(ARCHITECTURE) | sed '/^Commands you can use next/,$$d'
	@echo
	@echo "Built for $(ARCHITECTURE) in .aws-sam/build. To deploy it:"
	@echo "  sam deploy --guided --parameter-overrides Architecture=$(ARCHITECTURE)"

# --- demo, tests, benchmark ---------------------------------------------------------------------

.PHONY: demo
demo: build ## Deploy to a local AWS and replay the incidents (KEEP=1 leaves it running until Ctrl-C)
	@cd tests && ../.venv/bin/python -m demo $(if $(KEEP),--keep)

# Runs $(2), shows its output and keeps it as .local/test/$(1).log for the summary.
define step
@mkdir -p .local/test; printf '\n=== %s\n' "$(1)"; { $(2); } 2>&1 | tee ".local/test/$(1).log"
endef

# Always the whole workspace, filtered: a choice of packages would give the AWS SDK other features
# and compile it once more.
.PHONY: test
test: .venv/.stamp ## Run every check and test, from formatting to the deployed template
	@rm -rf .local/test
	$(call step,1-format,cargo fmt --all --check)
	$(call step,2-clippy,cargo clippy --locked --workspace --all-targets -- -D warnings)
ifeq ($(HAS_NEXTEST),yes)
	$(call step,3-rust,cargo nextest run --locked --workspace -E 'not package(e2e) or binary(policy_documents)' && cargo test --locked --workspace --doc)
else
	$(call step,3-rust,cargo test --locked --workspace --lib --bins && cargo test --locked --workspace --doc)
endif
	$(call step,4-template,python -m pytest -q -p no:cacheprovider tests/template)
	$(call step,5-emulator,python -m pytest -q -p no:cacheprovider tests/emulator)
	@printf '\n=== build\n'
	@$(MAKE) --no-print-directory build
ifeq ($(HAS_NEXTEST),yes)
	$(call step,6-end-to-end,cargo nextest run --locked --workspace -E 'package(e2e) and not binary(policy_documents)')
else
	$(call step,6-end-to-end,cargo test --locked --workspace --test '*')
endif
	@printf '\n=== all passed\n'
	@cd .local/test && grep -E '^test result: .* [1-9][0-9]* passed|^ *Summary \[|[0-9]+ passed.* in [0-9.]+s' *.log | sed 's/\.log:/: /'

# Together with a test, so that the AWS SDK has the features that the tests compile it with.
.PHONY: bench
bench: build ## Measure sweeps of up to 10,000 volumes, 5,000 instances and 500 groups against a synthetic AWS, or the stack's cost (BENCH=--help)
	@cargo build --locked --workspace --bin bench --test policy_documents
	@"$${CARGO_TARGET_DIR:-target}/debug/bench" $(BENCH)

.PHONY: policy-schema
policy-schema: ## Write docs/policy.schema.json from the types (after a change of the policy)
	UPDATE_SCHEMA=1 cargo test --locked --workspace --test policy_documents

.PHONY: clean
clean: ## Remove all that was built or set up here
	rm -rf .venv .aws-sam .local target

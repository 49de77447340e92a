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

# matplotlib is needed for nothing else, so it isn't among what every set-up installs.
.PHONY: dashboard
dashboard: build ## Draw docs/dashboard.svg: the stack's dashboard after some hours in the local AWS
	@python -m pip install --disable-pip-version-check -q -r tests/demo/requirements-dashboard.txt
	@cd tests && ../.venv/bin/python -m demo --dashboard ../docs/dashboard.svg

# Runs $(2), shows its output and keeps it as .local/test/$(1).log for the summary.
define step
@mkdir -p .local/test; printf '\n=== %s\n' "$(1)"; { $(2); } 2>&1 | tee ".local/test/$(1).log"
endef

# Where the end-to-end tests write down what the template's roles were used for.
RECORDED := ROLE_USAGE=$(CURDIR)/.local/test/role-usage

# Always the whole workspace, filtered: a choice of packages would give the AWS SDK other features
# and compile it once more.
.PHONY: test
test: .venv/.stamp ## Run every check and test, from formatting to the deployed template
	@rm -rf .local/test
	$(call step,1-format,cargo fmt --all --check)
	$(call step,2-clippy,cargo clippy --locked --workspace --all-targets -- -D warnings)
ifeq ($(HAS_NEXTEST),yes)
	$(call step,3-rust,cargo nextest run --locked --workspace -E 'not package(e2e)' && cargo test --locked --workspace --doc)
else
	$(call step,3-rust,cargo test --locked --workspace --lib --bins && cargo test --locked --workspace --doc)
endif
	$(call step,4-template,python -m pytest -q -p no:cacheprovider tests/template)
	$(call step,5-emulator,python -m pytest -q -p no:cacheprovider tests/emulator)
	@printf '\n=== build\n'
	@$(MAKE) --no-print-directory build
ifeq ($(HAS_NEXTEST),yes)
	$(call step,6-end-to-end,$(RECORDED) cargo nextest run --locked --workspace -E 'package(e2e)')
else
	$(call step,6-end-to-end,$(RECORDED) cargo test --locked --workspace --test '*')
endif
	$(call step,7-permissions,$(RECORDED) python -m pytest -q -p no:cacheprovider tests/template/used_permissions.py)
	$(call step,8-demo,python -m pytest -q -p no:cacheprovider tests/demo)
	@printf '\n=== all passed\n'
	@cd .local/test && grep -E '^test result: .* [1-9][0-9]* passed|^ *Summary \[|[0-9]+ passed.* in [0-9.]+s' *.log | sed 's/\.log:/: /'

# Advisories come from the network, and tests need none; so this isn't one of them.
.PHONY: audit
audit: ## Check licences, origins and known vulnerabilities of what the functions are built from (CHECKS=licenses ...)
	@cargo deny --version >/dev/null 2>&1 || { echo "error: cargo-deny isn't installed; run: cargo install --locked cargo-deny" >&2; exit 1; }
	@cargo deny --workspace check $(CHECKS)

# Together with a test, so that the AWS SDK has the features that the tests compile it with. The bare
# function is what the start of the others is held against: built as they are, deployed nowhere.
.PHONY: bench
bench: build ## Measure start, size and sweeps against a synthetic AWS (BENCH=--help, --start, --cost)
	@cd tests/bare-function && cargo lambda build --release --locked $(if $(filter arm64,$(HOST_ARCHITECTURE)),--arm64)
	@cargo build --locked --workspace --bin bench --test policy_documents
	@target="$${CARGO_TARGET_DIR:-target}"; "$$target/debug/bench" --bare "$$target/lambda/bare-function/bootstrap" $(BENCH)

.PHONY: replay
replay: .venv/.stamp ## Replay the dead letters of a deployed stack (STACK=ec2-guardrails, DRY_RUN=1 to only list them)
	@python docs/replay.py --stack "$(or $(STACK),$(error say which stack: make replay STACK=ec2-guardrails))" $(if $(DRY_RUN),--dry-run)

# --- policy -------------------------------------------------------------------------------------

POLICY_CHECK := "$${CARGO_TARGET_DIR:-target}/debug/policy-check"

.PHONY: policy-check
policy-check: ## Check a policy document and print what it comes to (FILE=policy.yaml; STRICT=1 lets warnings fail)
ifeq ($(FILE),)
	@echo "error: say which document: make policy-check FILE=policy.yaml" >&2; exit 2
else
	@$(compile-policy-check)
	@$(POLICY_CHECK) $(if $(STRICT),--strict) -- "$(FILE)"
endif

.PHONY: policy-schema
policy-schema: ## Write docs/policy.schema.json from the types (after a change of the policy)
	@$(compile-policy-check)
	@schema=$$($(POLICY_CHECK) --schema); printf '%s\n' "$$schema" > docs/policy.schema.json

# As the benchmark, with the features that the tests have.
compile-policy-check = cargo build --locked --workspace --bin policy-check --test policy_documents

.PHONY: clean
clean: ## Remove all that was built or set up here
	rm -rf .venv .aws-sam .local target

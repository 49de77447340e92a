# Everything happens inside this checkout: Python packages in .venv, builds in target and .aws-sam,
# notes of the last test run in .local. Needs Rust with clippy, Python 3.11 or later, make and a C compiler.

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

TARGET := $(or $(CARGO_TARGET_DIR),target)
FUNCTIONS := $(patsubst functions/%/Cargo.toml,%,$(sort $(wildcard functions/*/Cargo.toml)))

# One debug build serves lints, tests and the functions that the local AWS runs: clippy compiles the
# workspace's own crates in place of rustc, as `cargo clippy` has it do, but to code as well. A
# warning is an error, so nothing with one is ever kept as compiled. Always the whole workspace with
# its tests' features: a choice of packages would give the AWS SDK others and compile it once more.
export CLIPPY_ARGS := -Dwarnings__CLIPPY_HACKERY__
CARGO_DEBUG := RUSTC_WORKSPACE_WRAPPER=clippy-driver cargo

# --- help ---------------------------------------------------------------------------------------

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z0-9.-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-15s %s\n", $$1, $$2 }'

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

# For one test of the local AWS, which makes it when it is missing.
.local/custodian/.stamp: tests/emulator/requirements-custodian.txt
	@echo "Setting up Cloud Custodian in .local/custodian; half a minute, once"
	@python -m venv .local/custodian
	@.local/custodian/bin/python -m pip install --disable-pip-version-check -q -r $<
	@touch $@

# --- build --------------------------------------------------------------------------------------

# What the local AWS runs: the template as it is, and beside it each function's debug build where the
# template looks for it. On Linux what cargo builds is a function's `bootstrap` as it is.
LOCAL := .aws-sam/local

.PHONY: build
build: ## Build the functions for this machine (debug), as the local AWS runs them
	@echo "Building the functions; from nothing it takes minutes, most of them for the AWS SDK"
	@$(CARGO_DEBUG) build --locked --workspace $(FUNCTIONS:%=--bin %) --test policy_documents
	@$(MAKE) --no-print-directory $(LOCAL)/template.yaml

$(LOCAL)/template.yaml: template.yaml $(LOCAL)/shared/monitoring/template.yaml $(FUNCTIONS:%=$(LOCAL)/functions/%/bootstrap)
	@cp template.yaml $@

$(LOCAL)/shared/monitoring/template.yaml: shared/monitoring/template.yaml
	@mkdir -p $(@D) && cp $< $@

# Without names, as in the release build: `sam deploy` packs and uploads it.
$(LOCAL)/functions/%/bootstrap: $(TARGET)/debug/%
	@mkdir -p $(@D) && strip -o $@ $<

# What the template has by default, where this machine can build it.
ARCHITECTURE ?= $(if $(shell rustup target list --installed 2>/dev/null | grep aarch64-unknown-linux-gnu),arm64,$(HOST_ARCHITECTURE))

# `sam build` hides what cargo does until it fails, and can't pass --locked; so cargo goes first, as
# sam calls it, and sam then finds everything built.
.PHONY: package
package: .venv/.stamp ## Check the template, build what `sam deploy` puts into an account, and try it (ARCHITECTURE=arm64|x86_64)
	@sam validate --lint
	@for function in $(FUNCTIONS); do \
	  echo "Compiling $$function for $(ARCHITECTURE)"; began=$$SECONDS; \
	  (cd "functions/$$function" && cargo lambda build --release --locked $(if $(filter arm64,$(ARCHITECTURE)),--arm64)); \
	  echo "  $$((SECONDS - began)) s"; \
	done
	@sam build --parameter-overrides Architecture=$(ARCHITECTURE) | sed '/^Commands you can use next/,$$d'
	@echo "Trying each function on the local AWS"
	@cd tests && python -m pytest -q -rs -p no:cacheprovider package
	@echo
	@echo "Built for $(ARCHITECTURE) in .aws-sam/build. To deploy it:"
	@echo "  sam deploy --guided --parameter-overrides Architecture=$(ARCHITECTURE)"

# What a release hands out. It takes the minutes for thin LTO, which every change of the code can't:
# see "The release profile" in docs/benchmark.md. cargo-lambda builds policy-check too, so that it
# runs with the glibc of old distributions, and for the other processor.
.PHONY: bundle
bundle: export CARGO_PROFILE_RELEASE_LTO := thin
bundle: export CARGO_PROFILE_RELEASE_CODEGEN_UNITS := 4
bundle: package ## Put together what deploys without Rust, and deploy that to the local AWS (ARCHITECTURE=arm64|x86_64)
	@echo "Compiling policy-check for $(ARCHITECTURE)"
	@cd tests/policy-check && cargo lambda build --release --locked $(if $(filter arm64,$(ARCHITECTURE)),--arm64)
	@python .ci/bundle.py --architecture $(ARCHITECTURE) --policy-check "$(TARGET)/lambda/policy-check/bootstrap"
	@cd tests && python -m pytest -q -rs -p no:cacheprovider bundle

# --- demo, tests, benchmark ---------------------------------------------------------------------

.PHONY: demo
demo: ## Deploy to a local AWS and replay the incidents (KEEP=1 leaves it running until Ctrl-C)
	@$(MAKE) --no-print-directory -j2 .venv/.stamp build
	@cd tests && ../.venv/bin/python -m demo $(if $(KEEP),--keep)

# The dashboard shows how long runs take, so what is deployed is what an account gets. matplotlib is
# needed for nothing else, so it isn't among what every set-up installs.
.PHONY: dashboard
dashboard: ## Draw docs/dashboard.svg: the stack's dashboard after some hours in the local AWS
	@$(MAKE) --no-print-directory package ARCHITECTURE=$(HOST_ARCHITECTURE)
	@python -m pip install --disable-pip-version-check -q -r tests/demo/requirements-dashboard.txt
	@cd tests && ../.venv/bin/python -m demo --template ../.aws-sam/build/template.yaml --dashboard ../docs/dashboard.svg

# Most of the time each of them waits for something.
E2E_AT_ONCE := $(shell echo $$((3 * $$(getconf _NPROCESSORS_ONLN))))

ifeq ($(HAS_NEXTEST),yes)
NEXTEST := --config-file tests/nextest.toml
# Of one crate only its library's tests are linked, not all that rests on it.
UNIT_TESTS = $(CARGO_DEBUG) nextest run $(NEXTEST) --locked --workspace $(if $(filter-out policy-check,$(ONLY)),--lib) -E 'not package(e2e)$(if $(ONLY), and package($(ONLY)))'
E2E_TESTS = $(CARGO_DEBUG) nextest run $(NEXTEST) --locked --workspace $(if $(ONLY),--test e2e) --test-threads $(E2E_AT_ONCE) -E 'package(e2e)$(if $(ONLY), and test(/^$(ONLY)/))'
else
UNIT_TESTS = $(CARGO_DEBUG) test --locked --workspace --lib --bins
E2E_TESTS = RUST_TEST_THREADS=$(E2E_AT_ONCE) $(CARGO_DEBUG) test --locked --workspace $(if $(ONLY),--test e2e -- $(ONLY),--test '*')
endif

.PHONY: unit
unit: ## Run the unit and wire tests (ONLY=snapshot-volumes: those of one crate, with nextest)
	@$(UNIT_TESTS)

.PHONY: e2e
e2e: .venv/.stamp build ## Run the end-to-end tests (ONLY=snapshot_volumes: of tests/tests/e2e the files whose names begin so)
	@$(E2E_TESTS)

# Runs $(2), shows its output and how long it took, and keeps both in .local/test for the summary.
define step
@mkdir -p .local/test; printf '\n=== %s\n' "$(1)"; began=$$SECONDS; { $(2); } 2>&1 | tee ".local/test/$(1).log"; \
  printf '%s: %s s\n' "$(1)" $$((SECONDS - began)) | tee -a .local/test/seconds
endef

# Where the end-to-end tests write down what the template's roles were used for.
RECORDED := ROLE_USAGE=$(CURDIR)/.local/test/role-usage

# As many at once as there are cores; each of them has a local AWS of its own.
PYTEST := python -m pytest -q -p no:cacheprovider -n auto --dist loadfile

.PHONY: lint-and-build
lint-and-build:
	@$(CARGO_DEBUG) build --locked --workspace --all-targets

.PHONY: test
test: ## Run every check and test, from formatting to the deployed template
	@rm -rf .local/test
	$(call step,1-format,cargo fmt --all --check)
	@echo "Next: lints and the debug build of everything; from nothing it takes minutes, most of them for the AWS SDK"
	$(call step,2-lint-and-build,$(MAKE) --no-print-directory -j2 .venv/.stamp lint-and-build)
	$(call step,3-rust,$(UNIT_TESTS) && $(CARGO_DEBUG) test --locked --workspace --doc)
	$(call step,4-template,$(PYTEST) tests/template)
	$(call step,5-emulator,$(PYTEST) tests/emulator)
	@printf '\n'; $(MAKE) --no-print-directory build
	@printf '\nNext: conformance and the demo at once, each of them mostly waits; their output comes when they end\n'
	@$(MAKE) --no-print-directory -j2 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target) test-conformance test-demo
	$(call step,8-end-to-end,$(RECORDED) $(E2E_TESTS))
	$(call step,9-permissions,$(RECORDED) python -m pytest -q -p no:cacheprovider tests/template/used_permissions.py)
	@printf '\n=== all passed\n'
	@cd .local/test && grep -E '^test result: .* [1-9][0-9]* passed|^ *Summary \[|[0-9]+ passed.* in [0-9.]+s' *.log | sed 's/\.log:/: /'; cat seconds

.PHONY: test-conformance test-demo
test-conformance:
	$(call step,6-conformance,$(PYTEST) tests/conformance)
test-demo:
	$(call step,7-demo,python -m pytest -q -p no:cacheprovider tests/demo)

# The only target that makes anything in AWS. It asks first, and removes all that it makes.
.PHONY: conformance
conformance: .venv/.stamp ## Try the facts about AWS in your account, for cents (REGION=, ONLY=EBS-7,DDB-1, YES=1; LIST=1; CLEAN=1)
	@cd tests && ../.venv/bin/python -m conformance $(if $(REGION),--region $(REGION)) $(if $(ONLY),--only $(ONLY)) \
	  $(if $(YES),--yes) $(if $(LIST),--list) $(if $(CLEAN),--clean)

# Advisories come from the network, and tests need none; so this isn't one of them.
.PHONY: audit
audit: ## Check licences, origins and known vulnerabilities of what the functions are built from (CHECKS=licenses ...)
	@cargo deny --version >/dev/null 2>&1 || { echo "error: cargo-deny isn't installed; run: cargo install --locked cargo-deny" >&2; exit 1; }
	@cargo deny --workspace check $(CHECKS)

# The bare function is what the start of the others is held against: built as they are, deployed nowhere.
.PHONY: bench
bench: ## Measure start, size and sweeps against a synthetic AWS (BENCH=--help, --start, --cost)
	@$(MAKE) --no-print-directory package ARCHITECTURE=$(HOST_ARCHITECTURE)
	@cd tests/bare-function && cargo lambda build --release --locked $(if $(filter arm64,$(HOST_ARCHITECTURE)),--arm64)
	@$(CARGO_DEBUG) build --locked --workspace --bin bench --test policy_documents
	@"$(TARGET)/debug/bench" --build .aws-sam/build --bare "$(TARGET)/lambda/bare-function/bootstrap" $(BENCH)

.PHONY: replay
replay: .venv/.stamp ## Replay the dead letters of a deployed stack (STACK=ec2-guardrails, DRY_RUN=1 to only list them)
	@python docs/replay.py --stack "$(or $(STACK),$(error say which stack: make replay STACK=ec2-guardrails))" $(if $(DRY_RUN),--dry-run)

.PHONY: uninstall-check
uninstall-check: .venv/.stamp ## List what `sam delete` of a deployed stack would leave; changes nothing (STACK=ec2-guardrails)
	@python docs/uninstall_check.py --stack "$(or $(STACK),$(error say which stack: make uninstall-check STACK=ec2-guardrails))"

.PHONY: monitoring
monitoring: .venv/.stamp ## Write shared/monitoring/template.yaml, the nested stack of Monitoring=full (after a change of its generator)
	@python shared/monitoring/generate.py

# --- policy -------------------------------------------------------------------------------------

POLICY_CHECK := "$(TARGET)/debug/policy-check"

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

compile-policy-check = $(CARGO_DEBUG) build --locked --workspace --bin policy-check --test policy_documents

.PHONY: docs
docs: ## Write the documents' tables of conditions from the code (after a change of a kind)
	@$(CARGO_DEBUG) build --locked --workspace --bin docs --test policy_documents
	@"$(TARGET)/debug/docs" docs/*.md

.PHONY: clean
clean: ## Remove all that was built or set up here
	rm -rf .venv .aws-sam .local target

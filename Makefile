# What a fresh machine needs besides this: rustup, a C++ compiler, make, and Python 3 with pip.

SHELL := /bin/bash
.DEFAULT_GOAL := help
NEXTEST := $(shell command -v cargo-nextest 2>/dev/null)

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-10s %s\n", $$1, $$2 }'

.PHONY: libtorch
libtorch: ## fetch libtorch into the cache, once
	@deploy/libtorch.sh

.PHONY: build
build: libtorch ## build both programs, optimized
	cargo build --release --locked --bins

.PHONY: demo
demo: build ## build, fetch MNIST, and run a small study to its end
	@deploy/demo.sh

.PHONY: test
test: libtorch ## run every test, real processes included
	cargo build --workspace --locked --bins
ifdef NEXTEST
	cargo nextest run --workspace --locked --no-fail-fast
else
	cargo test --workspace --locked --no-fail-fast
endif

.PHONY: check
check: libtorch ## formatting and lints
	cargo fmt --all --check
	cargo clippy --workspace --locked --all-targets -- -D warnings

# For how long; the flags of `chaos --help` have variables, such as FOLDWISE_CHAOS_SEED.
CHAOS_SECONDS ?= 900

.PHONY: chaos
chaos: build ## disturb real processes for 15 minutes, check that nothing is lost, and write docs/chaos.md
	target/release/chaos --seconds $(CHAOS_SECONDS) --report docs/chaos.md

# laptop, or full: the study files as they stand, for a GPU.
SIZE ?= laptop

.PHONY: experiments
experiments: build ## run the published studies in their laptop size, and write docs/experiments.md
	target/release/foldwise data fetch mnist fashion-mnist
	deploy/experiments/run.py --size $(SIZE)

.PHONY: bench
bench: libtorch ## what the engine and the store cost (docs/benchmarks.md has the rest)
	cargo bench --locked -p foldwise-engine -p foldwise-coordinator

.PHONY: fuzz
fuzz: ## feed random input to whatever reads files and messages, FUZZ_SECONDS (30) for each
	@deploy/fuzz/run.sh

# What everybody types. Each target says in one line what it is for; `make` alone lists them.

CARGO ?= cargo

.PHONY: help demo test check fmt clippy docs bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## build, start a storm, kill the gateway half-way, and see the verdict
	$(CARGO) build --release --locked -p squall
	$${CARGO_TARGET_DIR:-target}/release/squall run demo

test: ## every test; installs what they need first
	.ci/install
	$(CARGO) test --workspace --locked
	.ci/valkey

check: fmt clippy docs test ## what must hold before a change lands

fmt:
	$(CARGO) fmt --all --check

clippy:
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked

bench: ## side by side with NATS JetStream and BullMQ; writes bench/results.json
	bench/run

clean: ## remove what was built and what runs left behind
	$(CARGO) clean
	rm -rf runs squall-data

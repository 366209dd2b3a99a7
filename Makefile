# What everybody types. Each target says in one line what it is for; `make` alone lists them.

CARGO ?= cargo

.PHONY: help demo console test check fmt clippy docs bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: console ## build, start a storm, kill the gateway half-way, and see the verdict
	$(CARGO) build --release --locked -p squall
	$${CARGO_TARGET_DIR:-target}/release/squall run demo

console: web/node_modules/.package-lock.json ## build the web console, which the next build of the program then holds; needs Node
	npm --prefix web run --silent build

web/node_modules/.package-lock.json: web/package-lock.json
	npm --prefix web ci --no-audit --no-fund --loglevel=error

test: ## every test; installs what they need first
	.ci/install
	$(MAKE) console
	npm --prefix web run --silent types:check
	npm --prefix web test --silent
	$(CARGO) test --workspace --locked
	.ci/valkey
	SQUALL=$${CARGO_TARGET_DIR:-$(CURDIR)/target}/debug/squall npm --prefix web run --silent e2e

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
	rm -rf runs squall-data web/node_modules
	find web/dist -mindepth 1 ! -name .gitignore -delete

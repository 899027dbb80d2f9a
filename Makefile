# make test        everything that should hold, also against the real peers (brought below target/peers)
# make sim         the simulator with 2,000 seeds
# make bench       beside the peers, on the same machine in the same run
# PEERS=install or CI=true: peers that cannot run unpacked may be installed; CI=true: a missing peer fails

CARGO ?= cargo
SEEDS ?= 2000

.PHONY: all build test lint sim peers

all: build

build:
	$(CARGO) build --release --locked

# A missing peer is named here; its tests say SKIP, and fail under CI=true.
peers:
	@sh tests/peers.sh || [ "$(CI)" != "true" ]

test: peers
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		$(CARGO) nextest run --locked --no-fail-fast; \
	else \
		$(CARGO) test --locked --no-fail-fast; \
	fi

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

sim:
	BANGPATH_SIM_SEEDS=$(SEEDS) $(CARGO) test --locked --profile sim --test behaviour -- sim:: --nocapture

# Postfix and INN are measured where a private one runs: tests/bench/peers.sh starts them (root, installed packages).
bench: peers
	@sh tests/bench/peers.sh $(CARGO) bench --locked --bench beside

.PHONY: bench

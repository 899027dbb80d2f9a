# make test        everything that should hold, also against the real peers (brought below target/peers)
# make lint        formatting and clippy
# make sim         the simulator with 2,000 seeds
# make cuts        200 seeded histories of power cuts, and 50 disks by chance for each sync of a recorded one
# make bench       beside the peers, on the same machine in the same run
# make peers       the peers alone; CI=true: a missing peer fails

CARGO ?= cargo
SEEDS ?= 2000
SKIPPED := $(CURDIR)/target/skipped

.PHONY: all build test lint sim cuts bench peers

all: build

build:
	$(CARGO) build --release --locked

# A missing peer is named here; its tests are skipped, and fail under CI=true.
peers:
	@tests/peers.sh || [ "$(CI)" != "true" ]

test: peers
	@mkdir -p target && : > $(SKIPPED)
	@if $(CARGO) nextest --version >/dev/null 2>&1; then run="nextest run"; else run=test; fi; \
	BANGPATH_SKIPPED=$(SKIPPED) $(CARGO) $$run --locked --no-fail-fast; status=$$?; \
	if [ -s $(SKIPPED) ]; then echo "skipped:"; sort -u $(SKIPPED) | sed 's/^/  /'; else echo "skipped: nothing"; fi; \
	exit $$status

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

sim:
	BANGPATH_SIM_SEEDS=$(SEEDS) $(CARGO) test --locked --profile sim --test behaviour -- sim:: --nocapture

# Postfix and INN are measured where a private one runs: tests/bench/peers.sh starts them (root, installed packages).
bench: peers
	@sh tests/bench/peers.sh $(CARGO) bench --locked --bench beside

cuts:
	BANGPATH_CUT_SEEDS=200 $(CARGO) test --locked --test behaviour -- cuts::histories cuts::trace

# make test        everything that should hold, also against the real peers (brought below target/peers)
# make lint        formatting and clippy
# make sim         the simulator with 2,000 seeds
# make cuts        200 seeded histories of power cuts, and 50 disks by chance for each sync of a recorded one
# make interop-all every protocol with Taylor and large files; every packet size with every window of g, G and v
# make fuzz        some minutes of each fuzz target (cargo fuzz, a nightly compiler)
# make bench       beside the peers, on the same machine in the same run
# make peers       the peers alone; CI=true: a missing peer fails

CARGO ?= cargo
SEEDS ?= 2000
FUZZ_S ?= 180
SKIPPED := $(CURDIR)/target/skipped

.PHONY: all build test lint sim cuts bench peers interop-all fuzz

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

interop-all: peers
	BANGPATH_INTEROP=all $(CARGO) test --locked --test interop -- matrix:: uucp::

# The conversations that the ordinary tests damage are what it begins with.
fuzz:
	BANGPATH_FUZZ_CORPUS=$(CURDIR)/tests/fuzz/corpus/protocol $(CARGO) test --locked --test behaviour -- fuzz::
	@for target in packets words batches protocol; do \
		mkdir -p tests/fuzz/corpus/$$target; \
		$(CARGO) +nightly fuzz run --fuzz-dir tests/fuzz $$target -- -max_total_time=$(FUZZ_S) -max_len=4096 || exit 1; \
	done

cuts:
	BANGPATH_CUT_SEEDS=200 $(CARGO) test --locked --test behaviour -- cuts::histories cuts::trace

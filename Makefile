# make test       brings the peers, runs every test, names what was skipped and why
# make lint       formatting and clippy
# make sim        the simulator with 2,000 seeds
# make peers      the programs the interop tests talk to, unpacked under target/peers
# make build      the program, optimised

PEERS   := $(CURDIR)/target/peers
SKIPPED := $(CURDIR)/target/skipped
NEXTEST := $(shell cargo nextest --version >/dev/null 2>&1 && echo yes)
ifeq ($(NEXTEST),yes)
  RUN_TESTS := cargo nextest run --no-fail-fast
else
  RUN_TESTS := cargo test --no-fail-fast
endif

.PHONY: build test lint sim peers

build:
	cargo build --release --locked

# Without network the peers are missing: their tests are then skipped and named, except where CI is set.
test:
	@tests/peers.sh $(PEERS) || [ -z "$$CI" ]
	@mkdir -p target && : > $(SKIPPED)
	@BANGPATH_PEERS=$(PEERS) BANGPATH_SKIPPED=$(SKIPPED) $(RUN_TESTS); status=$$?; \
	if [ -s $(SKIPPED) ]; then echo "skipped:"; sort -u $(SKIPPED) | sed 's/^/  /'; else echo "skipped: nothing"; fi; \
	exit $$status

lint:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

sim:
	BANGPATH_SIM_SEEDS=2000 cargo test --test behaviour sim::

peers:
	@tests/peers.sh $(PEERS)

# What to run, in plain sh and GNU make, as root or not. `make help` lists it.

GO          ?= go
PKG         ?= ./...
TIMEOUT     ?= 15m
FUZZTIME    ?= 30s
FOR         ?= 2m
SEED        ?= 0
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2

# Provides one Redis and one Postgres to the command after it.
TESTENV = bin/testenv

.PHONY: help build test race bench chaos fuzz lint format vet staticcheck rules manifests clean testenv

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1	\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14

build: ## bin/worker and bin/enqueue
	$(GO) build -trimpath -o bin/ ./cmd/...

test: testenv ## every test, on a real Redis and Postgres
	$(TESTENV) $(GO) test -timeout $(TIMEOUT) $(TESTFLAGS) $(PKG)

race: testenv ## every test under the race detector
	$(TESTENV) $(GO) test -race -timeout $(TIMEOUT) $(TESTFLAGS) $(PKG)

bench: testenv ## Go benchmarks; `bin/worker bench` measures the whole
	$(TESTENV) $(GO) test -run '^$$' -bench . -benchmem -timeout 60m $(TESTFLAGS) $(PKG)

chaos: testenv ## kills workers and servers for FOR (2m), and judges; SEED repeats a run
	$(TESTENV) $(GO) test -run '^TestChaos$$' -count=1 -v -timeout 6h ./cmd/worker -chaos.for $(FOR) -chaos.seed $(SEED) \
		-chaos.workers 3 -chaos.accounts 200 -chaos.rate 190 $(CHAOSFLAGS)

fuzz: ## every fuzz test for FUZZTIME (30s)
	@find . -name '*_test.go' -exec grep -l '^func Fuzz' {} + | while read -r file; do \
		for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$$file"); do \
			echo "$$name in $$file"; \
			$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")" </dev/null || exit 1; \
		done; \
	done

lint: format vet staticcheck rules manifests ## everything but the tests

format: ## gofmt has nothing to change
	@unformatted=$$(gofmt -l .) || exit 1; \
	if [ -n "$$unformatted" ]; then echo "not formatted by gofmt:"; echo "$$unformatted"; exit 1; fi

vet: ## go vet
	$(GO) vet $(PKG)

staticcheck: ## staticcheck; the first run reads all dependencies
	$(GO) run $(STATICCHECK) $(PKG)

rules: ## import rules and habits, see internal/archtest
	$(GO) test -count=1 ./internal/archtest

# The programs' own libraries read the manifests; none of them belongs into our
# go.mod, so this is a module of its own.
manifests: ## deploy/: chart, compose file, dashboard, alerts
	cd deploy/check && $(GO) test -count=1 -timeout $(TIMEOUT) .

clean: ## remove what build made
	rm -rf bin

testenv:
	@$(GO) build -o $(TESTENV) ./internal/testenv/cmd/testenv

# Everything a person or CI does with this repository. `make` lists it.

BIN      := bin
CMDS     := sidecar meshd meshctl
FUZZTIME ?= 20000x
TIMEOUT  ?= 8m
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

export CGO_ENABLED ?= 0

.DEFAULT_GOAL := help
.PHONY: help run build test race fuzz lint bench scenarios image clean setup

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'

run: build ## the demo: a small application behind sidecars, under load, with a page to watch it
	$(BIN)/meshctl demo

build: ## static binaries in bin/: sidecar, meshd, meshctl
	@mkdir -p $(BIN)
	go build -trimpath -ldflags "-s -w" -o $(BIN)/ $(addprefix ./cmd/,$(CMDS))

test: build setup ## all tests, after installing what they need
	go test -timeout $(TIMEOUT) ./...

race: build setup ## all tests, and the programs that they start, under the race detector; 20 minutes
	CGO_ENABLED=1 go build -race -o $(BIN)/race/ $(addprefix ./cmd/,$(CMDS))
	@# Children report into files: what one has found must not be lost with its output.
	@reports=$$(mktemp -d) && chmod 777 $$reports || exit 1; \
	MESHD_BIN=$(CURDIR)/$(BIN)/race GORACE="atexit_sleep_ms=0 log_path=$$reports/race" CGO_ENABLED=1 \
		go test -race -count=1 -timeout 20m ./...; \
	status=$$?; \
	for report in $$reports/*; do \
		[ ! -f "$$report" ] || { cat "$$report"; status=1; }; \
	done; \
	rm -r $$reports; exit $$status

fuzz: ## every fuzz target for FUZZTIME (20000x inputs; or 1m, say) each; 20 minutes
	@grep -rl --include='*_test.go' '^func Fuzz' . | sort | while read -r file; do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' $$file); do \
			echo "$$target in $$(dirname $$file)"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$(dirname $$file) || \
				{ echo "$$target in $$(dirname $$file) has failed"; exit 1; }; \
		done; \
	done

lint: ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l .); \
	if [ -n "$$unformatted" ]; then echo "gofmt -w these:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go run $(STATICCHECK) ./...

bench: build setup ## CPU, memory and latency beside Envoy, HAProxy and nginx; 20 minutes; BENCH=--help has options
	go run ./test/bench $(BENCH)

scenarios: build setup ## what callers see of bad instances, overload and outages, beside Envoy; 25 minutes
	go run ./test/scenarios

image: build ## bin/meshd-image.tar, for docker load, podman load or ctr images import
	go run ./internal/image -o $(BIN)/meshd-image.tar $(addprefix $(BIN)/,$(CMDS))

clean: ## remove what the other targets made, except installed packages
	rm -rf $(BIN) .cache

setup:
	@.ci/setup

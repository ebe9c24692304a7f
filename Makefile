# The same names at the desk and in CI. `make help` lists them.
GO       ?= go
LINT     := $(GO) tool -modfile=tools.mod golangci-lint
FUZZTIME ?= 30s
VERSION  ?= 0.1.0-dev
LDFLAGS  := -s -w -X main.version=$(VERSION)

.PHONY: help build check fmt lint vet tidy test demo fuzz bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-8s %s\n", $$1, $$2}'

build: ## the three static binaries, in bin/
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

check: tidy vet lint ## everything that reads the code without running it

fmt: ## rewrite the code as the formatters want it
	$(LINT) fmt

lint:
	$(LINT) run ./...

vet:
	$(GO) vet ./...

tidy:
	$(GO) mod tidy -diff

test: ## every test, with the race detector; the namespace tests need no root
	$(GO) test -race -shuffle=on ./...

demo: build ## the mesh on this machine: one call, seen from every side
	test/demo.sh

fuzz: ## each fuzz target for FUZZTIME
	test/fuzz.sh $(FUZZTIME)

bench: ## each benchmark ten times
	$(GO) test -run='^$$' -bench=. -count=10 ./...

clean:
	rm -rf bin

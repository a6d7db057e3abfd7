# Thin names over plain go commands. `make test` is what continuous integration
# runs; each of its steps can be run alone.

GO          ?= go
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2
SOAK        ?= 30s
MODULES     := . bench fuzz

.PHONY: test servers fmt vet staticcheck race soak builds bench bench-compare bench-report fuzz

test: servers fmt vet staticcheck race builds soak ## everything
	@echo "make test: all passed"

servers: ## install redis-server and postgres where they are missing and may be
	sh internal/servers/ensure.sh

fmt: ## list files that gofmt would change
	@out=$$(gofmt -l .); test -z "$$out" || { echo "gofmt would change:"; echo "$$out"; exit 1; }

vet:
	@for m in $(MODULES); do echo "vet $$m"; (cd $$m && $(GO) vet ./...) || exit 1; done

staticcheck:
	@for m in $(MODULES); do echo "staticcheck $$m"; (cd $$m && $(GO) run $(STATICCHECK) ./...) || exit 1; done

race: servers ## all tests, against real servers; fuzz targets on their seeds
	@for m in $(MODULES); do (cd $$m && $(GO) test -race ./...) || exit 1; done

soak: servers ## the load generator, each backend, and its own test
	$(GO) run ./cmd/loadgen -selftest
	$(GO) run ./cmd/loadgen -duration $(SOAK)
	$(GO) run ./cmd/loadgen -duration $(SOAK) -backend local -readers 1 -duty 10

builds: ## the platforms that are promised to build
	@for p in darwin/arm64 windows/amd64 linux/arm64 linux/386; do \
		echo "build $$p"; GOOS=$${p%/*} GOARCH=$${p#*/} CGO_ENABLED=0 $(GO) build ./... || exit 1; done

TRACK := $(GO) run ./track

# For each of these: BENCH=regexp and BENCHTIME=duration, else what track says.
bench: ## all benchmarks into one file under bench/results; COUNT= runs of each row
	cd bench && $(TRACK) record $(if $(BENCH),-bench '$(BENCH)') $(if $(BENCHTIME),-benchtime $(BENCHTIME)) $(if $(COUNT),-count $(COUNT))

bench-compare: ## is the working tree slower than BASE? PKG=./fastopt ROUNDS= CPUS=
	cd bench && $(TRACK) compare -base '$(BASE)' $(if $(BENCH),-bench '$(BENCH)') $(if $(BENCHTIME),-benchtime $(BENCHTIME)) \
		$(if $(PKG),-pkg $(PKG)) $(if $(ROUNDS),-rounds $(ROUNDS)) $(if $(CPUS),-cpus $(CPUS))

bench-report: ## the tables of BENCHMARKS.md and its plots, from bench/results
	cd bench && $(TRACK) report

fuzz: ## each fuzz target for 20 s
	@cd fuzz && for f in $$($(GO) test -list '^Fuzz' . | grep ^Fuzz); do $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime 20s -fuzzminimizetime 10x . || exit 1; done

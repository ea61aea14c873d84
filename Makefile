# quorate. `make test` needs Go alone; `make check` installs what it needs (Debian).
export GOFLAGS := $(GOFLAGS) -tags=hashicorpmetrics
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  = -s -w -X main.version=$(VERSION) -X main.revision=$(shell git rev-parse --short HEAD 2>/dev/null)
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: build demo test check lint fuzz bench image clean

build:          ## the static binary, bin/quorate
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/quorate ./cmd/quorate

demo: build     ## three replicas, four workers, light traffic, on this machine only
	bin/quorate demo

test:           ## all that needs Go alone; RACE=1 adds the race detector (needs a C compiler)
	go test $(if $(RACE),-race) -timeout 10m ./...

lint:           ## gofmt, vet, staticcheck
	@files=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$files" || { echo "gofmt would change:"; echo "$$files"; exit 1; }
	go vet ./...
	go vet -tags check ./cmd/quorate
	go run $(STATICCHECK) ./...

fuzz:           ## each fuzz target for FUZZTIME (10s)
	.ci/fuzz $(or $(FUZZTIME),10s)

check: build    ## real workers (JDK, Maven) and containers (docker.io, docker-compose)
	.ci/install check
	.ci/fuzz 5s
	go test -tags 'hashicorpmetrics check' -count=1 -timeout 15m -v -run '^TestCheck' ./cmd/quorate

bench:          ## Go benchmarks beside the hot paths
	go test -run '^$$' -bench . -benchmem ./fsm ./proxy/... ./raftnode

image:          ## the container image
	docker build -t quorate .

clean:
	rm -rf bin

# quorate. `make test` needs Go alone; `make check` installs what it needs (Debian).
TAGS = hashicorpmetrics
export GOFLAGS := $(GOFLAGS) -buildvcs=false -tags=$(TAGS)
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  = -s -w -X main.version=$(VERSION) -X main.revision=$(shell git rev-parse --short HEAD 2>/dev/null)
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: build demo test check soak lint fuzz bench image clean

build:          ## the static binary, bin/quorate
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/quorate ./cmd/quorate

demo: build     ## three replicas, four workers, light traffic, on this machine only
	bin/quorate demo

test:           ## all that needs Go alone; RACE=1 adds the race detector (needs a C compiler)
	go test $(if $(RACE),-race) -timeout 10m ./...

lint:           ## gofmt, vet, staticcheck
	@files=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$files" || { echo "gofmt would change:"; echo "$$files"; exit 1; }
	go vet -tags $(TAGS),check,soak ./...
	go run $(STATICCHECK) -tags $(TAGS),check,soak ./...

fuzz:           ## each fuzz target for FUZZTIME (10s)
	.ci/fuzz $(or $(FUZZTIME),10s)

check: build    ## each fuzz target for FUZZTIME (5s), real workers (JDK, Maven), containers (docker)
	.ci/install check
	.ci/fuzz $(or $(FUZZTIME),5s)
	go test -p 1 -tags $(TAGS),check -count=1 -timeout 20m -v -run '^TestCheck' ./cmd/quorate ./proxy ./proxy/corpus

soak: build     ## the long versions: what takes minutes each
	.ci/install check
	go test -p 1 -tags $(TAGS),soak -count=1 -timeout 90m -v -run '^TestSoak' ./cmd/quorate

bench: build    ## quorate beside its peers (BENCH=-short: a first look), then the Go benchmarks
	.ci/install bench
	go run ./cmd/bench -proxy-binary bin/quorate $(or $(BENCH),-out docs); code=$$?; \
	go test -run '^$$' -bench . -benchmem ./fsm ./proxy/... ./raftnode && exit $$code

image:          ## the container image; GOPROXY names a module proxy of your own
	docker build --build-arg VERSION=$(VERSION) $(if $(GOPROXY),--build-arg GOPROXY=$(GOPROXY)) -t quorate .

clean:
	rm -rf bin

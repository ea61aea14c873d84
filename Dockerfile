# The image holds one static binary and nothing else, not even a shell.
# GOPROXY: a module proxy of your own, e.g. --build-arg GOPROXY=https://proxy.example.
FROM golang:1.26 AS build
ARG GOPROXY
ARG VERSION=dev
ENV CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false -tags=hashicorpmetrics"
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN go build -ldflags "-s -w -X main.version=$VERSION" -o /out/bin/quorate ./cmd/quorate && mkdir -p /out/lib/quorate /out/run/quorate

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/bin/quorate /usr/bin/quorate
# Named volumes inherit the owner of the folder they are mounted on.
COPY --from=build --chown=65532:65532 /out/lib/quorate /var/lib/quorate
COPY --from=build --chown=65532:65532 /out/run/quorate /run/quorate
USER 65532:65532
# Without a configuration `serve` keeps its data in ./quorate-data.
WORKDIR /var/lib/quorate
EXPOSE 8080 6666 7300 7301 7301/udp
ENTRYPOINT ["/usr/bin/quorate"]
CMD ["serve"]

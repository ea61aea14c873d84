//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// loadH2 is HTTP/2 over TLS: Clients connections with Streams requests in flight on each.
func loadH2(j *Job) (Result, error) {
	workers := *j
	workers.Clients *= j.Streams
	c := &crew{Job: &workers}
	want := wantBody(j.Path)
	transports := make([]*http.Transport, j.Clients)
	for i := range transports {
		conf := clientTLS(j.CA, "h2")
		dialled := make(chan struct{}, 1)
		protocols := new(http.Protocols)
		protocols.SetHTTP2(true)
		transports[i] = &http.Transport{
			Protocols:          protocols,
			TLSClientConfig:    conf,
			DisableCompression: true,
			DialTLSContext: func(ctx context.Context, _, address string) (net.Conn, error) {
				select {
				case dialled <- struct{}{}:
				default:
					return nil, fmt.Errorf("a second connection to %s was needed", address)
				}
				t, err := dialTLS(ctx, address, c.dials.Add(1), conf)
				if err != nil {
					return nil, err
				}
				return t, t.SetDeadline(time.Time{})
			},
		}
		defer transports[i].CloseIdleConnections()
	}
	buffers := make([]bytes.Buffer, workers.Clients)
	ctx, cancel := context.WithTimeout(context.Background(), j.Warm+j.Measure+2*closeWait)
	defer cancel()
	// One request opens each connection, before the streams ask for it together.
	for i, t := range transports {
		if err := c.h2Get(ctx, t, i, want, &buffers[i]); err != nil {
			return Result{}, err
		}
	}
	return c.run(func(i int) error { return c.h2Get(ctx, transports[i%j.Clients], i, want, &buffers[i]) })
}

func (c *crew) h2Get(ctx context.Context, t *http.Transport, i int, want []byte, body *bytes.Buffer) error {
	req, err := http.NewRequestWithContext(ctx, c.Method, "https://"+c.Address+c.Path, nil)
	if err != nil {
		return err
	}
	req.Host = "localhost"
	req.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) quorate-bench")
	req.Header.Set("Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
	if cookie := c.cookie(i); cookie != "" {
		req.Header.Set("Cookie", cookie)
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	body.Reset()
	_, err = io.Copy(body, resp.Body)
	resp.Body.Close()
	switch {
	case err != nil:
		return fmt.Errorf("body: %w", err)
	case resp.ProtoMajor != 2 || resp.StatusCode != http.StatusOK:
		return fmt.Errorf("answered %s %s", resp.Proto, resp.Status)
	case !bytes.Equal(body.Bytes(), want):
		return fmt.Errorf("wrong body of %d bytes: %q", body.Len(), cut(body.Bytes()))
	}
	c.answered.Add(1)
	return nil
}

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const defaultAddr = "127.0.0.1:7302"

// apiClient asks the admin listener of one replica.
type apiClient struct {
	addr  string // as the user gave it
	base  string // URL
	token string
	http  *http.Client
}

func (g *globals) client() (*apiClient, error) {
	c := &apiClient{addr: g.addr, base: strings.TrimSuffix(g.addr, "/")}
	conf := &tls.Config{}
	secure := false
	if g.caFile != "" {
		pem, err := os.ReadFile(g.caFile)
		if err != nil {
			return nil, usageError{fmt.Errorf("--ca-file: %w", err)}
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, usageError{fmt.Errorf("--ca-file: %s: no certificate in it", g.caFile)}
		}
		secure = true
	}
	if (g.certFile == "") != (g.keyFile == "") {
		return nil, usageError{errors.New("--cert-file and --key-file belong together")}
	}
	if g.certFile != "" {
		cert, err := tls.LoadX509KeyPair(g.certFile, g.keyFile)
		if err != nil {
			return nil, usageError{fmt.Errorf("--cert-file, --key-file: %w", err)}
		}
		conf.Certificates = []tls.Certificate{cert}
		secure = true
	}
	if !strings.Contains(c.base, "://") {
		scheme := "http://"
		if secure {
			scheme = "https://"
		}
		if strings.HasPrefix(c.base, ":") {
			c.base = "127.0.0.1" + c.base
		}
		c.base = scheme + c.base
	}
	u, err := url.Parse(c.base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || !validPort(u.Port()) {
		return nil, usageError{fmt.Errorf("--addr: %q: must be HOST:PORT or an http or https URL", g.addr)}
	}
	if g.tokenFile != "" {
		b, err := os.ReadFile(g.tokenFile)
		if err != nil {
			return nil, usageError{fmt.Errorf("--token-file: %w", err)}
		}
		c.token = strings.TrimSpace(string(b))
	}
	c.http = &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true},
	}
	return c, nil
}

// validPort says whether p is a port or absent.
func validPort(p string) bool {
	_, err := strconv.ParseUint(p, 10, 16)
	return p == "" || err == nil
}

// get returns the body of a 200.
func (c *apiClient) get(ctx context.Context, path string) ([]byte, error) {
	return c.do(ctx, "GET", path)
}

// post asks for a change.
func (c *apiClient) post(ctx context.Context, path string) ([]byte, error) {
	return c.do(ctx, "POST", path)
}

func (c *apiClient) do(ctx context.Context, method, path string) ([]byte, error) {
	code, body, err := c.ask(ctx, method, path)
	if err != nil {
		return nil, err
	}
	if code == http.StatusOK {
		return body, nil
	}
	var refused struct{ Detail string }
	if json.Unmarshal(body, &refused) == nil && refused.Detail != "" {
		return nil, fmt.Errorf("%s: %s", c.addr, refused.Detail)
	}
	return nil, fmt.Errorf("%s%s: %d %s", c.addr, path, code, http.StatusText(code))
}

func (c *apiClient) ask(ctx context.Context, method, path string) (int, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, nil)
	if err != nil {
		return 0, nil, usageError{fmt.Errorf("--addr: %w", err)}
	}
	r.Header.Set("X-Quorate-Request", "1")
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return 0, nil, c.explain(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil, fmt.Errorf("%s: %w", c.addr, err)
	}
	return resp.StatusCode, body, nil
}

// explain makes a sentence of what the dial said.
func (c *apiClient) explain(err error) error {
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, syscall.ECONNREFUSED):
		return hinted{fmt.Errorf("%s: connection refused", c.addr),
			"Is quorate running here? Another replica: --addr HOST:PORT or QUORATE_ADDR"}
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("%s: no answer within %s", c.addr, duration(c.http.Timeout))
	}
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return fmt.Errorf("%s: %w", c.addr, err)
		}
		err = inner
	}
}

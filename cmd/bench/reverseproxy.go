//go:build linux

package main

import (
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync/atomic"
	"time"
)

// reverseProxyMain is the peer that the standard library makes: args are where it
// listens and the workers it goes to in turn.
func reverseProxyMain(args []string) int {
	var next atomic.Uint64
	var targets []*url.URL
	for _, a := range args[1:] {
		targets = append(targets, &url.URL{Scheme: "http", Host: a})
	}
	proxy := &httputil.ReverseProxy{
		Transport: &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute, DisableCompression: true},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(targets[next.Add(1)%uint64(len(targets))])
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
	}
	server := &http.Server{Addr: args[0], Handler: proxy, IdleTimeout: 400 * time.Second}
	fmt.Fprintln(os.Stderr, server.ListenAndServe())
	return 1
}

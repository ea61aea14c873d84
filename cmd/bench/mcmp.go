//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// statusPeriod is how often a worker's mod_cluster reports its load.
const statusPeriod = 10 * time.Second

// registrar plays the mod_cluster side of all workers over one connection.
type registrar struct {
	conn net.Conn
	in   *bufio.Reader
}

// register tells the balancer at address of every worker and its contexts, and that
// all of them are idle. Kind is "http" or "ajp". The registrar that it returns must be kept running.
func register(ctx context.Context, address, kind string, groups []group) (*registrar, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	r := &registrar{conn: conn, in: bufio.NewReader(conn)}
	for _, g := range groups {
		for _, w := range g.Workers {
			host, port, _ := net.SplitHostPort(w.Address)
			err := r.tell("CONFIG", fmt.Sprintf("JVMRoute=%s&Host=%s&Port=%s&StickySessionForce=No&Type=%s", w.Name, host, port, kind))
			if err == nil {
				err = r.tell("ENABLE-APP", fmt.Sprintf("JVMRoute=%s&Alias=localhost&Context=%s", w.Name, strings.Join(g.Contexts, ",")))
			}
			if err == nil {
				err = r.status(w)
			}
			if err != nil {
				conn.Close()
				return nil, fmt.Errorf("registering %s: %w", w.Name, err)
			}
		}
	}
	return r, nil
}

// run reports the load of every worker, as long as ctx lasts.
func (r *registrar) run(ctx context.Context, groups []group) error {
	// The end does not wait for an answer.
	stop := context.AfterFunc(ctx, func() { r.conn.Close() })
	defer stop()
	defer r.conn.Close()
	for {
		if sleep(ctx, statusPeriod) != nil {
			return nil
		}
		for _, g := range groups {
			for _, w := range g.Workers {
				if err := r.status(w); err != nil && ctx.Err() == nil {
					return fmt.Errorf("STATUS of %s: %w", w.Name, err)
				}
			}
		}
	}
}

func (r *registrar) status(w worker) error {
	return r.tell("STATUS", "JVMRoute="+w.Name+"&Load=100")
}

// tell is one message and its answer, which must be 200.
func (r *registrar) tell(command, body string) error {
	if err := r.conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	_, err := fmt.Fprintf(r.conn, "%s / HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\nUser-Agent: ClusterListener/1.0\r\nConnection: Keep-Alive\r\n\r\n%s",
		command, r.conn.RemoteAddr(), len(body), body)
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	resp, err := http.ReadResponse(r.in, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: answered %s %q", command, resp.Status, resp.Header.Get("Mess"))
	}
	return nil
}

//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// clientTLS is what all loads with TLS offer: the key exchange and the versions that
// every proxy here knows, so that all do the same work, and no session to resume.
// The one certificate is compared, not verified: that is the client's work, not the
// proxy's.
func clientTLS(ca []byte, protocols ...string) *tls.Config {
	return &tls.Config{
		ServerName:         "localhost",
		MinVersion:         tls.VersionTLS13,
		CurvePreferences:   []tls.CurveID{tls.X25519},
		NextProtos:         protocols,
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 || !bytes.Equal(s.PeerCertificates[0].Raw, ca) {
				return errors.New("not the certificate of this run")
			}
			return nil
		},
	}
}

// dialTLS opens a connection from source address number n.
func dialTLS(ctx context.Context, address string, n uint32, c *tls.Config) (*tls.Conn, error) {
	from := source(n)
	d := net.Dialer{Timeout: closeWait, LocalAddr: &net.TCPAddr{IP: from[:]}, Control: bindLate}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	t := tls.Client(conn, c)
	if err := t.SetDeadline(time.Now().Add(closeWait)); err != nil {
		return nil, err
	}
	if err := t.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("handshake: %w", err)
	}
	return t, nil
}

// crew is what the goroutines of a load share.
type crew struct {
	*Job
	answered atomic.Int64
	over     atomic.Bool
	dials    atomic.Uint32
}

// run lets one goroutine per client work, and measures.
func (c *crew) run(work func(i int) error) (r Result, err error) {
	var group sync.WaitGroup
	failed := make(chan error, c.Clients)
	for i := range c.Clients {
		group.Go(func() {
			for !c.over.Load() {
				if err := work(i); err != nil {
					failed <- fmt.Errorf("client %d: %w", i, err)
					return
				}
			}
		})
	}
	err = c.measure(&r, failed)
	c.over.Store(true)
	group.Wait()
	r.Total = int(c.answered.Load())
	select {
	case late := <-failed:
		err = errors.Join(err, late)
	default:
	}
	if err == nil && r.Requests == 0 {
		err = fmt.Errorf("nothing was answered in the measured time, %d before and after it", r.Total)
	}
	return r, err
}

func (c *crew) measure(r *Result, failed <-chan error) error {
	wait := func(d time.Duration) error {
		select {
		case err := <-failed:
			return err
		case <-time.After(d):
			return nil
		}
	}
	if err := wait(c.Warm); err != nil {
		return err
	}
	m, err := startMeter(c.PID)
	if err != nil {
		return err
	}
	before := c.answered.Load()
	if err := wait(c.Measure); err != nil {
		return err
	}
	r.Requests = int(c.answered.Load() - before)
	return m.stop(r)
}

// loadTLS is HTTP/1.1 over TLS, on connections that stay or on a new one each time.
func loadTLS(j *Job) (Result, error) {
	c := &crew{Job: j}
	conf := clientTLS(j.CA, "http/1.1")
	want := wantBody(j.Path)
	conns := make([]*tls.Conn, j.Clients)
	answers := make([]answer, j.Clients)
	buffers := make([][]byte, j.Clients)
	requests := make([][]byte, j.Clients)
	for i := range j.Clients {
		buffers[i], requests[i] = make([]byte, 64<<10), j.request(i)
	}
	return c.run(func(i int) (err error) {
		if conns[i] == nil {
			if conns[i], err = dialTLS(context.Background(), j.Address, c.dials.Add(1), conf); err != nil {
				return err
			}
		}
		a := &answers[i]
		a.reset(want)
		if err := exchange(conns[i], requests[i], a, buffers[i]); err != nil {
			return err
		}
		if j.NewConn || a.close {
			if n, err := conns[i].Read(buffers[i]); n > 0 || err == nil {
				return fmt.Errorf("bytes behind the last answer: %q", cut(buffers[i][:n]))
			}
			conns[i].Close()
			conns[i] = nil
		}
		c.answered.Add(1)
		return nil
	})
}

// exchange asks and checks the answer.
func exchange(conn net.Conn, request []byte, a *answer, buffer []byte) error {
	if err := conn.SetDeadline(time.Now().Add(2 * closeWait)); err != nil {
		return err
	}
	if _, err := conn.Write(request); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	for {
		n, err := conn.Read(buffer)
		if n > 0 {
			done, bad := a.feed(buffer[:n], "")
			if bad != nil || done {
				return bad
			}
		}
		if err != nil {
			return fmt.Errorf("read after %d bytes of the body: %w", a.got, err)
		}
	}
}

//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// loadIdle opens Idle connections, each asks once; after Hold without a request it
// looks at the proxy's memory, and then each asks again: it must have been kept.
func loadIdle(j *Job) (r Result, err error) {
	if r.Before, err = treeRSS(j.PID); err != nil {
		return r, err
	}
	var conf *tls.Config
	if j.Kind == "idletls" {
		conf = clientTLS(j.CA, "http/1.1")
	}
	conns := make([]net.Conn, j.Idle)
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	err = each(j, func(i int, a *answer, buffer []byte) (err error) {
		if conf != nil {
			conns[i], err = dialTLS(context.Background(), j.Address, uint32(i), conf)
			if err != nil {
				return err
			}
		} else if conns[i], err = net.DialTimeout("tcp", j.Address, closeWait); err != nil {
			return err
		}
		return exchange(conns[i], j.request(i), a, buffer)
	})
	if err != nil {
		return r, fmt.Errorf("opening: %w", err)
	}
	m, err := startMeter(j.PID)
	if err != nil {
		return r, err
	}
	time.Sleep(j.Hold)
	if err := m.stop(&r); err != nil {
		return r, err
	}
	err = each(j, func(i int, a *answer, buffer []byte) error {
		return exchange(conns[i], j.request(i), a, buffer)
	})
	if err != nil {
		return r, fmt.Errorf("after %s without a request: %w", j.Hold, err)
	}
	r.Requests, r.Total = j.Idle, 2*j.Idle
	return r, nil
}

// each calls do once for every connection, Clients at a time.
func each(j *Job, do func(i int, a *answer, buffer []byte) error) error {
	want := wantBody(j.Path)
	numbers := make(chan int, j.Idle)
	for i := range j.Idle {
		numbers <- i
	}
	close(numbers)
	failed := make(chan error, j.Clients)
	var group sync.WaitGroup
	for range j.Clients {
		group.Go(func() {
			a, buffer := new(answer), make([]byte, 64<<10)
			for i := range numbers {
				a.reset(want)
				if err := do(i, a, buffer); err != nil {
					failed <- fmt.Errorf("connection %d: %w", i, err)
					return
				}
			}
		})
	}
	group.Wait()
	if n := len(failed); n > 0 {
		return fmt.Errorf("%d clients failed, the first: %w", n, <-failed)
	}
	return nil
}

// bindLate lets the kernel choose the port when it knows the whole connection, so that
// a source address has as many ports per proxy as there are.
func bindLate(_, _ string, c syscall.RawConn) (err error) {
	outer := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
	return errors.Join(outer, err)
}

package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// What happens in the worker's container. In all of them host is the Name of a Host,
// or "" for the first one, and path that of the context. A balancer that is not OK is
// not told, which is no error: the reset sequence tells it later.

// Deploy makes a context known, if it is not, and started: ENABLE-APP (DISABLE-APP
// with RegisterDisabled). The error joins what the balancers refused.
func (c *Client) Deploy(ctx context.Context, host, path string) error {
	if err := c.take(ctx); err != nil {
		return err
	}
	defer c.release()
	h, err := c.host(host)
	if err != nil {
		return err
	}
	path = rootPath(path)
	if known := h.context(path); known != nil {
		known.Stopped = false
	} else {
		h.Contexts = append(h.Contexts, Context{Path: path})
	}
	announce := cmdEnable
	if c.registerDisabled {
		announce = cmdDisable
	}
	return failures(c.broadcast(ctx, appMessage(announce, c.route, h.names(), path)))
}

// StopContext takes a context out of service and keeps it known: DISABLE-APP, then
// STOP-APP, repeated each time a request of it has ended (RequestFinished), until the
// balancers count none or StopTimeout is over. left is what they counted last.
func (c *Client) StopContext(ctx context.Context, host, path string) (left int, err error) {
	path = rootPath(path)
	// Before the first message: a reset sequence in between must not enable it again.
	names, _, err := c.markStopped(ctx, host, path)
	if err != nil {
		return 0, err
	}
	return c.drain(ctx, names, path)
}

// Undeploy does StopContext, unless the context is stopped already, then REMOVE-APP.
// The context is forgotten whatever the balancers answer.
func (c *Client) Undeploy(ctx context.Context, host, path string) error {
	path = rootPath(path)
	names, running, err := c.markStopped(ctx, host, path)
	if err != nil {
		return err
	}
	var stopErr error
	if running {
		_, stopErr = c.drain(ctx, names, path)
	}
	if err := c.take(ctx); err != nil {
		return errors.Join(stopErr, err)
	}
	defer c.release()
	if h, err := c.host(names[0]); err == nil {
		h.Contexts = slices.DeleteFunc(h.Contexts, func(x Context) bool { return x.Path == path })
	}
	return errors.Join(stopErr, failures(c.broadcast(ctx, appMessage(cmdRemove, c.route, names, path))))
}

// Shutdown is the worker's orderly end: Undeploy of every context in turn, REMOVE-APP
// for the whole node, connections closed. Afterwards Run returns and all else is
// refused with ErrStopped. If ctx ends early the node is not removed and the Client
// goes on.
func (c *Client) Shutdown(ctx context.Context) error {
	if err := c.take(ctx); err != nil {
		return err
	}
	hosts := slices.Clone(c.hosts)
	for i := range hosts {
		hosts[i].Contexts = slices.Clone(hosts[i].Contexts)
	}
	c.release()
	var errs []error
	for _, h := range hosts {
		for _, x := range h.Contexts {
			errs = append(errs, c.Undeploy(ctx, h.Name, x.Path))
		}
	}
	if err := c.take(ctx); err != nil {
		return errors.Join(append(errs, err)...)
	}
	defer c.release()
	errs = append(errs, failures(c.broadcast(ctx, wholeMessage(cmdRemove, c.route))))
	for _, p := range c.proxies {
		p.hangUp()
	}
	c.over = true
	close(c.stopped)
	return errors.Join(errs...)
}

// RequestFinished wakes a StopContext that waits for requests of path. Call it
// after each request of the context; without a waiting stop it costs a map lookup.
func (c *Client) RequestFinished(path string) {
	c.waiting.Lock()
	defer c.waiting.Unlock()
	path = rootPath(path)
	if ended, ok := c.finished[path]; ok {
		close(ended)
		delete(c.finished, path)
	}
}

// drain disables and stops one context and waits for its requests.
func (c *Client) drain(ctx context.Context, names []string, path string) (left int, err error) {
	start := time.Now()
	var over <-chan time.Time
	if c.stopTimeout > 0 {
		timer := time.NewTimer(c.stopTimeout)
		defer timer.Stop()
		over = timer.C
	}
	// A balancer that refuses this is no longer OK; the others are asked to stop all the same.
	_, disableErr := c.tell(ctx, appMessage(cmdDisable, c.route, names, path))
	for {
		// Listen before asking: a request that ends meanwhile must not be missed.
		ended := c.nextFinished(path)
		answers, err := c.tell(ctx, appMessage(cmdStop, c.route, names, path))
		left = 0
		for _, a := range answers {
			n, _ := strconv.Atoi(pair(a.Body, "Requests")) // unreadable counts as none
			left += n
		}
		if left <= 0 || c.stopTimeout > 0 && time.Since(start) >= c.stopTimeout {
			return max(left, 0), errors.Join(disableErr, err)
		}
		select {
		case <-ended:
		case <-over: // ask a last time
		case <-ctx.Done():
			return left, errors.Join(disableErr, ctx.Err())
		}
	}
}

func (c *Client) nextFinished(path string) <-chan struct{} {
	c.waiting.Lock()
	defer c.waiting.Unlock()
	ended, ok := c.finished[path]
	if !ok {
		ended = make(chan struct{})
		c.finished[path] = ended
	}
	return ended
}

// markStopped notes that a context no longer runs; running tells whether it did.
func (c *Client) markStopped(ctx context.Context, host, path string) (names []string, running bool, err error) {
	if err := c.take(ctx); err != nil {
		return nil, false, err
	}
	defer c.release()
	h, err := c.host(host)
	if err != nil {
		return nil, false, err
	}
	x := h.context(path)
	if x == nil {
		return nil, false, fmt.Errorf("worker %s, host %s: no context %s", c.route, h.Name, path)
	}
	running, x.Stopped = !x.Stopped, true
	return h.names(), running, nil
}

// tell takes the turn for one message to every balancer.
func (c *Client) tell(ctx context.Context, r request) ([]Answer, error) {
	if err := c.take(ctx); err != nil {
		return nil, err
	}
	defer c.release()
	answers := c.broadcast(ctx, r)
	return answers, failures(answers)
}

// host finds a host by name, "" is the first. Only with the turn.
func (c *Client) host(name string) (*Host, error) {
	for i := range c.hosts {
		if name == "" || c.hosts[i].Name == name {
			return &c.hosts[i], nil
		}
	}
	return nil, fmt.Errorf("worker %s: no host %q", c.route, name)
}

func (h *Host) context(path string) *Context {
	for i := range h.Contexts {
		if h.Contexts[i].Path == path {
			return &h.Contexts[i]
		}
	}
	return nil
}

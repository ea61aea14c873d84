package client

import (
	"context"
	"errors"
	"strconv"
)

// The management operations of the Java client. What they change at a balancer lasts
// only until the next reset sequence, which knows no operator.

// Enable sends ENABLE-APP for the whole node. From now on new contexts are enabled
// too, RegisterDisabled or not.
func (c *Client) Enable(ctx context.Context) error {
	if err := c.take(ctx); err != nil {
		return err
	}
	defer c.release()
	c.registerDisabled = false
	return failures(c.broadcast(ctx, wholeMessage(cmdEnable, c.route)))
}

// Disable sends DISABLE-APP for the whole node.
func (c *Client) Disable(ctx context.Context) error {
	_, err := c.tell(ctx, wholeMessage(cmdDisable, c.route))
	return err
}

// Stop sends DISABLE-APP and STOP-APP for the whole node. The node stays registered;
// Shutdown is the end of the worker.
func (c *Client) Stop(ctx context.Context) error {
	disableErr := c.Disable(ctx) // one balancer's refusal must not spare the others
	_, err := c.tell(ctx, wholeMessage(cmdStop, c.route))
	return errors.Join(disableErr, err)
}

// EnableContext sends ENABLE-APP for one context; host and path as for Deploy.
func (c *Client) EnableContext(ctx context.Context, host, path string) error {
	return c.tellContext(ctx, cmdEnable, host, path)
}

// DisableContext sends DISABLE-APP for one context; host and path as for Deploy.
func (c *Client) DisableContext(ctx context.Context, host, path string) error {
	return c.tellContext(ctx, cmdDisable, host, path)
}

// DrainContext sends what StopContext sends, but for the worker the context still
// runs: the next reset sequence enables it again.
func (c *Client) DrainContext(ctx context.Context, host, path string) (left int, err error) {
	names, err := c.namesOf(ctx, host)
	if err != nil {
		return 0, err
	}
	return c.drain(ctx, names, rootPath(path))
}

func (c *Client) tellContext(ctx context.Context, cmd command, host, path string) error {
	names, err := c.namesOf(ctx, host)
	if err != nil {
		return err
	}
	_, err = c.tell(ctx, appMessage(cmd, c.route, names, rootPath(path)))
	return err
}

func (c *Client) namesOf(ctx context.Context, host string) ([]string, error) {
	if err := c.take(ctx); err != nil {
		return nil, err
	}
	defer c.release()
	h, err := c.host(host)
	if err != nil {
		return nil, err
	}
	return h.names(), nil
}

// Info asks every balancer, whatever its state, what it knows. A 200 makes it OK
// without a reset sequence, from ERROR and DOWN alike: the next message may be a
// STATUS for a route the balancer has never heard of.
func (c *Client) Info(ctx context.Context) ([]Answer, error) {
	return c.tell(ctx, request{command: cmdInfo})
}

// Dump asks the balancers that are OK for their tables.
func (c *Client) Dump(ctx context.Context) ([]Answer, error) {
	return c.tell(ctx, request{command: cmdDump, whole: true})
}

// Version asks the balancers that are OK for theirs. The Java client never does.
func (c *Client) Version(ctx context.Context) ([]Answer, error) {
	return c.tell(ctx, request{command: cmdVersion})
}

// Ping asks the balancers that are OK whether they are there.
func (c *Client) Ping(ctx context.Context) ([]Answer, error) {
	return c.tell(ctx, request{command: cmdPing})
}

// PingNode asks them to check a node. Like any message it moves their state: for an
// unknown route a balancer goes to ERROR.
func (c *Client) PingNode(ctx context.Context, route string) ([]Answer, error) {
	return c.tell(ctx, request{command: cmdPing, route: route})
}

// PingAddress asks them to check an address. An unsupported scheme takes a balancer DOWN.
func (c *Client) PingAddress(ctx context.Context, scheme, host string, port int) ([]Answer, error) {
	return c.tell(ctx, request{command: cmdPing, fields: map[string]string{
		"Scheme": scheme, "Host": host, "Port": strconv.Itoa(port),
	}})
}

// Refresh makes every balancer that is OK resynchronise in the next period.
func (c *Client) Refresh() {
	for _, p := range c.proxies {
		p.move(OK, Error)
	}
}

// Reset gives balancers that are DOWN another chance in the next period.
func (c *Client) Reset() {
	for _, p := range c.proxies {
		p.move(Down, Error)
	}
}

// ProxyState is where the Client stands with one balancer.
type ProxyState struct {
	Proxy string // its address
	State State
}

// States lists the balancers in the order of Config. It never waits for a message.
func (c *Client) States() []ProxyState {
	list := make([]ProxyState, len(c.proxies))
	for i, p := range c.proxies {
		list[i] = ProxyState{p.address, p.current()}
	}
	return list
}

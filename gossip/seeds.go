package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// errSecret: the seed answers, but under another key.
var errSecret = errors.New("refused: not the same cluster secret")

const (
	firstRejoin = 500 * time.Millisecond
	lastRejoin  = 10 * time.Second
)

// seeds joins the configured names for ever, also after success: that heals a
// partition in which both sides have declared the other dead.
type seeds struct {
	self string
	log  *slog.Logger
	list []*seed
}

// seed is one entry of Config.Join. At any time one goroutine at most deals with it.
type seed struct {
	addr string
	err  error // why the last attempt to join it failed; nil before the first
}

func newSeeds(addrs []string, self string, log *slog.Logger) *seeds {
	s := &seeds{self: self, log: log}
	for _, addr := range addrs {
		s.list = append(s.list, &seed{addr: addr})
	}
	return s
}

func (s *seeds) run(ctx context.Context, list *memberlist.Memberlist) {
	for pause := firstRejoin; ctx.Err() == nil; pause = min(2*pause, lastRejoin) {
		var round sync.WaitGroup
		for _, x := range s.list {
			round.Go(func() { s.note(x, s.join(ctx, list, x.addr)) })
		}
		round.Wait()
		// Jitter, so that replicas started together do not ask together for ever.
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + rand.N(pause/2)):
		}
	}
}

// note records the outcome, and logs it when it is another than last time.
func (s *seeds) note(x *seed, err error) {
	switch {
	case errors.Is(err, errSecret) && !errors.Is(x.err, errSecret):
		s.log.Warn("seed refused", "seed", x.addr, "error", err)
	case err != nil && x.err == nil:
		s.log.Debug("seed unreachable", "seed", x.addr, "error", err)
	}
	x.err = err
}

// join meets every address of one seed but this replica's own. One that answers is enough.
func (s *seeds) join(ctx context.Context, list *memberlist.Memberlist, seed string) error {
	host, text, err := net.SplitHostPort(seed)
	if err != nil {
		return fmt.Errorf("join %s: %w", seed, err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return fmt.Errorf("join %s: port %s is not a number up to 65535", seed, text)
	}
	ips, err := resolve(ctx, host)
	if err != nil {
		return fmt.Errorf("join %s: %w", seed, err)
	}
	var refused error
	joined := false
	for _, ip := range ips {
		addr := netip.AddrPortFrom(ip, uint16(port)).String()
		if addr == s.self {
			joined = true
			continue
		}
		if _, err := list.Join([]string{addr}); err != nil {
			// memberlist reports causes as text. The answer of a seed with another key
			// arrives, and cannot be decrypted.
			if strings.Contains(err.Error(), "no installed keys could decrypt") {
				err = errSecret
			}
			if refused == nil || errors.Is(err, errSecret) {
				refused = fmt.Errorf("join %s: %w", seedText(seed, addr), err)
			}
			continue
		}
		joined = true
	}
	switch {
	case joined:
		return nil
	case refused == nil:
		return fmt.Errorf("join %s: %w", seed, errNoAddress)
	}
	return refused
}

// seedText names a seed, and the address tried where that is not the same.
func seedText(seed, addr string) string {
	if seed == addr {
		return seed
	}
	return seed + " (" + addr + ")"
}

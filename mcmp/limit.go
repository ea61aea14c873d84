package mcmp

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxSources bounds what is remembered of sources, whoever they are.
const maxSources = 8192

// limiter slows sources down that send too much: a message waits for its turn
// (interface.md §1, mcmp.rate). What is remembered is bounded: when too many
// sources are busy at once the further ones share one rate.
type limiter struct {
	rate  rate.Limit
	burst int

	mu      sync.Mutex
	sources map[netip.Addr]*rate.Limiter // guarded by mu
	others  *rate.Limiter
}

func newLimiter(perSecond float64, burst int) *limiter {
	r := rate.Limit(perSecond)
	if perSecond < 0 {
		r = rate.Inf
	}
	return &limiter{rate: r, burst: burst, sources: map[netip.Addr]*rate.Limiter{}, others: rate.NewLimiter(r, burst)}
}

// wait returns when a message of source may go on, with an error at once if that
// is after ctx's deadline.
func (l *limiter) wait(ctx context.Context, source netip.Addr) error {
	return l.of(source).Wait(ctx)
}

func (l *limiter) of(source netip.Addr) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := l.sources[source]; r != nil {
		return r
	}
	if len(l.sources) >= maxSources {
		for a, r := range l.sources { // a full bucket remembers nothing
			if r.Tokens() >= float64(l.burst) {
				delete(l.sources, a)
			}
		}
	}
	if len(l.sources) >= maxSources {
		return l.others
	}
	r := rate.NewLimiter(l.rate, l.burst)
	l.sources[source] = r
	return r
}

// once says of each key that it is seen for the first time, or the first time in
// a period; 0 means for ever. When it is full, keys it does not hold are not first.
type once struct {
	period time.Duration

	mu   sync.Mutex
	seen map[string]time.Time // guarded by mu
}

func newOnce(period time.Duration) *once { return &once{period: period, seen: map[string]time.Time{}} }

func (o *once) first(key string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	old := func(t time.Time) bool { return o.period > 0 && now.Sub(t) >= o.period }
	if t, ok := o.seen[key]; ok && !old(t) {
		return false
	}
	if len(o.seen) >= maxSources {
		for k, t := range o.seen {
			if old(t) {
				delete(o.seen, k)
			}
		}
		if len(o.seen) >= maxSources {
			return false
		}
	}
	o.seen[key] = now
	return true
}

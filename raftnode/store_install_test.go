package raftnode

import (
	"testing"

	"github.com/hashicorp/raft"
)

// A leader that was cut off has written entries that never commit. The others went on,
// took snapshots and dropped the log behind them, so it gets a snapshot when it is back:
// once, and of its own entries nothing survives, also not when it leads again and brings
// up a new replica.
func TestInstallOverDivergentTail(t *testing.T) {
	for _, c := range []struct {
		name         string
		never, later int
	}{
		{"longer than the snapshot", 60, 15},
		{"shorter than the snapshot", 5, 30},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			trio := newBareCluster(t, 1, "a", "b", "c")
			acked := trio.commit("before", 10)
			old := trio.diverge(c.never)
			tail, _ := old.store.LastIndex()

			acked = append(acked, trio.commit("later", c.later)...)
			trio.converge()
			trio.snapshot(trio.live()...)
			at := trio.leader().machine.Committed().Index
			if (tail > at) != (c.never > c.later) {
				t.Fatalf("the divergent tail ends at %d, the snapshot at %d", tail, at)
			}

			before := old.machine.Restores()
			trio.heal()
			trio.converge()
			acked = append(acked, trio.commit("again", 5)...)
			trio.converge()
			installs := old.machine.Restores() - before
			t.Logf("divergent tail up to %d, snapshot up to command %d: %d install(s)", tail, at, installs)
			if installs < 1 || installs > 2 {
				t.Errorf("%d installs, want 1 or 2", installs)
			}
			trio.nothingNever()

			// It leads now, and its log is what a new replica gets.
			eventually(t, "leadership of the replica that diverged", func() bool {
				leader := trio.leader()
				return leader == old || leader.raft.LeadershipTransferToServer(raft.ServerID(old.id), raft.ServerAddress(old.id)).Error() == nil && trio.leader() == old
			})
			fresh := trio.add("d")
			trio.start(fresh)
			eventually(t, "a new replica is added", func() bool {
				return trio.leader().raft.AddNonvoter("d", "d", 0, 0).Error() == nil
			})
			acked = append(acked, trio.commit("last", 3)...)
			trio.converge()
			trio.nothingNever()
			for _, m := range trio.members {
				if n := missing(m.machine.Committed().State, acked); n != 0 {
					t.Errorf("%s: %d of %d acknowledged workers are missing", m.id, n, len(acked))
				}
			}
		})
	}
}

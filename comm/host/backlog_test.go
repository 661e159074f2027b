// SPDX-License-Identifier: Apache-2.0

package host

import (
	"net"
	"testing"
	"testing/synctest"
)

// A rank that is further ahead than ranks can be of each other waits until a frame
// is sent: memory has a bound.
func TestABacklogIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		send := make(chan struct{})
		sent := 0
		b := newBacklog(func(frame *net.Buffers) error {
			<-send
			if got := (*frame)[0]; len(got) != 2 || got[0] != byte(sent) {
				t.Errorf("frame %d is %v", sent, got)
			}
			sent++
			return nil
		}, func(f func()) { go f() })
		added := 0
		go func() {
			for ; added < backlogLimit+10; added++ {
				if err := b.add(net.Buffers{{byte(added)}, {1}}); err != nil {
					t.Error(err)
				}
			}
		}()
		for extra := range 10 {
			synctest.Wait()
			if added != backlogLimit+extra {
				t.Errorf("%d frames are taken when %d are sent, want %d more", added, sent, backlogLimit)
			}
			send <- struct{}{}
		}
		close(send)
		synctest.Wait()
		if err := b.flush(); err != nil || sent != backlogLimit+10 {
			t.Errorf("%d frames sent, error %v", sent, err)
		}
	})
}

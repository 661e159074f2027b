// SPDX-License-Identifier: Apache-2.0

package trace_test

import (
	"testing"

	"octet/device"
	"octet/device/trace"
	"octet/dtype"
	"octet/test/ranks"
)

// BenchmarkKernel is a kernel of one element: of a device as it is, of one that is decorated,
// and of one that is noted.
func BenchmarkKernel(b *testing.B) {
	for _, how := range []string{"plain", "decorated", "noted"} {
		b.Run(how, func(b *testing.B) {
			var dev device.Device = ranks.Device(b, ranks.Options{})
			log := &trace.Log{}
			if how != "plain" {
				dev = trace.New(dev, log)
			}
			s, x := dev.NewStream("test"), device.NewPool(dev).New(dtype.Float32, 1)
			if how == "noted" {
				log.Start()
			}
			for b.Loop() {
				s.Zero(x)
			}
			if err := s.Sync(); err != nil {
				b.Fatal(err)
			}
			log.Stop()
		})
	}
}

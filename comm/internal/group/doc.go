// SPDX-License-Identifier: Apache-2.0

// Package group has the collectives themselves, written once over a small
// interface, Link, that comm/local and comm/host implement.
//
// A collective is a few rounds. In a round each rank posts a message, reads
// the messages of the others, and says that it is done with them:
//
//	link.Post(n, message)              // copied out, or lent until Finish
//	view, err := link.Await(n, q, nil) // what rank q posted
//	copy(dst, view.Bytes(...))
//	link.Done(n)                       // rank q may reuse that memory
//
// The first message of a collective carries its Call: which operation, what
// sizes. It is compared before any result is written, so ranks that disagree
// get an error that shows both calls. Links only wait and move bytes;
// deadlines, sums and the texts of errors are here.
package group

// SPDX-License-Identifier: Apache-2.0

// Package gangpb is the wire format between the agents of a job and its
// coordinator: gang.proto and the code generated from it, nothing else. Only
// launcher/agent needs it.
//
// `make generate` compiles gang.proto again. It needs the network once, for the
// compiler, which is no dependency of octet.
package gangpb

//go:generate go run github.com/bufbuild/buf/cmd/buf@v1.59.0 generate --template buf.gen.yaml

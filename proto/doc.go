// SPDX-License-Identifier: Apache-2.0

// Package proto is the wire format between the agents of a job and its
// coordinator: gang.proto and the code generated from it, nothing else. Only
// launcher/agent needs it.
//
//	conn, err := grpc.NewClient(addr, creds)
//	stream, err := proto.NewGangClient(conn).Join(ctx)
//	err = stream.Send(&proto.FromAgent{RunId: id, Body: &proto.FromAgent_Hello{Hello: hello}})
//	msg, err := stream.Recv()
//
// `make generate` compiles gang.proto again. It needs the network once, for the
// compiler, which is no dependency of octet.
package proto

//go:generate go run github.com/bufbuild/buf/cmd/buf@v1.59.0 generate --template buf.gen.yaml

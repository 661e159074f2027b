// SPDX-License-Identifier: Apache-2.0

// Package auth lets two processes prove to each other that they belong to one
// job: both know its secret, and neither sends it. A connection whose other end
// has not proven itself is read no further than the proof (docs/security.md says
// what that defends and what it does not).
//
//	secret := auth.NewSecret() // or ParseSecret of the operator's token
//	id := auth.Identity{Job: "17", Service: "store", Secret: secret}
//
//	conn, err := auth.Dial(ctx, addr, id)                   // on one side
//	id, err = auth.Accept(conn, auth.Only(id))              // on the other
package auth

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// TokenVar is the environment variable that holds the job's token.
const TokenVar = "OCTET_JOB_TOKEN"

// Secret is what the members of a job know and nobody else. The zero Secret is
// none: it proves nothing and is accepted nowhere. A Secret prints as "(secret)".
type Secret struct{ text string }

const (
	minToken = 16   // characters; 32 random bytes are advised
	maxToken = 4096 // characters
)

// NewSecret draws a secret of 130 random bits.
func NewSecret() Secret { return Secret{rand.Text()} }

// Public is the secret of jobs that were told to do without one. Everybody knows
// it.
func Public() Secret { return Secret{"octet: this job has no secret"} }

// ParseSecret reads a token as an operator gives it, spaces around it ignored.
// Empty text is the zero Secret.
func ParseSecret(text string) (Secret, error) {
	text = strings.TrimSpace(text)
	switch n := len(text); {
	case n > 0 && n < minToken:
		return Secret{}, fmt.Errorf("a token of %d characters can be guessed: want %d or more, as `openssl rand -hex 32` prints", n, minToken)
	case n > maxToken:
		return Secret{}, fmt.Errorf("a token of %d characters: want %d to %d", n, minToken, maxToken)
	}
	return Secret{text}, nil
}

// ReadSecret reads a token from a file, which others than its owner and group
// must not be able to read.
func ReadSecret(path string) (Secret, error) {
	f, err := os.Open(path)
	if err != nil {
		return Secret{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Secret{}, err
	}
	if info.Mode().Perm()&0o007 != 0 {
		return Secret{}, fmt.Errorf("%s: every user of this host can read it (mode %#o): chmod 600 it", path, info.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, maxToken+2))
	if err != nil {
		return Secret{}, err
	}
	s, err := ParseSecret(string(text))
	if err == nil && s.IsZero() {
		err = errors.New("it is empty: want a token, as `openssl rand -hex 32` prints")
	}
	if err != nil {
		return Secret{}, &fs.PathError{Op: "token", Path: path, Err: err}
	}
	return s, nil
}

// IsZero reports whether s is no secret.
func (s Secret) IsZero() bool { return s.text == "" }

// For derives the secret of a purpose (HKDF-SHA256, RFC 5869): whoever is given
// it knows neither s nor what s is for another purpose.
func (s Secret) For(purpose string) Secret {
	if s.IsZero() {
		return s
	}
	key, err := hkdf.Key(sha256.New, []byte(s.text), nil, "octet "+purpose, sha256.Size)
	if err != nil {
		panic("auth: " + err.Error()) // only a length beyond 255 hashes is an error
	}
	return Secret{hex.EncodeToString(key)}
}

// Environ is s as a line of a child's environment.
func (s Secret) Environ() string { return TokenVar + "=" + s.text }

// String keeps a secret out of texts.
func (s Secret) String() string { return "(secret)" }

// GoString keeps it out of %#v.
func (s Secret) GoString() string { return "(secret)" }

// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package arena

import (
	"errors"
	"fmt"
	"os"
)

var errNone = fmt.Errorf("arena: %w", errors.ErrUnsupported)

// New fails: there is no memfd here.
func New() (*Arena, error) { return nil, errNone }

// Open fails, as New.
func Open(ID) (*Map, error) { return nil, errNone }

func reserve(*os.File, int, int) error { return errNone }
func release(*os.File, int, int)       {}
func joinPages([]byte)                 {}
func unmap([]byte) error               { return nil }

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"octet/metrics/chart"
)

// picture is a file that a flag names for one.
type picture struct {
	flag, path string
	format     chart.Format
}

// pictureAt finds what is wrong with the name before there is something to draw.
func pictureAt(flag, path string) (picture, error) {
	p := picture{flag, path, chart.Format(filepath.Ext(path))}
	if p.format != chart.SVG && p.format != chart.PNG {
		return p, fmt.Errorf("--%s %s: a picture is SVG or PNG, so its name ends in .svg or .png", flag, path)
	}
	return p, hasFolder(flag, path)
}

// write draws before it touches the file.
func (p picture) write(of chart.Picture) error {
	var file bytes.Buffer
	if err := of.Write(&file, p.format); err != nil {
		return err
	}
	return writeFile(p.flag, p.path, file.Bytes())
}

// hasFolder refuses a file that a flag names for what a command will write at its end, where there is no folder for it.
func hasFolder(flag, path string) error {
	folder := filepath.Dir(path)
	if info, err := os.Stat(folder); err != nil || !info.IsDir() {
		return fmt.Errorf("--%s %s: there is no folder %s", flag, path, folder)
	}
	return nil
}

func writeFile(flag, path string, content []byte) error {
	if err := os.WriteFile(path, content, 0o644); err != nil {
		return fmt.Errorf("--%s: %w", flag, err)
	}
	return nil
}

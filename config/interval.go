// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// interval is a range of numbers, written as in mathematics: [ and ] include the end, ( and ) leave it out.
type interval struct {
	low, high         float64
	openLow, openHigh bool
}

// parseInterval reads an `in` tag. A tag that is none is a programmer error.
func parseInterval(text string) interval {
	low, high, found := strings.Cut(strings.Trim(text, "[]()"), ",")
	l, errLow := strconv.ParseFloat(low, 64)
	h, errHigh := strconv.ParseFloat(high, 64)
	if !found || errLow != nil || errHigh != nil {
		panic(fmt.Sprintf("config: %q is not an interval", text))
	}
	return interval{l, h, strings.HasPrefix(text, "("), strings.HasSuffix(text, ")")}
}

// contains is false for NaN.
func (r interval) contains(x float64) bool {
	above := x > r.low || x == r.low && !r.openLow
	below := x < r.high || x == r.high && !r.openHigh
	return above && below
}

// String is the interval in words, to follow "must be".
func (r interval) String() string {
	switch low, high := number(r.low), number(r.high); {
	case math.IsInf(r.high, 1) && r.openLow:
		return "more than " + low
	case math.IsInf(r.high, 1):
		return "at least " + low
	case !r.openLow && !r.openHigh:
		return "from " + low + " to " + high
	case r.openLow && r.openHigh:
		return "more than " + low + " and less than " + high
	case r.openLow:
		return "more than " + low + " and at most " + high
	default:
		return "at least " + low + " and less than " + high
	}
}

// number writes whole numbers without an exponent.
func number(x float64) string {
	if x == math.Trunc(x) && math.Abs(x) < 1e10 {
		return strconv.FormatFloat(x, 'f', -1, 64)
	}
	return strconv.FormatFloat(x, 'g', -1, 64)
}

// legalNumbers is the `in` tag of f, and its `or` tag if any, in words.
func (f field) legalNumbers() string {
	text := parseInterval(f.tag.Get("in")).String()
	if or := f.tag.Get("or"); or != "" {
		text = or + " or " + text
	}
	return text
}

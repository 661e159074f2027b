// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"bytes"
	"fmt"

	"octet/metrics"
	"octet/metrics/chart"
)

// The records of a run, as metrics.Read gives them, become a picture.
func ExampleChart() {
	var records []metrics.Record
	for step := range 100 {
		records = append(records, metrics.Record{Step: step + 1, Loss: 2 + 300/float64(step+50)})
	}
	var picture bytes.Buffer
	err := chart.Chart{Title: "Llama on Go's source", Runs: []chart.Run{{Name: "float8", Records: records}}}.Write(&picture, chart.SVG)
	if err != nil {
		panic(err)
	}
	fmt.Println("a line named float8:", bytes.Contains(picture.Bytes(), []byte(">float8</text>")))
	// Output: a line named float8: true
}

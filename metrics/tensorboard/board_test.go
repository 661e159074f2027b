// SPDX-License-Identifier: Apache-2.0

package tensorboard

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"octet/metrics"
)

// records are three steps, the second with a validation.
func records() []metrics.Record {
	return []metrics.Record{
		{Step: 1, Loss: 5.5, MaxLoss: 6, TokensSeen: 4096, GradNorm: 2, LR: 0.5, StepMS: 1000, DataMS: 250, TokensPerS: 100, RSSMB: 512, CommBytes: 3 << 20},
		{Step: 2, Loss: 4.5, GradNorm: 3, LR: 0.25, StepMS: 500, DataMS: 125, TokensPerS: 300, RSSMB: 1024, CommBytes: 3 << 20,
			Validation: &metrics.Validation{Loss: 4.75, BitsPerByte: 6.5, TokensPerS: 77}},
		{Step: 3, Loss: math.Inf(1), MaxLoss: math.NaN(), TokensSeen: 1 << 40, GradNorm: math.NaN(), LR: 0.125, StepMS: 500, DataMS: 125, TokensPerS: 300, RSSMB: 768},
	}
}

// options have everything, with a peak that a span's tokens are a quarter of.
func options() Options {
	return Options{LogFreq: 3, FLOPsPerToken: 1e10, PeakFLOPS: 4e12, MemoryTotal: 2 << 30}
}

// write makes an event file of the records, and returns its folder.
func write(t *testing.T, o Options, rs ...metrics.Record) (folder, file string) {
	t.Helper()
	folder = t.TempDir()
	b, err := Create(folder, o, func(text string) { t.Error(text) })
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rs {
		b.Step(r)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return folder, b.Name()
}

// TestAFileHasTorchtitansTags, each with its value, read by a parser that knows TensorFlow's own description of the messages.
func TestAFileHasTorchtitansTags(t *testing.T) {
	_, file := write(t, options(), records()...)
	want := []string{
		"step 0: brain.Event:2",
		"step 1: START",
		"step 1: loss_metrics/global_avg_loss=5.5 loss_metrics/global_max_loss=6 n_tokens_seen=4096 grad_norm=2 lr=0.5 throughput(tps)=100 time_metrics/end_to_end(s)=1 time_metrics/data_loading(s)=0.25 time_metrics/data_loading(%)=25 " +
			"memory/resident(GiB)=0.5 comm/sent(MiB)=3 tflops=1 mfu(%)=25 memory/resident(%)=25",
		"step 2: validation_metrics/global_avg_loss=4.75 validation_metrics/throughput(tps)=77 validation_metrics/bits_per_byte=6.5",
		// Of the span: 300 tokens a second, half a second a step, at most 1024 MiB.
		"step 3: loss_metrics/global_avg_loss=+Inf loss_metrics/global_max_loss=NaN n_tokens_seen=1.099511627776e+12 grad_norm=NaN lr=0.125 throughput(tps)=300 time_metrics/end_to_end(s)=0.5 time_metrics/data_loading(s)=0.125 time_metrics/data_loading(%)=25 " +
			"memory/resident(GiB)=1 comm/sent(MiB)=0 tflops=3 mfu(%)=75 memory/resident(%)=50",
	}
	if d := cmp.Diff(want, read(t, file)); d != "" {
		t.Errorf("events differ (-want +got):\n%s", d)
	}
}

// TestWhatCastsDidHasATagForEachOperandAndLayer.
func TestWhatCastsDidHasATagForEachOperandAndLayer(t *testing.T) {
	_, file := write(t, Options{LogFreq: 10}, metrics.Record{Step: 7, Casts: []metrics.Cast{
		{Layer: "layers.0.attention.wq", Role: "i", Amax: 3, Saturated: 0.5, Underflowed: 0.25, SQNR: 28.5},
		{Layer: "layers.0.feed_forward.w2", Role: "go_gw", Amax: 1, SQNR: 22},
	}})
	want := []string{
		"step 0: brain.Event:2",
		"step 7: START",
		"step 7: float8_i/amax/layers.0.attention.wq=3 float8_i/saturated/layers.0.attention.wq=0.5 float8_i/underflowed/layers.0.attention.wq=0.25 " +
			"float8_i/sqnr(dB)/layers.0.attention.wq=28.5 float8_go_gw/amax/layers.0.feed_forward.w2=1 float8_go_gw/saturated/layers.0.feed_forward.w2=0 " +
			"float8_go_gw/underflowed/layers.0.feed_forward.w2=0 float8_go_gw/sqnr(dB)/layers.0.feed_forward.w2=22",
	}
	if d := cmp.Diff(want, read(t, file)); d != "" {
		t.Errorf("events differ (-want +got):\n%s", d)
	}
}

// TestATagThatNothingIsKnownOfIsLeftOut rather than 0.
func TestAGPUHasTagsOfItsOwn(t *testing.T) {
	_, file := write(t, Options{LogFreq: 1}, metrics.Record{Step: 1, GPU: &metrics.GPU{MemoryMB: 20480, TotalMB: 81920, Utilization: 97, ClockMHz: 1980}})
	const want = "memory/gpu(GiB)=20 memory/gpu(%)=25 gpu/utilization(%)=97 gpu/clock(MHz)=1980"
	if lines := read(t, file); !strings.Contains(lines[len(lines)-1], want) {
		t.Errorf("%s is not in %s", want, lines[len(lines)-1])
	}
}

func TestATagThatNothingIsKnownOfIsLeftOut(t *testing.T) {
	_, file := write(t, Options{LogFreq: 1}, metrics.Record{Step: 7, Loss: 1, Validation: &metrics.Validation{Loss: 2}})
	for _, line := range read(t, file) {
		for _, tag := range []string{"tflops", "mfu", "resident(%)", "bits_per_byte"} {
			if strings.Contains(line, tag) {
				t.Errorf("%s is in %s", tag, line)
			}
		}
	}
}

// TestARunThatGoesOnHasAFileOfItsOwn in the same folder, that says at which step it starts.
func TestARunThatGoesOnHasAFileOfItsOwn(t *testing.T) {
	folder := t.TempDir()
	var starts []string
	for _, first := range []int{1, 5} {
		b, err := Create(folder, Options{LogFreq: 1}, func(text string) { t.Error(text) })
		if err != nil {
			t.Fatal(err)
		}
		b.Step(metrics.Record{Step: first})
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		starts = append(starts, read(t, b.Name())[1])
	}
	if d := cmp.Diff([]string{"step 1: START", "step 5: START"}, starts); d != "" {
		t.Error(d)
	}
	files, err := os.ReadDir(folder)
	if err != nil || len(files) != 2 {
		t.Errorf("%d files (%v), want 2", len(files), err)
	}
}

// TestAWriteThatFailsIsToldOnceAndMadeUp: the file is whole when writing works again.
func TestAWriteThatFailsIsToldOnceAndMadeUp(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "events"))
	if err != nil {
		t.Fatal(err)
	}
	disk := &flaky{File: file}
	var said []string
	b := &Board{file: metrics.NewAppender(disk, func(text string) { said = append(said, text) }), window: metrics.Window{LogFreq: 1}}
	disk.room = 10 // of the first frame
	for step := 1; step <= 3; step++ {
		b.Step(metrics.Record{Step: step})
	}
	if len(said) != 1 || !strings.Contains(said[0], "no space") {
		t.Errorf("it said %q, want one line about no space", said)
	}
	disk.room = 1 << 20
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if got := len(read(t, file.Name())); got != 4 { // a start, three steps
		t.Errorf("%d events, want 4", got)
	}

	if file, err = os.Create(file.Name()); err != nil {
		t.Fatal(err)
	}
	b = &Board{file: metrics.NewAppender(&flaky{File: file}, func(string) {}), window: metrics.Window{LogFreq: 1}}
	b.Step(metrics.Record{Step: 1})
	if err := b.Close(); err == nil || !strings.Contains(err.Error(), "are not in the file") {
		t.Errorf("error %v, want one that says what is lost", err)
	}
}

// TestPyPITensorBoardReadsTheFile: the real reader, where it is installed.
func TestPyPITensorBoardReadsTheFile(t *testing.T) {
	python := os.Getenv("OCTET_HF_PYTHON")
	if python == "" {
		t.Skip("needs TensorBoard: set OCTET_HF_PYTHON to a Python that has it, or run `make test-hf`")
	}
	folder, _ := write(t, options(), records()...)
	again, err := Create(folder, Options{LogFreq: 1}, func(text string) { t.Error(text) })
	if err != nil {
		t.Fatal(err)
	}
	again.Step(metrics.Record{Step: 3, Loss: 4.25, StepMS: 100}) // resumed at step 3
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(python, "testdata/read.py", folder).Output()
	if err != nil {
		t.Fatal(err)
	}
	var got map[string][][2]float64
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for tag, want := range map[string][][2]float64{
		"loss_metrics/global_avg_loss":       {{1, 5.5}, {3, 4.25}},
		"validation_metrics/global_avg_loss": {{2, 4.75}},
		"mfu(%)":                             {{1, 25}},
	} {
		if d := cmp.Diff(want, got[tag]); d != "" {
			t.Errorf("%s (-want +got):\n%s", tag, d)
		}
	}
}

// flaky is a file with room for a number of bytes.
type flaky struct {
	*os.File
	room int
}

func (f *flaky) Write(p []byte) (int, error) {
	n := min(len(p), f.room)
	f.room -= n
	if n, err := f.File.Write(p[:n]); err != nil || n == len(p) {
		return n, err
	}
	return n, errors.New("no space")
}

// read gives the events of a file as text: its own frames, its own checksum bit by bit, and messages by TensorFlow's description.
func read(t *testing.T, path string) (events []string) {
	t.Helper()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	kind := describe(t)
	for len(file) > 0 {
		n := binary.LittleEndian.Uint64(file)
		data := file[12 : 12+n]
		for _, part := range []struct {
			of  []byte
			sum []byte
		}{{file[:8], file[8:]}, {data, file[12+n:]}} {
			if got, want := binary.LittleEndian.Uint32(part.sum), bitwise(part.of); got != want {
				t.Fatalf("checksum %08x, want %08x", got, want)
			}
		}
		file = file[16+n:]
		m := dynamicpb.NewMessage(kind)
		if err := proto.Unmarshal(data, m); err != nil {
			t.Fatal(err)
		}
		events = append(events, text(m))
	}
	return events
}

// describe is tensorflow.Event.
func describe(t *testing.T) protoreflect.MessageDescriptor {
	t.Helper()
	source, err := os.ReadFile("testdata/event.txtpb")
	if err != nil {
		t.Fatal(err)
	}
	var file descriptorpb.FileDescriptorProto
	if err := prototext.Unmarshal(source, &file); err != nil {
		t.Fatal(err)
	}
	d, err := protodesc.NewFile(&file, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d.Messages().ByName("Event")
}

func text(m protoreflect.Message) string {
	get := func(m protoreflect.Message, name protoreflect.Name) protoreflect.Value {
		return m.Get(m.Descriptor().Fields().ByName(name))
	}
	parts := []string{fmt.Sprintf("step %d:", get(m, "step").Int())}
	switch what := m.WhichOneof(m.Descriptor().Oneofs().ByName("what")); what.Name() {
	case "file_version":
		parts = append(parts, m.Get(what).String())
	case "session_log":
		status := what.Message().Fields().ByName("status")
		number := m.Get(what).Message().Get(status).Enum()
		parts = append(parts, string(status.Enum().Values().ByNumber(number).Name()))
	case "summary":
		values := get(m.Get(what).Message(), "value").List()
		for i := range values.Len() {
			v := values.Get(i).Message()
			parts = append(parts, fmt.Sprintf("%s=%v", get(v, "tag"), get(v, "simple_value").Float()))
		}
	}
	if wall := get(m, "wall_time").Float(); wall < 1.7e9 || wall > 1e10 {
		parts = append(parts, fmt.Sprintf("at %v, which is no time in seconds", wall))
	}
	return strings.Join(parts, " ")
}

// bitwise is the masked CRC32C, by the polynomial.
func bitwise(data []byte) uint32 {
	crc := ^uint32(0)
	for _, b := range data {
		crc ^= uint32(b)
		for range 8 {
			crc = crc>>1 ^ 0x82f63b78*(crc&1)
		}
	}
	crc = ^crc
	return (crc>>15 | crc<<17) + 0xa282ead8
}

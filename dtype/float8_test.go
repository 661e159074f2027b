// SPDX-License-Identifier: Apache-2.0

package dtype_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"octet/dtype"
	"octet/test/golden"
)

var formats = []dtype.Format{dtype.E4M3FN, dtype.E5M2, dtype.E4M3FNUZ, dtype.E5M2FNUZ}

// canonical makes every NaN code the format's own.
func canonical(f dtype.Format, code byte) byte {
	if v := f.Decode(code); v != v {
		return f.NaN()
	}
	return code
}

func TestEncodeTable(t *testing.T) {
	values := []float64{0, math.Copysign(0, -1), 1, -1, 0.3, 1.0625, 1.1875, 17, 19, 447, 1e9, 0x1p-9, 0x1p-10, 3 * 0x1p-11, 0.96875 * 0x1p-6, 0.001, math.Inf(-1), math.NaN()}
	for _, c := range []struct {
		format dtype.Format
		codes  string
	}{
		{dtype.E4M3FN, "008038b82a383a585a7e7e0100010801fe7f"},
		{dtype.E5M2, "00803cbc353c3d4c4d5f7b1814162414fb7f"},
		{dtype.E4M3FNUZ, "000040c032404260627f7f0201021001ff80"},
		{dtype.E5M2FNUZ, "000040c03940415051637f1c181a2818ff80"},
	} {
		var codes []byte
		for _, v := range values {
			codes = append(codes, c.format.Encode(float32(v)))
		}
		if got := hex.EncodeToString(codes); got != c.codes {
			t.Errorf("%s of %v:\n got %s\nwant %s", c.format.Name, values, got, c.codes)
		}
	}
}

// The hashes are torchao's (testdata/golden/hashes.py), over all bf16 patterns, NaN
// made canonical.
func TestEncodeHashesOfAllBF16(t *testing.T) {
	scales := []float32{1, math.Float32frombits(0x43155555), math.Float32frombits(0x3DCCCCCD)}
	want := map[string][3]string{
		"e4m3fn": {"2f8096b3b00699a86e3e44c61fc0287c5111ab4b4e3d1ad604f6f3a5b3eca0db",
			"7fab168ccd49e274c3d0875837b5256f326c09ea0b81a7b789bbb2ba50395625", "63b62dab7863424c80bf7dd294c86a03ce49530d9399ba585fb7c6e50905d8d5"},
		"e5m2": {"69d1394f72425f9b4be7e18c947e02d52e9ca5feb64c8bf06254e46dead83e4f",
			"c0b5fd52c0910260795163c954774c65fbb8e485fe8e3064cabddd0ae440b77d", "94d7134b47a6bd5d65c72ed1e8db7cd706bb5d78df330c49e2c98084d661aad1"},
		"e4m3fnuz": {"b8bc9477c4bd38c8ece367f2392f3342e0a70228ced32a3d8fc6059dcf597919",
			"01ff2e57077b2a454fac118a2ea8a9fb1053c218af9042e5a259b0f4e8231694", "471ad8569e03feea426a3d753c3fe1bae8cd2da57acc7258df5c5e576462c9fc"},
		"e5m2fnuz": {"d622975379a6a3063281914e2def87c72a79a184d313adf5bec56435ae3c36e3",
			"c70bc8bfde2bd9ed94e80cccad37207ef40d5b9c867fae6b059117a56a0454ea", "a11541ef96eed69061e729a961be80f0d402dbcb19cec15ab2b9fd2967f6fa1f"},
	}
	for _, f := range formats {
		for i, scale := range scales {
			codes := make([]byte, 1<<16)
			for b := range codes {
				codes[b] = f.Encode(dtype.BF16(b).Float32() * scale)
			}
			if got := fmt.Sprintf("%x", sha256.Sum256(codes)); got != want[f.Name][i] {
				t.Errorf("%s with scale %v: hash %s, want %s", f.Name, scale, got, want[f.Name][i])
			}
		}
	}
}

// The amaxes are every finite non-negative bf16, in order.
func TestScaleHashesOfAllBF16(t *testing.T) {
	for _, c := range []struct {
		format      dtype.Format
		plain, pow2 string
	}{
		{dtype.E4M3FN, "9cdc5b3ee4b6b58cf5894372156b644557d813faae14d3fd730e5cc0799b3c79", "9149c49d9798f79c6227633982f32f6f37f95713bac69abbfe162985fc4de1e0"},
		{dtype.E5M2, "57fd0d29c9303d4d39ca45ab153defbdb3577fa1bad24e9cbb840a25aa5d31c9", "ac79aafb68b52b38f89295d015aa2da0b2ccb1805663d7d70959ec732bd1c244"},
		{dtype.E4M3FNUZ, "f9091c83f7f79b1faac02bbafdf58fb55a0da296560b7992e7d8fc790b24575e", "f36b2ca478008f06d9692c0d975a51dd7a73cd6d9bf07aa81740196021b34c62"},
	} {
		for pow2, want := range map[bool]string{false: c.plain, true: c.pow2} {
			var mem []byte
			for b := range dtype.BF16(0x7F80) {
				mem = binary.LittleEndian.AppendUint32(mem, math.Float32bits(c.format.Scale(b.Float32(), pow2)))
			}
			if got := fmt.Sprintf("%x", sha256.Sum256(mem)); got != want {
				t.Errorf("%s, power of two %v: hash %s, want %s", c.format.Name, pow2, got, want)
			}
		}
	}
}

func TestScaleSpecials(t *testing.T) {
	for _, c := range []struct{ amax, e4m3, e4m3pow2, e5m2, e5m2pow2 float64 }{
		{0, 447999985582080, 0x1p48, 5.734399815450624e16, 0x1p55},
		{5e-5, 8960000, 0x1p23, 1146880000, 0x1p30},
		{1, 448, 256, 57344, 32768},
		{65504, 0.006839277222752571, 0x1p-8, 0.8754274845, 0.5},
		{3e38, 1.4933333e-36, 0x1p-120, 1.9114667e-34, 0x1p-113},
		{math.Inf(1), 0, 0, 0, 0},
	} {
		for _, want := range []struct {
			format dtype.Format
			pow2   bool
			scale  float64
		}{{dtype.E4M3FN, false, c.e4m3}, {dtype.E4M3FN, true, c.e4m3pow2}, {dtype.E5M2, false, c.e5m2}, {dtype.E5M2, true, c.e5m2pow2}} {
			if got := want.format.Scale(float32(c.amax), want.pow2); got != float32(want.scale) {
				t.Errorf("%s scale of %v, power of two %v: %v, want %v", want.format.Name, c.amax, want.pow2, got, want.scale)
			}
		}
	}
	nan := float32(math.NaN())
	if s := dtype.E4M3FN.Scale(nan, true); s == s {
		t.Errorf("scale of NaN is %v", s)
	}
}

// An f32 a few ulps below a power of two is rounded up, as exp2(floor(log2 s))
// in float32 does: 44 ulps below 2^100, not 45.
func TestScaleToPowerOfTwoRoundsAsFloat32Log2(t *testing.T) {
	scale := func(u uint32) float32 { return dtype.Format{Max: math.Float32frombits(u)}.Scale(1, true) }
	limit := math.Float32bits(0x1p100)
	for ulps, want := range map[uint32]float32{0: 0x1p100, 1: 0x1p100, 44: 0x1p100, 45: 0x1p99} {
		if got := scale(limit - ulps); got != want {
			t.Errorf("%d ulps below 2^100 becomes %v, want %v", ulps, got, want)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for exponent := uint32(1); exponent < 254; exponent++ {
		for i := range uint32(300) {
			below := i // and somewhere between two powers
			if i >= 200 {
				below = r.Uint32N(1 << 23)
			}
			u := (exponent+1)<<23 - 1 - below
			log := float32(math.Log2(float64(math.Float32frombits(u))))
			if got, want := scale(u), float32(math.Exp2(math.Floor(float64(log)))); got != want {
				t.Fatalf("%x becomes %v, want %v", u, got, want)
			}
		}
	}
}

func TestCastsArePyTorchs(t *testing.T) {
	set := golden.Open(t, "casts.safetensors")
	bf16 := make([]float32, 1<<16)
	for i := range bf16 {
		bf16[i] = dtype.BF16(binary.LittleEndian.Uint16(set.Bytes(t, "bf16")[2*i:])).Float32()
	}
	for source, values := range map[string][]float32{"bf16": bf16, "f32": set.Floats(t, "f32")} {
		for _, f := range formats {
			want := set.Bytes(t, source+"."+f.Name)
			for i, v := range values {
				if got := f.Encode(v); got != canonical(f, want[i]) {
					t.Fatalf("%s of %v (%x): %#02x, want %#02x", f.Name, v, math.Float32bits(v), got, want[i])
				}
			}
		}
	}
	for _, f := range formats {
		for code, want := range set.Floats(t, "decode."+f.Name) {
			if got := f.Decode(byte(code)); math.Float32bits(got) != math.Float32bits(want) && (got == got || want == want) {
				t.Errorf("%s code %#02x: %v, want %v", f.Name, code, got, want)
			}
		}
	}
}

func TestScalesArePyTorchs(t *testing.T) {
	set := golden.Open(t, "scales.safetensors")
	amax := set.Floats(t, "amax")
	for _, f := range formats {
		for pow2, kind := range map[bool]string{false: "scale.", true: "pow2."} {
			for i, want := range set.Floats(t, kind+f.Name) {
				if got := f.Scale(amax[i], pow2); got != want && (got == got || want == want) {
					t.Errorf("%s%s of amax %v: %v, want %v", kind, f.Name, amax[i], got, want)
				}
			}
		}
	}
}

func TestEncodeInvertsDecode(t *testing.T) {
	for _, f := range formats {
		for code := range 256 {
			v := f.Decode(byte(code))
			want := canonical(f, byte(code))
			if math.IsInf(float64(v), 0) {
				want-- // saturates to the largest value
			}
			if got := f.Encode(v); got != want {
				t.Errorf("%s: %#02x is %v, which encodes to %#02x", f.Name, code, v, got)
			}
		}
	}
}

// FuzzEncode checks the definition: no code is nearer, ties are even, what is
// too large saturates.
func FuzzEncode(f *testing.F) {
	for _, bits := range []uint32{0, 1 << 31, 0x3F800000, 0x7F800000, 0x7FC00000, 0x43E80000, 0x00000001, 0xC3E00001} {
		f.Add(bits)
	}
	f.Fuzz(func(t *testing.T, bits uint32) {
		v := math.Float32frombits(bits)
		for _, format := range formats {
			code := format.Encode(v)
			got := float64(format.Decode(code))
			if v != v {
				if got == got {
					t.Errorf("%s of NaN is %v", format.Name, got)
				}
				continue
			}
			clamped := max(-float64(format.Max), min(float64(format.Max), float64(v)))
			for other := range 256 {
				w := float64(format.Decode(byte(other)))
				if math.IsNaN(w) || math.IsInf(w, 0) {
					continue
				}
				near, far := math.Abs(got-clamped), math.Abs(w-clamped)
				if far < near || far == near && w != got && code&1 == 1 {
					t.Errorf("%s of %v is %v (%#02x); %v (%#02x) is nearer or even", format.Name, v, got, code, w, other)
				}
			}
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package hf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"octet/checkpoint/safetensors"
	"octet/internal/problems"
	"octet/models/llama"
)

// ConfigName is the file that says what model a folder has.
const ConfigName = "config.json"

// Config is what a config.json says of a model.
type Config struct {
	Args llama.Args
	// DType is what the weights are stored in; empty if it does not say.
	DType safetensors.DType
	// BOS and EOS are the ids that a text begins with and that end it; empty if it does not say.
	BOS, EOS []int
}

// harmless are the keys of a config.json that change nothing of what a trained model computes: what transformers writes for itself, for
// training from scratch, and for its generate.
const harmless = " _attn_implementation _attn_implementation_autoset _name_or_path architectures bad_words_ids begin_suppress_tokens " +
	"bos_token_id chunk_size_feed_forward decoder_start_token_id diversity_penalty do_sample dtype early_stopping encoder_no_repeat_ngram_size eos_token_id " +
	"exponential_decay_length_penalty finetuning_task forced_bos_token_id forced_eos_token_id id2label initializer_range is_decoder is_encoder_decoder label2id " +
	"length_penalty max_length min_length model_type no_repeat_ngram_size num_beam_groups num_beams num_return_sequences output_attentions " +
	"output_hidden_states output_scores pad_token_id prefix problem_type pruned_heads remove_invalid_values repetition_penalty return_dict " +
	"return_dict_in_generate sep_token_id suppress_tokens task_specific_params temperature tf_legacy_loss tokenizer_class top_k top_p torch_dtype torchscript " +
	"transformers_version typical_p unsloth_fixed unsloth_version use_bfloat16 use_cache "

// ReadConfig reads the config.json of a folder. Its error names everything there that octet's Llama is not.
func ReadConfig(folder string) (Config, error) {
	path := filepath.Join(folder, ConfigName)
	text, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("hf: %w", err)
	}
	c, err := parseConfig(text)
	if err != nil {
		return Config{}, fmt.Errorf("hf: %s: %w", path, err)
	}
	return c, nil
}

func parseConfig(text []byte) (Config, error) {
	o, err := newObject(text)
	if err != nil {
		return Config{}, err
	}
	c := Config{Args: llama.Args{MultipleOf: 1}}
	a := &c.Args
	o.same("model_type", "llama")
	if names := read[[]string](o, "architectures", nil); names != nil && !slices.Equal(names, []string{"LlamaForCausalLM"}) {
		o.bad("architectures = %q: octet has LlamaForCausalLM", names)
	}
	if len(o.problems) > 0 { // of another model nothing else is worth saying
		return c, problems.Lines(o.problems...)
	}
	a.Dim = o.size("hidden_size", 0)
	a.FFNHiddenDim = o.size("intermediate_size", 0)
	a.Layers = o.size("num_hidden_layers", 0)
	a.Heads = o.size("num_attention_heads", 0)
	a.KVHeads = o.size("num_key_value_heads", a.Heads)
	a.Vocab = o.size("vocab_size", 0)
	a.HeadSize = o.size("head_dim", a.Dim/max(1, a.Heads))
	a.MaxSeqLen = o.size("max_position_embeddings", 2048)
	a.NormEps = read(o, "rms_norm_eps", 1e-6)
	a.Tied = read(o, "tie_word_embeddings", false)
	o.rope(a)
	o.same("hidden_act", "silu")
	o.same("attention_bias", false)
	o.same("mlp_bias", false)
	o.same("attention_dropout", 0.0)
	o.same("pretraining_tp", 1.0)
	c.DType = o.dtype()
	c.BOS, c.EOS = o.ids("bos_token_id"), o.ids("eos_token_id")
	for _, key := range slices.Sorted(maps.Keys(o.left)) {
		if !strings.Contains(harmless, " "+key+" ") {
			o.bad("%s = %s: octet does not know this setting, nor whether it changes the model; take it out of the file if it does not", key, short(o.left[key]))
		}
	}
	if a.Heads > 0 && a.HeadSize*a.Heads == a.Dim {
		a.HeadSize = 0 // it follows
	}
	if len(o.problems) == 0 {
		o.problems = append(o.problems, a.Validate(1))
	}
	return c, problems.Lines(o.problems...)
}

// rope reads the rotary positions, as transformers 5 writes them (rope_parameters) or as those before did (rope_theta, rope_scaling).
func (o *object) rope(a *llama.Args) {
	key := "rope_parameters"
	if o.left[key] == nil {
		key = "rope_scaling"
	}
	inner, err := newObject(o.take(key))
	if err != nil {
		o.bad("%s: %w", key, err)
		return
	}
	inner.name = key + "."
	a.RopeTheta = read(inner, "rope_theta", read(o, "rope_theta", 10000.0))
	kind := read(inner, "rope_type", read(inner, "type", "default"))
	switch kind {
	case "default":
	case "llama3":
		a.ScaledRope = true
		a.RopeFactor = inner.number("factor")
		a.RopeLowFreq, a.RopeHighFreq = inner.number("low_freq_factor"), inner.number("high_freq_factor")
		a.RopeOriginalMaxSeqLen = inner.size("original_max_position_embeddings", 0)
	default:
		inner.bad("rope_type = %q: octet has default and llama3", kind)
	}
	for _, left := range slices.Sorted(maps.Keys(inner.left)) {
		inner.bad("%s = %s: octet does not know this setting of %s", left, short(inner.left[left]), kind)
	}
	o.problems = append(o.problems, inner.problems...)
}

// dtypes are transformers' names of the types that weights are stored in.
func dtypes() map[string]safetensors.DType {
	return map[string]safetensors.DType{"float32": safetensors.F32, "bfloat16": safetensors.BF16, "float16": safetensors.F16}
}

// DType is the type of transformers' name.
func DType(name string) (d safetensors.DType, ok bool) {
	d, ok = dtypes()[name]
	return d, ok
}

func (o *object) dtype() safetensors.DType {
	name := read(o, "dtype", read(o, "torch_dtype", ""))
	d, ok := DType(name)
	if !ok && name != "" {
		o.bad("dtype = %q: octet reads float32, bfloat16 and float16", name)
	}
	return d
}

// ids is a token's id, a list of several, or none.
func (o *object) ids(key string) []int {
	raw := o.take(key)
	if raw == nil {
		return nil
	}
	var one int
	if json.Unmarshal(raw, &one) == nil {
		return []int{one}
	}
	var list []int
	if err := json.Unmarshal(raw, &list); err != nil {
		o.bad("%s = %s: want an id or a list of ids", key, short(raw))
	}
	return list
}

// object is a JSON object that is read key by key; what is wrong is collected.
type object struct {
	name     string // of the object, in messages: empty or with a dot at its end
	left     map[string]json.RawMessage
	problems []error
}

// newObject reads an object; nil and null are one without keys. A key whose value is null is as if it were not there.
func newObject(text []byte) (*object, error) {
	o := &object{left: map[string]json.RawMessage{}}
	if text == nil {
		return o, nil
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&o.left); err != nil {
		return nil, err
	}
	if dec.More() {
		return nil, errors.New("there is more behind the object")
	}
	maps.DeleteFunc(o.left, func(_ string, v json.RawMessage) bool { return string(v) == "null" })
	return o, nil
}

func (o *object) bad(format string, args ...any) {
	o.problems = append(o.problems, fmt.Errorf(o.name+format, args...))
}

// take is the value of a key, nil if there is none; what is never taken is not known.
func (o *object) take(key string) json.RawMessage {
	raw := o.left[key]
	delete(o.left, key)
	return raw
}

// read is the value of a key, or what it is without.
func read[T any](o *object, key string, otherwise T) T {
	raw := o.take(key)
	if raw == nil {
		return otherwise
	}
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		o.bad("%s = %s: want a value such as %v", key, short(raw), otherwise)
		return otherwise
	}
	return v
}

// mostSize bounds sizes, so that no product of two overflows.
const mostSize = 1 << 30

// size is an integer of at least 1; otherwise 0 it must be there.
func (o *object) size(key string, otherwise int) int {
	raw := o.left[key]
	if n := read(o, key, otherwise); raw == nil && otherwise == 0 {
		o.bad("%s is missing", key)
	} else if n < 1 || n > mostSize {
		o.bad("%s = %s: want an integer from 1 to %d", key, short(raw), mostSize)
	} else {
		return n
	}
	return 1
}

// number is a positive number that must be there.
func (o *object) number(key string) float64 {
	raw := o.left[key]
	v := read(o, key, math.NaN())
	if !(v > 0) || math.IsInf(v, 0) {
		o.bad("%s = %s: want a number above 0", key, short(raw))
	}
	return v
}

// same refuses any value of a key but one, which is also its default.
func (o *object) same(key string, want any) {
	raw := o.take(key)
	var got any
	if raw != nil && (json.Unmarshal(raw, &got) != nil || got != want) {
		o.bad("%s = %s: octet has %v", key, short(raw), want)
	}
}

// short is a value of JSON, cut for a message.
func short(raw json.RawMessage) string {
	const most = 60
	if raw == nil {
		return "nothing"
	}
	if len(raw) > most {
		return string(raw[:most]) + "…"
	}
	return string(raw)
}

// WriteConfig writes the config.json of a model whose weights are stored in dtype, for transformers 4 and 5.
func WriteConfig(folder string, c Config) error {
	a := c.Args
	fields := map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama",
		"hidden_size": a.Dim, "intermediate_size": a.Hidden(), "num_hidden_layers": a.Layers, "num_attention_heads": a.Heads, "num_key_value_heads": a.KVHeads,
		"head_dim": a.HeadDim(), "vocab_size": a.Vocab, "max_position_embeddings": a.MaxSeqLen, "rms_norm_eps": a.NormEps, "tie_word_embeddings": a.Tied,
		"rope_theta": a.RopeTheta, "hidden_act": "silu", "attention_bias": false, "mlp_bias": false,
	}
	if a.ScaledRope {
		fields["rope_scaling"] = map[string]any{
			"rope_type": "llama3", "factor": a.RopeFactor, "low_freq_factor": a.RopeLowFreq, "high_freq_factor": a.RopeHighFreq,
			"original_max_position_embeddings": a.RopeOriginalMaxSeqLen,
		}
	}
	for name, d := range dtypes() {
		if d == c.DType {
			fields["torch_dtype"] = name
		}
	}
	for key, ids := range map[string][]int{"bos_token_id": c.BOS, "eos_token_id": c.EOS} {
		switch len(ids) {
		case 0:
			fields[key] = nil // not transformers' default
		case 1:
			fields[key] = ids[0]
		default:
			fields[key] = ids
		}
	}
	text, err := json.MarshalIndent(fields, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, ConfigName), append(text, '\n'), 0o666)
	}
	if err != nil {
		return fmt.Errorf("hf: %w", err)
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package tokenizer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// small is a tokenizer.json of the letters a and b; a test replaces a part of it.
const small = `{
	"version": "1.0", "truncation": null, "padding": null,
	"added_tokens": [{"id": 3, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
	"normalizer": null,
	"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
	"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [],
		"special_tokens": {"<s>": {"id": "<s>", "ids": [3], "tokens": ["<s>"]}}},
	"decoder": {"type": "ByteLevel"},
	"model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false,
		"ignore_merges": false, "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}
}`

func TestWhatOctetCannotDoIsRefusedByName(t *testing.T) {
	if _, err := Parse([]byte(small)); err != nil {
		t.Fatal(err)
	}
	split := func(fields string) string { return `"pre_tokenizer": {"type": "Split", ` + fields + `}` }
	const (
		pre = `"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}`
		dec = `"decoder": {"type": "ByteLevel"}`
		nor = `"normalizer": null`
	)
	for _, tt := range []struct{ old, new, want string }{
		{`"version"`, `"future": 1, "version"`, `future = 1: octet does not know this field`},
		{`"truncation": null`, `"truncation": {"max_length": 5}`, `truncation = {"max_length":5}: octet neither cuts`},
		{`"padding": null`, `"padding": {}`, `padding = {}: octet neither cuts`},
		{`"type": "BPE"`, `"type": "Unigram"`, `model.type = "Unigram": octet has BPE`},
		{`"dropout": null`, `"dropout": 0.1`, `model.dropout = 0.1: octet encodes a text the same way`},
		{`"dropout": null`, `"dropout": "x"`, `model.dropout = "x": want float64, found string`},
		{`"unk_token": null`, `"unk_token": "?"`, `model.unk_token = "?": the vocabulary has no such token`},
		{`"continuing_subword_prefix": ""`, `"continuing_subword_prefix": "##"`, `model.continuing_subword_prefix = "##": octet has no marks`},
		{`"end_of_word_suffix": ""`, `"end_of_word_suffix": "</w>"`, `model.end_of_word_suffix = "</w>"`},
		{`"fuse_unk": false`, `"fuse": 1`, `model.fuse = 1: octet does not know this field; it knows type, dropout`},
		{`"vocab": {"a": 0, "b": 1, "ab": 2}`, `"vocab": {}`, `model.vocab = {}: it is empty`},
		{`"ab": 2`, `"ab": 1`, `"ab" and "b" have the id 1`},
		{`"ab": 2`, `"ab": -1`, `the id -1 of "ab" is not between`},
		{`"ab": 2`, `"ab": 99999999`, `the id 99999999 of "ab" is not between`},
		{`["a b"]`, `["a b", "a c"]`, `number 1 is "a c": the vocabulary has no token "c"`},
		{`["a b"]`, `["a"]`, `number 0 is "a": want two tokens`},
		{`["a b"]`, `[["a", "b", "a"]]`, `number 0 is ["a","b","a"]: want two tokens`},
		{`["a b"]`, `["b a"]`, `the vocabulary has no token "ba"`},
		{`["a b"]`, `[7]`, `model.merges = [7]: number 0: json`},
		{`"id": 3, "content"`, `"id": 7, "content"`, `added_tokens[0].id = 7: the id of "<s>" is 3`},
		{`"content": "<s>"`, `"content": ""`, `added_tokens[0].content = "": it is empty`},
		{`"content": "<s>", "single_word"`, `"content": "<s>", "word"`, `added_tokens[0].word = false: octet does not know`},
		{`"added_tokens": [`, `"added_tokens": [5, `, `added_tokens[0] = 5: want an object`},
		{nor, `"normalizer": {"type": "NFKC"}`, `normalizer.type = "NFKC": octet normalizes by`},
		{nor, `"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]}`, `normalizer.normalizers[1].type = "Lowercase"`},
		{nor, `"normalizer": {"type": "Replace", "pattern": {"Regex": "a"}, "content": ""}`, `normalizer.pattern = {"Regex":"a"}: octet replaces a string`},
		{nor, `"normalizer": {"type": "NFC", "form": 1}`, `normalizer.form = 1: octet does not know`},
		{pre, `"pre_tokenizer": {"type": "Whitespace"}`, `pre_tokenizer.type = "Whitespace": octet splits by`},
		{pre, `"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}, {"type": "Digits"}]}`, `pre_tokenizer.pretokenizers[1].type = "Digits": ByteLevel must be the last`},
		{pre, split(`"pattern": {"Regex": "\\w+"}, "behavior": "Isolated"`), `pre_tokenizer.pattern.Regex = "\\w+": \w is not in octet`},
		{pre, split(`"pattern": {"Regex": "a"}, "behavior": "Odd"`), `pre_tokenizer.behavior = "Odd": want Removed`},
		{pre, split(`"pattern": {}, "behavior": "Isolated"`), `pre_tokenizer.pattern = {}: want {"String"`},
		{pre, split(`"behavior": "Isolated"`), `pre_tokenizer.pattern = "": want an object`},
		{pre, `"pre_tokenizer": {"type": "Metaspace", "replacement": "_"}`, `pre_tokenizer.replacement = "_": octet writes ▁`},
		{pre, `"pre_tokenizer": {"type": "Metaspace", "prepend_scheme": "last"}`, `pre_tokenizer.prepend_scheme = "last": want always`},
		{pre, `"pre_tokenizer": {"type": 1}`, `pre_tokenizer.type = 1: want string, found number`},
		{`"type": "TemplateProcessing"`, `"type": "RobertaProcessing"`, `post_processor.type = "RobertaProcessing": octet adds tokens by`},
		{`"Sequence": {"id": "A"`, `"Sequence": {"id": "B"`, `is neither the text A nor one of special_tokens with ids`},
		{`, {"Sequence": {"id": "A", "type_id": 0}}]`, `]`, `post_processor.single = [{"SpecialToken":{"id":"<s>","type_id":0}}]: want the text A once`},
		{`"ids": [3]`, `"ids": []`, `nor one of special_tokens with ids`},
		{`"ids": [3]`, `"ids": [4]`, `post_processor adds the id 4, which is no token`},
		{dec, `"decoder": {"type": "WordPiece"}`, `decoder.type = "WordPiece": octet decodes by`},
		{dec, `"decoder": null`, `decoder = null: a tokenizer needs one`},
		{dec, `"decoder": {"type": "Strip", "content": " ", "start": 1, "stop": 1}`, `decoder.stop = 1: octet strips the beginning only`},
		{dec, `"decoder": {"type": "Strip", "content": "ab", "start": 1, "stop": 0}`, `decoder.content = "ab": want one character`},
		{dec, `"decoder": {"type": "Sequence", "decoders": [{"type": "Strip", "content": " ", "start": 1, "stop": 0}]}`, `decoder.decoders[0].type = "Strip": octet decodes by ByteLevel, Metaspace`},
		{dec, `"decoder": {"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "ByteFallback"}]}`, `decoder.decoders[1].type = "ByteFallback"`},
		{small, `[1]`, `cannot unmarshal array`},
		{small, `null`, `want an object`},
		{small, `{`, `unexpected end of JSON input`},
		{small, `{}`, `model = absent: a tokenizer needs one`},
	} {
		if strings.Count(small, tt.old) != 1 {
			t.Fatalf("%s is not once in the tokenizer", tt.old)
		}
		_, err := Parse([]byte(strings.Replace(small, tt.old, tt.new, 1)))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s\nerror %v\n want %q", tt.new, err, tt.want)
		}
	}
}

// write makes a folder of the files given.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestTheTokensOfBeginAndEnd(t *testing.T) {
	for _, tt := range []struct{ config, bos, eos string }{
		{``, "<s>", ""}, // the template's
		{`{}`, "<s>", ""},
		{`{"bos_token": null, "eos_token": "<s>"}`, "", "<s>"},
		{`{"bos_token": {"content": "a", "lstrip": false}, "eos_token": "ab", "model_max_length": 5}`, "a", "ab"},
	} {
		files := map[string]string{FileName: small}
		if tt.config != "" {
			files[configName] = tt.config
		}
		tok := open(t, write(t, files))
		name := func(id int32, ok bool) string {
			token, known := tok.Token(id)
			if ok != known && ok {
				t.Errorf("%s: the id %d is no token", tt.config, id)
			}
			if !ok {
				return ""
			}
			return token
		}
		if bos, eos := name(tok.BOS()), name(tok.EOS()); bos != tt.bos || eos != tt.eos {
			t.Errorf("%s: %q and %q, want %q and %q", tt.config, bos, eos, tt.bos, tt.eos)
		}
		want := tok.NewEncoder().Append(nil, "abba")
		if id, ok := tok.BOS(); ok {
			want = append([]int32{id}, want...)
		}
		if id, ok := tok.EOS(); ok {
			want = append(want, id)
		}
		if got := tok.NewEncoder().AppendDocument(nil, "abba"); tok.Decode(got) != tok.Decode(want) || len(got) != len(want) {
			t.Errorf("%s: a document has the ids %v, want %v", tt.config, got, want)
		}
	}
	for config, want := range map[string]string{
		`{"bos_token": "<x>"}`: configName + `: bos_token = "<x>": the vocabulary has no such token`,
		`{"eos_token": 5}`:     configName + `: eos_token = 5: want string, found number`,
		`[]`:                   configName + `: json: cannot unmarshal array`,
	} {
		_, err := Open(write(t, map[string]string{FileName: small, configName: config}))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", config, err, want)
		}
	}
	dir := t.TempDir()
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, FileName)) {
		t.Errorf("no file: error %v", err)
	}
	if _, err := Open(write(t, map[string]string{FileName: "{"})); err == nil || !strings.Contains(err.Error(), FileName+": unexpected end") {
		t.Errorf("broken file: error %v", err)
	}
}

func TestTheFingerprintIsOfAllThatIDsDependOn(t *testing.T) {
	seen := map[string]string{}
	for _, files := range []map[string]string{
		{FileName: small},
		{FileName: strings.Replace(small, `"use_regex": true`, `"use_regex": false`, 1)},
		{FileName: small, configName: `{"eos_token": "a"}`},
		{FileName: small, configName: `{"eos_token": "b"}`},
		{FileName: small, configName: `{"bos_token": null, "eos_token": "b"}`},
	} {
		print := open(t, write(t, files)).Fingerprint()
		if len(print) != 64 || seen[print] != "" {
			t.Errorf("%v has the fingerprint %s of %s", files, print, seen[print])
		}
		seen[print] = files[configName]
	}
	if a, b := open(t, write(t, map[string]string{FileName: small})).Fingerprint(), open(t, write(t, map[string]string{FileName: small})).Fingerprint(); a != b {
		t.Error("equal folders differ")
	}
}

func TestSizeIsTheHighestIDAndOne(t *testing.T) {
	for old, want := range map[string]int{`"ab": 2`: 4, `"ab": 9`: 10} {
		tok, err := Parse([]byte(strings.Replace(small, `"ab": 2`, old, 1)))
		if err != nil {
			t.Fatal(err)
		}
		if tok.VocabSize() != want {
			t.Errorf("%s: %d, want %d", old, tok.VocabSize(), want)
		}
	}
}

// Bytes that are no text are read as Rust's String::from_utf8_lossy reads them.
func TestTextThatIsNotUTF8(t *testing.T) {
	for raw, want := range map[string]string{
		"a\xff": "a\ufffd", "\xe2\x82": "\ufffd", "\xe2\x82a": "\ufffda", "\xf0\x9f\x99": "\ufffd", "\xe2\xe2\x82\xac": "\ufffd€",
		"\xed\xa0\x80": "\ufffd\ufffd\ufffd", "\xf0\x80\x80": "\ufffd\ufffd\ufffd", "\xc3\xc3\xa9": "\ufffdé", "\xf4\x90": "\ufffd\ufffd", "é": "é",
	} {
		if got := lossy([]byte(raw)); got != want {
			t.Errorf("%q is %q, want %q", raw, got, want)
		}
	}
	tok := open(t, "testdata/gpt2")
	if got, want := tok.Decode(tok.Encode("x\xe2\x82y")), "x\ufffdy"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// FuzzParse: no file makes Parse panic, and what it accepts encodes and decodes any text.
func FuzzParse(f *testing.F) {
	f.Add([]byte(small), "abba <s>")
	f.Add([]byte(`{"added_tokens":[{"id":8,"content":"a b","normalized":true,"lstrip":true,"rstrip":true,"single_word":true}],
		"normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]},
		"decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]},
		"model":{"unk_token":"<unk>","fuse_unk":true,"byte_fallback":true,"vocab":{"<unk>":0,"▁":1,"a":2,"<0xC3>":3,"<0xA9>":4,"▁a":5,"b":6,"aa":7},"merges":[["▁","a"],["a","a"]]}}`), "a é b aaa\xff")
	f.Add([]byte(strings.Replace(small, `"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true`,
		`"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"[^\\r\\n\\p{L}]?(?i:ab|b)|\\s+(?!\\S)|\\d{1,3}"},"behavior":"MergedWithNext","invert":true},{"type":"ByteLevel"}]`, 1)), "x é\r\n 123")
	f.Fuzz(func(t *testing.T, file []byte, text string) {
		tok, err := Parse(file)
		if err != nil {
			return
		}
		ids := tok.Encode(text)
		for _, id := range ids {
			if id < 0 || int(id) >= tok.VocabSize() {
				t.Errorf("id %d of a vocabulary of %d", id, tok.VocabSize())
			}
		}
		if got := decodeStreaming(t, tok, ids, false); got != tok.Decode(ids) || !utf8.ValidString(got) {
			t.Errorf("%v is decoded to %q as it comes, and to %q", ids, got, tok.Decode(ids))
		}
	})
}

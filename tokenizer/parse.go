// SPDX-License-Identifier: Apache-2.0

package tokenizer

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// parser makes a Tokenizer of a tokenizer.json.
type parser struct {
	Tokenizer
	categories *categories
	byteLevel  bool // the splitters end in ByteLevel
}

func parse(text []byte) (*Tokenizer, error) {
	file, err := anyObject(text, "")
	if err != nil {
		return nil, err
	}
	if err := file.only("version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model"); err != nil {
		return nil, err
	}
	for _, name := range []string{"truncation", "padding"} {
		if file.has(name) {
			return nil, file.refuse(name, "octet neither cuts nor fills texts: set it to null")
		}
	}
	p := &parser{categories: unicode16()}
	for _, part := range []struct {
		name string
		read func(object) error
	}{
		{"normalizer", p.readNormalizer}, {"pre_tokenizer", p.readSplitters}, {"model", p.readModel},
		{"post_processor", p.readTemplate}, {"decoder", p.readDecoder},
	} {
		if !file.has(part.name) {
			if part.name == "model" || part.name == "decoder" {
				return nil, file.refuse(part.name, "a tokenizer needs one")
			}
			continue
		}
		o, err := file.child(part.name)
		if err == nil {
			err = part.read(o)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := p.readAdded(file); err != nil {
		return nil, err
	}
	for _, id := range slices.Concat(p.prefix, p.suffix) {
		if _, ok := p.Token(id); !ok {
			return nil, fmt.Errorf("post_processor adds the id %d, which is no token", id)
		}
	}
	return &p.Tokenizer, nil
}

func (p *parser) readNormalizer(o object) error {
	n, err := p.normalizers(o)
	if len(n) > 0 {
		p.normalizer = n
	}
	return err
}

func (p *parser) normalizers(o object) (sequence, error) {
	kind, err := o.kind()
	if err != nil {
		return nil, err
	}
	switch kind {
	case "Sequence":
		if err := o.only("type", "normalizers"); err != nil {
			return nil, err
		}
		list, err := o.list("normalizers")
		if err != nil {
			return nil, err
		}
		var all sequence
		for _, child := range list {
			n, err := p.normalizers(child)
			if err != nil {
				return nil, err
			}
			all = append(all, n...)
		}
		return all, nil
	case "NFC":
		return sequence{newNFC()}, o.only("type")
	case "Prepend":
		var text prepend
		if err := o.only("type", "prepend"); err != nil {
			return nil, err
		}
		err := o.read("prepend", &text)
		return sequence{text}, err
	case "Replace":
		r, err := p.replacement(o)
		return sequence{r}, err
	}
	return nil, o.refuse("type", "octet normalizes by Sequence, NFC, Prepend and Replace")
}

// replacement reads what Replace replaces by what, as a normalizer or a decoder.
func (p *parser) replacement(o object) (r replace, err error) {
	if err := o.only("type", "pattern", "content"); err != nil {
		return r, err
	}
	pattern, err := o.child("pattern")
	if err != nil {
		return r, err
	}
	if err := pattern.read("String", &r.from); err != nil {
		return r, err
	}
	if r.from == "" {
		return r, o.refuse("pattern", `octet replaces a string that is not empty: {"String": …}`)
	}
	err = o.read("content", &r.to)
	return r, err
}

func (p *parser) readSplitters(o object) error {
	kind, err := o.kind()
	if err != nil {
		return err
	}
	if p.byteLevel {
		return o.refuse("type", "ByteLevel must be the last of a Sequence")
	}
	switch kind {
	case "Sequence":
		list, err := o.list("pretokenizers")
		for _, child := range list {
			if err == nil {
				err = p.readSplitters(child)
			}
		}
		if err != nil {
			return err
		}
		return o.only("type", "pretokenizers")
	case "ByteLevel":
		return p.readByteLevel(o)
	case "Split":
		return p.readSplit(o)
	case "Digits":
		return p.readDigits(o)
	case "Metaspace":
		prepend, splits, err := metaspaceOf(o)
		p.splitters = append(p.splitters, metaspaces{prepend, splits})
		return err
	}
	return o.refuse("type", "octet splits by Sequence, Split, ByteLevel, Digits and Metaspace")
}

func (p *parser) readByteLevel(o object) error {
	prefix, pattern := true, true
	if err := o.only("type", "add_prefix_space", "trim_offsets", "use_regex"); err != nil {
		return err
	}
	if err := o.read("add_prefix_space", &prefix); err != nil {
		return err
	}
	if err := o.read("use_regex", &pattern); err != nil {
		return err
	}
	if prefix {
		p.splitters = append(p.splitters, bytePrefix{})
	}
	if pattern {
		p.splitters = append(p.splitters, each{scannerOf(gpt2Pattern, p.categories)})
	}
	p.byteLevel = true
	return nil
}

func (p *parser) readSplit(o object) error {
	s := split{}
	if err := o.only("type", "pattern", "behavior", "invert"); err != nil {
		return err
	}
	if err := o.read("behavior", &s.behavior); err != nil {
		return err
	}
	if !slices.Contains([]behavior{removed, isolated, mergedWithPrevious, mergedWithNext, contiguous}, s.behavior) {
		return o.refuse("behavior", "want Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous")
	}
	if err := o.read("invert", &s.invert); err != nil {
		return err
	}
	pattern, err := o.child("pattern")
	if err != nil {
		return err
	}
	var plain, regex string
	if err := pattern.read("String", &plain); err != nil {
		return err
	}
	if err := pattern.read("Regex", &regex); err != nil {
		return err
	}
	switch {
	case (plain == "") == (regex == ""):
		return o.refuse("pattern", `want {"String": …} or {"Regex": …}, not empty`)
	case plain != "":
		s.matcher = literal(plain)
	default:
		if s.matcher, err = compile(regex, p.categories); err != nil {
			return pattern.refuse("Regex", "%v", err)
		}
	}
	if s.behavior == isolated {
		p.splitters = append(p.splitters, each{s.matcher})
	} else {
		p.splitters = append(p.splitters, s)
	}
	return nil
}

// readDigits reads what splits between digits and the rest: characters of the categories that Rust's char::is_numeric counts.
func (p *parser) readDigits(o object) error {
	if err := o.only("type", "individual_digits"); err != nil {
		return err
	}
	individual := false
	if err := o.read("individual_digits", &individual); err != nil {
		return err
	}
	digits := map[bool]string{false: `\p{N}+`, true: `\p{N}`}[individual]
	m, err := compile(digits, p.categories)
	p.splitters = append(p.splitters, each{m})
	return err
}

// metaspaceOf reads the fields of Metaspace, as a pre-tokenizer or a decoder.
func metaspaceOf(o object) (prepend scheme, splits bool, err error) {
	if err := o.only("type", "replacement", "prepend_scheme", "split"); err != nil {
		return "", false, err
	}
	prepend, splits = always, true
	replacement := metaspace
	if err := o.read("replacement", &replacement); err != nil {
		return "", false, err
	}
	if replacement != metaspace {
		return "", false, o.refuse("replacement", "octet writes %s for a space", metaspace)
	}
	if err := o.read("prepend_scheme", &prepend); err != nil {
		return "", false, err
	}
	if !slices.Contains([]scheme{always, first, never}, prepend) {
		return "", false, o.refuse("prepend_scheme", "want always, first or never")
	}
	err = o.read("split", &splits)
	return prepend, splits, err
}

func (p *parser) readDecoder(o object) error {
	filters, err := p.filters(o)
	if err != nil {
		return err
	}
	p.decoding = filters
	return nil
}

func (p *parser) filters(o object) ([]filter, error) {
	kind, err := o.kind()
	if err != nil {
		return nil, err
	}
	switch kind {
	case "Sequence":
		list, err := o.list("decoders")
		if err != nil {
			return nil, err
		}
		var all []filter
		fused := false // all tokens are one from here on
		for _, child := range list {
			kind, err := child.kind()
			if err != nil {
				return nil, err
			}
			if fused != (kind == "Strip") && kind != "Fuse" || fused && kind == "Fuse" {
				return nil, child.refuse("type", "octet decodes by ByteLevel, Metaspace, Replace and ByteFallback, then Fuse, then Strip")
			}
			f, err := p.filters(child)
			if err != nil {
				return nil, err
			}
			fused = fused || kind == "Fuse"
			all = append(all, f...)
		}
		return all, o.only("type", "decoders")
	case "ByteLevel":
		return []filter{byteLevel{byteOfAlphabet()}}, o.only("type", "add_prefix_space", "trim_offsets", "use_regex")
	case "ByteFallback":
		return []filter{byteTokens{}}, o.only("type")
	case "Fuse":
		return nil, o.only("type")
	case "Metaspace":
		prepend, _, err := metaspaceOf(o)
		return []filter{spacesOf{prepend != never}}, err
	case "Replace":
		r, err := p.replacement(o)
		return []filter{stateless(r.normalize)}, err
	case "Strip":
		s, err := strip(o)
		return []filter{s}, err
	}
	return nil, o.refuse("type", "octet decodes by Sequence, ByteLevel, Metaspace, Replace, ByteFallback, Fuse and Strip")
}

func strip(o object) (s stripStart, err error) {
	stop, content := 0, ""
	if err := o.only("type", "content", "start", "stop"); err != nil {
		return s, err
	}
	if err := o.read("content", &content); err != nil {
		return s, err
	}
	if err := o.read("start", &s.count); err != nil {
		return s, err
	}
	if err := o.read("stop", &stop); err != nil {
		return s, err
	}
	if stop != 0 {
		return s, o.refuse("stop", "octet strips the beginning only, so that text can be printed while it is made")
	}
	if utf8.RuneCountInString(content) != 1 {
		return s, o.refuse("content", "want one character")
	}
	s.char, _ = utf8.DecodeRuneInString(content)
	return s, nil
}

// readTemplate reads what is put before and after a text.
func (p *parser) readTemplate(o object) error {
	kind, err := o.kind()
	if err != nil {
		return err
	}
	switch kind {
	case "Sequence":
		list, err := o.list("processors")
		for _, child := range list {
			if err == nil {
				err = p.readTemplate(child)
			}
		}
		if err != nil {
			return err
		}
		return o.only("type", "processors")
	case "ByteLevel": // of offsets alone
		return o.only("type", "add_prefix_space", "trim_offsets", "use_regex")
	case "TemplateProcessing":
		return p.readSingle(o)
	}
	return o.refuse("type", "octet adds tokens by Sequence, TemplateProcessing and ByteLevel")
}

func (p *parser) readSingle(o object) error {
	if err := o.only("type", "single", "pair", "special_tokens"); err != nil {
		return err
	}
	specials, err := anyObject(o.values["special_tokens"], o.at("special_tokens"))
	if err != nil {
		return err
	}
	list, err := o.list("single")
	if err != nil {
		return err
	}
	var before, after []int32
	texts := 0
	for _, part := range list {
		var text, special struct{ ID string }
		if err := part.read("Sequence", &text); err != nil {
			return err
		}
		if err := part.read("SpecialToken", &special); err != nil {
			return err
		}
		if text.ID == "A" {
			texts++
			continue
		}
		var token struct{ IDs []int32 }
		if err := specials.read(special.ID, &token); err != nil {
			return err
		}
		if len(token.IDs) == 0 {
			return o.refuse("single", "%s is neither the text A nor one of special_tokens with ids", shorten(o.values["single"]))
		}
		if texts == 0 {
			before = append(before, token.IDs...)
		} else {
			after = append(after, token.IDs...)
		}
	}
	if texts != 1 {
		return o.refuse("single", "want the text A once")
	}
	p.prefix, p.suffix = append(before, p.prefix...), append(p.suffix, after...)
	return nil
}

// String names the kind of tokenizer, for a log.
func (t *Tokenizer) String() string {
	kind := "BPE over characters"
	if t.model.byteLevel {
		kind = "byte-level BPE"
	}
	return strings.TrimSpace(fmt.Sprintf("%s of %d tokens", kind, t.size))
}

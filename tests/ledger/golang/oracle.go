// SPDX-License-Identifier: Apache-2.0

// Oracle reads a log that Ipse wrote and checks it with golang.org/x/mod/sumdb, then makes the same log itself.
//
//	oracle FOLDER
//
// FOLDER holds in.json (type input), the tiles at their paths and the notes; out.json (type output) is written to it.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/mldsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type input struct {
	Entries   [][]byte            // the whole log
	Size      int64               // of the tree whose tiles lie in the folder
	Roots     [][]byte            // of the trees of 0, 1, 2, ... entries
	Inclusion map[string][][]byte // "size index" -> proof
	Growth    map[string][][]byte // "size old" -> proof
	Tiles     map[string][]string // "old new" -> paths of the tiles that are new
	Keys      []string            // verifier keys of the log and its witnesses
	Notes     [][]byte            // notes that all of Keys have signed
	Seeds     [][]byte            // 32 bytes for each of Keys: to sign with
	Text      string              // what to sign
	Time      uint64              // of cosignatures
}

type output struct {
	Disagreements []string
	Counts        map[string]int
	Note          []byte              // Text, signed with Seeds
	Inclusion     map[string][][]byte // made from our tiles
	Growth        map[string][][]byte
}

type key interface {
	note.Verifier
	note.Signer
}

type plain struct {
	note.Verifier
	signer note.Signer
}

func (p plain) Sign(text []byte) ([]byte, error) { return p.signer.Sign(text) }

// newKey parses a verifier key and joins it with the seed of its private key.
func newKey(vkey string, seed []byte, time uint64) key {
	parts := strings.SplitN(vkey, "+", 3)
	raw, err := base64.StdEncoding.DecodeString(parts[2])
	must(err)
	if raw[0] == 1 {
		verifier, err := note.NewVerifier(vkey)
		must(err)
		secret := base64.StdEncoding.EncodeToString(append([]byte{1}, seed...))
		signer, err := note.NewSigner("PRIVATE+KEY+" + parts[0] + "+" + parts[1] + "+" + secret)
		must(err)
		return plain{verifier, signer}
	}
	c := newCosigner(vkey)
	c.time = time
	if raw[0] == 4 {
		c.sign = ed25519.NewKeyFromSeed(seed)
	} else {
		c.sign, err = mldsa.NewPrivateKey(mldsa.MLDSA44(), seed)
		must(err)
	}
	return c
}

// tiles reads the tiles that lie in a folder at the paths of C2SP tlog-tiles.
type tiles string

func (t tiles) Height() int                         { return 8 }
func (t tiles) SaveTiles(_ []tlog.Tile, _ [][]byte) {}
func (t tiles) ReadTiles(wanted []tlog.Tile) (all [][]byte, err error) {
	for _, tile := range wanted {
		data, err := os.ReadFile(filepath.Join(string(t), c2spPath(tile)))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func main() {
	folder := os.Args[1]
	var in input
	data, err := os.ReadFile(filepath.Join(folder, "in.json"))
	must(err)
	must(json.Unmarshal(data, &in))
	out := output{[]string{}, map[string]int{}, nil, map[string][][]byte{}, map[string][][]byte{}}
	check := func(what string, same bool, detail any) {
		out.Counts[what]++
		if !same {
			out.Disagreements = append(out.Disagreements, fmt.Sprint(what, " ", detail))
		}
	}

	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) (hashes []tlog.Hash, err error) {
		for _, i := range indexes {
			hashes = append(hashes, stored[i])
		}
		return hashes, nil
	})
	for n, entry := range in.Entries {
		hashes, err := tlog.StoredHashes(int64(n), entry, reader)
		must(err)
		stored = append(stored, hashes...)
	}
	for n, root := range in.Roots[1:] {
		hash, err := tlog.TreeHash(int64(n+1), reader)
		must(err)
		check("root", bytes.Equal(hash[:], root), n+1)
	}
	checkProofs(&in, reader, check)
	checkTiles(&in, &out, tiles(folder), check)
	checkNotes(&in, &out, check)

	data, err = json.Marshal(out)
	must(err)
	must(os.WriteFile(filepath.Join(folder, "out.json"), data, 0o600))
}

func checkProofs(in *input, reader tlog.HashReader, check func(string, bool, any)) {
	for name, proof := range in.Inclusion {
		size, index := two(name)
		leaf := tlog.RecordHash(in.Entries[index])
		check("inclusion accepted", tlog.CheckRecord(toHashes(proof), size, hash(in.Roots[size]), index, leaf) == nil, name)
		made, err := tlog.ProveRecord(size, index, reader)
		must(err)
		check("inclusion made alike", same(made, proof), name)
	}
	for name, proof := range in.Growth {
		size, old := two(name)
		got := tlog.CheckTree(toHashes(proof), size, hash(in.Roots[size]), old, hash(in.Roots[old]))
		check("consistency accepted", got == nil, name)
		made, err := tlog.ProveTree(size, old, reader)
		must(err)
		check("consistency made alike", same(made, proof), name)
	}
	for name, paths := range in.Tiles {
		old, size := two(name)
		var made []string
		for _, tile := range tlog.NewTiles(8, old, size) {
			made = append(made, c2spPath(tile))
		}
		check("new tiles", strings.Join(made, " ") == strings.Join(paths, " "), name)
	}
}

func checkTiles(in *input, out *output, read tiles, check func(string, bool, any)) {
	root := hash(in.Roots[in.Size])
	reader := tlog.TileHashReader(tlog.Tree{N: in.Size, Hash: root}, read) // checks each tile against the root
	got, err := tlog.TreeHash(in.Size, reader)
	check("root from tiles", err == nil && got == root, err)
	for i := int64(0); i < in.Size; i += 13 {
		proof, err := tlog.ProveRecord(in.Size, i, reader)
		check("inclusion from tiles", err == nil, err)
		out.Inclusion[fmt.Sprint(in.Size, " ", i)] = toBytes(proof)
		growth, err := tlog.ProveTree(in.Size, i+1, reader)
		check("consistency from tiles", err == nil, err)
		out.Growth[fmt.Sprint(in.Size, " ", i+1)] = toBytes(growth)
	}
}

func checkNotes(in *input, out *output, check func(string, bool, any)) {
	var verifiers []note.Verifier
	var signers []note.Signer
	for i, vkey := range in.Keys {
		k := newKey(vkey, in.Seeds[i], in.Time)
		verifiers, signers = append(verifiers, k), append(signers, k)
	}
	for i, data := range in.Notes {
		opened, err := note.Open(data, note.VerifierList(verifiers...))
		check("note opened", err == nil && len(opened.Sigs) == len(in.Keys) && len(opened.UnverifiedSigs) == 0, err)
		lines := strings.SplitN(opened.Text, "\n", 2)
		tree, err := tlog.ParseTree([]byte("go.sum database tree\n" + lines[1]))
		check("tree head parsed", err == nil && tree.Hash == hash(in.Roots[tree.N]), i)
		check("tree head written alike", strings.HasSuffix(string(tlog.FormatTree(tree)), "\n"+lines[1]), i)
		data[len(data)/2] ^= 1
		_, err = note.Open(data, note.VerifierList(verifiers...))
		check("altered note refused", err != nil, i)
	}
	var err error
	out.Note, err = note.Sign(&note.Note{Text: in.Text}, signers...)
	must(err)
}

func toHashes(proof [][]byte) (hashes []tlog.Hash) {
	for _, data := range proof {
		hashes = append(hashes, hash(data))
	}
	return hashes
}

func toBytes(hashes []tlog.Hash) [][]byte {
	proof := [][]byte{}
	for _, h := range hashes {
		proof = append(proof, append([]byte{}, h[:]...))
	}
	return proof
}

func same(hashes []tlog.Hash, proof [][]byte) bool {
	return bytes.Equal(bytes.Join(toBytes(hashes), nil), bytes.Join(proof, nil)) && len(hashes) == len(proof)
}

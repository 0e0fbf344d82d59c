// SPDX-License-Identifier: Apache-2.0

// Served reads a log of Ipse over HTTP, as an auditor would who has its address and its verifier keys, and checks it
// with golang.org/x/mod/sumdb.
//
//	served FOLDER
//
// FOLDER holds served.json (type request); found.json (type found) is written to it.
package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type request struct {
	Address string
	Origin  string
	Ed25519 string // verifier keys
	MLDSA44 string
	Old     []byte  // a checkpoint that this auditor has kept
	Records []int64 // which entries to look at
	Heads   []head  // heads of forks that are shown to this auditor
}

// A head of a fork whose owner has shown it: with the blinding value it is the entry of the log.
type head struct {
	Entry    int64
	Note     []byte // the signed head
	Signer   string // its Ed25519 verifier key
	Blinding []byte
	Digest   []byte // of a record of the fork, the leaf of this number, with its proof
	Leaf     int64
	Proof    [][]byte
}

type found struct {
	Disagreements []string
	Counts        map[string]int
	Size          int64
	Old           int64
	Root          []byte
	Entries       [][]byte // of Records
	Fetched       []string // paths, in order
}

func main() {
	folder := os.Args[1]
	data, err := os.ReadFile(filepath.Join(folder, "served.json"))
	must(err)
	var in request
	must(json.Unmarshal(data, &in))
	out := found{Disagreements: []string{}, Counts: map[string]int{}}
	check := func(what string, right bool, detail any) {
		out.Counts[what]++
		if !right {
			out.Disagreements = append(out.Disagreements, fmt.Sprint(what, " ", detail))
		}
	}
	get := func(path, kind string) []byte {
		out.Fetched = append(out.Fetched, path)
		answer, err := http.Get(in.Address + "/" + path)
		must(err)
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		must(err)
		check("fetched", answer.StatusCode == 200 && answer.Header.Get("Content-Type") == kind, path)
		return body
	}

	old := openCheckpoint(&in, in.Old, check)
	tree := openCheckpoint(&in, get("checkpoint", "text/plain; charset=utf-8"), check)
	out.Size, out.Old, out.Root = tree.N, old.N, tree.Hash[:]

	served := overHTTP(func(path string) []byte { return get(path, "application/octet-stream") })
	reader := tlog.TileHashReader(tree, served) // checks each tile against the root
	growth, err := tlog.ProveTree(tree.N, old.N, reader)
	check("consistency made from tiles", err == nil, err)
	err = tlog.CheckTree(growth, tree.N, tree.Hash, old.N, old.Hash)
	check("consistency accepted", err == nil, err)
	then, err := tlog.TreeHash(old.N, tlog.TileHashReader(old, served)) // with the partial tiles of then
	check("old root from old tiles", err == nil && then == old.Hash, err)
	for _, index := range in.Records {
		entry := readEntry(served, index, tree.N)
		out.Entries = append(out.Entries, entry)
		proof, err := tlog.ProveRecord(tree.N, index, reader)
		check("inclusion made from tiles", err == nil, err)
		err = tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry))
		check("inclusion accepted", err == nil, err)
		err = tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(append(entry, 0)))
		check("another entry refused", err != nil, index)
	}
	for _, shown := range in.Heads {
		proof, err := tlog.ProveRecord(tree.N, shown.Entry, reader)
		check("proof for a head made from tiles", err == nil, err)
		checkHead(&shown, func(entry []byte) error {
			return tlog.CheckRecord(proof, tree.N, tree.Hash, shown.Entry, tlog.RecordHash(entry))
		}, check)
	}

	data, err = json.Marshal(out)
	must(err)
	must(os.WriteFile(filepath.Join(folder, "found.json"), data, 0o600))
}

// checkHead checks the signature of a fork's head, that it is the blinded entry, and that a record is in the fork.
func checkHead(shown *head, inLog func([]byte) error, check func(string, bool, any)) {
	signer, err := note.NewVerifier(shown.Signer)
	must(err)
	opened, err := note.Open(shown.Note, note.VerifierList(signer))
	check("head of a fork verified", err == nil, err)
	must(err)
	blinded := func(value []byte) []byte {
		sum := sha256.Sum256([]byte("ipse/v1/blinded head\x00" + string(value) + opened.Text))
		return sum[:]
	}
	check("head is the blinded entry", inLog(blinded(shown.Blinding)) == nil, shown.Entry)
	check("head under another blinding value refused", inLog(blinded(make([]byte, 32))) != nil, shown.Entry)
	_, lines, _ := strings.Cut(opened.Text, "\n")
	tree, err := tlog.ParseTree([]byte("go.sum database tree\n" + lines))
	must(err)
	proof := make(tlog.RecordProof, len(shown.Proof))
	for i, hash := range shown.Proof {
		copy(proof[i][:], hash)
	}
	err = tlog.CheckRecord(proof, tree.N, tree.Hash, shown.Leaf, tlog.RecordHash(shown.Digest))
	check("record is in the fork", err == nil, err)
	err = tlog.CheckRecord(proof, tree.N, tree.Hash, shown.Leaf, tlog.RecordHash(append(shown.Digest, 0)))
	check("another record refused", err != nil, shown.Leaf)
}

// openCheckpoint checks both signatures of the log, and that every altered byte of its text spoils both.
func openCheckpoint(in *request, data []byte, check func(string, bool, any)) tlog.Tree {
	ed25519, err := note.NewVerifier(in.Ed25519)
	must(err)
	known := note.VerifierList(ed25519, newCosigner(in.MLDSA44))
	opened, err := note.Open(data, known)
	must(err)
	check("both signatures verified", len(opened.Sigs) == 2 && len(opened.UnverifiedSigs) == 0, len(opened.Sigs))
	lines := strings.SplitN(opened.Text, "\n", 2)
	check("origin", lines[0] == in.Origin, lines[0])
	tree, err := tlog.ParseTree([]byte("go.sum database tree\n" + lines[1]))
	must(err)
	for at := range opened.Text {
		altered := append([]byte{}, data...)
		altered[at] ^= 1
		_, err := note.Open(altered, known)
		check("altered text refused", err != nil, at)
	}
	for _, verifier := range []note.Verifier{ed25519, newCosigner(in.MLDSA44)} { // either key alone opens it
		_, err := note.Open(data, note.VerifierList(verifier))
		check("one signature verified", err == nil, err)
	}
	return tree
}

// overHTTP reads tiles and bundles from a log's address.
type overHTTP func(path string) []byte

func (get overHTTP) Height() int                         { return 8 }
func (get overHTTP) SaveTiles(_ []tlog.Tile, _ [][]byte) {}
func (get overHTTP) ReadTiles(wanted []tlog.Tile) (all [][]byte, err error) {
	for _, tile := range wanted {
		all = append(all, get(c2spPath(tile)))
	}
	return all, nil
}

// readEntry finds an entry in its bundle.
func readEntry(get overHTTP, index, size int64) []byte {
	tile := tlog.Tile{H: 8, L: 0, N: index / 256, W: int(min(256, size-index/256*256))}
	bundle := get(strings.Replace(c2spPath(tile), "tile/0/", "tile/entries/", 1))
	for n := int64(0); n < index%256; n++ {
		bundle = bundle[2+binary.BigEndian.Uint16(bundle):]
	}
	entry := bundle[2 : 2+binary.BigEndian.Uint16(bundle)]
	if len(entry) != sha256.Size {
		panic("an entry of another length")
	}
	return append([]byte{}, entry...)
}

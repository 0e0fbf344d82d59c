// SPDX-License-Identifier: Apache-2.0

// What the oracles of this folder share: cosignatures, which x/mod has not, and where a tile lies.
package main

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/mldsa"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// cosigner is a note.Verifier and note.Signer of types 4 and 6 of C2SP tlog-cosignature.
type cosigner struct {
	name string
	key  []byte // type || public key
	sign crypto.Signer
	time uint64
}

func (c *cosigner) Name() string { return c.name }

func (c *cosigner) KeyHash() uint32 {
	sum := crypto.SHA256.New()
	sum.Write([]byte(c.name + "\n"))
	sum.Write(c.key)
	return binary.BigEndian.Uint32(sum.Sum(nil))
}

func (c *cosigner) message(text []byte, time uint64) []byte {
	if c.key[0] == 4 {
		return append([]byte(fmt.Sprintf("cosignature/v1\ntime %d\n", time)), text...)
	}
	lines := strings.Split(string(text), "\n")
	size, err := strconv.ParseUint(lines[1], 10, 63)
	must(err)
	root, err := base64.StdEncoding.DecodeString(lines[2])
	must(err)
	var b bytes.Buffer
	b.WriteString("subtree/v1\n\x00")
	b.WriteByte(byte(len(c.name)))
	b.WriteString(c.name)
	must(binary.Write(&b, binary.BigEndian, time))
	b.WriteByte(byte(len(lines[0])))
	b.WriteString(lines[0])
	must(binary.Write(&b, binary.BigEndian, [2]uint64{0, size}))
	b.Write(root)
	return b.Bytes()
}

func (c *cosigner) Verify(text, sig []byte) bool {
	if len(sig) < 8 {
		return false
	}
	msg := c.message(text, binary.BigEndian.Uint64(sig))
	if c.key[0] == 4 {
		return ed25519.Verify(c.key[1:], msg, sig[8:])
	}
	public, err := mldsa.NewPublicKey(mldsa.MLDSA44(), c.key[1:])
	must(err)
	return mldsa.Verify(public, msg, sig[8:], nil) == nil
}

func (c *cosigner) Sign(text []byte) ([]byte, error) {
	sig, err := c.sign.Sign(nil, c.message(text, c.time), crypto.Hash(0))
	return append(binary.BigEndian.AppendUint64(nil, c.time), sig...), err
}

// newCosigner parses a verifier key of type 4 or 6; it cannot sign.
func newCosigner(vkey string) *cosigner {
	parts := strings.SplitN(vkey, "+", 3)
	raw, err := base64.StdEncoding.DecodeString(parts[2])
	must(err)
	c := &cosigner{name: parts[0], key: raw}
	if fmt.Sprintf("%08x", c.KeyHash()) != parts[1] {
		must(errors.New("another key id: " + vkey[:40]))
	}
	return c
}

// c2spPath is where C2SP tlog-tiles has a tile.
func c2spPath(tile tlog.Tile) string { return strings.Replace(tile.Path(), "tile/8/", "tile/", 1) }

func two(name string) (a, b int64) {
	_, err := fmt.Sscan(name, &a, &b)
	must(err)
	return a, b
}

func hash(data []byte) (h tlog.Hash) {
	copy(h[:], data)
	return h
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

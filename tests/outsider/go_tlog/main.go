// Checks a published log with Go's own sumdb/note and sumdb/tlog, which share nothing with the product.
//
// Usage: main LEDGER VKEY. Every entry's hash must be the one in the tiles, which must lead to the signed root; proofs
// of inclusion and of consistency made out of the tiles must hold. Prints "N entries hold".
package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

func require(holds bool, what string, values ...any) {
	if !holds {
		must(0, fmt.Errorf(what, values...))
	}
}

// tiles reads a C2SP log: the same tiles as a Go checksum database's, under shorter names.
type tiles string

func (root tiles) Height() int                     { return height }
func (root tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (root tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range wanted {
		data, err := os.ReadFile(root.path(tile))
		if err != nil {
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

func (root tiles) path(tile tlog.Tile) string {
	name := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", height), "tile/", 1)
	return filepath.Join(string(root), strings.Replace(name, "tile/data/", "tile/entries/", 1))
}

func main() {
	require(len(os.Args) == 3, "usage: main LEDGER VKEY")
	root, verifier := tiles(os.Args[1]), must(note.NewVerifier(os.Args[2]))
	signed := must(os.ReadFile(filepath.Join(string(root), "checkpoint")))
	opened := must(note.Open(signed, note.VerifierList(verifier)))
	lines := strings.Split(opened.Text, "\n")
	require(len(lines) == 4 && lines[3] == "", "a checkpoint has three lines")
	require(lines[0] == verifier.Name(), "the origin is %q", lines[0])
	tree := tlog.Tree{N: must(strconv.ParseInt(lines[1], 10, 64))}
	copy(tree.Hash[:], must(base64.StdEncoding.DecodeString(lines[2])))

	reader := tlog.TileHashReader(tree, root)
	for first := int64(0); first < tree.N; first += 1 << height {
		width := tree.N - first
		if width > 1<<height {
			width = 1 << height
		}
		data := must(os.ReadFile(root.path(tlog.Tile{H: height, L: -1, N: first >> height, W: int(width)})))
		for index := first; index < first+width; index++ {
			require(len(data) >= 2, "entry %d is missing", index)
			end := 2 + int(binary.BigEndian.Uint16(data))
			require(len(data) >= end, "entry %d is cut", index)
			hash := tlog.RecordHash(data[2:end])
			data = data[end:]
			stored := must(reader.ReadHashes([]int64{tlog.StoredHashIndex(0, index)}))
			require(stored[0] == hash, "entry %d is not the one in the tree", index)
			proof := must(tlog.ProveRecord(tree.N, index, reader))
			must(0, tlog.CheckRecord(proof, tree.N, tree.Hash, index, hash))
		}
		require(len(data) == 0, "a bundle of entries is too long")
		older := must(tlog.TreeHash(first+width, reader))
		proof := must(tlog.ProveTree(tree.N, first+width, reader))
		must(0, tlog.CheckTree(proof, tree.N, tree.Hash, first+width, older))
	}
	fmt.Printf("%d entries hold\n", tree.N)
}

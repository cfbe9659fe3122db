// Reads a log from a static folder with the client that Go itself uses for its checksum database, and prints what it
// accepted. Usage: main FOLDER VKEY OLD_SIZE OLD_ROOT
//
// Go's tiles are called tile/<height>/<level>/<index>; those of c2sp.org/tlog-tiles have no height, it is always 8.
package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type folder string

func (f folder) Height() int { return 8 }

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var data [][]byte
	for _, tile := range tiles {
		content, err := os.ReadFile(filepath.Join(string(f), strings.Replace(tile.Path(), "tile/8/", "tile/", 1)))
		if err != nil {
			return nil, err
		}
		data = append(data, content)
	}
	return data, nil
}

func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

func main() {
	log.SetFlags(0)
	from := folder(os.Args[1])
	verifier, err := note.NewVerifier(os.Args[2])
	check(err)
	signed, err := os.ReadFile(filepath.Join(string(from), "checkpoint"))
	check(err)
	opened, err := note.Open(signed, note.VerifierList(verifier))
	check(err)
	lines := strings.Split(opened.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err)
	tree := tlog.Tree{N: size, Hash: hash(lines[2])}
	reader := tlog.TileHashReader(tree, from)

	oldSize, err := strconv.ParseInt(os.Args[3], 10, 64)
	check(err)
	extends, err := tlog.ProveTree(size, oldSize, reader)
	check(err)
	check(tlog.CheckTree(extends, size, tree.Hash, oldSize, hash(os.Args[4])))

	entries, everything := 0, sha256.New()
	for first := int64(0); first < size; first += 256 {
		tile := tlog.Tile{H: 8, L: -1, N: first / 256, W: int(min(size-first, 256))}
		path := strings.Replace(tile.Path(), "tile/8/data/", "tile/entries/", 1)
		bundle, err := os.ReadFile(filepath.Join(string(from), path))
		check(err)
		var records []tlog.Hash
		var places []int64
		for len(bundle) > 0 {
			end := 2 + int(binary.BigEndian.Uint16(bundle))
			records = append(records, tlog.RecordHash(bundle[2:end]))
			places = append(places, tlog.StoredHashIndex(0, first+int64(len(places))))
			everything.Write(bundle[2:end])
			bundle = bundle[end:]
		}
		hashes, err := reader.ReadHashes(places)
		check(err)
		for place, stored := range hashes {
			if stored != records[place] {
				log.Fatalf("entry %d is not the one in the tree", first+int64(place))
			}
		}
		proof, err := tlog.ProveRecord(size, first, reader)
		check(err)
		check(tlog.CheckRecord(proof, size, tree.Hash, first, records[0]))
		entries += len(records)
	}
	fmt.Printf("%s %d %x\n", lines[0], entries, everything.Sum(nil))
}

func hash(text string) (found tlog.Hash) {
	raw, err := base64.StdEncoding.DecodeString(text)
	check(err)
	copy(found[:], raw)
	return found
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

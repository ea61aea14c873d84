package fsm

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Two replicas at the same index hold the same bytes only if nothing but state
// and entry decides. So the package has no clock, randomness, map, goroutine,
// float, formatting by reflection in what is stored, or package of ours.
func TestPackageIsPure(t *testing.T) {
	allowed := []string{
		"bufio", "bytes", "cmp", "crypto/sha256", "encoding/binary", "encoding/hex", "errors", "fmt", "hash/crc32", "io", "iter",
		"math/bits", "slices", "strconv", "strings", "sync",
		"github.com/hashicorp/go-immutable-radix/v2", "github.com/vmihailenco/msgpack/v5",
	}
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	set, seen := token.NewFileSet(), 0
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), ".go") || strings.HasSuffix(file.Name(), "_test.go") {
			continue
		}
		seen++
		f, err := parser.ParseFile(set, file.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if path, _ := strconv.Unquote(i.Path.Value); !slices.Contains(allowed, path) {
				t.Errorf("%s: imports %s", set.Position(i.Pos()), path)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			bad := ""
			switch n := n.(type) {
			case *ast.GoStmt:
				bad = "a goroutine"
			case *ast.MapType:
				bad = "a map"
			case *ast.SelectStmt, *ast.ChanType:
				bad = "a channel"
			case *ast.Ident:
				if n.Name == "float64" || n.Name == "float32" {
					bad = "a float"
				}
			}
			if bad != "" {
				t.Errorf("%s: %s", set.Position(n.Pos()), bad)
			}
			return true
		})
	}
	if seen == 0 {
		t.Fatal("no file was looked at")
	}
}

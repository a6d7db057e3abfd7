package structure

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"strings"
	"testing"
)

// Every exported name that a user or the author of a store meets has a comment.
// A group of constants, or of methods on adjacent lines, may share one. Fields
// are left to judgement: that of Stamp.Epoch stands at the type.

func TestExportedNamesAreExplained(t *testing.T) {
	packages := map[string]string{} // folder to package comment
	for _, file := range sources(t) {
		dir := path.Dir(file)
		if strings.HasSuffix(file, "_test.go") || dir != "tiers" && dir != "fastopt" &&
			!strings.HasPrefix(dir, "tiers/") && !strings.HasPrefix(dir, "fastopt/") {
			continue
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, file, read(t, file), parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		packages[dir] += f.Doc.Text()
		for _, name := range unexplained(set, f) {
			t.Errorf("%s: %s has no comment", file, name)
		}
	}
	for dir, doc := range packages {
		if doc == "" {
			t.Errorf("%s: the package has no comment", dir)
		}
	}
}

func TestUnexplainedNamesAreFound(t *testing.T) {
	const text = `package p

func Bare() {}

// Said is.
type Said struct{ A int }

func (Said) Method() {}
func (Said) String() string { return "" }
func (hidden) Public() {}

type hidden struct{ E int }

type Plain interface {
	Ask() // explained
	Tell()

	Wait()
}

// Single asks.
type Single interface{ Ask() }

// Both.
const (
	One = 1
	Two = 2
)

var Loose, tight int
`
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, "p.go", text, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(unexplained(set, f), " ")
	if want := "Bare Said.Method Plain Plain.Wait Loose"; got != want {
		t.Errorf("found %s, want %s", got, want)
	}
}

// unexplained returns the exported names of f that no comment explains.
func unexplained(set *token.FileSet, f *ast.File) (names []string) {
	for _, decl := range f.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if name := publicName(d); name != "" && d.Doc == nil {
				names = append(names, name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				names = append(names, inSpec(set, d, spec)...)
			}
		}
	}
	return names
}

// publicName is "" for what needs no comment: what is not exported, and methods
// that everyone knows.
func publicName(d *ast.FuncDecl) string {
	name := d.Name.Name
	if !d.Name.IsExported() {
		return ""
	}
	if d.Recv == nil {
		return name
	}
	typ := d.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
			continue
		case *ast.IndexExpr:
			typ = x.X
			continue
		case *ast.Ident:
			if !x.IsExported() || name == "Error" || name == "String" || name == "Unwrap" {
				return ""
			}
			return x.Name + "." + name
		}
		return name
	}
}

func inSpec(set *token.FileSet, d *ast.GenDecl, spec ast.Spec) (names []string) {
	switch s := spec.(type) {
	case *ast.ValueSpec:
		for _, id := range s.Names {
			if id.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
				names = append(names, id.Name)
			}
		}
	case *ast.TypeSpec:
		if !s.Name.IsExported() {
			return nil
		}
		doc := s.Doc
		if doc == nil {
			doc = d.Doc
		}
		if doc == nil {
			names = append(names, s.Name.Name)
		}
		if body, ok := s.Type.(*ast.InterfaceType); ok && len(body.Methods.List) > 1 {
			names = append(names, inMethods(set, s.Name.Name, body.Methods)...)
		}
	}
	return names
}

// inMethods looks at the methods of an interface; of a single one, the comment
// of the type speaks.
func inMethods(set *token.FileSet, typ string, methods *ast.FieldList) (names []string) {
	explained, last := false, -2
	for _, m := range methods.List {
		adjacent := set.Position(m.Pos()).Line == last+1
		explained = m.Doc != nil || m.Comment != nil || explained && adjacent
		last = set.Position(m.End()).Line
		for _, id := range m.Names {
			if !explained {
				names = append(names, typ+"."+id.Name)
			}
		}
	}
	return names
}

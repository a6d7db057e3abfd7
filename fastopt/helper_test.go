package fastopt_test

import "strings"

func second[A any](_ A, err error) error { return err }

func contains(err error, text string) bool { return err != nil && strings.Contains(err.Error(), text) }

// panicOf returns what f panics with, nil if it does not.
func panicOf(f func()) (r any) {
	defer func() { r = recover() }()
	f()
	return nil
}

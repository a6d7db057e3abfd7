package redis

// Key names: prefix ":" namespace ":" name. The prefix holds no ':' by its
// check and the namespace none by escaping, so the first two colons part a key
// and the name may hold anything. The key of a mark has one colon, that of an
// entry two at least.

import "strings"

var escaper = strings.NewReplacer("%", "%25", ":", "%3A")

// A space is a namespace as it stands in keys, and all its watchers know of it.
type space string

func spaceOf(namespace string) space { return space(escaper.Replace(namespace)) }

func entryKey(prefix string, sp space, name string) string {
	return prefix + ":" + string(sp) + ":" + name
}

func markKey(prefix string, sp space) string { return prefix + ":" + string(sp) }

func leaseKey(entry string) string { return "lease:" + entry }

// splitKey is the inverse of entryKey; ok is false for a foreign key.
func splitKey(prefix, key string) (sp space, name string, ok bool) {
	rest, ok := strings.CutPrefix(key, prefix+":")
	if !ok {
		return "", "", false
	}
	ns, name, ok := strings.Cut(rest, ":")
	return space(ns), name, ok && name != ""
}

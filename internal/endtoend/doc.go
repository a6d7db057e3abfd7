// Package endtoend holds tests of the whole: the library over a real Redis and
// a real PostgreSQL, broken on purpose.
package endtoend

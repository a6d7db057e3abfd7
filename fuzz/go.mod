module github.com/fastopt/fastopt-go/fuzz

go 1.26.0

require github.com/fastopt/fastopt-go v0.0.0

require (
	github.com/gofrs/flock v0.13.2 // indirect
	github.com/puzpuzpuz/xsync/v3 v3.5.1 // indirect
	github.com/sony/gobreaker/v2 v2.4.0 // indirect
	golang.org/x/sync v0.25.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/time v0.16.0 // indirect
)

replace github.com/fastopt/fastopt-go => ../

module github.com/fastopt/fastopt-go/bench

go 1.26.0

require (
	github.com/fastopt/fastopt-go v0.0.0
	github.com/puzpuzpuz/xsync/v3 v3.5.1
)

require golang.org/x/sync v0.25.0 // indirect

replace github.com/fastopt/fastopt-go => ../

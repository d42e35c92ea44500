// The oracle for traces of version 1: how many events Go's own parser of them finds. Built beside copies of its sources.
package main

import (
	"fmt"
	"os"

	"tracediff/tracev1"
	"tracediff/version"
)

func main() {
	f, err := os.Open(os.Args[1])
	if err != nil {
		panic(err)
	}
	v, err := version.ReadHeader(f)
	if err != nil {
		panic(err)
	}
	t, err := tracev1.Parse(f, v)
	if err != nil {
		fmt.Println("events refused:", err)
		return
	}
	fmt.Println("events", t.Events.Len())
}

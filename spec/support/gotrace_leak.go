// go run gotrace_leak.go DIR leak|quiet: six traces of a tenth of a second each, 1.out to 6.out. In each, 40 goroutines of begin
// start while 10 of the trace before are asked to end: all of them end (quiet), or none but the asked ones do (leak).
package main

import (
	"fmt"
	"os"
	"runtime/trace"
	"time"
)

var ends []chan bool

func serve(end chan bool) { <-end }

func begin(n int, leak bool) {
	var fresh []chan bool
	for i := 0; i < n; i++ {
		end := make(chan bool)
		go serve(end)
		fresh = append(fresh, end)
	}
	for i, end := range ends {
		if !leak || i < 10 {
			close(end)
		}
	}
	ends = fresh
}

func main() {
	leak := os.Args[2] == "leak"
	begin(40, leak)
	for i := 1; i <= 6; i++ {
		time.Sleep(20 * time.Millisecond)
		f, err := os.Create(fmt.Sprintf("%s/%d.out", os.Args[1], i))
		if err == nil {
			err = trace.Start(f)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		time.Sleep(40 * time.Millisecond)
		begin(40, leak)
		time.Sleep(60 * time.Millisecond)
		trace.Stop()
		f.Close()
	}
}

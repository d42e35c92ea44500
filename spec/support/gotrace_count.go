// The oracle: goroutines of a Go execution trace as golang.org/x/exp/trace counts them, in the words of gotrace_count.lua.
package main

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/exp/trace"
)

func main() {
	f, err := os.Open(os.Args[1])
	if err != nil {
		panic(err)
	}
	r, err := trace.NewReader(f)
	if err != nil {
		panic(err)
	}
	states := map[trace.GoID]trace.GoState{}
	created, ended, regions, tasks, logs := 0, 0, 0, 0, 0
	for {
		e, err := r.ReadEvent()
		if err == io.EOF {
			break
		}
		if err != nil {
			panic(err)
		}
		switch e.Kind() {
		case trace.EventRegionEnd:
			regions++
		case trace.EventTaskBegin:
			tasks++
		case trace.EventLog:
			logs++
		case trace.EventStateTransition:
			st := e.StateTransition()
			if st.Resource.Kind != trace.ResourceGoroutine {
				continue
			}
			id := st.Resource.Goroutine()
			from, to := st.Goroutine()
			if from == trace.GoNotExist {
				created++
			}
			if states[id] = to; to == trace.GoNotExist {
				ended++
				delete(states, id)
			}
		}
	}
	n := map[trace.GoState]int{}
	for _, s := range states {
		n[s]++
	}
	fmt.Printf("created %d ended %d alive %d runnable %d running %d syscall %d waiting %d regions %d tasks %d logs %d\n", created, ended,
		len(states), n[trace.GoRunnable], n[trace.GoRunning], n[trace.GoSyscall], n[trace.GoWaiting], regions, tasks, logs)
}

// Writes a Go execution trace of leaks of ten kinds, of workers that end, of many short goroutines, and of regions:
// gotrace1_gen FILE WORK, for Go 1.11 to 1.21.
package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/trace"
	"strconv"
	"sync"
	"time"
)

var sink [][]byte

func leak() {
	never := make(chan int)
	var unlocked sync.Mutex
	unlocked.Lock()
	var wg sync.WaitGroup
	wg.Add(1)
	ctx, cancel := context.WithCancel(context.Background())
	_ = cancel
	kinds := []func(){
		func() { never <- 1 },
		func() { <-make(chan int) },
		func() { var none chan int; <-none },
		func() {
			select {
			case <-never:
			case <-make(chan int):
			}
		},
		func() { select {} },
		func() { unlocked.Lock() },
		func() { wg.Wait() },
		func() { <-ctx.Done() },
		func() {
			for range time.NewTicker(time.Millisecond).C {
			}
		},
		func() { r, _, _ := os.Pipe(); r.Read(make([]byte, 1)) },
	}
	for _, kind := range kinds {
		go kind()
	}
}

func worker(done *sync.WaitGroup, in chan int) {
	defer done.Done()
	for v := range in {
		trace.WithRegion(context.Background(), "work", func() {
			sink = append([][]byte{}, make([]byte, 1024+v%7))
		})
	}
}

func main() {
	f, err := os.Create(os.Args[1])
	if err != nil {
		panic(err)
	}
	work, _ := strconv.Atoi(os.Args[2])
	leak() // older than the trace
	if err := trace.Start(f); err != nil {
		panic(err)
	}
	ctx, task := trace.NewTask(context.Background(), "job")
	trace.Log(ctx, "key", "value")
	leak()
	in := make(chan int)
	var done sync.WaitGroup
	for i := 0; i < 4; i++ {
		done.Add(1)
		go worker(&done, in)
	}
	for v := 0; v < work; v++ {
		in <- v
		if v%4 == 0 {
			done.Add(1)
			go func() { defer done.Done(); fmt.Fprint(os.Stderr) }()
		}
		if v%1000 == 0 {
			runtime.GC()
		}
	}
	close(in)
	done.Wait()
	task.End()
	time.Sleep(20 * time.Millisecond)
	trace.Stop()
	f.Close()
}

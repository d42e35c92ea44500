// Writes heap, allocs, cpu, goroutine, mutex, block and threadcreate profiles of itself into a folder:
// go run pprof_gen.go DIR. Real input for pprof_diff.sh.
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"runtime/pprof"
	"sort"
	"strings"
	"sync"
	"time"
)

type node struct {
	l, r *node
	v    []byte
}

func grow(d int) *node {
	if d == 0 {
		return &node{v: make([]byte, 512)}
	}
	return &node{l: grow(d - 1), r: grow(d - 1), v: make([]byte, 64*d)}
}

func jsonWork(n int) []byte {
	m := map[string]any{}
	for i := 0; i < n; i++ {
		m[fmt.Sprint("key", i)] = []string{strings.Repeat("x", i%50), fmt.Sprint(i * i)}
	}
	b, _ := json.Marshal(m)
	var o any
	json.Unmarshal(b, &o)
	return b
}

type gen[T any] struct{ xs []T }

func (g *gen[T]) push(x T) { g.xs = append(g.xs, x) }

func busy(d time.Duration) int {
	t := time.Now()
	s := 0
	for time.Since(t) < d {
		b := jsonWork(200)
		re := regexp.MustCompile(`k(e)y[0-9]+`)
		s += len(re.FindAll(b, -1))
		xs := make([]int, 3000)
		for i := range xs {
			xs[i] = (i * 7919) % 3001
		}
		sort.Slice(xs, func(i, j int) bool { return xs[i] < xs[j] })
		var buf bytes.Buffer
		w := gzip.NewWriter(&buf)
		w.Write(b)
		w.Close()
		g := gen[string]{}
		for i := 0; i < 1000; i++ {
			g.push(strings.ToUpper("abc"))
		}
	}
	return s
}

func save(name, file string, dbg int) {
	f, _ := os.Create(file)
	pprof.Lookup(name).WriteTo(f, dbg)
	f.Close()
}

var keep []*node
var kb [][]byte

func main() {
	dir := os.Args[1]
	runtime.MemProfileRate = 4096
	runtime.SetBlockProfileRate(1)
	runtime.SetMutexProfileFraction(1)
	f, _ := os.Create(dir + "/cpu.pb.gz")
	pprof.StartCPUProfile(f)
	var wg sync.WaitGroup
	var mu sync.Mutex
	ch := make(chan int)
	for i := 0; i < 8; i++ {
		wg.Add(1)
		go pprof.Do(context.Background(), pprof.Labels("worker", fmt.Sprint(i%3), "kind", "json"), func(context.Context) {
			defer wg.Done()
			busy(700 * time.Millisecond)
			for k := 0; k < 200; k++ {
				mu.Lock()
				time.Sleep(50 * time.Microsecond)
				mu.Unlock()
			}
		})
		go func() { <-ch }()
		go func() { select {} }()
	}
	keep = append(keep, grow(10))
	save("heap", dir+"/heap0.pb.gz", 0)
	wg.Wait()
	for i := 0; i < 50; i++ {
		kb = append(kb, jsonWork(300))
	}
	keep = append(keep, grow(11))
	runtime.GC()
	save("heap", dir+"/heap1.pb.gz", 0)
	keep = append(keep, grow(12))
	runtime.GC()
	for _, n := range []string{"heap", "allocs", "goroutine", "mutex", "block", "threadcreate"} {
		save(n, dir+"/"+n+".pb.gz", 0)
		save(n, dir+"/"+n+".txt", 1)
	}
	save("goroutine", dir+"/goroutine2.txt", 2)
	pprof.StopCPUProfile()
	f.Close()
	if len(kb) == 0 || keep == nil {
		panic(1)
	}
}

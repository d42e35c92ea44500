// Command goleaks leaks goroutines of every kind, beside as many that live, and writes a heap dump:
// goleaks DUMP COUNT. Leaked ones run leak…, living ones live…: the names are the truth that the
// proof is held against. A ticker's reader is woken again and again, so it lives.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"time"
)

var global struct {
	ch      chan int
	mutex   sync.Mutex
	wait    sync.WaitGroup
	cond    *sync.Cond
	ctx     context.Context
	cancel  context.CancelFunc
	readers []chan int
	rw      sync.RWMutex
}

var started sync.WaitGroup

//go:noinline
func leakSend() { ch := make(chan int); started.Done(); ch <- 1 }

//go:noinline
func leakReceive() { ch := make(chan []byte); started.Done(); use(<-ch) }

//go:noinline
func leakRange() {
	ch := make(chan int, 4)
	started.Done()
	for range ch {
	}
}

//go:noinline
func leakSelect() {
	a, b := make(chan int), make(chan int)
	started.Done()
	select {
	case <-a:
	case b <- 1:
	}
}

//go:noinline
func leakNilReceive() { var ch chan int; started.Done(); <-ch }

//go:noinline
func leakNilSend() { var ch chan int; started.Done(); ch <- 1 }

//go:noinline
func leakForever() { started.Done(); select {} }

//go:noinline
func leakMutex() { m := new(sync.Mutex); m.Lock(); started.Done(); m.Lock() }

//go:noinline
func leakRWMutex() { m := new(sync.RWMutex); m.RLock(); started.Done(); m.Lock() }

//go:noinline
func leakWaitGroup() { w := new(sync.WaitGroup); w.Add(1); started.Done(); w.Wait() }

//go:noinline
func leakCond() { c := sync.NewCond(new(sync.Mutex)); c.L.Lock(); started.Done(); c.Wait() }

//go:noinline
func leakContext() {
	ctx, cancel := context.WithCancel(context.Background())
	held := make([]byte, 100<<10)
	started.Done()
	<-ctx.Done()
	cancel()
	use(held)
}

// Two that wait for each other, and for nobody else.
//
//go:noinline
func leakPair() {
	a, b := make(chan int), make(chan int)
	go func() { started.Done(); <-a; b <- 1 }()
	<-b
	a <- 1
}

//go:noinline
func liveReceive() { started.Done(); <-global.ch }

//go:noinline
func liveOwn(ch chan int) { started.Done(); <-ch }

//go:noinline
func liveSelect(ch chan int) {
	private := make(chan int)
	started.Done()
	select {
	case <-private:
	case ch <- 1:
	}
}

//go:noinline
func liveMutex() { started.Done(); global.mutex.Lock() }

//go:noinline
func liveRWMutex() { started.Done(); global.rw.RLock() }

//go:noinline
func liveWaitGroup() { started.Done(); global.wait.Wait() }

//go:noinline
func liveCond() { global.cond.L.Lock(); started.Done(); global.cond.Wait() }

//go:noinline
func liveContext() { started.Done(); <-global.ctx.Done() }

//go:noinline
func liveTicker() {
	t := time.NewTicker(time.Hour)
	started.Done()
	for range t.C {
	}
}

//go:noinline
func liveAfter() { started.Done(); <-time.After(time.Hour) }

//go:noinline
func liveSleep() { started.Done(); time.Sleep(time.Hour) }

//go:noinline
func liveNet(l net.Listener) { started.Done(); l.Accept() }

type box struct{ in, out chan int }

// A box that lives on this stack only, its address taken: the collector knows it by pointers into
// the stack, and what it holds must not look forsaken.
//
//go:noinline
func liveOwner(n int) {
	var b box
	fill(&b)
	for i := 0; i < n; i++ {
		go liveOwn(b.in)
	}
	started.Done()
	time.Sleep(time.Hour)
	drop(&b)
}

//go:noinline
func fill(b *box) { b.in, b.out = make(chan int), make(chan int) }

//go:noinline
func drop(b *box) { close(b.in); close(b.out) }

type rescuer struct{ ch chan int }

// The channel hangs on an object that nobody holds, but whose finalizer would close it.
//
//go:noinline
func liveFinalizer() {
	ch := make(chan int)
	r := &rescuer{ch}
	runtime.SetFinalizer(r, func(r *rescuer) { close(r.ch) })
	keep = append(keep, r)
	started.Done()
	<-ch
}

var keep []*rescuer

//go:noinline
func use(b []byte) { fmt.Fprint(os.Stderr, len(b)) }

func main() {
	count, err := strconv.Atoi(os.Args[2])
	if err != nil {
		panic(err)
	}
	global.ch = make(chan int)
	global.cond = sync.NewCond(new(sync.Mutex))
	global.ctx, global.cancel = context.WithCancel(context.Background())
	global.mutex.Lock()
	global.rw.Lock()
	global.wait.Add(1)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	kinds := []func(){leakSend, leakReceive, leakRange, leakSelect, leakNilReceive, leakNilSend, leakForever, leakMutex, leakRWMutex,
		leakWaitGroup, leakCond, leakContext, leakPair, liveReceive, liveMutex, liveRWMutex, liveWaitGroup, liveCond, liveContext,
		liveTicker, liveAfter, liveSleep, liveFinalizer, func() { liveNet(listener) }}
	for i := 0; i < count; i++ {
		ch := make(chan int)
		global.readers = append(global.readers, ch)
		started.Add(len(kinds) + 2 + 3)
		go liveOwn(ch)
		go liveSelect(ch)
		go liveOwner(2)
		for _, kind := range kinds {
			go kind()
		}
	}
	started.Wait()
	time.Sleep(100 * time.Millisecond)
	runtime.GC()
	runtime.GC()
	file, err := os.Create(os.Args[1])
	if err != nil {
		panic(err)
	}
	debug.WriteHeapDump(file.Fd())
	global.cancel()
	runtime.KeepAlive(listener)
}

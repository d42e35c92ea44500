// Command leaky-go leaks what only a Go app can: goroutines, collected heap, memory of C behind the
// collector's back, tickers. It serves net/http/pprof and expvar; its first line says where.
package main

import (
	"context"
	_ "expvar" // serves /debug/vars
	"flag"
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof" // serves /debug/pprof/
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const usage = `leaky-go: a Go app that leaks on demand, for a watcher to find.

usage: leaky-go [options]

`

const examples = `
examples:
  leaky-go -goroutines 5/s                  goroutines that wait for ever
  leaky-go -heap 1MB/s -gc-churn 50MB/s     a leak under the collector's sawtooth
  leaky-go -gc-churn 50MB/s                 garbage only: no leak
  leaky-go -cgo 1MB/s                       memory that the Go heap profile cannot see

exit codes: 0 ended by time or signal, 2 wrong usage or it could not start
`

func main() {
	a := &app{}
	a.leaks = []*leak{
		{name: "goroutines", piece: 1, cost: 4 << 10, grow: a.leakGoroutine,
			help: "goroutines blocked on a channel that nobody closes, e.g. 5/s"},
		{name: "heap", bytes: true, piece: 16 << 10, cost: 2 * 16 << 10, grow: a.leakHeap,
			help: "reachable, growing Go heap, e.g. 1MB/s"},
		{name: "cgo", bytes: true, piece: 16 << 10, cost: 16 << 10, grow: leakC,
			help: "C.malloc, touched, never freed, e.g. 1MB/s"},
		{name: "tickers", piece: 1, cost: 1 << 10, grow: a.leakTicker,
			help: "tickers that are never stopped, e.g. 5/s"},
		{name: "gc-churn", bytes: true, piece: 16 << 10, grow: a.churn,
			help: "garbage without a leak, e.g. 50MB/s"},
	}
	if err := run(a); err != nil {
		fmt.Fprintln(os.Stderr, "leaky-go:", err)
		os.Exit(2)
	}
}

func run(a *app) error {
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
		fmt.Fprint(flag.CommandLine.Output(), examples)
	}
	for _, l := range a.leaks {
		flag.Var(l, l.name, l.help)
	}
	a.maxBytes = 1 << 30
	flag.Var((*size)(&a.maxBytes), "max", "hold at most about that much memory")
	listen := flag.String("listen", "127.0.0.1:0", "where to serve pprof: HOST:PORT or unix:/path")
	duration := flag.Duration("for", 0, "end after that time, e.g. 90s; 0 = on a signal")
	quiet := flag.Bool("quiet", false, "no status line every second")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("%s: no such word; see leaky-go -help", flag.Arg(0))
	}
	for _, l := range a.leaks {
		if l.name == "cgo" && l.perSecond > 0 && !haveC {
			return fmt.Errorf("-cgo: this leaky-go was built without cgo (no C compiler was found)")
		}
	}

	done, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if *duration > 0 {
		var cancel context.CancelFunc
		done, cancel = context.WithTimeout(done, *duration)
		defer cancel()
	}
	listener, err := serve(*listen)
	if err != nil {
		return err
	}
	defer listener.Close() // removes a unix socket's file
	go http.Serve(listener, nil)
	a.run(done, *quiet)
	return nil
}

// serve listens and prints the first line.
func serve(address string) (net.Listener, error) {
	path := strings.TrimPrefix(address, "unix:")
	if path == address {
		listener, err := net.Listen("tcp", address)
		if err == nil {
			fmt.Printf("pprof http://%s/debug/pprof/\n", listener.Addr())
		}
		return listener, err
	}
	if old, err := os.Lstat(path); err == nil && old.Mode()&os.ModeSocket != 0 {
		if c, err := net.Dial("unix", path); err == nil {
			c.Close()
			return nil, fmt.Errorf("-listen %s: another process serves there", address)
		}
		os.Remove(path) // left by a process that was killed
	}
	listener, err := net.Listen("unix", path)
	if err == nil {
		fmt.Printf("pprof unix:%s\n", path)
	}
	return listener, err
}

// run pays what every leak owes, 20 times a second, until done.
func (a *app) run(done context.Context, quiet bool) {
	start := time.Now()
	turn := time.NewTicker(50 * time.Millisecond)
	defer turn.Stop()
	nextStatus := time.Second
	for {
		select {
		case <-done.Done():
			return
		case <-turn.C:
		}
		elapsed := time.Since(start)
		a.pay(elapsed.Seconds())
		if elapsed >= nextStatus {
			nextStatus += time.Second
			if !quiet {
				fmt.Println(a.status(elapsed))
			}
		}
	}
}

func (a *app) status(elapsed time.Duration) string {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	line := fmt.Sprintf("%6.1fs  live %.1f MB in %d goroutines after %d collections",
		elapsed.Seconds(), float64(m.HeapAlloc)/(1<<20), runtime.NumGoroutine(), m.NumGC)
	for _, l := range a.leaks {
		if l.perSecond == 0 {
			continue
		}
		if l.bytes {
			line += fmt.Sprintf("  %s %.1f MB", l.name, l.paid/(1<<20))
		} else {
			line += fmt.Sprintf("  %s %.0f", l.name, l.paid)
		}
	}
	return line
}

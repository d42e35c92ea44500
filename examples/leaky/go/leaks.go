package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A leak is one mode: what it adds, how fast, and what one piece costs the machine.
type leak struct {
	name, help string
	bytes      bool    // counted in bytes, else in things
	piece      float64 // what one call of grow adds
	cost       uint64  // bytes of the process for a piece, the collector's headroom included
	grow       func()

	text      string  // the rate as given
	perSecond float64 // 0 = off
	paid      float64
}

// An app holds what it leaks where the collector can reach it.
type app struct {
	leaks    []*leak
	maxBytes uint64
	held     uint64 // sum of the pieces' costs
	full     bool

	never   chan struct{} // nil: whoever receives from it waits for ever
	blocks  [][]byte
	tickers []*time.Ticker
	garbage []byte
}

func (a *app) pay(seconds float64) {
	for _, l := range a.leaks {
		patience := time.Now().Add(10 * time.Millisecond)
		for l.perSecond*seconds-l.paid >= l.piece && time.Now().Before(patience) {
			if l.cost > 0 && a.held+l.cost > a.maxBytes {
				if !a.full {
					fmt.Println("leaky-go: all holds: the cap of -max is reached")
				}
				a.full = true
				break
			}
			l.grow()
			l.paid += l.piece
			a.held += l.cost
		}
	}
}

//go:noinline
func (a *app) leakGoroutine() {
	go a.waitForever()
}

//go:noinline
func (a *app) waitForever() {
	<-a.never
}

//go:noinline
func (a *app) leakHeap() {
	block := make([]byte, 16<<10)
	touch(block)
	a.blocks = append(a.blocks, block)
}

//go:noinline
func (a *app) leakTicker() {
	a.tickers = append(a.tickers, time.NewTicker(time.Second))
}

//go:noinline
func (a *app) churn() {
	a.garbage = make([]byte, 16<<10)
	touch(a.garbage)
}

func touch(block []byte) {
	for i := 0; i < len(block); i += 4096 {
		block[i] = 1
	}
}

// String and Set make a leak's rate a flag: "5/s", "1MB/s", "200MB/20s".
func (l *leak) String() string { return l.text }

func (l *leak) Set(text string) error {
	amount, period, found := strings.Cut(text, "/")
	if !found {
		return fmt.Errorf("wants a rate like 1MB/s or 5/s")
	}
	if period != "" && (period[0] < '0' || period[0] > '9') {
		period = "1" + period
	}
	each, err := time.ParseDuration(period)
	if err != nil || each <= 0 {
		return fmt.Errorf("wants a time after the slash, e.g. 1MB/s")
	}
	var number float64
	if l.bytes {
		var parsed size
		err = parsed.Set(amount)
		number = float64(parsed)
	} else if number, err = strconv.ParseFloat(amount, 64); err != nil {
		err = fmt.Errorf("wants a count, e.g. 5/s")
	}
	if err == nil && !(number > 0 && number < 1e15) {
		err = fmt.Errorf("wants a rate above 0")
	}
	l.text, l.perSecond = text, number/each.Seconds()
	return err
}

// A size is a flag in bytes: "64KB", "1MB", "1GB", in powers of 1024.
type size uint64

func (s *size) String() string { return fmt.Sprintf("%dMB", *s>>20) }

func (s *size) Set(text string) error {
	digits := strings.TrimRight(text, "KMGiBkmgb")
	factors := map[string]float64{
		"B": 1, "K": 1 << 10, "KB": 1 << 10, "KIB": 1 << 10, "M": 1 << 20, "MB": 1 << 20, "MIB": 1 << 20,
		"G": 1 << 30, "GB": 1 << 30, "GIB": 1 << 30,
	}
	factor := factors[strings.ToUpper(text[len(digits):])]
	number, err := strconv.ParseFloat(digits, 64)
	if err != nil || factor == 0 || number < 0 || number*factor > 1e15 {
		return fmt.Errorf("wants a size like 1MB")
	}
	*s = size(number * factor)
	return nil
}

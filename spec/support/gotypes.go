// Command gotypes keeps a heap of which every type is known, and dumps it: gotypes DUMP. What it makes is counted in
// spec/cli/gotypes_spec.lua.
package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"
)

type session struct {
	id    int
	name  string
	next  *session
	tags  []string
	attrs map[string]*attr
	any   interface{}
	done  chan *attr
	fn    func()
	mid   *inner
	arr   [3]*attr
}
type attr struct {
	key, value string
	n          [4]int
}
type inner struct {
	a, b int
	p    *attr
}
type stringer interface{ String() string }

func (a *attr) String() string { return a.key }

var sessions = map[int]*session{}
var list []*session
var head *session
var shown stringer

func mk(i int) *session {
	s := &session{id: i, name: fmt.Sprint("session-", i), tags: []string{fmt.Sprint("a", i)}, attrs: map[string]*attr{}, done: make(chan *attr, 2)}
	a := &attr{key: fmt.Sprint("k", i)}
	s.attrs[a.key] = a
	s.any = &inner{p: &attr{key: fmt.Sprint("in", i)}}
	if i%2 == 0 {
		s.any = attr{key: fmt.Sprint("val", i)}
	}
	s.done <- &attr{key: fmt.Sprint("ch", i)}
	x := new(int)
	*x = i
	s.fn = func() { fmt.Println(*x, a.key) }
	for j := range s.arr {
		s.arr[j] = &attr{key: fmt.Sprint("arr", i, j)}
	}
	return s
}
func main() {
	for i := 0; i < 100; i++ {
		s := mk(i)
		sessions[i] = s
		list = append(list, s)
		s.next = head
		head = s
	}
	shown = &attr{key: "shown"}
	runtime.GC()
	time.Sleep(10 * time.Millisecond)
	f, _ := os.Create(os.Args[1])
	debug.WriteHeapDump(f.Fd())
	_ = list
}

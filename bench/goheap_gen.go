// Command goheap_gen writes the heap dump of a live heap for bench_graph: goheap_gen FILE OBJECTS.
// Trees with names, lists through the middle of their links, a map and goroutines that hold slices;
// OBJECTS 9200000 makes 7.5 M objects in 430 MB.
package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
)

type leaf struct {
	left, right *leaf
	name        string
	value       int
}

type link struct {
	value [3]uint64
	inner struct{ next *link }
	into  *uint64 // the middle of another link
}

var (
	trees []*leaf
	list  *link
	index = map[string]*leaf{}
)

func grow(depth int, n *int) *leaf {
	if depth == 0 || *n <= 0 {
		return nil
	}
	*n -= 2
	l := &leaf{name: strconv.Itoa(*n + 1000000), value: *n}
	l.left = grow(depth-1, n)
	l.right = grow(depth-1, n)
	return l
}

func hold(n int, ready chan<- bool, end <-chan bool) {
	local := make([]*link, n)
	for i := range local {
		local[i] = &link{}
	}
	ready <- true
	<-end
	runtime.KeepAlive(local)
}

func main() {
	if len(os.Args) != 3 {
		fmt.Println("usage: goheap_gen FILE OBJECTS")
		return
	}
	n, err := strconv.Atoi(os.Args[2])
	if err != nil {
		panic(err)
	}
	for left := n * 3 / 4; left > 0; {
		before := left
		trees = append(trees, grow(12, &left))
		if before/1000 != left/1000 {
			index["tree "+strconv.Itoa(left)] = trees[len(trees)-1]
		}
	}
	for i := 0; i < n/5; i++ {
		l := &link{}
		l.inner.next = list
		if list != nil {
			l.into = &list.value[1]
		}
		list = l
	}
	ready, end := make(chan bool), make(chan bool)
	for i := 0; i < 20; i++ {
		go hold(n/400, ready, end)
		<-ready
	}
	runtime.GC()
	out, err := os.Create(os.Args[1])
	if err != nil {
		panic(err)
	}
	debug.WriteHeapDump(out.Fd())
	if err := out.Close(); err != nil {
		panic(err)
	}
	close(end)
}

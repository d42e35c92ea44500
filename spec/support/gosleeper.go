// Command gosleeper keeps goroutines for a census to count: gosleeper RECEIVERS SLEEPERS, prints a line when all are there.
package main

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"
)

//go:noinline
func stuck(ready *sync.WaitGroup, ch chan int) { ready.Done(); <-ch }

//go:noinline
func nap(ready *sync.WaitGroup) {
	for ready.Done(); ; {
		time.Sleep(time.Millisecond)
	}
}

func main() {
	receivers, _ := strconv.Atoi(os.Args[1])
	sleepers, _ := strconv.Atoi(os.Args[2])
	var ready sync.WaitGroup
	ready.Add(receivers + sleepers)
	ch := make(chan int)
	for i := 0; i < receivers; i++ {
		go stuck(&ready, ch)
	}
	for i := 0; i < sleepers; i++ {
		go nap(&ready)
	}
	ready.Wait()
	fmt.Println("ready")
	time.Sleep(time.Minute)
}

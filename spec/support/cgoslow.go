// Leaks C memory from Go when it is told to, a line of input at a time: for specs that bring the agent late.
package main

/*
#include <stdlib.h>
#include <string.h>
static void *make_texture(size_t n) { void *p = malloc(n); memset(p, 1, n); return p; }
*/
import "C"
import (
	"bufio"
	"fmt"
	"os"
	"unsafe"
)

var kept []unsafe.Pointer

//go:noinline
func leakSlowly() { kept = append(kept, C.make_texture(4000)) }

func main() {
	fmt.Println(os.Getpid())
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		done := make(chan bool)
		go func() {
			for i := 0; i < 500; i++ {
				leakSlowly()
			}
			done <- true
		}()
		<-done
		fmt.Println("leaked")
	}
}

// Leaks C memory from Go in three ways, the same number of times each: for specs of the malloc agent.
// Ends with its input.
package main

/*
#include <stdlib.h>
#include <string.h>
static void *make_texture(size_t n) { void *p = malloc(n); memset(p, 1, n); return p; }
*/
import "C"
import (
	"fmt"
	"io"
	"os"
	"unsafe"
)

var kept []unsafe.Pointer

//go:noinline
func leakTexture(n int) { kept = append(kept, C.make_texture(C.size_t(n))) }

//go:noinline
func leakMalloc(n int) { kept = append(kept, C.malloc(C.size_t(n))) }

//go:noinline
func leakString(n int) { kept = append(kept, unsafe.Pointer(C.CString(string(make([]byte, n))))) }

//go:noinline
func handler(i int) {
	leakTexture(8192)
	leakMalloc(4096)
	leakString(2048)
}

func main() {
	done := make(chan bool)
	for g := 0; g < 4; g++ {
		go func() {
			for i := 0; i < 2500; i++ {
				handler(i)
			}
			done <- true
		}()
	}
	for g := 0; g < 4; g++ {
		<-done
	}
	fmt.Println(os.Getpid())
	io.Copy(io.Discard, os.Stdin)
}

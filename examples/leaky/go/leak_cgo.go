//go:build cgo

package main

/*
#include <stdlib.h>
#include <string.h>

// Keeps the blocks in a list of C: no Go pointer knows them, no Go profile shows them.
static void *leaked;

static void leak_block(size_t bytes) {
	void *block = malloc(bytes);
	if (block == NULL) return;
	memset(block, 0x5a, bytes);
	*(void **)block = leaked;
	leaked = block;
}
*/
import "C"

const haveC = true

func leakC() { C.leak_block(16 << 10) }

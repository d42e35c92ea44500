//go:build !cgo

package main

// Without cgo there is no C memory to leak: -cgo is refused with a reason.
const haveC = false

func leakC() {}

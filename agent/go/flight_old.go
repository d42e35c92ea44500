//go:build !go1.25

package agent

import "io"

// There is no flight recorder before Go 1.25: traces are taken over a span.

func startFlight() {}

func stopFlight() {}

func hasFlight() bool { return false }

func writeFlight(io.Writer) error { return errTracing }

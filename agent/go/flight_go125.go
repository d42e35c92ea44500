//go:build go1.25

package agent

import (
	"io"
	"runtime/trace"
	"sync"
	"time"
)

var flight struct {
	sync.Mutex
	recorder *trace.FlightRecorder
	users    int
}

// startFlight keeps the last ten seconds, in at most 8 MiB. A program that runs a recorder of its
// own keeps that one: there can only be one, and traces of a span are taken then.
func startFlight() {
	flight.Lock()
	defer flight.Unlock()
	flight.users++
	if flight.users > 1 {
		return
	}
	recorder := trace.NewFlightRecorder(trace.FlightRecorderConfig{MinAge: 10 * time.Second, MaxBytes: 8 << 20})
	if recorder.Start() == nil {
		flight.recorder = recorder
	}
}

func stopFlight() {
	flight.Lock()
	defer flight.Unlock()
	flight.users--
	if flight.users == 0 && flight.recorder != nil {
		flight.recorder.Stop()
		flight.recorder = nil
	}
}

func hasFlight() bool {
	flight.Lock()
	defer flight.Unlock()
	return flight.recorder != nil
}

func writeFlight(w io.Writer) error {
	flight.Lock()
	recorder := flight.recorder
	flight.Unlock()
	if recorder == nil {
		return errTracing
	}
	_, err := recorder.WriteTo(w)
	return err
}

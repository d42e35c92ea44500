package agent

import (
	"errors"
	"io"
	"net/http"
	"runtime/trace"
	"strconv"
	"time"
)

var errTracing = errors.New("a trace is running already")

// Traces for so long. The recorder of the program itself, if it runs one, is left alone.
func recordTrace(w io.Writer, span time.Duration, done <-chan struct{}) error {
	if err := trace.Start(w); err != nil {
		return errTracing
	}
	defer trace.Stop()
	select {
	case <-time.After(span):
	case <-done:
	}
	return nil
}

func serveTrace(w http.ResponseWriter, r *http.Request) {
	seconds, err := strconv.ParseFloat(r.FormValue("seconds"), 64)
	if r.FormValue("seconds") != "" && (err != nil || seconds <= 0 || seconds > 3600) {
		http.Error(w, "seconds is a number up to 3600", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if seconds == 0 && hasFlight() {
		err = writeFlight(w)
	} else {
		if seconds == 0 {
			seconds = 1
		}
		err = recordTrace(w, time.Duration(seconds*float64(time.Second)), r.Context().Done())
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

package agent

import (
	"net/http"
	"sync"
	"time"
)

// The levels of pressure, from "let go of caches" to "keep only what work needs".
const (
	Warning  = "warning"
	Severe   = "severe"
	Critical = "critical"
)

var pressure struct {
	sync.Mutex
	last  int
	calls map[int]func(level string)
}

// OnPressure has fn called whenever tidemark asks for memory (POST /pressure?level=severe). Calls
// come one after the other, on a goroutine of the agent; the one who asked waits for them. remove
// takes fn out again.
func OnPressure(fn func(level string)) (remove func()) {
	pressure.Lock()
	defer pressure.Unlock()
	if pressure.calls == nil {
		pressure.calls = make(map[int]func(string))
	}
	pressure.last++
	id := pressure.last
	pressure.calls[id] = fn
	return func() {
		pressure.Lock()
		defer pressure.Unlock()
		delete(pressure.calls, id)
	}
}

// Pressure calls the functions of OnPressure, in their order, and says how many there were.
func Pressure(level string) int {
	pressure.Lock()
	var calls []func(string)
	for id := 1; id <= pressure.last; id++ {
		if fn := pressure.calls[id]; fn != nil {
			calls = append(calls, fn)
		}
	}
	pressure.Unlock()
	for _, fn := range calls {
		fn(level)
	}
	return len(calls)
}

func servePressure(w http.ResponseWriter, r *http.Request) {
	level := r.FormValue("level")
	if level != Warning && level != Severe && level != Critical {
		http.Error(w, "level is warning, severe or critical", http.StatusBadRequest)
		return
	}
	start := time.Now()
	called := Pressure(level)
	answer(w, map[string]any{"level": level, "called": called, "took_ns": time.Since(start).Nanoseconds()})
}

package agent

import (
	"net/http"
	"sort"
	"sync"
	"time"
)

// A Binder registers resources of one session: what a document, a request or a user's visit holds.
// What is still registered when the session is over was leaked, and can be released from outside.
type Binder struct{ session string }

type resource struct {
	kind    string
	bytes   int64
	made    time.Time
	release func()
}

var sessions struct {
	sync.Mutex
	byID map[string]map[string]*resource // session, resource
	over map[string]time.Time            // sessions that ended while something was registered
}

// Session names a session; its id is the program's own. It costs nothing until Register.
func Session(id string) Binder { return Binder{id} }

// Register tells of a resource: its kind ("image", "callback", "buffer"), an id within the session,
// its size as far as known, and how it is given back (nil: it cannot be from outside). The same id
// again replaces what was registered, without releasing it.
func (b Binder) Register(kind, id string, bytes int64, release func()) {
	sessions.Lock()
	defer sessions.Unlock()
	if sessions.byID == nil {
		sessions.byID = make(map[string]map[string]*resource)
	}
	if sessions.byID[b.session] == nil {
		sessions.byID[b.session] = make(map[string]*resource)
	}
	sessions.byID[b.session][id] = &resource{kind, bytes, time.Now(), release}
}

// Done takes a resource out that the program gave back by itself. release is not called.
func (b Binder) Done(id string) { b.take(id) }

// End says that the session is over. What is still registered has outlived it: it is shown as such,
// and stays until Done, Close, or a release from outside.
func (b Binder) End() {
	sessions.Lock()
	defer sessions.Unlock()
	if len(sessions.byID[b.session]) == 0 {
		return
	}
	if sessions.over == nil {
		sessions.over = make(map[string]time.Time)
	}
	sessions.over[b.session] = time.Now()
}

// Close releases everything that is still registered, and says how much that was.
func (b Binder) Close() (released int, bytes int64) {
	sessions.Lock()
	ids := make([]string, 0, len(sessions.byID[b.session]))
	for id := range sessions.byID[b.session] {
		ids = append(ids, id)
	}
	sessions.Unlock()
	sort.Strings(ids)
	for _, id := range ids {
		if r, ok := b.release(id); ok {
			released++
			bytes += r.bytes
		}
	}
	return released, bytes
}

func (b Binder) take(id string) *resource {
	sessions.Lock()
	defer sessions.Unlock()
	r := sessions.byID[b.session][id]
	if r == nil {
		return nil
	}
	delete(sessions.byID[b.session], id)
	if len(sessions.byID[b.session]) == 0 {
		delete(sessions.byID, b.session)
		delete(sessions.over, b.session)
	}
	return r
}

// Outside of the lock: a release may register, or close other sessions.
func (b Binder) release(id string) (*resource, bool) {
	r := b.take(id)
	if r == nil {
		return nil, false
	}
	if r.release != nil {
		r.release()
	}
	return r, true
}

type shownResource struct {
	Kind       string `json:"kind"`
	ID         string `json:"id"`
	Bytes      int64  `json:"bytes"`
	AgeNS      int64  `json:"age_ns"`
	Releasable bool   `json:"releasable"`
}

type shownSession struct {
	Session   string          `json:"session"`
	Bytes     int64           `json:"bytes"`
	OverNS    int64           `json:"over_ns,omitempty"` // since End
	Resources []shownResource `json:"resources"`
}

func showSessions() []shownSession {
	sessions.Lock()
	defer sessions.Unlock()
	out := []shownSession{}
	for name, resources := range sessions.byID {
		s := shownSession{Session: name}
		if at, ok := sessions.over[name]; ok {
			s.OverNS = time.Since(at).Nanoseconds()
		}
		for id, r := range resources {
			s.Bytes += r.bytes
			s.Resources = append(s.Resources, shownResource{r.kind, id, r.bytes, time.Since(r.made).Nanoseconds(), r.release != nil})
		}
		sort.Slice(s.Resources, func(i, k int) bool { return s.Resources[i].ID < s.Resources[k].ID })
		out = append(out, s)
	}
	sort.Slice(out, func(i, k int) bool { return out[i].Session < out[k].Session })
	return out
}

func serveSessions(w http.ResponseWriter, _ *http.Request) { answer(w, showSessions()) }

func serveRelease(w http.ResponseWriter, r *http.Request) {
	session, id := r.FormValue("session"), r.FormValue("id")
	if session == "" {
		http.Error(w, "session is missing", http.StatusBadRequest)
		return
	}
	released, bytes := 0, int64(0)
	if id == "" {
		released, bytes = Session(session).Close()
	} else if one, ok := Session(session).release(id); ok {
		released, bytes = 1, one.bytes
	}
	if released == 0 {
		http.Error(w, "nothing of that name is registered", http.StatusNotFound)
		return
	}
	answer(w, map[string]any{"released": released, "bytes": bytes})
}

// Package agent lets tidemark look into a Go program, and ask it for memory.
//
// It serves one unix socket that only the program's user can open:
//
//	func main() {
//		stop, err := agent.Serve("") // $XDG_RUNTIME_DIR/tidemark-PID.sock
//		if err != nil {
//			log.Print(err)
//		}
//		defer stop()
//		agent.OnPressure(func(level string) { cache.Clear() })
//		...
//	}
//
// Served are net/http/pprof and expvar at their usual places, and
//
//	POST /gc               a collection; answers the heap before and after
//	POST /free-os-memory   the same, and free memory goes back to the system
//	POST /heapdump         every object, root and stack, as runtime/debug.WriteHeapDump writes them
//	GET  /trace            what the flight recorder kept (Go 1.25), else a trace of ?seconds=1
//	POST /pressure?level=  calls the functions of OnPressure: warning, severe or critical
//	GET  /sessions         what Session(...).Register was told of, as JSON
//	POST /sessions/release?session=S[&id=R]
//
// The package needs nothing but the standard library, Go 1.19 or later. It registers nothing at
// http.DefaultServeMux. (The imports of net/http/pprof and expvar do, as they always do; a program
// that serves DefaultServeMux shows their pages there.)
package agent

import (
	"encoding/json"
	"errors"
	"expvar"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"
)

// SocketPath is where Serve("") listens and where tidemark looks for a program by its pid:
// tidemark-PID.sock in $XDG_RUNTIME_DIR, /run/user/UID or the folder for temporary files.
func SocketPath() string {
	name := fmt.Sprintf("tidemark-%d.sock", os.Getpid())
	for _, dir := range []string{os.Getenv("XDG_RUNTIME_DIR"), fmt.Sprintf("/run/user/%d", os.Getuid())} {
		if st, err := os.Stat(dir); dir != "" && err == nil && st.IsDir() {
			return filepath.Join(dir, name)
		}
	}
	return filepath.Join("/tmp", name)
}

// Serve listens on a unix socket of mode 0600 and answers in the background. An empty path is
// SocketPath. A socket that a program left behind is replaced; one that somebody serves is not.
// stop ends it and removes the socket; calling it twice is fine.
func Serve(path string) (stop func(), err error) {
	if path == "" {
		path = SocketPath()
	}
	listener, err := listen(path)
	if err != nil {
		return func() {}, fmt.Errorf("tidemark agent: %w", err)
	}
	startFlight()
	server := &http.Server{Handler: Handler(), ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(listener)
	var once sync.Once
	return func() {
		once.Do(func() {
			server.Close()
			listener.Close() // the server may not have taken it yet
			stopFlight()
		})
	}, nil
}

// The socket is made in a folder of its own and gets its mode before it gets its name, so there is
// no moment at which another user could connect.
func listen(path string) (net.Listener, error) {
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return nil, fmt.Errorf("%s: %w", path, syscall.EADDRINUSE)
	}
	if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSocket == 0 {
		return nil, fmt.Errorf("%s is no socket", path)
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".tm-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	aside := filepath.Join(dir, "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: aside, Net: "unix"})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false)
	if err = os.Chmod(aside, 0o600); err == nil {
		err = os.Rename(aside, path)
	}
	if err != nil {
		listener.Close()
		return nil, err
	}
	return &socket{listener, path}, nil
}

// A listener that removes the file under the name that it has now.
type socket struct {
	*net.UnixListener
	path string
}

func (s *socket) Close() error {
	err := s.UnixListener.Close()
	if err == nil {
		os.Remove(s.path)
	}
	return err
}

// Handler is what Serve serves, for programs that listen by themselves. Whoever reaches it can read
// the program's memory.
func Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.Handle("/debug/vars", expvar.Handler())
	mux.HandleFunc("/agent", only(http.MethodGet, serveAbout))
	mux.HandleFunc("/gc", only(http.MethodPost, serveCollection(runtime.GC)))
	mux.HandleFunc("/free-os-memory", only(http.MethodPost, serveCollection(debug.FreeOSMemory)))
	mux.HandleFunc("/heapdump", only(http.MethodPost, serveHeapDump))
	mux.HandleFunc("/trace", only(http.MethodGet, serveTrace))
	mux.HandleFunc("/pressure", only(http.MethodPost, servePressure))
	mux.HandleFunc("/sessions", only(http.MethodGet, serveSessions))
	mux.HandleFunc("/sessions/release", only(http.MethodPost, serveRelease))
	return mux
}

func only(method string, handle http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method {
			w.Header().Set("Allow", method)
			http.Error(w, "this wants "+method, http.StatusMethodNotAllowed)
			return
		}
		handle(w, r)
	}
}

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(value)
}

func serveAbout(w http.ResponseWriter, _ *http.Request) {
	answer(w, map[string]any{"agent": "tidemark", "version": 1, "go": runtime.Version(), "pid": os.Getpid(), "flight": hasFlight()})
}

// Bytes of heap objects and of memory given back, before and after a collection.
type collection struct {
	Before         uint64 `json:"before"`
	After          uint64 `json:"after"`
	ReleasedBefore uint64 `json:"released_before"`
	ReleasedAfter  uint64 `json:"released_after"`
}

func serveCollection(collect func()) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		collect()
		runtime.ReadMemStats(&after)
		answer(w, collection{before.HeapAlloc, after.HeapAlloc, before.HeapReleased, after.HeapReleased})
	}
}

var dumping sync.Mutex

// The runtime writes a dump only into a file, with the world stopped. The file has no name from the
// start, so nothing is left behind, whatever happens.
func serveHeapDump(w http.ResponseWriter, _ *http.Request) {
	if !dumping.TryLock() {
		http.Error(w, "a dump is being written already", http.StatusServiceUnavailable)
		return
	}
	defer dumping.Unlock()
	file, err := os.CreateTemp("", "tidemark-heap-")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer file.Close()
	os.Remove(file.Name())
	debug.WriteHeapDump(file.Fd())
	size, err := file.Seek(0, io.SeekEnd)
	if err == nil && size == 0 {
		err = errors.New("the runtime wrote nothing: is the disk full?")
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", fmt.Sprint(size))
	io.Copy(w, file)
}

package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

// A served agent: ask(method, path) answers status and body.
func serve(t *testing.T) (path string, ask func(method, path string) (int, []byte)) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "a.sock")
	stop, err := Serve(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	t.Cleanup(client.CloseIdleConnections)
	return path, func(method, place string) (int, []byte) {
		t.Helper()
		request, _ := http.NewRequest(method, "http://agent"+place, nil)
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, body
	}
}

func TestSocketIsPrivateAndRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	stop, err := Serve(path)
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", st.Mode(), err)
	}
	if _, err := Serve(path); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Fatalf("a served socket was taken over: %v", err)
	}
	stop()
	stop()
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 0 {
		t.Fatalf("left behind: %v", left)
	}
}

func TestStaleSocketIsReplacedAndFilesAreNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	old.Close()
	stop, err := Serve(path)
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if err := os.WriteFile(path, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Serve(path); err == nil {
		t.Fatal("a file was replaced")
	}
}

func TestProfilesAndCounters(t *testing.T) {
	_, ask := serve(t)
	for _, place := range []string{"/debug/pprof/heap", "/debug/pprof/goroutine?debug=2", "/debug/pprof/", "/debug/vars", "/agent"} {
		if status, body := ask("GET", place); status != 200 || len(body) == 0 {
			t.Errorf("%s: %d, %d bytes", place, status, len(body))
		}
	}
}

var kept []byte

func TestCollection(t *testing.T) {
	_, ask := serve(t)
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // nobody else collects
	for _, place := range []string{"/gc", "/free-os-memory"} {
		kept = make([]byte, 32<<20)
		kept = nil
		status, body := ask("POST", place)
		var c collection
		if err := json.Unmarshal(body, &c); status != 200 || err != nil {
			t.Fatalf("%s: %d %s", place, status, body)
		}
		if c.Before < c.After+(30<<20) {
			t.Errorf("%s: %d -> %d bytes", place, c.Before, c.After)
		}
		if place == "/free-os-memory" && c.ReleasedAfter < 30<<20 {
			t.Errorf("released %d bytes", c.ReleasedAfter)
		}
	}
	if status, _ := ask("GET", "/gc"); status != http.StatusMethodNotAllowed {
		t.Errorf("GET /gc: %d", status)
	}
}

func TestHeapDump(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	_, ask := serve(t)
	status, body := ask("POST", "/heapdump")
	if status != 200 || !bytes.HasPrefix(body, []byte("go1.7 heap dump\n")) {
		t.Fatalf("%d, %q", status, body[:min(len(body), 40)])
	}
	if left, _ := os.ReadDir(os.Getenv("TMPDIR")); len(left) != 0 {
		t.Fatalf("left behind: %v", left)
	}
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}

func TestTrace(t *testing.T) {
	_, ask := serve(t)
	for _, place := range []string{"/trace", "/trace?seconds=0.1"} {
		if status, body := ask("GET", place); status != 200 || !bytes.HasPrefix(body, []byte("go 1.")) {
			t.Errorf("%s: %d, %q (%s)", place, status, body[:min(len(body), 60)], runtime.Version())
		}
	}
	if status, _ := ask("GET", "/trace?seconds=x"); status != 400 {
		t.Errorf("seconds=x: %d", status)
	}
}

func TestPressure(t *testing.T) {
	_, ask := serve(t)
	var levels []string
	first := OnPressure(func(level string) { levels = append(levels, "1:"+level) })
	second := OnPressure(func(level string) { levels = append(levels, "2:"+level) })
	defer second()
	if status, body := ask("POST", "/pressure?level=severe"); status != 200 || !bytes.Contains(body, []byte(`"called":2`)) {
		t.Errorf("%d %s", status, body)
	}
	first()
	ask("POST", "/pressure?level=warning")
	if status, _ := ask("POST", "/pressure?level=huge"); status != 400 {
		t.Errorf("level=huge: %d", status)
	}
	if got := strings.Join(levels, " "); got != "1:severe 2:severe 2:warning" {
		t.Errorf("called %s", got)
	}
}

func TestSessions(t *testing.T) {
	_, ask := serve(t)
	released := map[string]int{}
	doc := Session("doc 1")
	for _, id := range []string{"a", "b", "c"} {
		id := id
		doc.Register("image", id, 1000, func() { released[id]++ })
	}
	doc.Register("callback", "d", 0, nil)
	doc.Done("a")
	doc.End()
	time.Sleep(time.Millisecond)
	_, body := ask("GET", "/sessions")
	var list []shownSession
	if err := json.Unmarshal(body, &list); err != nil || len(list) != 1 {
		t.Fatalf("%v: %s", err, body)
	}
	s := list[0]
	if s.Session != "doc 1" || s.Bytes != 2000 || len(s.Resources) != 3 || s.OverNS <= 0 || s.Resources[0].AgeNS <= 0 || s.Resources[2].Releasable {
		t.Fatalf("%+v", s)
	}
	if status, body := ask("POST", "/sessions/release?session=doc+1&id=b"); status != 200 || !bytes.Contains(body, []byte(`"bytes":1000`)) {
		t.Errorf("%d %s", status, body)
	}
	if status, body := ask("POST", "/sessions/release?session=doc+1"); status != 200 || !bytes.Contains(body, []byte(`"released":2`)) {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := ask("POST", "/sessions/release?session=doc+1"); status != 404 {
		t.Errorf("released twice: %d", status)
	}
	if _, body := ask("GET", "/sessions"); string(body) != "[]\n" {
		t.Errorf("left: %s", body)
	}
	if released["a"] != 0 || released["b"] != 1 || released["c"] != 1 {
		t.Errorf("released %v", released)
	}
}

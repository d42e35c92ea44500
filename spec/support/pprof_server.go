// go run pprof_server.go SOCKET PORT_FILE [plain|silent]. A real net/http/pprof and expvar on a unix socket and on a free TCP port,
// whose number goes to PORT_FILE; under prefixes it misbehaves:
//
//	/app     the same, behind a prefix        /hang    never answers         /stall   stops within the answer
//	/none    404 for everything               /page    a web page everywhere /garbage random bytes as a profile
//	/circle  redirects to itself
//	/noise   no HTTP at all                   /huge    2 GB, said before     /endless 2 GB, not said
//	/busy    a CPU profile runs already       /host    only an empty Host    /token   wants a password
//
// plain: nothing but 404 anywhere. silent: the TCP port takes connections and never answers.
// pprof_server say SOCKET FILE: sends a line, prints the answer.
package main

import (
	"bufio"
	"bytes"
	"expvar"
	"fmt"
	"math/rand"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"runtime/pprof"
	"strconv"
)

func announce(w http.ResponseWriter, size int) {
	w.Header().Set("Content-Type", "application/octet-stream")
	if size > 0 {
		w.Header().Set("Content-Length", strconv.Itoa(size))
	}
}

func flood(w http.ResponseWriter, size int) {
	piece := bytes.Repeat([]byte("x"), 1<<20)
	for sent := 0; sent < size; sent += len(piece) {
		if _, err := w.Write(piece); err != nil {
			return
		}
	}
}

func noise(w http.ResponseWriter, _ *http.Request) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		c.Write([]byte("\x00\x01 no HTTP here\r\n\r\n"))
		c.Close()
	}
}

// Serves what stands behind the prefix, when may allows it.
func behind(prefix string, may func(http.ResponseWriter, *http.Request) bool) {
	real := http.StripPrefix(prefix, http.DefaultServeMux)
	http.HandleFunc(prefix+"/", func(w http.ResponseWriter, r *http.Request) {
		if may(w, r) {
			real.ServeHTTP(w, r)
		}
	})
}

func misbehave() {
	http.HandleFunc("/hang/", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	http.HandleFunc("/stall/", func(w http.ResponseWriter, r *http.Request) {
		announce(w, 1000)
		w.Write([]byte("half"))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	http.HandleFunc("/none/", http.NotFound)
	http.HandleFunc("/page/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html><body>my app</body></html>") })
	http.HandleFunc("/garbage/", func(w http.ResponseWriter, _ *http.Request) {
		junk := make([]byte, 4096)
		rand.New(rand.NewSource(1)).Read(junk)
		announce(w, len(junk))
		w.Write(junk)
	})
	http.HandleFunc("/noise/", noise)
	http.HandleFunc("/circle/", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) })
	http.HandleFunc("/huge/", func(w http.ResponseWriter, _ *http.Request) { announce(w, 2000000000); flood(w, 2000000000) })
	http.HandleFunc("/endless/", func(w http.ResponseWriter, _ *http.Request) { announce(w, 0); flood(w, 2000000000) })
}

// Sends the file's line to a unix socket and prints the first line that comes back.
func say(socket, file string) {
	line, _ := os.ReadFile(file)
	c, err := net.Dial("unix", socket)
	if err == nil {
		c.Write(line)
		answer, _ := bufio.NewReader(c).ReadString('\n')
		fmt.Print(answer)
	}
}

func main() {
	if os.Args[1] == "say" {
		say(os.Args[2], os.Args[3])
		return
	}
	misbehave()
	always := func(http.ResponseWriter, *http.Request) bool { return true }
	behind("/app", always)
	real := http.StripPrefix("/busy", http.DefaultServeMux)
	http.HandleFunc("/busy/debug/pprof/profile", func(w http.ResponseWriter, r *http.Request) {
		pprof.StartCPUProfile(&bytes.Buffer{})
		real.ServeHTTP(w, r)
		pprof.StopCPUProfile()
	})
	behind("/host", func(w http.ResponseWriter, r *http.Request) bool {
		if r.Host != "" {
			http.Error(w, `{"error":"host not allowed: `+r.Host+`"}`, http.StatusForbidden)
		}
		return r.Host == ""
	})
	behind("/token", func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") != "Bearer secret" {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return false
		}
		return true
	})
	documents := pprof.NewProfile("example.com/app.documents")
	documents.Add(new(int), 0)
	expvar.NewInt("documents").Set(7)
	expvar.NewMap("queue").Add("waiting", 3)
	requests := expvar.NewInt("requests")
	http.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		fmt.Fprintf(w, "# TYPE go_goroutines gauge\ngo_goroutines 11\n# TYPE app_open_bytes gauge\napp_open_bytes{kind=\"a\"} 5e3\n"+
			"# TYPE scrapes counter\nscrapes_total %d\n", requests.Value())
	})
	unix, err := net.Listen("unix", os.Args[1])
	if err == nil {
		var tcp net.Listener
		if tcp, err = net.Listen("tcp", "127.0.0.1:0"); err == nil {
			os.WriteFile(os.Args[2]+".new", []byte(strconv.Itoa(tcp.Addr().(*net.TCPAddr).Port)), 0600)
			os.Rename(os.Args[2]+".new", os.Args[2])
			var handler http.Handler
			if len(os.Args) > 3 && os.Args[3] == "plain" {
				handler = http.NotFoundHandler()
			}
			if len(os.Args) > 3 && os.Args[3] == "silent" {
				tcp = unix
			} else {
				go http.Serve(unix, handler)
			}
			err = http.Serve(tcp, handler)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

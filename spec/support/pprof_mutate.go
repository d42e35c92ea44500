// Mutates profiles and holds our reader's verdict on each mutation against google/pprof's own, both in one process each:
// pprof_mutate VERDICTS SEED PROFILE... Every mutation must be read as pprof reads it (the text of -raw), or be refused
// with an offset inside it. Started by pprof_mutate.sh. VERDICTS = the built pprof_verdicts.
package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"github.com/google/pprof/profile"
)

// --- pprof as a function ---

// What `pprof -raw` prints of data, or why it is refused. The driver around the parser is not used: it panics on build
// ids of one character. What it does to a
// profile between reading and printing is repeated here, but for emptying the files of mappings that look like URLs.
func reference(data []byte) (string, error) {
	p, err := profile.ParseData(data)
	if err != nil {
		return "", err
	}
	if len(p.Mapping) == 0 {
		m := &profile.Mapping{ID: 1}
		p.Mapping = []*profile.Mapping{m}
		for _, l := range p.Location {
			l.Mapping = m
		}
	}
	p.RemoveUninteresting() // the driver ignores wrong patterns, too
	if err := p.CheckValid(); err != nil {
		return "", err
	}
	if len(p.SampleType) == 0 {
		return "", errors.New("profile has no samples")
	}
	return p.Copy().String(), nil
}

// --- ours ---

type verdict struct {
	read   bool
	offset int64 // -1 = none
	format string
	text   string // the report, or the reason
}

type reader struct {
	in  *bufio.Writer
	out *bufio.Reader
	cmd *exec.Cmd
}

func start(path string) *reader {
	cmd := exec.Command(path)
	cmd.Stderr = os.Stderr
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	return &reader{bufio.NewWriter(in), bufio.NewReader(out), cmd}
}

func (r *reader) ask(data []byte) (verdict, error) {
	binary.Write(r.in, binary.LittleEndian, uint32(len(data)))
	r.in.Write(data)
	r.in.Flush()
	head, err := r.out.ReadString('\n')
	if err != nil {
		return verdict{}, err
	}
	f := strings.Fields(head) // ok|no offset format size
	size, _ := strconv.Atoi(f[3])
	offset, _ := strconv.ParseInt(f[1], 10, 64)
	text := make([]byte, size)
	_, err = io.ReadFull(r.out, text)
	return verdict{f[0] == "ok", offset, f[2], string(text)}, err
}

// --- mutations ---

func splice(data []byte, from, to int, middle ...byte) []byte {
	if to > len(data) {
		to = len(data)
	}
	out := append([]byte{}, data[:from]...)
	out = append(out, middle...)
	return append(out, data[to:]...)
}

func mutations(data []byte, random *rand.Rand, try func(what string, data []byte)) {
	try("nothing", data)
	for percent := 0; percent < 100; percent++ {
		at := len(data)*percent/100 + random.Intn(len(data)/100+1)
		if at >= len(data) {
			at = len(data) - 1
		}
		try(fmt.Sprint("cut at ", at), data[:at])
		for bit := 0; bit < 8; bit++ {
			try(fmt.Sprint("bit ", bit, " at ", at), splice(data, at, at+1, data[at]^(1<<bit)))
		}
		n := 1 + random.Intn(16)
		from := random.Intn(len(data))
		to := from + n
		if to > len(data) {
			to = len(data)
		}
		try(fmt.Sprint("less ", n, " at ", at), splice(data, at, at+n))
		try(fmt.Sprint("more from ", from, " at ", at), splice(data, at, at, data[from:to]...))
		try(fmt.Sprint("copy from ", from, " at ", at), splice(data, at, at+to-from, data[from:to]...))
		try(fmt.Sprint("byte at ", at), splice(data, at, at+1, byte(random.Intn(256))))
		try(fmt.Sprint("one more at ", at), splice(data, at, at, byte(random.Intn(256))))
	}
}

// Symbol lines are what we read and pprof does not; without them both must agree.
func withoutComments(data []byte) []byte {
	var out []byte
	for _, line := range bytes.SplitAfter(data, []byte("\n")) {
		if !bytes.HasPrefix(line, []byte("#")) {
			out = append(out, line...)
		}
	}
	return out
}

// The file's bytes, unpacked, and packed when they are.
func load(path string) (data, packed []byte) {
	data, err := os.ReadFile(path)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	if r, err := gzip.NewReader(bytes.NewReader(data)); err == nil {
		if unpacked, err := io.ReadAll(r); err == nil {
			data, packed = unpacked, data
		}
	}
	if bytes.Contains(data, []byte("\n#\t0x")) {
		data, packed = withoutComments(data), nil
	}
	return data, packed
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := 0; i < len(x) || i < len(y); i++ {
		l, r := "(end)", "(end)"
		if i < len(x) {
			l = x[i]
		}
		if i < len(y) {
			r = y[i]
		}
		if l != r {
			return fmt.Sprintf("line %d: pprof %q, we %q", i+1, l, r)
		}
	}
	return ""
}

func main() {
	seed, _ := strconv.ParseInt(os.Args[2], 10, 64)
	random := rand.New(rand.NewSource(seed))
	ours := start(os.Args[1])
	count, same, refused, failed, zeros := 0, 0, 0, 0, 0
	stricter := map[string]int{}
	for _, path := range os.Args[3:] {
		data, packed := load(path)
		try := func(what string, data []byte) {
			count++
			text, err := reference(data)
			v, broken := ours.ask(data)
			fail := ""
			switch {
			case broken != nil:
				fmt.Println("our reader died on", path, what)
				os.WriteFile("died.profile", data, 0o600)
				os.Exit(1)
			case !v.read && v.text == "":
				fail = "refused without a reason"
			case !v.read && err != nil:
				refused++
			case !v.read:
				reason := strings.Map(func(r rune) rune {
					if r >= '0' && r <= '9' {
						return -1
					}
					return r
				}, strings.SplitN(v.text, "\"", 2)[0])
				stricter[reason]++
				if v.offset < 0 || v.offset > int64(len(data)) {
					fail = fmt.Sprintf("refused at %d of %d: %s", v.offset, len(data), v.text)
				}
			case err != nil:
				fail = fmt.Sprintf("read as %s, pprof: %v", v.format, err)
			case strings.Contains(text, "\x00"): // our reports end a name there
				zeros++
			case text != v.text:
				fail = firstDifference(text, v.text)
			default:
				same++
			}
			if fail != "" {
				failed++
				fmt.Printf("FAIL %s, %s: %s\n", filepath.Base(path), what, fail)
				if failed <= 20 {
					os.WriteFile(fmt.Sprintf("fail%d.profile", failed), data, 0o600)
				}
			}
		}
		mutations(data, random, try)
		for percent := 0; percent < 100 && len(packed) > 0; percent++ {
			at := len(packed) * percent / 100
			try(fmt.Sprint("packed, cut at ", at), packed[:at])
			try(fmt.Sprint("packed, bit at ", at), splice(packed, at, at+1, packed[at]^(1<<random.Intn(8))))
		}
	}
	reasons := []string{}
	for reason, n := range stricter {
		reasons = append(reasons, fmt.Sprintf("%6d refused here only: %s", n, reason))
	}
	sort.Strings(reasons)
	fmt.Println(strings.Join(reasons, "\n"))
	fmt.Printf("%d mutations: %d read alike, %d refused by both, %d refused here only, %d with a zero byte in a name, "+
		"%d failed\n", count, same, refused, count-same-refused-failed-zeros, zeros, failed)
	if failed > 0 {
		os.Exit(1)
	}
}

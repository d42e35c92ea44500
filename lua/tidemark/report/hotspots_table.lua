-- What it means when a call path is hot in the allocator, and what to do. First match first; rules of your own go before these.
-- The paths in the tests run from the leaf to the root, as profiles have them.

-- ---- the garbage collector's own share ----

tm.hotspot {
  id = "barrier", match = { class = { "barrier" } },
  verdict = "stores of pointers while the collector runs",
  advice = [[Hold fewer pointers here: indexes instead of pointers, values instead of pointers to them, a slice of structs instead of
    a slice of pointers. Fill a structure before it is linked into a large one.]],
  tests = {
    { name = "a linked list", path = { "runtime.wbBufFlush1", "runtime.wbBufFlush", "runtime.gcWriteBarrier2", "main.(*List).push", "main.main" }, is = true },
    { name = "allocation is not it", path = { "runtime.mallocgc", "runtime.newobject", "main.(*List).push", "main.main" }, is = false },
  },
}

-- ---- encodings ----

tm.hotspot {
  id = "json.decode.kept",
  match = { path = { "encoding/json.Unmarshal*", "encoding/json.(*Decoder).*", "encoding/json.(*decodeState).*", "github.com/json-iterator/*Read*" } },
  needs = { growth = "1MB" },
  verdict = "decoded JSON is kept, and grows",
  advice = [[Keep only the fields that are used: decode into a struct of these fields rather than map[string]any or json.RawMessage, which
    hold on to the whole document, and copy short strings with strings.Clone. Bound the cache that holds them.]],
  tests = {
    { name = "documents pile up", path = { "runtime.mallocgc", "encoding/json.(*decodeState).literalStore", "encoding/json.Unmarshal", "main.load" },
      growth = "20MB", is = true },
    { name = "garbage is not kept", path = { "runtime.mallocgc", "encoding/json.(*decodeState).literalStore", "encoding/json.Unmarshal", "main.load" },
      growth = 0, churn = 100, is = false },
  },
}

tm.hotspot {
  id = "json.decode",
  match = { path = { "encoding/json.Unmarshal*", "encoding/json.(*Decoder).*", "encoding/json.(*decodeState).*", "github.com/json-iterator/*Read*" } },
  verdict = "decoding JSON makes garbage",
  advice = [[Decode into a concrete struct instead of any or map[string]any, use the target and the json.Decoder again, stream large arrays
    element by element with Decoder.Token. If this is the hot path of the program, generate the decoder.]],
  tests = {
    { name = "unmarshal", path = { "runtime.mallocgc", "runtime.mapassign_faststr", "encoding/json.(*decodeState).objectInterface",
      "encoding/json.Unmarshal", "main.load" }, churn = 80, is = true },
    { name = "marshal is another", path = { "runtime.mallocgc", "encoding/json.Marshal", "main.save" }, is = false },
  },
}

tm.hotspot {
  id = "json.encode",
  match = { path = { "encoding/json.Marshal*", "encoding/json.(*Encoder).*", "encoding/json.(*encodeState).*", "encoding/json.*Encoder.encode",
    "github.com/json-iterator/*Write*" } },
  verdict = "encoding JSON makes garbage",
  advice = [[Write with a json.Encoder into a buffer that is used again (sync.Pool of bytes.Buffer) instead of json.Marshal, which returns
    a new copy each time; give structs instead of maps, whose keys are sorted and boxed.]],
  tests = {
    { name = "marshal of a map", path = { "runtime.growslice", "encoding/json.mapEncoder.encode", "encoding/json.Marshal", "main.save" }, is = true },
    { name = "no json", path = { "runtime.growslice", "main.save" }, is = false },
  },
}

tm.hotspot {
  id = "protobuf", match = { path = { "google.golang.org/protobuf/*", "github.com/golang/protobuf/*", "github.com/gogo/protobuf/*" } },
  verdict = "protobuf messages are made anew",
  advice = [[Use messages again (proto.Reset and UnmarshalOptions{Merge: true}), marshal with MarshalAppend into a kept buffer, and leave out
    fields that nobody reads.]],
  tests = {
    { path = { "runtime.mallocgc", "google.golang.org/protobuf/internal/impl.(*MessageInfo).unmarshalPointer", "google.golang.org/protobuf/proto.Unmarshal",
      "main.serve" }, is = true },
  },
}

tm.hotspot {
  id = "encoding.other", match = { path = { "encoding/xml.*", "encoding/gob.*", "encoding/csv.*", "encoding/asn1.*", "gopkg.in/yaml*" } },
  verdict = "a reflecting encoder makes garbage",
  advice = [[Keep the encoder or decoder between messages (gob sends types only once; csv.Reader has ReuseRecord); use a struct instead of maps;
    cache what is read from a configuration.]],
  tests = {
    { path = { "runtime.mallocgc", "encoding/xml.(*Decoder).rawToken", "encoding/xml.Unmarshal", "main.read" }, is = true },
  },
}

tm.hotspot {
  id = "base64", match = { path = { "encoding/base64.*", "encoding/hex.*", "encoding/base32.*" } },
  verdict = "text encodings copy their data",
  advice = "Use AppendEncode and AppendDecode (or Encode and Decode) with a buffer that is kept, or the streaming NewEncoder and NewDecoder.",
  tests = {
    { path = { "runtime.slicebytetostring", "encoding/base64.(*Encoding).EncodeToString", "main.token" }, is = true },
  },
}

-- ---- libraries that are made anew each time ----

tm.hotspot {
  id = "regexp.compile",
  match = { path = { "regexp.Compile*", "regexp.MustCompile*", "regexp.compile", "regexp.MatchString", "regexp.Match", "regexp/syntax.*" } },
  verdict = "a regular expression is compiled again and again",
  advice = "Compile it once: a package variable with regexp.MustCompile, or sync.OnceValue; for patterns from users, a small cache by pattern.",
  tests = {
    { path = { "runtime.mallocgc", "regexp/syntax.(*parser).newRegexp", "regexp.compile", "regexp.MustCompile", "main.handle" }, is = true },
    { name = "matching is another", path = { "runtime.growslice", "regexp.(*Regexp).FindAll", "main.handle" }, is = false },
  },
}

tm.hotspot {
  id = "regexp.match", match = { path = { "regexp.(*Regexp).*" } },
  verdict = "matches of a regular expression are copied",
  advice = [[Use the Index forms (FindIndex, FindAllStringSubmatchIndex), which return positions instead of strings, MatchString when only yes or
    no is asked, and strings.Contains, Cut or HasPrefix where no pattern is needed.]],
  tests = {
    { path = { "runtime.growslice", "regexp.(*Regexp).FindAll.func1", "regexp.(*Regexp).FindAll", "main.handle" }, is = true },
  },
}

tm.hotspot {
  id = "compress.new", match = { path = { "compress/*.NewWriter*", "compress/*.NewReader*", "compress/flate.(*compressor).init*",
    "compress/flate.newHuffman*", "compress/flate.newDeflate*", "github.com/klauspost/compress/*New*" } },
  verdict = "a compressor is made for each message",
  advice = [[A deflate writer costs 800 kB to 1.2 MB. Keep writers and readers in a sync.Pool and call Reset(w) on them instead of NewWriter.]],
  tests = {
    { path = { "runtime.memclrNoHeapPointers", "runtime.mallocgc", "compress/flate.NewWriter", "compress/gzip.(*Writer).Write", "main.reply" }, is = true },
    { name = "compressing with a kept writer", path = { "runtime.memmove", "compress/flate.(*compressor).fillDeflate", "main.reply" }, is = false },
  },
}

tm.hotspot {
  id = "image.decode",
  match = { path = { "image/png.*", "image/jpeg.*", "image/gif.*", "image.New*", "image.Decode", "golang.org/x/image/*", "image/draw.*" } },
  verdict = "images are decoded, or made, again and again",
  advice = [[A decoded image takes width x height x 4 bytes. Cache the scaled result and not the original, look at image.DecodeConfig before
    decoding, draw into one image that is used again, and drop originals (nil the field) once they are scaled.]],
  tests = {
    { path = { "runtime.memclrNoHeapPointers", "runtime.mallocgc", "runtime.makeslice", "image.NewNRGBA", "image/png.(*decoder).readImagePass",
      "image/png.Decode", "main.thumbnail" }, is = true },
  },
}

tm.hotspot {
  id = "template", match = { path = { "text/template*", "html/template*" } },
  verdict = "a template is parsed, or run by reflection",
  advice = "Parse templates once at the start; execute into a pooled bytes.Buffer; give typed structs; for the hottest pages, write the bytes yourself.",
  tests = {
    { path = { "runtime.mallocgc", "reflect.Value.call", "text/template.(*state).evalCall", "text/template.(*Template).Execute", "main.page" }, is = true },
  },
}

tm.hotspot {
  id = "sql.rows", match = { path = { "database/sql.*" } },
  verdict = "each row of a query is boxed and copied",
  advice = [[Select fewer columns and rows; scan into sql.RawBytes or into variables that are kept outside the loop; prepare statements once;
    always close rows.]],
  tests = {
    { path = { "runtime.slicebytetostring", "database/sql.convertAssignRows", "database/sql.(*Rows).Scan", "main.query" }, is = true },
  },
}

tm.hotspot {
  id = "http.header", match = { path = { "net/textproto.*", "net/http.Header.*", "net/http.readRequest", "net/http.ReadRequest", "net/http.(*Request).*" } },
  verdict = "requests and headers are parsed anew",
  advice = "Keep connections alive, so that buffers are used again; send fewer headers; do not clone a request or its headers per middleware.",
  tests = {
    { path = { "runtime.mallocgc", "net/textproto.(*Reader).ReadMIMEHeader", "net/http.readRequest", "net/http.(*conn).serve" }, is = true },
  },
}

-- ---- logging and formatting ----

tm.hotspot {
  id = "logging", match = { path = { "log.*", "log/slog.*", "go.uber.org/zap*", "github.com/sirupsen/logrus*", "github.com/rs/zerolog*", "k8s.io/klog*",
    "github.com/go-kit/log*", "github.com/go-logr/*" } },
  verdict = "log lines are made, perhaps for nobody",
  advice = [[Ask whether the level is on before arguments are built (slog.LogAttrs, zap.Check); log attributes instead of formatted text; take debug
    lines out of inner loops, or sample them.]],
  tests = {
    { path = { "runtime.mallocgc", "fmt.Sprintf", "log.(*Logger).Printf", "main.step" }, is = true },
    { name = "a package of one's own called log", path = { "runtime.mallocgc", "example.com/app/log.Print", "main.step" }, is = false },
  },
}

tm.hotspot {
  id = "fmt", match = { path = { "fmt.*" } },
  verdict = "fmt formats by reflection, and boxes its arguments",
  advice = [[Use strconv.AppendInt and its like into a kept []byte; fmt.Appendf where formatting is needed; errors.New or a typed error
    instead of fmt.Errorf in loops.]],
  tests = {
    { path = { "runtime.convTstring", "fmt.Sprintf", "main.key" }, is = true },
    { path = { "runtime.mallocgc", "fmt.newPrinter", "fmt.Errorf", "main.check" }, is = true },
  },
}

tm.hotspot {
  id = "strconv", match = { path = { "strconv.*" } },
  verdict = "numbers become strings of their own",
  advice = "Append to a kept buffer with strconv.AppendInt, AppendFloat, AppendQuote; keep numbers as map keys instead of their texts.",
  tests = { { path = { "runtime.mallocgc", "strconv.formatBits", "strconv.Itoa", "main.key" }, is = true } },
}

-- ---- strings and bytes ----

tm.hotspot {
  id = "strings.split", match = { path = { "strings.Split*", "strings.Fields*", "strings.genSplit", "bytes.Split*", "bytes.Fields*", "bytes.genSplit" } },
  verdict = "text is split into slices that live for one look",
  advice = "Walk it with strings.Cut, strings.IndexByte, or the iterators strings.SplitSeq and FieldsSeq; use bufio.Scanner with ScanWords on streams.",
  tests = { { path = { "runtime.mallocgc", "runtime.makeslice", "strings.genSplit", "strings.Split", "main.parse" }, is = true } },
}

tm.hotspot {
  id = "strings.rewrite",
  match = { path = { "strings.Replace*", "strings.(*Replacer).*", "strings.(*genericReplacer).*", "strings.ToUpper*", "strings.ToLower*",
    "strings.Map", "strings.Repeat", "strings.Join", "strings.Title", "bytes.ToLower", "bytes.ToUpper", "bytes.Replace*", "bytes.Join" } },
  verdict = "strings are rewritten into new ones",
  advice = [[Compare with strings.EqualFold instead of lowering both sides; keep one strings.Replacer and write with WriteString(w, s); normalise keys
    once, when they come in.]],
  tests = { { path = { "runtime.mallocgc", "strings.(*Builder).grow", "strings.(*Builder).Grow", "strings.ToUpper", "main.key" }, is = true } },
}

tm.hotspot {
  id = "buffer.growth", match = { path = { "strings.(*Builder).*", "bytes.(*Buffer).*", "bytes.growSlice" } },
  verdict = "a buffer grows by doubling, and copies each time",
  advice = "Call Grow(n) with the size that is known or usual, and use buffers again: Reset and a sync.Pool with a limit on what is put back.",
  tests = { { path = { "runtime.memmove", "runtime.growslice", "bytes.growSlice", "bytes.(*Buffer).grow",
    "bytes.(*Buffer).Write", "main.render" }, is = true } },
}

tm.hotspot {
  id = "read.all", match = { path = { "io.ReadAll", "io/ioutil.ReadAll", "os.ReadFile", "io/ioutil.ReadFile" } },
  verdict = "whole inputs are read into memory",
  advice = "Work on the stream: json.NewDecoder(r), bufio.Scanner, io.Copy. When all of it is needed, read into a buffer of the known length.",
  tests = { { path = { "runtime.growslice", "io.ReadAll", "main.fetch" }, is = true } },
}

tm.hotspot {
  id = "bufio.new", match = { path = { "bufio.New*", "bufio.(*Scanner).*", "bufio.(*Reader).ReadString", "bufio.(*Reader).ReadBytes" } },
  verdict = "buffers of readers and writers are made anew",
  advice = "Keep bufio readers and writers and call Reset; use ReadSlice or Scanner.Bytes, which return the buffer itself, instead of ReadString and Text.",
  tests = { { path = { "runtime.mallocgc", "runtime.makeslice", "bufio.NewReaderSize", "main.serve" }, is = true } },
}

tm.hotspot {
  id = "cgo.buffers", match = { any = { "*._Cfunc_CString", "*._Cfunc_CBytes", "*._Cfunc_GoBytes", "*._Cfunc_GoString*", "*._Cfunc__CMalloc", "runtime.gobytes",
    "runtime.gostring", "runtime.gostringn", "*._C2func_*" } },
  verdict = "buffers are copied between Go and C",
  advice = [[C.CString and C.CBytes allocate with malloc, which no Go profile shows: free each of them. Pass a pointer into a Go slice for the length of
    the call, or view C memory with unsafe.Slice, instead of C.GoBytes.]],
  tests = {
    { path = { "runtime.mallocgc", "runtime.rawbyteslice", "runtime.gobytes", "main._Cfunc_GoBytes", "main.frame" }, is = true },
    { path = { "runtime.cgocall", "main._Cfunc__CMalloc", "main._Cfunc_CString", "main.open" }, is = true },
  },
}

tm.hotspot {
  id = "bytes.to.string", match = { runtime = { "runtime.slicebytetostring*", "runtime.slicerunetostring" } },
  verdict = "string([]byte) copies",
  advice = [[The compiler copies nothing for m[string(b)], for comparisons, and for range over them; elsewhere keep []byte, or use the bytes package.
    unsafe.String only where the bytes never change again.]],
  tests = { { path = { "runtime.mallocgc", "runtime.slicebytetostring", "main.lookup", "main.main" }, is = true } },
}

tm.hotspot {
  id = "string.to.bytes", match = { runtime = { "runtime.stringtoslicebyte", "runtime.stringtoslicerune" } },
  verdict = "[]byte(string) copies",
  advice = "Write strings with io.WriteString and append(buf, s...), hash with maphash.String, range over the string for its runes: none of them copies.",
  tests = { { path = { "runtime.mallocgc", "runtime.rawbyteslice", "runtime.stringtoslicebyte", "main.write" }, is = true } },
}

tm.hotspot {
  id = "string.concat", match = { runtime = { "runtime.concatstring*", "runtime.rawstring*" } },
  verdict = "strings are joined with +",
  advice = "In a loop each + copies all that came before: use strings.Builder with Grow, or append to a []byte. As a map key, use a struct of the parts.",
  tests = { { path = { "runtime.mallocgc", "runtime.rawstringtmp", "runtime.concatstrings", "runtime.concatstring3", "main.key" }, is = true } },
}

-- ---- slices, maps, interfaces ----

tm.hotspot {
  id = "append.kept", match = { runtime = { "runtime.growslice*" } }, needs = { growth = "1MB" },
  verdict = "a slice grows for ever",
  advice = [[Look for what should take elements out: a queue that is cut at its front keeps the whole array (copy to a new one, or set the slots to
    nil); a log or a history needs a limit, or a ring.]],
  tests = {
    { path = { "runtime.mallocgc", "runtime.growslice", "main.(*History).add" }, growth = "50MB", is = true },
    { name = "one that is thrown away", path = { "runtime.mallocgc", "runtime.growslice", "main.collect" }, growth = 0, is = false },
  },
}

tm.hotspot {
  id = "append.growth", match = { runtime = { "runtime.growslice*" } },
  verdict = "append grows a slice step by step",
  advice = "Make it with its capacity: make([]T, 0, n), slices.Grow; or use the slice of the last round again with s = s[:0].",
  tests = { { path = { "runtime.memmove", "runtime.growslice", "main.collect", "main.main" }, is = true } },
}

tm.hotspot {
  id = "map.kept", needs = { growth = "1MB" },
  match = { runtime = { "runtime.hashGrow", "runtime.growWork*", "runtime.evacuate*", "runtime.mapassign*", "internal/runtime/maps.*" } },
  verdict = "a map grows for ever",
  advice = [[Entries go in and none comes out, or keys never repeat (NaN, pointers, times). Give it a limit or an age. A Go map keeps its buckets when
    entries are deleted: after a peak, copy what is left into a new map.]],
  tests = {
    { path = { "runtime.mallocgc", "internal/runtime/maps.(*table).grow", "internal/runtime/maps.(*table).rehash", "runtime.mapassign_faststr",
      "main.(*Cache).put" }, growth = "8MB", is = true },
  },
}

tm.hotspot {
  id = "map.growth",
  match = { runtime = { "runtime.hashGrow", "runtime.growWork*", "runtime.evacuate*", "runtime.mapassign*", "runtime.makemap*", "internal/runtime/maps.*" } },
  verdict = "maps are filled, and grow on the way",
  advice = "Make them with their size: make(map[K]V, n); use one again with clear(m); for a few fixed keys take a struct, for small numbers a slice.",
  tests = {
    { path = { "runtime.memclrNoHeapPointers", "runtime.hashGrow", "runtime.mapassign_fast64", "main.count" }, is = true },
    { path = { "runtime.mallocgc", "internal/runtime/maps.NewMap", "runtime.makemap", "main.count" }, is = true },
  },
}

tm.hotspot {
  id = "boxing", match = { runtime = { "runtime.convT*" } },
  verdict = "values are boxed into interfaces",
  advice = [[A value that is stored in an any goes to the heap. Take a type parameter or the concrete type in hot functions; pass a pointer that exists
    anyway; avoid ...any and container/list, container/heap.]],
  tests = { { path = { "runtime.mallocgc", "runtime.convT64", "main.push", "main.main" }, is = true } },
}

tm.hotspot {
  id = "reflection", match = { path = { "reflect.*", "internal/reflectlite.*" } },
  verdict = "reflection makes values on the heap",
  advice = [[Cache what depends on the type alone (field lists, methods); sort with slices.SortFunc instead of sort.Slice; replace the reflecting loop
    by generated code or a type switch over the usual types.]],
  tests = {
    { path = { "runtime.mallocgc", "runtime.unsafe_New", "reflect.New", "main.clone" }, is = true },
    { path = { "runtime.mallocgc", "internal/reflectlite.Swapper", "sort.Slice", "main.rank" }, is = true },
  },
}

-- ---- timers, pools, goroutines ----

tm.hotspot {
  id = "timers",
  match = { path = { "time.After*", "time.NewTimer", "time.Tick", "time.NewTicker", "context.WithTimeout*", "context.WithDeadline*", "time.newTimer" } },
  verdict = "a timer is made for each turn of a loop",
  advice = [[Keep one timer and Reset it; time.After in a select makes one per turn (before Go 1.23 it also lives until it fires). Call cancel of each
    context with a timeout; set a deadline on the connection instead of a context per read.]],
  tests = {
    { path = { "runtime.mallocgc", "time.NewTimer", "time.After", "main.loop" }, is = true },
    { path = { "runtime.mallocgc", "context.WithDeadlineCause", "context.WithTimeout", "main.call" }, is = true },
  },
}

tm.hotspot {
  id = "pool.miss", match = { path = { "sync.(*Pool).*" } },
  verdict = "a sync.Pool is missed",
  advice = [[What is taken is not put back (an early return?), or more is in use at once than is kept between two collections. Put in a defer; pool
    pointers, not slices (a slice is boxed by Put); a fixed channel of buffers when the number is known.]],
  tests = { { path = { "runtime.mallocgc", "main.newBuffer", "sync.(*Pool).Get", "main.serve" }, is = false },
    { path = { "runtime.mallocgc", "runtime.makeslice", "sync.(*Pool).pinSlow", "sync.(*Pool).pin", "sync.(*Pool).Get", "main.serve" }, is = true } },
}

tm.hotspot {
  id = "pool.new", match = { any = { "sync.(*Pool).Get" } },
  verdict = "the New function of a sync.Pool runs often",
  advice = [[Each run of New is a miss: look for a return without Put, for objects that leave the function for good, and for a collector that runs so
    often that the pool is always empty (GOGC, GOMEMLIMIT).]],
  tests = { { path = { "runtime.mallocgc", "runtime.makeslice", "main.newBuffer", "sync.(*Pool).Get", "main.serve" }, is = true } },
}

tm.hotspot {
  id = "goroutines", match = { runtime = { "runtime.newproc*", "runtime.malg", "runtime.stackalloc*", "runtime.newstack", "runtime.copystack" } },
  verdict = "goroutines are started, or their stacks grow",
  advice = [[Use a fixed number of workers fed by a channel instead of a goroutine per item (errgroup.SetLimit); deep recursion and large
    local arrays grow stacks.]],
  tests = { { path = { "runtime.mallocgc", "runtime.malg", "runtime.newproc1", "runtime.newproc", "main.fan" }, is = true } },
}

tm.hotspot {
  id = "defer", match = { runtime = { "runtime.newdefer", "runtime.deferproc*" } },
  verdict = "defer in a loop allocates",
  advice = "A defer in a loop is kept until the function ends: move the body into a function of its own, or call the cleanup directly.",
  tests = { { path = { "runtime.mallocgc", "runtime.newdefer", "runtime.deferproc", "main.closeAll" }, is = true } },
}

tm.hotspot {
  id = "closure", match = { owner = { "*.func1", "*.func1.?", "*.func2", "*.func3", "*.func4", "*.gowrap?" }, runtime = { "runtime.newobject" } },
  verdict = "a closure makes objects, or its variables escape",
  advice = [[Variables that a closure captures go to the heap when it outlives the call. Pass them as arguments, lift the closure out of the loop, and ask
    the compiler: go build -gcflags=-m names what escapes.]],
  tests = {
    { path = { "runtime.mallocgc", "runtime.newobject", "main.serve.func1", "main.main" }, is = true },
    { path = { "runtime.mallocgc", "runtime.newobject", "main.serve", "main.main" }, is = false },
  },
}

tm.hotspot {
  id = "channels", match = { runtime = { "runtime.makechan*" } },
  verdict = "channels are made for each call",
  advice = "Keep the channel with the worker; return results through a struct and a WaitGroup; a pooled one-element channel for replies.",
  tests = { { path = { "runtime.mallocgc", "runtime.makechan", "main.ask" }, is = true } },
}

-- ---- what is left ----

tm.hotspot {
  id = "large.clear",
  match = { class = { "alloc", "copy" }, runtime = { "runtime.memclrNoHeapPointers*", "memclrNoHeapPointers*" } },
  needs = { cpu_share = 0.02 },
  verdict = "large blocks are made and zeroed",
  advice = "Use the large buffer again instead of make each time; take make([]T, 0, n) with append where the zeroes are overwritten anyway.",
  tests = { { path = { "runtime.memclrNoHeapPointers", "runtime.mallocgcLarge", "runtime.mallocgc", "runtime.makeslice", "main.frame" }, is = true } },
}

tm.hotspot {
  id = "copy", match = { class = { "copy" } },
  verdict = "memory is copied",
  advice = "Pass pointers to large structs, range by index, copy once into a slice of the final size; move the boundary where data changes hands.",
  tests = { { path = { "runtime.memmove", "main.shift", "main.main" }, is = true } },
}

tm.hotspot {
  id = "alloc.kept", match = { class = { "alloc", "assist" } }, needs = { growth = "1MB", growth_ratio = 0.1 },
  verdict = "what is made here is kept, and grows",
  advice = "Find who holds it: `tidemark growth` over more snapshots, then the holder's map, slice, channel or goroutine; give it a limit.",
  tests = { { path = { "runtime.mallocgc", "runtime.newobject", "main.(*Tree).insert" }, growth = "40MB", growth_ratio = 2, is = true } },
}

tm.hotspot {
  id = "alloc.churn", match = { class = { "alloc", "assist" } }, needs = { churn = 10 },
  verdict = "objects are made and dropped at once",
  advice = [[Use them again (a kept scratch value, sync.Pool), make many at once (a slice of structs), or keep them on the stack: go build -gcflags=-m
    names what escapes.]],
  tests = { { path = { "runtime.mallocgc", "runtime.newobject", "main.step" }, churn = 400, is = true } },
}

tm.hotspot {
  id = "alloc.other", match = { class = { "alloc", "assist" } },
  verdict = "the allocator is busy here",
  advice = "Give two heap profiles (--heap before --heap after) and it can be told whether this path's memory grows or is dropped at once.",
  tests = { { path = { "runtime.mallocgc", "runtime.newobject", "main.step" }, is = true },
    { name = "other work is no matter of memory", path = { "main.compute", "main.main" }, is = false } },
}

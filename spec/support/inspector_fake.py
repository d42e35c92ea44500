"""An inspector that misbehaves: inspector_fake.py MODE PORTFILE.

Answers /json/version and /json/list as Node does and opens one WebSocket after the other. To the first request of a kind it does what
MODE says: good, error, hang, garbage, claim (a frame of 2 GB), cut (hangs up within a chunk), text (a chunk that is no text). Its page
grows by 1,000 nodes with each question. deaf: from the second connection on it never answers; leaves: it hangs up behind an answer. Its traces hold eight tasks of 120 ms;
untraced: the stream of one ends before it began.
"""
import base64, hashlib, json, os, socket, struct, sys, threading

MODE = sys.argv[1]


def frame(text):
    data = text.encode()
    head = struct.pack("!BB", 0x81, len(data)) if len(data) < 126 else struct.pack("!BBH", 0x81, 126, len(data))
    return head + data


def read_exactly(conn, n):
    data = b""
    while len(data) < n:
        piece = conn.recv(n - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def read_request(conn):
    head = read_exactly(conn, 2)
    size = head[1] & 127
    if size == 126:
        size = struct.unpack("!H", read_exactly(conn, 2))[0]
    mask = read_exactly(conn, 4)
    data = bytes(b ^ mask[i % 4] for i, b in enumerate(read_exactly(conn, size)))
    return json.loads(data) if head[0] & 15 == 1 else None


SNAPSHOT = '{"snapshot":{"meta":{}},"text":"\\u00fc \\"quoted\\""}'


def task(i):
    at = 1000000 + i * 300000
    name = {"functionName": "draw", "url": "http://x/app.js", "lineNumber": 9}
    return [{"name": "RunTask", "cat": "toplevel", "ph": "X", "ts": at, "dur": 120000, "pid": 1, "tid": 1},
            {"name": "FunctionCall", "cat": "devtools.timeline", "ph": "X", "ts": at + 10, "dur": 119000, "pid": 1, "tid": 1, "args": {"data": name}}]


MAIN = {"name": "thread_name", "ph": "M", "pid": 1, "tid": 1, "args": {"name": "CrRendererMain"}}
TRACE = json.dumps({"traceEvents": [MAIN] + [e for i in range(8) for e in task(i)]})


def chunk(text):
    return frame(json.dumps({"method": "HeapProfiler.addHeapSnapshotChunk", "params": {"chunk": text}}))


def snapshot(conn):
    if MODE == "hang":
        threading.Event().wait(30)
    if MODE == "garbage":
        return conn.sendall(b"\xff\xff garbage")
    if MODE == "claim":
        return conn.sendall(struct.pack("!BBQ", 0x81, 127, 1 << 31) + b"x" * 100)
    if MODE == "cut":
        conn.sendall(chunk(SNAPSHOT)[:40])
        return conn.close()
    if MODE == "text":
        return conn.sendall(frame('{"method":"HeapProfiler.addHeapSnapshotChunk","params":{"chunk":[1]}}'))
    for i in range(0, len(SNAPSHOT), 10):
        conn.sendall(chunk(SNAPSHOT[i : i + 10]) + struct.pack("!BB", 0x89, 0))


count = {"sockets": 0, "looks": 0}


def serve_socket(conn):
    count["sockets"] += 1
    deaf = MODE == "deaf" and count["sockets"] > 1
    while True:
        request = read_request(conn)
        if request is None:
            continue
        if deaf:
            continue
        method, result = request["method"], {}
        if method == "Runtime.getHeapUsage":
            result = {"usedSize": 1 << (60 if MODE == "huge" else 20), "totalSize": 2 << 20, "backingStorageSize": 3 << 20}
        if method == "Memory.getDOMCounters":
            count["looks"] += 1
            result = {"documents": 1, "nodes": 1000 * count["looks"], "jsEventListeners": 7}
        if method == "HeapProfiler.takeHeapSnapshot":
            snapshot(conn)
        if method == "IO.read":
            count["read"] = count.get("read", 0) + 1000
            result = {"data": TRACE[count["read"] - 1000 : count["read"]], "eof": count["read"] >= len(TRACE)}
            if MODE == "untraced":
                result = {"data": "", "eof": True}
        if method == "Tracing.end":
            count["read"] = 0
            conn.sendall(frame('{"method":"Tracing.tracingComplete","params":{"dataLossOccurred":false,"stream":"1"}}'))
        if MODE == "error" and method == "HeapProfiler.takeHeapSnapshot":
            conn.sendall(frame(json.dumps({"id": request["id"], "error": {"code": -32601, "message": "wasn't found"}})))
        else:
            conn.sendall(frame('{"id":%d,"result":%s}' % (request["id"], json.dumps(result))))
        if MODE == "leaves" and method == "Memory.getDOMCounters":
            conn.shutdown(socket.SHUT_WR)
            while conn.recv(4096):  # what is closed over unread bytes takes its own last words back
                pass
            return


def serve(conn, port):
    head = b""
    while b"\r\n\r\n" not in head:
        piece = conn.recv(4096)
        if not piece:
            return
        head += piece
    lines = head.decode().split("\r\n")
    path = lines[0].split()[1]
    headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
    if "Sec-WebSocket-Key" in headers:
        key = headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        conn.sendall(("HTTP/1.1 101 X\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n" % accept).encode())
        return serve_socket(conn)
    body = {"Browser": "node.js/fake", "Protocol-Version": "1.1"}
    if path == "/json/list":
        url = "ws://127.0.0.1:%d/one" % port
        body = [{"type": "page", "title": t, "url": "http://x/" + t, "webSocketDebuggerUrl": url} for t in (["Shop", "Mail"] if MODE == "pages" else ["Shop"])]
    text = json.dumps(body)
    conn.sendall(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)).encode())


def safely(conn, port):
    try:
        serve(conn, port)
    except (EOFError, OSError):
        pass
    conn.close()


listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
with open(sys.argv[2] + ".new", "w") as out:
    out.write(str(port))
os.rename(sys.argv[2] + ".new", sys.argv[2])
while True:
    threading.Thread(target=safely, args=(listener.accept()[0], port), daemon=True).start()

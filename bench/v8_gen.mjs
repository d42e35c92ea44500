// Writes a heap snapshot of a program with many small objects: v8_gen.mjs FILE OBJECTS
// 1 000 000 objects give about 300 MB. Its shapes are those of servers: sessions with headers in
// maps, rows of several shapes, closures, strings, lists.
import v8 from "node:v8";

const [file, objects] = [process.argv[2], Number(process.argv[3] ?? 1000000)];
class Session { constructor(i) { this.id = i; this.headers = new Map([["host", "h" + i % 97]]); this.next = null; } }
const kept = [], handlers = [];
let last = null;
for (let i = 0; i < objects; i++) {
  const kind = i % 5;
  if (kind === 0) { const s = new Session(i); s.next = last; last = i % 1000 ? s : null; kept.push(s); }
  else if (kind === 1) kept.push({ id: i, name: "row" + i, tags: [i, i + 1], owner: kept[i >> 1] });
  else if (kind === 2) kept.push({ x: i + 0.5, y: i * 2.5, label: { text: "t" + i } });
  else if (kind === 3) { const one = kept[i - 1]; handlers.push(() => one.x); kept.push([one, handlers.at(-1)]); }
  else kept.push(new Array(6).fill(kept[i - 2]));
}
globalThis.kept = { kept, handlers, last };
v8.writeHeapSnapshot(file);

// Writes a heap snapshot of this Node to the file named, with what makes snapshots differ: WeakMaps,
// classes of one name in several places, shapes, put-together strings, odd names. A second word
// exposes V8's internals, which leaves no objects of the user.
import v8 from "node:v8";

const [file, internals] = process.argv.slice(2);
const kept = [], byKey = new WeakMap(), map = new Map();
class Session { constructor(i) { this.id = i; this.buffer = new Uint8Array(i % 50); this.pair = { a: i, b: `x${i}` }; } }
const Other = (() => { class Session { constructor(i) { this.other = [i, i + 0.5, { q: 1, z: 2 }]; } } return Session; })();
for (let i = 0; i < 3000; i++) {
  const one = i % 3 ? new Session(i) : new Other(i);
  kept.push(one);
  byKey.set(one, { value: i, pair: one.pair });
  map.set("k" + i, () => one);
}
for (let i = 0; i < 200; i++) kept.push({ "é,\"x": i, "a'b": 2, "{c}": { d: 1 }, "😀k": 4, "back\\slash,": 1 }, { b: 1, a: 2 }, { a: 1, b: 2, c: 3 });
let text = "";
for (let i = 0; i < 500; i++) kept.push(text += "piece" + i);
kept.push(/re/g, 123n ** 40n, new ArrayBuffer(1 << 20), new WeakRef(kept), Symbol("y"), text.slice(30, 300));
globalThis.kept = [kept, byKey, map];
v8.writeHeapSnapshot(file, { exposeInternals: !!internals, exposeNumericValues: !!internals });

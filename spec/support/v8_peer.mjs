// Prints what the heap snapshot worker of Chrome DevTools makes of a .heapsnapshot, one line a node
// and one a class, for v8_diff.sh to hold against ours.
//
//   node v8_peer.mjs PACKAGES FILE [--time]
//
// PACKAGES is a folder with node_modules/{chrome-devtools-frontend,typescript}: the front end is
// published as TypeScript, which a loader hook compiles on the way in. Lines of nodes:
//   N id self_size retained_size distance detachedness class_name
// and of classes, as the summary view has them:
//   C count self_size retained_size distance class_name
import fs from "node:fs";
import { createRequire, register } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [packages, file, timing] = process.argv.slice(2);
const home = path.resolve(packages, "node_modules/chrome-devtools-frontend/front_end");
const compiler = createRequire(path.resolve(packages, "x.js")).resolve("typescript"); // 5.x: a library
const hooks = `
  import fs from "node:fs";
  import { createRequire } from "node:module";
  import { fileURLToPath } from "node:url";
  const ts = createRequire(${JSON.stringify(pathToFileURL(compiler).href)})(${JSON.stringify(compiler)});
  const words = "data:text/javascript," + ["i18n", "ByteUtilities", "NumberUtilities", "TimeUtilities"]
    .map(name => "export const " + name + " = new Proxy({}, { get: () => () => () => '' });").join("");
  const options = { compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 } };
  export async function resolve(name, context, next) {
    if (name.endsWith("/i18n/i18n.js")) return { url: words, shortCircuit: true }; // needs files that only their build makes
    if (name.startsWith(".") && context.parentURL?.startsWith("file:") && name.endsWith(".js")) {
      const source = new URL(name.slice(0, -3) + ".ts", context.parentURL);
      if (fs.existsSync(source)) return { url: source.href, shortCircuit: true };
    }
    return next(name, context);
  }
  export async function load(url, context, next) {
    if (!url.startsWith("file:") || !url.endsWith(".ts")) return next(url, context);
    const text = fs.readFileSync(fileURLToPath(url), "utf8");
    return { format: "module", shortCircuit: true, source: ts.transpileModule(text, options).outputText };
  }`;
register("data:text/javascript," + encodeURIComponent(hooks));

Promise.withResolvers ??= () => {
  const all = {};
  all.promise = new Promise((resolve, reject) => Object.assign(all, { resolve, reject }));
  return all;
};
console.warn = () => {}; // the worker names what nothing holds: we count it instead

const load = name => import(pathToFileURL(path.join(home, name)).href);
const { HeapSnapshotLoader } = await load("entrypoints/heap_snapshot_worker/HeapSnapshotLoader.ts");
const { SecondaryInitManager } = await load("entrypoints/heap_snapshot_worker/HeapSnapshot.ts");

const loader = new HeapSnapshotLoader({ sendEvent() {} });
for await (const chunk of fs.createReadStream(file, { encoding: "utf8", highWaterMark: 1 << 24 })) loader.write(chunk);
loader.close();
const channel = new MessageChannel();
new SecondaryInitManager(channel.port2);
const snapshot = await loader.buildSnapshot(channel.port1);
channel.port1.close();
if (timing) {
  const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
  console.log(`cpu_s ${((userCPUTime + systemCPUTime) / 1e6).toFixed(2)} rss_mb ${(maxRSS / 1024).toFixed(0)}`);
  process.exit(0);
}

const lines = [];
const flush = () => new Promise(done => { process.stdout.write(lines.join(""), done); lines.length = 0; });
const clean = text => text.replace(/[\t\n\r\0]/g, " ");
const node = snapshot.createNode(0);
for (let i = 0; i < snapshot.nodeCount; i++) {
  node.nodeIndex = i * snapshot.nodeFieldCount;
  lines.push(`N\t${node.id()}\t${node.selfSize()}\t${node.retainedSize()}\t${node.distance()}\t${node.detachedness()}\t${clean(node.className())}\n`);
  if (lines.length === 10000) await flush();
}
for (const sum of Object.values(snapshot.aggregatesWithFilter({})))
  lines.push(`C\t${sum.count}\t${sum.self}\t${sum.maxRet}\t${sum.distance}\t${clean(sum.name)}\n`);
await flush();

// Builds dist/: index.html, one script, one worker, one style sheet, the last three named by their content, each packed by
// gzip. What is in them depends on nothing but the sources and the versions in package-lock.json.
//   node build.mjs            writes dist/
//   node build.mjs --check    fails where dist/ is not what would be written
// Contents are compared unpacked, and a file whose content is the same stays as it is: versions of zlib pack differently.
import { build } from "esbuild";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";

const BUDGET = 110 * 1024; // bytes of all scripts and styles, packed
const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, "dist");

const common = {
  absWorkingDir: here, bundle: true, minify: true, format: "esm", target: "es2022", write: false, legalComments: "none",
  outdir: join(dist, "assets"), entryNames: "[name]-[hash]", jsx: "automatic", jsxImportSource: "preact", charset: "utf8",
};

/** The files of the page: path below dist, without .gz, and content. */
async function files() {
  const worker = await build({ ...common, entryPoints: { layout: "src/map/worker.ts" } });
  const workerFile = basename(worker.outputFiles[0].path);
  const page = await build({
    ...common, entryPoints: { page: "src/main.tsx", style: "src/style/all.css" },
    define: { WORKER_FILE: JSON.stringify(workerFile) },
  });
  const out = new Map();
  for (const f of [...worker.outputFiles, ...page.outputFiles]) out.set(`assets/${basename(f.path)}`, Buffer.from(f.contents));
  const named = (start) => [...out.keys()].find((name) => basename(name).startsWith(start));
  const html = await readFile(join(here, "src/index.html"), "utf8");
  out.set("index.html", Buffer.from(html.replace("PAGE", named("page-")).replace("STYLE", named("style-"))));
  out.set("favicon.svg", await readFile(join(here, "src/favicon.svg")));
  return out;
}

/** What is in dist, unpacked. */
async function committed() {
  const out = new Map();
  for (const dir of ["", "assets/"]) {
    for (const e of await readdir(join(dist, dir), { withFileTypes: true }).catch(() => [])) {
      if (!e.isFile()) continue;
      const packed = await readFile(join(dist, dir + e.name));
      out.set(dir + e.name.replace(/\.gz$/, ""), e.name.endsWith(".gz") ? gunzipSync(packed) : Buffer.alloc(0));
    }
  }
  return out;
}

const want = await files();
const have = await committed();
const differs = [...want.keys()].filter((n) => !have.get(n)?.equals(want.get(n)));
const gone = [...have.keys()].filter((n) => !want.has(n));
if (process.argv.includes("--check")) {
  for (const name of [...differs, ...gone]) console.error(`web/dist/${name}.gz is not what the sources make: run "make web" and commit it`);
  process.exit(differs.length + gone.length > 0 ? 1 : 0);
}
await mkdir(join(dist, "assets"), { recursive: true });
for (const name of gone) await rm(join(dist, `${name}.gz`), { force: true });
for (const name of differs) await writeFile(join(dist, `${name}.gz`), gzipSync(want.get(name), { level: 9 }));

let total = 0;
for (const [name, content] of want) {
  if (!/\.(js|css)$/.test(name)) continue;
  const packed = gzipSync(content, { level: 9 }).length;
  total += packed;
  console.log(`${basename(name).padEnd(24)} ${String(content.length).padStart(8)} B ${String(packed).padStart(8)} B packed`);
}
console.log(`${"all".padEnd(24)} ${"".padStart(8)}   ${String(total).padStart(8)} B packed, of ${BUDGET}`);
if (total > BUDGET) {
  console.error("the page is larger than its budget");
  process.exit(1);
}

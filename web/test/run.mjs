// Bundles the tests, which are TypeScript as what they test, and runs them by Node's own runner.
import { build } from "esbuild";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const out = mkdtempSync(join(tmpdir(), "fairlead-web-"));
try {
  const entryPoints = readdirSync(here).filter((f) => f.endsWith(".test.ts")).map((f) => join(here, f));
  await build({ entryPoints, bundle: true, format: "esm", platform: "node", target: "node18", outdir: out, outExtension: { ".js": ".mjs" }, logLevel: "warning", jsx: "automatic", jsxImportSource: "preact" });
  const run = spawnSync(process.execPath, ["--test", ...readdirSync(out).map((f) => join(out, f))], { stdio: "inherit" });
  process.exitCode = run.status ?? 1;
} finally {
  rmSync(out, { recursive: true, force: true });
}

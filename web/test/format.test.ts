import assert from "node:assert/strict";
import { test } from "node:test";
import { bytes, cliPrefix, count, latency, percent, plural, rate, span, windowName } from "../src/pure/format";

test("percent says 100 and 0 only where it is that", () => {
  const want: [number | undefined, string][] = [
    [1, "100"], [0.99999, "99.99"], [0.9995, "99.95"], [0.995, "99.5"], [0.99, "99.0"], [0.9123, "91.2"], [0.5, "50.0"], [0.0999, "9.9"], [0.0001, "0.1"], [0, "0"], [undefined, "–"], [NaN, "–"],
  ];
  for (const [share, text] of want) assert.equal(percent(share), text, String(share));
});

test("rate keeps two figures", () => {
  const want: [number | undefined, string][] = [[0, "0"], [0.001, "<0.01"], [0.04, "0.04"], [0.1, "0.1"], [3.21, "3.2"], [9.96, "10"], [48.4, "48"], [1234, "1.2k"], [34_400, "34k"], [undefined, "–"]];
  for (const [n, text] of want) assert.equal(rate(n), text, String(n));
});

test("count has no figure that is a thousand of a unit", () => {
  const want: [number, string][] = [[0, "0"], [999, "999"], [999.6, "1.0k"], [999_600, "1.0M"], [5_600_000, "5.6M"], [2e9, "2.0G"]];
  for (const [n, text] of want) assert.equal(count(n), text, String(n));
});

test("latency changes its unit without a jump", () => {
  const want: [number | undefined, string][] = [[0, "0"], [0.05, "50 µs"], [0.2, "0.2 ms"], [9.96, "10 ms"], [87.4, "87 ms"], [999.6, "1.0 s"], [12_345, "12 s"], [120_000, "2 min"], [undefined, "–"]];
  for (const [n, text] of want) assert.equal(latency(n), text, String(n));
});

test("bytes, spans, windows, plurals", () => {
  assert.deepEqual([0, 664, 1023, 1024, 1536, 1048575].map(bytes), ["0 B", "664 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB"]);
  assert.deepEqual([-5, 12_000, 119_000, 240_000, 7_200_000, 172_800_000].map(span), ["0s", "12s", "119s", "4m", "2h", "2d"]);
  assert.deepEqual([60, 90, 900, 3600].map(windowName), ["1 min", "90 s", "15 min", "1 h"]);
  assert.deepEqual([plural(1, "pod"), plural(0, "pod"), plural(2, "entry", "entries"), plural(1200, "pod")], ["1 pod", "0 pods", "2 entries", "1.2k pods"]);
});

test("commands begin as those of the server do", () => {
  const want: [string | undefined, string][] = [
    ["fairlead --name dw check", "fairlead --name dw"], ["fairlead check --proxy", "fairlead"], ["fairlead --context=prod -n x tap deploy", "fairlead --context=prod -n x"],
    ["fairlead --kubeconfig", "fairlead --kubeconfig"], ["kubectl get x", "fairlead"], [undefined, "fairlead"],
  ];
  for (const [command, prefix] of want) assert.equal(cliPrefix(command), prefix, command);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { tokens } from "../src/pure/yaml";

const kinds = (line: string) => tokens(line).map((t) => `${t.kind}:${t.text}`);

test("keys, values, comments", () => {
  assert.deepEqual(kinds("  weight: 90"), ["plain:  ", "key:weight", "plain::", "number: 90"]);
  assert.deepEqual(kinds('    - name: "a # b" # really'), ["plain:    - ", "key:name", "plain::", 'string: "a # b" ', "comment:# really"]);
  assert.deepEqual(kinds("# all of it"), ["comment:# all of it"]);
  assert.deepEqual(kinds("spec:"), ["key:spec", "plain::"]);
  assert.deepEqual(kinds("url: http://a#b"), ["key:url", "plain::", "plain: http://a#b"]);
});

test("nothing is lost, whatever the line is", () => {
  for (const line of ["", "   ", "a: {b: 'c'}", "- - x: y", "'quoted: key': 1", "it's: odd # 'x", ":", "::", "\t<script>alert(1)</script>: \"", "- |", "a:b"]) {
    assert.equal(tokens(line).map((t) => t.text).join(""), line);
  }
});

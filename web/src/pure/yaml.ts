// What of a line of YAML is what, for colours. It is no parser: a line that it does not understand is plain text.

export interface Token { text: string; kind: "key" | "string" | "number" | "comment" | "plain" }

const KEY = /^(\s*(?:- )*)([^\s#:{}[\]"'][^#:]*?|"[^"]*"|'[^']*')(:)(?=\s|$)/;

export function tokens(line: string): Token[] {
  const out: Token[] = [];
  let rest = line;
  const key = KEY.exec(rest);
  if (key !== null) {
    out.push({ text: key[1] ?? "", kind: "plain" }, { text: key[2] ?? "", kind: "key" }, { text: ":", kind: "plain" });
    rest = rest.slice(key[0].length);
  }
  const comment = commentAt(rest);
  const value = rest.slice(0, comment);
  if (value !== "") out.push({ text: value, kind: kindOf(value.trim().replace(/^- /, "")) });
  if (comment < rest.length) out.push({ text: rest.slice(comment), kind: "comment" });
  return out.filter((t) => t.text !== "");
}

function kindOf(value: string): Token["kind"] {
  if (/^(["']).*\1$/.test(value)) return "string";
  return /^(-?\d+(\.\d+)?|true|false|null)$/.test(value) ? "number" : "plain";
}

/** Where a comment begins: a # at the beginning or behind a space, outside of quotes. */
function commentAt(text: string): number {
  let quote = "";
  for (let i = 0; i < text.length; i++) {
    const c = text[i] as string;
    if (quote !== "") {
      if (c === quote) quote = "";
    } else if (c === '"' || c === "'") quote = c;
    else if (c === "#" && (i === 0 || /\s/.test(text[i - 1] as string))) return i;
  }
  return text.length;
}

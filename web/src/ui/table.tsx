// Tables: real ones, which sort by a click on a head, and say so to screen readers. How they are sorted stands in the address.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { place, set } from "../data/store";

export interface Column<T> {
  key: string;
  name: ComponentChildren;
  cell: (row: T) => ComponentChildren;
  /** What rows are sorted by; without it they are not. */
  by?: (row: T) => number | string | undefined;
  /** Numbers stand at the right. */
  number?: boolean;
  /** The name of the row: its head for screen readers. */
  head?: boolean;
}

/** More rows than this are shown only when asked for. */
const FIRST = 200;

export function Table<T>({ id, caption, columns, rows, rowKey, sorted, onRow, current, empty }: {
  id: string; caption: string; columns: Column<T>[]; rows: T[]; rowKey: (row: T) => string;
  /** "key" or "-key", downwards. */
  sorted?: string;
  onRow?: (row: T) => void; current?: string | undefined; empty?: ComponentChildren;
}) {
  const [all, setAll] = useState(false);
  const param = `sort-${id}`;
  const order = place.value.query[param] ?? sorted ?? "";
  const down = order.startsWith("-");
  const by = columns.find((c) => c.key === order.replace(/^-/, "") && c.by !== undefined);
  const list = by?.by === undefined ? rows : sort(rows, by.by, down);
  if (rows.length === 0 && empty !== undefined) return <>{empty}</>;
  const turn = (c: Column<T>) => {
    const next = by === c ? (down ? c.key : `-${c.key}`) : c.number ? `-${c.key}` : c.key;
    set({ [param]: next === sorted ? "" : next });
  };
  const shown = all ? list : list.slice(0, FIRST);
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={caption}>
      <table>
        <caption class="unseen">{caption}</caption>
        <thead>
          <tr>
            {columns.map((c) => (
              <th key={c.key} scope="col" class={c.number ? "number" : undefined} aria-sort={by === c ? (down ? "descending" : "ascending") : undefined}>
                {c.by === undefined ? c.name : <button type="button" onClick={() => turn(c)}>{c.name}<span class="order" aria-hidden="true">{by === c ? (down ? "▾" : "▴") : ""}</span></button>}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {shown.map((row) => {
            const key = rowKey(row);
            return (
              <tr key={key} class={onRow ? "link" : undefined} aria-current={current === key ? "true" : undefined}
                onClick={onRow && ((e) => { if (!(e.target as Element).closest("a,button")) onRow(row); })}>
                {columns.map((c) => c.head
                  ? <th key={c.key} scope="row">{c.cell(row)}</th>
                  : <td key={c.key} class={c.number ? "number" : undefined}>{c.cell(row)}</td>)}
              </tr>
            );
          })}
        </tbody>
      </table>
      {list.length > shown.length && <p class="more"><button type="button" onClick={() => setAll(true)}>Show all {list.length}</button> {shown.length} are shown</p>}
    </div>
  );
}

function sort<T>(rows: T[], by: (row: T) => number | string | undefined, down: boolean): T[] {
  return [...rows].sort((a, b) => {
    const [x, y] = [by(a), by(b)];
    if (x === undefined || y === undefined) return x === y ? 0 : x === undefined ? 1 : -1; // what is not known is last either way
    const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), undefined, { numeric: true });
    return down ? -order : order;
  });
}

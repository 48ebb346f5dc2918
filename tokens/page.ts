import { readFileSync, writeFileSync } from "node:fs";

type Row = { name: string; text: string; counts: Record<string, number>; bound: number; o200k: number };

const PAGE = new URL("../docs/tokenizers.md", import.meta.url);
const BEGIN = "<!-- npm run tokens -->";
const END = "<!-- end -->";

/** Writes the table of measurements between the marks in docs/tokenizers.md, and returns it. */
export function writePage(tokenizers: readonly string[], rows: readonly Row[], alone: ReadonlyMap<string, number>): string {
  const table = [
    line(["Text", "bytes", "o200k_base", "bound", "bound / old bound", ...tokenizers]),
    line(["---", ...Array.from({ length: 4 + tokenizers.length }, () => "--:")]),
    ...rows.map(({ name, text, counts, bound, o200k }) => {
      const old = Math.ceil(o200k * 1.5) + 1;
      const ratios = tokenizers.map((tokenizer) => ((counts[tokenizer] ?? 0) / bound).toFixed(2));
      return line([name, String(Buffer.byteLength(text)), String(o200k), String(bound), (bound / old).toFixed(2), ...ratios]);
    }),
    line(["**Largest**", "", "", "", "", ...tokenizers.map((tokenizer) => largest(rows, tokenizer).toFixed(2))]),
    line([
      "Any one character, to its bound by bytes",
      "",
      "",
      "",
      "",
      ...tokenizers.map((tokenizer) => (alone.get(tokenizer) ?? 0).toFixed(2)),
    ]),
  ].join("\n");
  const page = readFileSync(PAGE, "utf8");
  const [before, after] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (before === -1 || after === -1) throw new Error(`${PAGE.pathname} has lost its marks`);
  writeFileSync(PAGE, `${page.slice(0, before)}${BEGIN}\n\n${table}\n\n${page.slice(after)}`);
  return table;
}

function largest(rows: readonly Row[], tokenizer: string): number {
  return Math.max(...rows.map(({ counts, bound }) => (counts[tokenizer] ?? 0) / bound));
}

function line(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}

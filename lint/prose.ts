import { globSync, readFileSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { parseSync, Visitor } from "rolldown/utils";
import { repository } from "./imports.ts";

/**
 * `node lint/prose.ts`: refuses words of docs/style.md that hide the subject or the end of a wait, in comments, in
 * tests' titles and in documents. Code in backticks or fences is not checked; neither are other strings, which may be
 * interface text.
 */
const WORDS = /\b(whoever|whomever|nobody|somebody|anybody|everybody|meanwhile|by then)\b/gi;

const TITLED = new Set(["describe", "inEveryZone", "onBothDatabases", "test"]);

/** The refused words of a file, one line each. */
export function refusals(file: string, text: string): string[] {
  return proseOf(file, text).flatMap(({ start, value }) =>
    [...value.replace(/`[^`\n]*`/g, (code) => " ".repeat(code.length)).matchAll(WORDS)].map(({ 0: word, index }) => {
      const line = text.slice(0, start).split("\n").length + value.slice(0, index).split("\n").length - 1;
      return `${file}:${line} says "${word}": name who or when (docs/style.md).`;
    }),
  );
}

type Prose = { start: number; value: string };

function proseOf(file: string, text: string): Prose[] {
  if (file.endsWith(".md")) return [{ start: 0, value: withoutFences(text) }];
  return file.endsWith(".prisma") ? commentsOfSchema(text) : proseOfModule(file, text);
}

/** A document in which the lines of fenced code are blank, so that other lines keep their numbers. */
function withoutFences(text: string): string {
  return text.replace(/^```.*?^```/gms, (code) => code.replace(/[^\n]+/g, ""));
}

/** A comment of Prisma's language begins with two or three slashes and ends with its line. */
function commentsOfSchema(text: string): Prose[] {
  return [...text.matchAll(/(?<=^|\s)\/\/.*/gm)].map(({ 0: value, index }) => ({ start: index, value }));
}

function proseOfModule(file: string, text: string): Prose[] {
  const { program, comments, errors } = parseSync(file, text);
  if (errors[0]) throw new Error(`${file} can't be parsed: ${errors[0].message}`);
  const prose = comments.map(({ start, value }) => ({ start, value }));
  new Visitor({
    CallExpression({ callee, arguments: [title] }) {
      if (!title || !TITLED.has(rootName(callee) ?? "")) return;
      if (title.type === "Literal" && typeof title.value === "string") prose.push({ start: title.start, value: title.value });
      if (title.type === "TemplateLiteral") for (const { start, value } of title.quasis) prose.push({ start, value: value.cooked ?? "" });
    },
  }).visit(program);
  return prose;
}

type Callee = { type: string; name?: unknown; object?: Callee; callee?: Callee; tag?: Callee };

/** `test` of `test(…)`, `test.skip(…)` and `test.each(…)(…)`. */
function rootName(callee: Callee): string | undefined {
  if (callee.type === "Identifier") return String(callee.name);
  const inner = callee.object ?? callee.callee ?? callee.tag;
  return inner && rootName(inner);
}

/**
 * The files that are checked, as paths from the repository's root. Pages of the website (docs/site) are interface text,
 * and docs/style.md quotes the words.
 */
export function sources(root = repository): string[] {
  return globSync(["{src,prisma,packages,bench,docs,e2e,examples,faults,lint,mutations}/**/*.{ts,tsx,prisma,md}", "*.md"], {
    cwd: root,
    exclude: (file) => /(^|\/)(node_modules|dist|\.next|generated|site)$/.test(file.split(path.sep).join("/")),
  })
    .map((file) => file.split(path.sep).join("/"))
    .filter((file) => !file.endsWith(".d.ts") && file !== "docs/style.md");
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const root = process.argv[2] ?? repository;
  const files = sources(root);
  const refused = files.flatMap((file) => refusals(file, readFileSync(path.join(root, file), "utf8")));
  for (const each of refused) console.error(each);
  console.log(`${files.length} files, ${refused.length} words refused`);
  process.exitCode = refused.length > 0 ? 1 : 0;
}

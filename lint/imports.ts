import { globSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseSync, Visitor } from "rolldown/utils";
import { roomOf } from "./rooms.ts";

/**
 * `node lint/imports.ts`: refuses an import that lint/rooms.ts does not allow. Tests are free to import what
 * they test. Cycles of files are Biome's (`noImportCycles`).
 */
export const repository = fileURLToPath(new URL("../", import.meta.url));

const CODE = /\.(ts|tsx|mts|js|mjs|cjs)$/;
const TEST = /\.test\.tsx?$/;

const manifest = JSON.parse(readFileSync(path.join(repository, "package.json"), "utf8")) as { imports: Record<string, string> };
const aliases = Object.entries(manifest.imports);

type Import = { line: number /** undefined: computed at run time. */; target: string | undefined };

/** All module specifiers in the text: imports, type imports, re-exports, `import()`, `require` and `new URL("./a.ts", import.meta.url)`. */
export function importsOf(file: string, text: string): Import[] {
  const { program, errors } = parseSync(file, text);
  if (errors[0]) throw new Error(`${file} can't be parsed: ${errors[0].message}`);
  const found: Import[] = [];
  const see = (node: Node | null | undefined): void => {
    if (node) found.push({ target: textOf(node), line: text.slice(0, node.start).split("\n").length });
  };
  new Visitor({
    ImportDeclaration: ({ source }) => see(source),
    ExportNamedDeclaration: ({ source }) => see(source),
    ExportAllDeclaration: ({ source }) => see(source),
    ImportExpression: ({ source }) => see(source),
    TSImportType: ({ source }) => see(source),
    TSExternalModuleReference: ({ expression }) => see(expression),
    CallExpression({ callee, arguments: [first] }) {
      if (callee.type === "Identifier" && callee.name === "require") see(first);
    },
    NewExpression({ callee, arguments: [first, base] }) {
      if (callee.type !== "Identifier" || callee.name !== "URL" || !first || !base) return;
      const besideFile = text.slice(base.start, base.end) === "import.meta.url";
      if (besideFile && CODE.test(textOf(first) ?? "")) see(first);
    },
  }).visit(program);
  return found;
}

type Node = { type: string; start: number; value?: unknown; quasis?: { value: { cooked?: string | null } }[] };

function textOf(node: Node): string | undefined {
  if (node.type === "Literal" && typeof node.value === "string") return node.value;
  if (node.type === "TemplateLiteral" && node.quasis?.length === 1) return node.quasis[0]?.value.cooked ?? undefined;
}

/** The path in the repository that an import leads to; undefined for packages. */
export function resolve(from: string, target: string): string | undefined {
  if (target.startsWith(".")) {
    const file = path.posix.join(path.posix.dirname(from), target);
    return file.startsWith("node_modules/") ? undefined : file;
  }
  for (const [alias, to] of aliases) {
    const [before = "", after] = alias.split("*");
    if (after === undefined ? target === alias : target.startsWith(before))
      return path.posix.normalize(to.replace("*", target.slice(before.length)));
  }
}

/** The faults of a file's imports, one line each. */
export function refusals(file: string, text: string): string[] {
  const room = roomOf(file);
  if (!room) return [`${file} is in no room: name its folder in lint/rooms.ts.`];
  return importsOf(file, text).flatMap(({ target, line }) => {
    if (target === undefined)
      return room.loadsByPath ? [] : [`${file}:${line} loads a module whose path is not written there (lint/rooms.ts).`];
    const to = resolve(file, target);
    if (to === undefined) return [];
    const other = roomOf(to);
    if (other && !TEST.test(to) && (other === room || room.uses.includes(other.path))) return [];
    return [`${file}:${line} imports ${to}, which lint/rooms.ts does not list for ${room.path}.`];
  });
}

/** The files that the rules apply to, as paths from the repository's root. */
export function sources(root = repository): string[] {
  return globSync("{src,prisma}/**/*.{ts,tsx,mts,js,mjs,cjs}", { cwd: root })
    .map((file) => file.split(path.sep).join("/"))
    .filter((file) => !file.startsWith("src/generated/") && !TEST.test(file));
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const root = process.argv[2] ?? repository;
  const files = sources(root);
  const refused = files.flatMap((file) => refusals(file, readFileSync(path.join(root, file), "utf8")));
  for (const each of refused) console.error(each);
  console.log(`${files.length} files, ${refused.length} imports refused`);
  process.exitCode = refused.length > 0 ? 1 : 0;
}

import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

/**
 * docs/sdk-reference.md, generated from the TSDoc in the declarations of the built packages.
 * `npm run sdk:reference` writes it; a test compares it.
 */
const root = fileURLToPath(new URL("../", import.meta.url));
export const sdkReference = path.join(root, "docs/sdk-reference.md");

type Declaration = { kind: string; name: string; doc: string; text: string; module: string };

/** The reference as Markdown. Throws when the packages have not been built. */
export function sdkMarkdown(): string {
  return ["core", "nextjs"].map(packageSection).join("\n");
}

function packageSection(folder: string): string {
  const dist = path.join(root, "packages", folder, "dist");
  if (!existsSync(dist)) throw new Error(`${dist} is not there: build the packages first.`);
  const exported = exportsOf(dist);
  const declarations = readdirSync(dist)
    .filter((file) => file.endsWith(".d.ts") && file !== "index.d.ts")
    .flatMap((file) => declarationsOf(file.replace(".d.ts", ""), readFileSync(path.join(dist, file), "utf8")))
    .filter(({ name, module, doc }) => exported(module, name) && !doc.includes("@internal"));
  const of = (...kinds: string[]) => declarations.filter(({ kind }) => kinds.includes(kind));
  const errors = of("class").filter(({ text }) => /extends \w*Error\b/.test(text));
  const classes = of("class").filter((each) => !errors.includes(each));
  const fromServer = of("type", "interface").filter(({ module }) => module === "wire");
  const own = of("type", "interface").filter((each) => !fromServer.includes(each));
  return [
    `## @usequota/${folder}\n`,
    ...classes.map((each) => `### ${each.name}\n\n${each.doc}\n\n${members(each).map(member).join("\n\n")}\n`),
    of("function").length > 0 && `${groupsOf(of("function")).map(functionSection).join("\n")}`,
    errors.length > 0 &&
      `### Errors of @usequota/${folder}\n\n${table(
        "Class",
        errors.map(({ name, doc }) => [`\`${name}\``, oneLine(doc)] as const),
      )}\n`,
    own.length > 0 && own.map(typeSection).join("\n"),
    fromServer.length > 0 &&
      `### Shapes of the API\n\nMade from the server's own schemas; their fields are in the [API reference](/docs/api).\n\n${table(
        "Type",
        fromServer.map(({ name, doc }) => [`\`${name}\``, oneLine(doc)] as const),
      )}\n`,
  ]
    .filter((part) => part !== false)
    .join("\n");
}

/** Whether the package's index exports a name of a module. */
function exportsOf(dist: string): (module: string, name: string) => boolean {
  const index = readFileSync(path.join(dist, "index.d.ts"), "utf8");
  const whole = new Set([...index.matchAll(/export (?:type )?\* from "\.\/([\w-]+)\.js"/g)].map(([, module]) => module));
  const names = new Map(
    [...index.matchAll(/export (?:type )?\{([^}]*)\} from "\.\/([\w-]+)\.js"/g)].map(([, list = "", module]) => [
      module,
      new Set(list.split(",").map((name) => name.replace(/^\s*type\s+/, "").trim())),
    ]),
  );
  return (module, name) => whole.has(module) || names.get(module)?.has(name) === true;
}

/** The compiler begins and ends each declaration at the start of a line. */
function declarationsOf(module: string, source: string): Declaration[] {
  const found = source.matchAll(
    /^(\/\*\*(?:(?!\*\/)[\s\S])*\*\/)\n(export (?:declare )?(?:abstract )?(class|function|interface|type|const) (\w+)(?:[^\n]*\{\n[\s\S]*?^\}[^\n]*|[^\n]*))$/gm,
  );
  return [...found].map(([, comment = "", text = "", kind = "", name = ""]) => ({ module, kind, name, text, doc: prose(comment) }));
}

/** A comment's text; the example after `@example` stays, without the tag. */
function prose(comment: string): string {
  return comment
    .trim()
    .replace(/^\/\*\*\s?|\s*\*\/$/g, "")
    .split("\n")
    .map((line) => line.replace(/^\s*\* ?/, ""))
    .join("\n")
    .replace(/^@example\s*$/m, "")
    .replace(/\n{3,}/g, "\n\n")
    .trim();
}

type Member = { signature: string; doc: string };

/** The members of a class or interface that have a comment, overloads together. */
function members({ text }: Declaration): Member[] {
  const body = text.slice(text.indexOf("{\n") + 2, text.lastIndexOf("}"));
  const found: Member[] = [];
  for (const [comment, lines] of statementsOf(body)) {
    const clean = lines.join("\n").replace(/^ {4}/gm, "").trim();
    if (clean.startsWith("#") || clean.startsWith("private ")) continue;
    const last = found.at(-1);
    const name = (line: string) => /^(?:readonly )?\w+/.exec(line)?.[0];
    if (comment === "" && last !== undefined && name(last.signature) === name(clean) && clean.includes("(")) last.signature += `\n${clean}`;
    else found.push({ signature: clean, doc: prose(comment) });
  }
  return found;
}

/** Each comment and the code below it, at an indentation of four spaces. */
function* statementsOf(body: string): Generator<[comment: string, lines: string[]]> {
  let comment: string[] = [];
  let lines: string[] = [];
  for (const line of body.split("\n")) {
    const inComment = comment.length > 0 && lines.length === 0 && !comment.join("").includes("*/");
    if (lines.length === 0 && (inComment || line.startsWith("    /**"))) comment.push(line);
    else if (line.trim() !== "") {
      lines.push(line);
      const text = lines.join("");
      const depth = (text.match(/[({[]/g)?.length ?? 0) - (text.match(/[)}\]]/g)?.length ?? 0);
      if (depth > 0 || !line.endsWith(";")) continue;
      yield [comment.join("\n"), lines];
      comment = [];
      lines = [];
    }
  }
}

function member({ signature, doc }: Member): string {
  return `\`\`\`ts\n${signature}\n\`\`\`\n\n${doc}`.trim();
}

function groupsOf(functions: Declaration[]): Declaration[][] {
  return [...Map.groupBy(functions, ({ name }) => name).values()];
}

function functionSection(overloads: Declaration[]): string {
  const [first] = overloads as [Declaration];
  const signature = overloads.map(({ text }) => text.replace("export declare ", "")).join("\n");
  return `### ${first.name}\n\n\`\`\`ts\n${signature}\n\`\`\`\n\n${first.doc}\n`;
}

function typeSection(declaration: Declaration): string {
  const { name, doc, text, kind } = declaration;
  if (kind === "interface") {
    const fields = members(declaration);
    if (fields.length > 0)
      return `### ${name}\n\n${doc}\n\n${table(
        "Field",
        fields.map(
          ({ signature, doc: about }) =>
            [
              `\`${oneLine(signature)
                .replace(/;$/, "")
                .replace(/ \| undefined$/, "")}\``,
              oneLine(about),
            ] as const,
        ),
      )}\n`;
  }
  return `### ${name}\n\n${doc}\n\n\`\`\`ts\n${text.replace("export declare ", "").replace("export ", "")}\n\`\`\`\n`;
}

function table(head: string, rows: readonly (readonly [string, string])[]): string {
  return [`| ${head} | |`, "|---|---|", ...rows.map((cells) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`)].join(
    "\n",
  );
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, " ").trim();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(sdkReference, sdkMarkdown());

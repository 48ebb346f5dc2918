import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

/**
 * Stripe's documented request fields, read from the type declarations of Stripe's library: which
 * fields a call takes, which are required, and their types.
 */

type Member = { name: string; optional: boolean; type: string };
type Interface = { scope: string[]; members: Member[] };
type Declarations = { interfaces: Map<string, Interface>; types: Map<string, { scope: string[]; type: string }> };

const resources = path.join(path.dirname(createRequire(import.meta.url).resolve("stripe")), "../esm/resources");
const read = new Map<string, Declarations>();

/** A refusal in Stripe's shape; `param` names the field. */
export type ParamProblem = { message: string; param: string };

/** Checks the decoded parameters of a call against an interface such as `CustomerCreateParams` in `Customers`. */
export function checkParams(file: string, name: string, params: unknown): ParamProblem | null {
  let declarations = read.get(file);
  if (declarations === undefined) {
    declarations = parse(readFileSync(path.join(resources, `${file}.d.ts`), "utf8"));
    read.set(file, declarations);
  }
  const qualified = [...declarations.interfaces.keys()].find((key) => key === name || key.endsWith(`.${name}`));
  if (qualified === undefined) throw new Error(`Stripe publishes no ${name} in ${file}`);
  return checkInterface(declarations, qualified, params, "");
}

function checkInterface(all: Declarations, name: string, value: unknown, at: string): ParamProblem | null {
  const { members, scope } = all.interfaces.get(name) as Interface;
  if (typeof value !== "object" || value === null || Array.isArray(value)) return { message: "Invalid object", param: at };
  const given = value as Record<string, unknown>;
  for (const key of Object.keys(given)) {
    if (!members.some((member) => member.name === key))
      return { message: `Received unknown parameter: ${within(at, key)}`, param: within(at, key) };
  }
  for (const member of members) {
    const param = within(at, member.name);
    if (given[member.name] === undefined) {
      if (!member.optional) return { message: `Missing required param: ${param}.`, param };
      continue;
    }
    const problem = checkType(all, [...scope, name.split(".").at(-1) as string], member.type, given[member.name], param);
    if (problem !== null) return problem;
  }
  return null;
}

function checkType(all: Declarations, scope: string[], type: string, value: unknown, at: string): ParamProblem | null {
  const wrong = (what: string): ParamProblem => ({ message: `Invalid ${what}: ${String(value)}`, param: at });
  if (type === "string") return typeof value === "string" ? null : wrong("string");
  if (type === "number") return /^-?\d+$/.test(String(value)) ? null : wrong("integer");
  if (type === "boolean") return value === "true" || value === "false" ? null : wrong("boolean");
  const inner = /^(Array|Emptyable)<(.*)>$/.exec(type);
  if (inner?.[1] === "Array") {
    if (!Array.isArray(value)) return wrong("array");
    for (const [index, each] of value.entries()) {
      const problem = checkType(all, scope, inner[2] as string, each, `${at}[${index}]`);
      if (problem !== null) return problem;
    }
    return null;
  }
  if (inner?.[1] === "Emptyable") return value === "" ? null : checkType(all, scope, inner[2] as string, value, at);
  if (type === "MetadataParam") {
    if (typeof value !== "object" || value === null) return wrong("object");
    const entries = Object.entries(value);
    // https://docs.stripe.com/api/metadata
    if (entries.length > 50 || entries.some(([key, text]) => key.length > 40 || String(text).length > 500)) return wrong("metadata");
    return null;
  }
  if (type === "RangeQueryParam") {
    if (typeof value !== "object" || value === null) return wrong("object");
    const bad = Object.entries(value).find(([key, text]) => !/^[gl]te?$/.test(key) || !/^\d+$/.test(String(text)));
    return bad === undefined ? null : wrong("range");
  }
  const options = type.split("|").map((each) => each.trim());
  if (options.length > 1) {
    const literals = options.flatMap((option) => /^'(.*)'$/.exec(option)?.[1] ?? []);
    if (literals.includes(String(value))) return null;
    const rest = options.filter((option) => !option.startsWith("'") && option !== "OtherString");
    return rest.some((option) => checkType(all, scope, option, value, at) === null) ? null : wrong(`one of ${literals.join(", ")}`);
  }
  const found = resolve(all, scope, type);
  if (found === null) throw new Error(`the stand-in for Stripe cannot check ${at}, which is a ${type}`);
  if (found.kind === "interface") return checkInterface(all, found.name, value, at);
  return checkType(all, found.scope, found.type, value, at);
}

function resolve(all: Declarations, scope: string[], name: string) {
  for (let depth = scope.length; depth >= 0; depth--) {
    const qualified = [...scope.slice(0, depth), name].join(".");
    if (all.interfaces.has(qualified)) return { kind: "interface" as const, name: qualified };
    const type = all.types.get(qualified);
    if (type !== undefined) return { kind: "type" as const, ...type };
  }
  return null;
}

const PAGINATION: readonly Member[] = [
  { name: "limit", optional: true, type: "number" },
  { name: "starting_after", optional: true, type: "string" },
  { name: "ending_before", optional: true, type: "string" },
];

function within(at: string, key: string): string {
  return at === "" ? key : `${at}[${key}]`;
}

/** Reads namespaces, interfaces and type aliases, and ignores other declarations. */
function parse(text: string): Declarations {
  const all: Declarations = { interfaces: new Map(), types: new Map() };
  const source = text.replaceAll(/\/\*[\s\S]*?\*\//g, "").replaceAll(/^\s*\/\/.*$/gm, "");
  const scopes: (string | null)[] = [];
  const scope = () => scopes.filter((each) => each !== null);
  let open: { name: string; members: Member[] } | null = null;
  for (const line of source.split("\n").map((each) => each.trim())) {
    if (line === "") continue;
    if (open !== null) {
      if (line === "}") {
        all.interfaces.set([...scope(), open.name].join("."), { scope: scope(), members: open.members });
        open = null;
        continue;
      }
      const member = /^'?([\w[\]-]+)'?(\?)?: (.*);$/.exec(line);
      if (member !== null) open.members.push({ name: member[1] as string, optional: member[2] === "?", type: member[3] as string });
      continue;
    }
    const begun = /^(?:export )?(?:declare )?interface (\w+)(?:<.*>)?(?: extends (.*))? \{(\})?$/.exec(line);
    const alias = /^(?:export )?(?:declare )?type (\w+) = (.*);$/.exec(line);
    const namespace = /^(?:export )?(?:declare )?namespace (\w+) \{$/.exec(line);
    if (begun !== null) {
      const members = begun[2] === "PaginationParams" ? [...PAGINATION] : [];
      if (begun[3] === "}") all.interfaces.set([...scope(), begun[1]].join("."), { scope: scope(), members });
      else open = { name: begun[1] as string, members };
    } else if (alias !== null) all.types.set([...scope(), alias[1]].join("."), { scope: scope(), type: alias[2] as string });
    else if (namespace !== null) scopes.push(namespace[1] as string);
    else if (line.endsWith("{")) scopes.push(null);
    else if (line.startsWith("}")) scopes.pop();
  }
  return all;
}

/** Stripe's form encoding: `a[b][0]=c`. */
export function decodeForm(text: string): Record<string, unknown> {
  const root: Record<string, unknown> = {};
  for (const [key, value] of new URLSearchParams(text)) {
    const steps = [...key.matchAll(/[^[\]]+/g)].map(([step]) => step);
    let here: Record<string, unknown> = root;
    for (const step of steps.slice(0, -1)) {
      here[step] ??= {};
      here = here[step] as Record<string, unknown>;
    }
    here[steps.at(-1) as string] = value;
  }
  return listed(root) as Record<string, unknown>;
}

function listed(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([key, inner]) => [key, listed(inner)] as const);
  return entries.length > 0 && entries.every(([key], index) => key === String(index))
    ? entries.map(([, inner]) => inner)
    : Object.fromEntries(entries);
}

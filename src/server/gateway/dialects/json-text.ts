import { endOfString } from "../../platform/json.ts";

/**
 * Where a member of a JSON object is in its text. Members are changed in the text, so
 * that the others reach the provider byte for byte: large integers, number formats and
 * unknown members.
 */
export type JsonMember = { start: number; valueStart: number; valueEnd: number };

/** Members to change, by name: a JSON text, or null to leave the member out. */
export type MemberChanges = Readonly<Record<string, string | null>>;

export class DuplicateMemberError extends Error {
  readonly member: string;
  constructor(member: string) {
    super(`The member "${member}" stands twice.`);
    this.name = "DuplicateMemberError";
    this.member = member;
  }
}

const SPACE = /[ \t\r\n]*/y;
const SCALAR = /[^,\]}\s]*/y;
const UNSTRUCTURED = /[^"{}[\]]*/y;

/**
 * The top-level members of a JSON object. JSON.parse must have parsed `text` as an
 * object. Throws DuplicateMemberError when a name occurs twice: parsers differ in which
 * one they take, so the provider could read another value than the ledger.
 */
export function topLevelMembers(text: string): Map<string, JsonMember> {
  const members = new Map<string, JsonMember>();
  let at = text.indexOf("{") + 1;
  for (;;) {
    at = skip(SPACE, text, at);
    if (text[at] === "}") return members;
    if (text[at] === ",") at = skip(SPACE, text, at + 1);
    const start = at;
    const nameEnd = endOfString(text, at);
    const name = JSON.parse(text.slice(at, nameEnd)) as string;
    const valueStart = skip(SPACE, text, text.indexOf(":", nameEnd) + 1);
    const valueEnd = endOfValue(text, valueStart);
    if (members.has(name)) throw new DuplicateMemberError(name);
    members.set(name, { start, valueStart, valueEnd });
    at = valueEnd;
  }
}

/** The text with some members replaced, left out, or added at the front when they were absent. */
export function withMembers(text: string, members: ReadonlyMap<string, JsonMember>, changes: MemberChanges): string {
  const open = text.indexOf("{") + 1;
  const all = [...members];
  // A map, because a member may be called `__proto__`.
  const changed = new Map(Object.entries(changes));
  const isLeftOut = ([name]: (typeof all)[number]) => changed.get(name) === null;
  const added = [...changed].filter(([name, value]) => value !== null && !members.has(name));
  let result = text.slice(0, open) + added.map(([name, value]) => `${JSON.stringify(name)}:${value}`).join(",");
  // No comma when no member follows.
  if (added.length > 0 && !all.every(isLeftOut)) result += ",";
  let at = open;
  for (const [index, member] of all.entries()) {
    const [name, { start, valueStart, valueEnd }] = member;
    const value = changed.get(name);
    if (value === undefined) continue;
    if (value !== null) {
      result += text.slice(at, valueStart) + value;
      at = valueEnd;
      continue;
    }
    if (all.slice(index).every(isLeftOut)) {
      // With the last members the comma before them is removed.
      result += text.slice(at, Math.max(at, all[index - 1]?.[1].valueEnd ?? at));
      at = all.at(-1)?.[1].valueEnd ?? at;
      break;
    }
    result += text.slice(at, start);
    at = all[index + 1]?.[1].start ?? at;
  }
  return result + text.slice(at);
}

/** A JSON object's text with one more member at its end. */
export function appendMember(object: string, name: string, value: string): string {
  const end = object.lastIndexOf("}");
  const isEmpty = object.slice(object.indexOf("{") + 1, end).trim() === "";
  return `${object.slice(0, end)}${isEmpty ? "" : ","}"${name}":${value}${object.slice(end)}`;
}

function endOfValue(text: string, start: number): number {
  const first = text[start];
  if (first === '"') return endOfString(text, start);
  if (first !== "{" && first !== "[") return skip(SCALAR, text, start);
  let depth = 0;
  let at = start;
  do {
    const character = text[at];
    if (character === '"') at = endOfString(text, at);
    else {
      if (character === "{" || character === "[") depth++;
      else depth--;
      at++;
    }
    if (depth > 0) at = skip(UNSTRUCTURED, text, at);
  } while (depth > 0);
  return at;
}

/**
 * The text with the contents of some strings removed, each as often as it is in `contents`. Strings that are written
 * with escapes, or have less than 256 characters, stay. Takes one pass for any number of contents.
 */
export function withoutStrings(text: string, contents: readonly string[]): string {
  const left = new Map<string, number>();
  for (const each of contents) if (each.length >= LEAST_REMOVED_CHARACTERS) left.set(each, (left.get(each) ?? 0) + 1);
  if (left.size === 0) return text;
  const kept: string[] = [];
  let from = 0;
  for (let start = text.indexOf('"'); start !== -1; ) {
    const end = endOfString(text, start);
    if (end === 0) break;
    if (end - start > LEAST_REMOVED_CHARACTERS) {
      const content = text.slice(start + 1, end - 1);
      const times = left.get(content) ?? 0;
      if (times > 0) {
        left.set(content, times - 1);
        kept.push(text.slice(from, start + 1));
        from = end - 1;
      }
    }
    start = text.indexOf('"', end);
  }
  kept.push(text.slice(from));
  return kept.join("");
}

const LEAST_REMOVED_CHARACTERS = 256;

function skip(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  pattern.exec(text);
  return pattern.lastIndex;
}

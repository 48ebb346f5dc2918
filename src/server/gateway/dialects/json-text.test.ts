import fc from "fast-check";
import { expect, test } from "vitest";
import { appendMember, DuplicateMemberError, topLevelMembers, withMembers, withoutStrings } from "./json-text.ts";

const anyObject = fc.dictionary(fc.string(), fc.jsonValue()).map((object) => ({ ...object }));
const spacing = fc.constantFrom(undefined, 1, "\t", "  ");

test("top-level members are found at any place in any JSON, with any spacing", () => {
  fc.assert(
    fc.property(anyObject, spacing, (object, space) => {
      const text = JSON.stringify(object, null, space);
      const members = topLevelMembers(text);
      expect([...members.keys()].sort()).toEqual(Object.keys(JSON.parse(text) as object).sort());
      for (const [name, { valueStart, valueEnd }] of members) {
        expect(JSON.parse(text.slice(valueStart, valueEnd))).toEqual((JSON.parse(text) as Record<string, unknown>)[name]);
      }
    }),
  );
});

test("changing members leaves the text of all others unchanged", () => {
  fc.assert(
    fc.property(
      anyObject,
      spacing,
      fc.subarray(["model", "max_tokens", "stream_options"]),
      fc.jsonValue(),
      (object, space, names, value) => {
        const text = JSON.stringify({ ...object, max_tokens: 1 }, null, space);
        const changes = Object.fromEntries(names.map((name) => [name, JSON.stringify(value)]));
        const changed = JSON.parse(withMembers(text, topLevelMembers(text), changes)) as object;
        const expected = {
          ...(JSON.parse(text) as object),
          ...Object.fromEntries(names.map((name) => [name, JSON.parse(JSON.stringify(value)) as unknown])),
        };
        expect(changed).toEqual(expected);
      },
    ),
  );
});

test("removing members removes their commas, and leaves the text of all others unchanged, with any spacing", () => {
  fc.assert(
    fc.property(anyObject, spacing, fc.array(fc.nat()), fc.boolean(), (object, space, picks, adds) => {
      const text = JSON.stringify(object, null, space);
      const whole = JSON.parse(text) as Record<string, unknown>;
      const names = Object.keys(whole);
      const out = new Set(picks.flatMap((pick) => (names.length === 0 ? [] : [names[pick % names.length] as string])));
      const changes = Object.fromEntries([...[...out].map((name) => [name, null]), ...(adds ? [["added", "1"]] : [])]) as Record<
        string,
        string | null
      >;
      const left = Object.entries(whole).filter(([name]) => !out.has(name) && name !== "added");
      expect(JSON.parse(withMembers(text, topLevelMembers(text), changes))).toEqual(
        Object.fromEntries(
          adds ? [["added", 1], ...left] : [...left, ...Object.entries(whole).filter(([name]) => name === "added" && !out.has(name))],
        ),
      );
    }),
    { numRuns: 500 },
  );
});

test("integers beyond 2^53 are unchanged when another member changes", () => {
  const text = '{"seed":9223372036854775807,"max_tokens":10}';
  expect(withMembers(text, topLevelMembers(text), { max_tokens: "5", model: '"x"' })).toBe(
    '{"model":"x","seed":9223372036854775807,"max_tokens":5}',
  );
});

test("a member that occurs twice is refused, also when one is written with escapes", () => {
  expect(() => topLevelMembers('{"model":"a","model":"b"}')).toThrow(DuplicateMemberError);
  expect(() => topLevelMembers('{"model":"a","\\u006dodel":"b"}')).toThrow(DuplicateMemberError);
});

test("a member is appended to objects with and without members", () => {
  expect(appendMember('{"a":1}\n', "q", "2")).toBe('{"a":1,"q":2}\n');
  expect(appendMember("{ }", "q", "2")).toBe('{ "q":2}');
});

test("long strings are removed as often as they are named, at any place, and nothing else is", () => {
  const data = "QUJD".repeat(100);
  const other = `${data}x`;
  const body = { a: data, b: [`say "${data}"`, { source: { data } }, other], c: data, d: "short" };
  const text = JSON.stringify(body, null, 2);
  const twice = JSON.stringify({ ...body, a: "", b: [body.b[0], { source: { data: "" } }, other] }, null, 2);
  expect(withoutStrings(text, [data, data, "short"])).toBe(twice);
  expect(withoutStrings(text, [])).toBe(text);
  expect(withoutStrings(text, ["z".repeat(300)])).toBe(text);
  expect(withoutStrings(JSON.stringify(other), [data])).toBe(JSON.stringify(other));
});

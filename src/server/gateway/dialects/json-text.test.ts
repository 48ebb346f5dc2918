import fc from "fast-check";
import { expect, test } from "vitest";
import { appendMember, DuplicateMemberError, topLevelMembers, withMembers, withoutStrings } from "./json-text.ts";

const anyObject = fc.dictionary(fc.string(), fc.jsonValue()).map((object) => ({ ...object }));
const spacing = fc.constantFrom(undefined, 1, "\t", "  ");

test("members are found wherever they stand, in any JSON and any spacing", () => {
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

test("a change of some members leaves all others as they were", () => {
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

test("members that are left out go with their comma, and all others stay as they were, in any spacing", () => {
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

test("integers beyond 2^53 survive a change of another member", () => {
  const text = '{"seed":9223372036854775807,"max_tokens":10}';
  expect(withMembers(text, topLevelMembers(text), { max_tokens: "5", model: '"x"' })).toBe(
    '{"model":"x","seed":9223372036854775807,"max_tokens":5}',
  );
});

test("a member that stands twice is refused, however it is spelled", () => {
  expect(() => topLevelMembers('{"model":"a","model":"b"}')).toThrow(DuplicateMemberError);
  expect(() => topLevelMembers('{"model":"a","\\u006dodel":"b"}')).toThrow(DuplicateMemberError);
});

test("a member is appended to full and empty objects", () => {
  expect(appendMember('{"a":1}\n', "q", "2")).toBe('{"a":1,"q":2}\n');
  expect(appendMember("{ }", "q", "2")).toBe('{ "q":2}');
});

test("long strings are left out as often as they are named, wherever they stand, and nothing else is", () => {
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

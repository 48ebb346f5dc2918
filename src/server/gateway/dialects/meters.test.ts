import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { runCut } from "#testing/cut-stream.ts";
import { dataOf, dialectCases } from "#testing/dialects.ts";

const QUOTA = '{"credits_used":5}';
const used = { promptTokens: 10, cachedTokens: 0, cacheWriteTokens: 0, completionTokens: 7 };
const anyCuts = fc.array(fc.nat(), { maxLength: 12 });

const anyMembers = () =>
  fc.array(
    fc.oneof(
      fc.jsonValue(),
      fc.record({ message: fc.dictionary(fc.constantFrom("content", "tool_calls", "reasoning", "function_call"), fc.jsonValue()) }),
      fc.record({
        type: fc.constantFrom("text", "thinking", "message"),
        text: fc.jsonValue(),
        content: fc.jsonValue(),
        input: fc.jsonValue(),
      }),
    ),
    { maxLength: 3 },
  );

/** The guarantees for the streams of all dialects. Those of one dialect are in its own test file. */
describe.each(dialectCases)("a stream of $name", ({ dialect, meter: make, events, failures, anyStream, anyEvent, textOf }) => {
  const run = (stream: Uint8Array, cuts: readonly number[] = []) => runCut(make(), stream, cuts, QUOTA);

  test("gives the client the same bytes, usage and end at any cuts of its bytes", () => {
    fc.assert(
      fc.property(anyStream, anyCuts, ({ bytes }, cuts) => {
        expect(run(bytes, cuts)).toEqual(run(bytes));
      }),
      { numRuns: 300 },
    );
  });

  test("ends at an error in any known form, which the client does not get", () => {
    const first = events(["a"]).slice(0, -3).join("");
    for (const [event, status] of failures) {
      const { client, failure } = run(Buffer.from(first + event));
      expect(client).toBe(first);
      expect(failure?.status).toBe(status);
    }
  });

  test("does not take Unicode's line separators in its text for line ends", () => {
    const { failure, finished } = run(Buffer.from(events(["a\u2028event: error\u2028", "\u2029event: error\u0085"]).join("")));
    expect([failure, finished]).toEqual([null, true]);
  });

  test("does not pass on half an event at its end", () => {
    const [whole = "", next = ""] = events(["a"]).slice(1);
    const meter = make();
    expect(meter.push(Buffer.from(whole + next.slice(0, -10)))?.toString()).toBe(whole);
    expect(meter.end()).toBeNull();
    expect([meter.finished, meter.done]).toEqual([false, false]);
  });

  test("is counted by its joined texts: a word in two pieces is one word", async () => {
    const meter = make();
    meter.push(Buffer.from(events(Array<string>(2_000).fill(" word")).slice(0, -3).join("")));
    expect(await meter.deliveredTokens()).toBe(2_000);
    const halves = make();
    halves.push(Buffer.from(events(["hel", "lo wor", "ld"]).slice(0, -3).join("")));
    expect(await halves.deliveredTokens()).toBe(2);
  });

  test("with any JSON in its events is passed on without an exception", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.oneof(fc.jsonValue(), anyEvent), { maxLength: 4 }), anyCuts, async (values, cuts) => {
        const bytes = Buffer.from(values.map((value) => `data: ${JSON.stringify(value)}\n\n`).join(""));
        expect(run(bytes, cuts)).toEqual(run(bytes));
        const meter = make();
        meter.push(bytes);
        expect(await meter.deliveredTokens()).toBeGreaterThanOrEqual(0);
      }),
    );
  });

  test("has a JSON form whose usage and tokens are read from any JSON without an exception", async () => {
    const any = fc.record({ choices: anyMembers(), content: anyMembers(), output: anyMembers() });
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.dictionary(fc.string(), fc.jsonValue()), any), async (answer) => {
        dialect.isAnswer(answer);
        dialect.readUsage(answer);
        expect(await dialect.countAnswer(answer, "app")).toBeGreaterThanOrEqual(0);
      }),
    );
  });

  test("is read in time linear in its size, also when one event has many megabytes", () => {
    const meter = make();
    const all = events(["x".repeat(8 * 1024 * 1024)]);
    const bytes = Buffer.from(all.slice(0, all.findIndex((each) => each.length > 1024 * 1024) + 1).join(""));
    const { concat } = Buffer;
    let copied = 0;
    let through = 0;
    // Not a spy, which would keep every copy in memory.
    Buffer.concat = (...args) => {
      const made = concat(...args);
      copied += made.length;
      return made;
    };
    try {
      for (let at = 0; at < bytes.length; at += 1024) through += meter.push(bytes.subarray(at, at + 1024))?.length ?? 0;
    } finally {
      Buffer.concat = concat;
    }
    expect(through).toBe(bytes.length);
    // Each byte is copied some three times: with the end of the part before it, into the whole event, and for counting
    // its text. Joining all parts at each push would copy some four thousand times as much.
    expect(copied).toBeLessThan(4 * bytes.length);
  });

  const anyTexts = fc.array(fc.string({ unit: "grapheme", minLength: 1, maxLength: 30 }), { maxLength: 20 });

  test("is passed on in whole events up to the ceiling, and the rest after the ceiling is raised", () => {
    fc.assert(
      fc.property(anyTexts, fc.array(fc.nat(), { maxLength: 8 }), fc.nat({ max: 600 }), (texts, cuts, ceiling) => {
        const bytes = Buffer.from(events(texts).join(""));
        const meter = make();
        meter.allow(ceiling);
        const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
        let client = "";
        let raised = false;
        for (const [index, place] of [...places, bytes.length].entries()) {
          client += meter.push(bytes.subarray(places[index - 1] ?? 0, place))?.toString() ?? "";
          if (!meter.isFull) continue;
          if (!raised) {
            // The next event would exceed the ceiling.
            const delivered = dataOf(client).map(textOf).join("");
            expect(Buffer.byteLength(delivered)).toBeLessThanOrEqual(ceiling);
            expect(meter.outputBound()).toBeLessThanOrEqual(ceiling);
            expect(texts.join("")).toContain(delivered);
          }
          raised = true;
          client += meter.allow(Number.POSITIVE_INFINITY)?.toString() ?? "";
          expect(meter.isFull).toBe(false);
        }
        const free = make();
        expect(client).toBe(free.push(bytes)?.toString() ?? "");
        expect([meter.usage, meter.finished, meter.done]).toEqual([free.usage, free.finished, free.done]);
      }),
      { numRuns: 200 },
    );
  });

  test("has an upper bound of its tokens, which counting lowers", async () => {
    const texts = Array.from({ length: 200 }, (_, index) => ` word${index}`);
    const meter = make();
    meter.allow(5_000);
    meter.push(Buffer.from(events(texts).join("")));
    const counted = await meter.deliveredTokens();
    const before = meter.outputBound();
    expect(before).toBeGreaterThanOrEqual(Buffer.byteLength(texts.join("")));
    expect([meter.mayExceed(before), meter.mayExceed(before - 1)]).toEqual([false, true]);
    await meter.count("o200k");
    expect(meter.outputBound()).toBeGreaterThanOrEqual(counted);
    expect(meter.outputBound()).toBeLessThan(counted + 64);
  });

  test("that is cut short ends every open block and item once, and has quota", () => {
    fc.assert(
      fc.property(anyTexts, fc.nat({ max: 300 }), (texts, ceiling) => {
        const meter = make();
        meter.allow(ceiling);
        const client = meter.push(Buffer.from(events(texts).join("")))?.toString() ?? "";
        fc.pre(meter.isFull);
        const end = meter.cutShort(used, QUOTA).toString();
        expect(end).toContain(`"quota":${QUOTA}`);
        const types = dataOf(client + end).map(({ type }) => type);
        for (const [begins, ends] of [
          ["message_start", "message_stop"],
          ["content_block_start", "content_block_stop"],
          ["response.created", "response.incomplete"],
          ["response.output_item.added", "response.output_item.done"],
          ["response.content_part.added", "response.content_part.done"],
        ])
          expect(types.filter((type) => type === ends)).toHaveLength(types.filter((type) => type === begins).length);
      }),
      { numRuns: 100 },
    );
  });
});

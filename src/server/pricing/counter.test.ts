import { performance } from "node:perf_hooks";
import { Worker } from "node:worker_threads";
import { encode } from "gpt-tokenizer/encoding/o200k_base";
import { describe, expect, onTestFinished, test } from "vitest";
import { PIECE_UNITS } from "./bpe.ts";
import { TokenCounter, TooBusyToCountError } from "./counter.ts";

/**
 * A worker for which each character is a token. It answers when the test has opened `gate`; a text with `crash` ends it
 * and one with `hang` blocks it, as often as `times` says.
 */
function standIn(times = 0) {
  const shared = new Int32Array(new SharedArrayBuffer(8));
  const [GATE, LEFT] = [0, 1];
  shared[LEFT] = times;
  const start = () =>
    new Worker(
      `const { parentPort, workerData: shared } = require("node:worker_threads");
       parentPort.on("message", ({ id, texts }) => {
         Atomics.wait(shared, ${GATE}, 0);
         const text = texts.join("");
         if (/crash|hang/.test(text) && Atomics.sub(shared, ${LEFT}, 1) > 0) {
           if (text.includes("crash")) process.exit(1);
           for (;;);
         }
         parentPort.postMessage({ id, count: text.length });
       });
       parentPort.postMessage("ready");`,
      { eval: true, workerData: shared },
    );
  const open = () => {
    Atomics.store(shared, GATE, 1);
    Atomics.notify(shared, GATE);
  };
  return { start, open };
}

function counterWith(options: ConstructorParameters<typeof TokenCounter>[0]): TokenCounter {
  const counter = new TokenCounter(options);
  onTestFinished(() => counter.close());
  return counter;
}

const PIECE = "x".repeat(PIECE_UNITS);
const plainText = { allowedSpecial: new Set<string>(), disallowedSpecial: new Set<string>() };

test("counting megabytes leaves the main thread free", async () => {
  const counter = counterWith({});
  await counter.count(["load"]);
  const before = performance.eventLoopUtilization();
  expect(await counter.count(["漢字".repeat(250_000)])).toBeGreaterThan(100_000);
  expect(performance.eventLoopUtilization(before).utilization).toBeLessThan(0.5);
});

test("a text in many pieces has as many tokens as in one", async () => {
  const text = Array.from({ length: 20_000 }, (_, index) => `Sentence ${index} isn't long, but it ends;\n `).join("and so on ");
  expect(text.length).toBeGreaterThan(20 * PIECE_UNITS);
  const counter = counterWith({});
  expect(await counter.encode(text)).toEqual(encode(text, plainText));
  expect(await counter.count([text])).toBe(encode(text, plainText).length);
});

test("counts are the same without a worker thread", async () => {
  const withThread = counterWith({});
  const without = counterWith({
    startWorker: () => {
      throw new Error("no threads here");
    },
  });
  const texts = ["one", "漢字".repeat(9_000), "don't ".repeat(9_000), "😀\ud800"];
  expect(await without.count(texts)).toBe(await withThread.count(texts));
  expect(await without.encode(texts.join(""))).toEqual(await withThread.encode(texts.join("")));
  expect(await without.bytes([24912, 2375, 5_000_000])).toEqual(await withThread.bytes([24912, 2375, 5_000_000]));
});

describe("turns", () => {
  test("a long text of one app delays another app by a few pieces", async () => {
    const { start, open } = standIn();
    const counter = counterWith({ startWorker: start });
    const order: string[] = [];
    const note = (name: string) => (count: number) => void order.push(`${name} ${count}`);
    const all = [
      counter.count([PIECE.repeat(20)], { lane: "greedy" }).then(note("greedy")),
      counter.count([PIECE.repeat(20)], { lane: "greedy" }).then(note("greedy")),
      counter.count(["hello"], { lane: "other" }).then(note("other")),
      counter.count([PIECE.repeat(3)], { lane: "third" }).then(note("third")),
    ];
    open();
    await Promise.all(all);
    expect(order).toEqual(["other 5", `third ${3 * PIECE_UNITS}`, `greedy ${20 * PIECE_UNITS}`, `greedy ${20 * PIECE_UNITS}`]);
  });

  test("a full lane refuses purpose `ask` and estimates `bill` by bytes; other lanes, and later calls, are counted", async () => {
    const { start, open } = standIn();
    const counter = counterWith({ startWorker: start, laneUnits: 4 * PIECE_UNITS, laneBillUnits: 4 * PIECE_UNITS });
    const first = counter.count([PIECE.repeat(4)], { lane: "full", purpose: "ask" });
    await expect(counter.count([PIECE], { lane: "full", purpose: "ask" })).rejects.toThrow(TooBusyToCountError);
    expect(await counter.count([PIECE], { lane: "full" })).toBe(PIECE_UNITS / 4);
    const other = counter.count(["hello"], { lane: "other", purpose: "ask" });
    open();
    expect(await Promise.all([first, other])).toEqual([4 * PIECE_UNITS, 5]);
    expect(await counter.count([PIECE.repeat(4)], { lane: "full", purpose: "ask" })).toBe(4 * PIECE_UNITS);
  });

  test("the sum of all lanes is bounded too", async () => {
    const { start, open } = standIn();
    const counter = counterWith({ startWorker: start, units: 2 * PIECE_UNITS });
    const kept = [1, 2].map((lane) => counter.count([PIECE], { lane: String(lane), purpose: "ask" }));
    const more = [3, 4, 5].map((lane) => counter.count([PIECE], { lane: String(lane), purpose: "ask" }));
    const settled = Promise.allSettled([...kept, ...more]);
    open();
    const counts = (await settled).map((each) => (each.status === "fulfilled" ? each.value : (each.reason as Error).name));
    expect(counts.slice(0, 2)).toEqual([PIECE_UNITS, PIECE_UNITS]);
    expect(counts.at(-1)).toBe("TooBusyToCountError");
  });

  test("a text that is not counted in time is refused for `ask` and estimated for `bill`", async () => {
    const { start, open } = standIn();
    const counter = counterWith({ startWorker: start, askMs: 1, billMs: 1 });
    const late = await Promise.allSettled([
      counter.count([PIECE.repeat(8)], { purpose: "ask" }),
      counter.count([PIECE.repeat(8)], { purpose: "bill" }),
    ]);
    expect(late).toMatchObject([
      { status: "rejected", reason: { name: "TooBusyToCountError" } },
      { status: "fulfilled", value: 2 * PIECE_UNITS },
    ]);
    open();
  });
});

describe("a very long text", () => {
  test("is counted by a scaled sample for `bill`, and as a whole for `ask`", async () => {
    const { start, open } = standIn();
    open();
    const counter = counterWith({ startWorker: start, wholeUnits: 4 * PIECE_UNITS });
    expect(await counter.count([PIECE.repeat(4)])).toBe(4 * PIECE_UNITS);
    expect(await counter.count([PIECE.repeat(100), "x"])).toBe(100 * PIECE_UNITS + 1);
    const real = counterWith({ wholeUnits: 16 * PIECE_UNITS });
    const english = "A sentence about nothing, in plain words, over and over again. ".repeat(20_000);
    const all = await real.count([english], { purpose: "ask" });
    expect(all).toBe(encode(english, plainText).length);
    expect(Math.abs((await real.count([english])) / all - 1)).toBeLessThan(0.02);
  });
});

describe("a worker thread that fails", () => {
  test.each(["crash", "hang"])("is replaced after a %s, and every call is answered", async (fault) => {
    const { start, open } = standIn(1);
    open();
    const counter = counterWith({ startWorker: start, pieceMs: 200 });
    const texts = [`it will ${fault}`, "hello", PIECE.repeat(5)];
    const counts = await Promise.all(texts.map((text, lane) => counter.count([text], { lane: String(lane) })));
    expect(counts).toEqual(texts.map((text) => text.length));
  });

  test("with the same text twice has only that text estimated", async () => {
    const { start, open } = standIn(1_000);
    open();
    const counter = counterWith({ startWorker: start });
    expect(await counter.count(["crash it is"])).toBe(3);
    expect(await counter.count(["hello"])).toBe(5);
  });
});

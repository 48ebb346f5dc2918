import { describe, expect, test } from "vitest";
import { Batcher, QueueFullError } from "./batcher.ts";

/** An error as a database driver throws it. */
const sqlError = (code: string) => Object.assign(new Error(`sqlstate ${code}`), { code });

/** A run that waits until the test releases it, so that the test decides what arrives during it. */
function gate() {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

describe("Batcher", () => {
  test("items of one turn of the event loop go in one batch, in order of arrival", async () => {
    const batches: number[][] = [];
    const batcher = new Batcher<number, string>(async (items) => {
      batches.push([...items]);
      return items.map((item) => `answer ${item}`);
    });
    const answers = await Promise.all([1, 2, 3].map((item) => batcher.push(item)));
    expect(answers).toEqual(["answer 1", "answer 2", "answer 3"]);
    expect(batches).toEqual([[1, 2, 3]]);
  });

  test("a small batch takes in the items of the next turns of the event loop, a larger one goes at once", async () => {
    const batches: number[][] = [];
    const batcher = new Batcher<number, number>(async (items) => {
      batches.push([...items]);
      return [...items];
    });
    const turn = () => new Promise((resolve) => setImmediate(resolve));
    const few = [batcher.push(1)];
    await turn();
    few.push(batcher.push(2));
    await Promise.all(few);
    const many = Array.from({ length: 8 }, (_, index) => batcher.push(index));
    await turn();
    many.push(batcher.push(8));
    await Promise.all(many);
    expect(batches).toEqual([[1, 2], [0, 1, 2, 3, 4, 5, 6, 7], [8]]);
  });

  test("items that arrive during a batch wait for it and go together in the next one", async () => {
    const batches: number[][] = [];
    const first = gate();
    const started = gate();
    let running = 0;
    let most = 0;
    const batcher = new Batcher<number, number>(async (items) => {
      most = Math.max(most, ++running);
      batches.push([...items]);
      if (batches.length === 1) {
        started.open();
        await first.opened;
      }
      running--;
      return [...items];
    });
    const one = batcher.push(1);
    await started.opened;
    const others = [2, 3, 4].map((item) => batcher.push(item));
    expect(batcher.waiting).toBe(3);
    first.open();
    expect(await Promise.all([one, ...others])).toEqual([1, 2, 3, 4]);
    expect(batches).toEqual([[1], [2, 3, 4]]);
    expect(most).toBe(1);
    expect(batcher.waiting).toBe(0);
  });

  test("a batch has at most maxBatch items, and the rest keeps its order", async () => {
    const batches: number[][] = [];
    const batcher = new Batcher<number, number>(
      async (items) => {
        batches.push([...items]);
        return [...items];
      },
      { maxBatch: 3 },
    );
    await Promise.all([1, 2, 3, 4, 5, 6, 7].map((item) => batcher.push(item)));
    expect(batches).toEqual([[1, 2, 3], [4, 5, 6], [7]]);
  });

  test.each(["22003", "22021", "23505", "23514", "55P03", "57014", "40P01"])(
    "an item with faulty data, or whose account is locked (SQLSTATE %s), fails alone",
    async (code) => {
      const batcher = new Batcher<number, number>(async (items) => {
        if (items.includes(3)) throw sqlError(code);
        return [...items];
      });
      const outcomes = await Promise.allSettled([1, 2, 3, 4].map((item) => batcher.push(item)));
      expect(outcomes.map((outcome) => outcome.status)).toEqual(["fulfilled", "fulfilled", "rejected", "fulfilled"]);
      expect((outcomes[2] as PromiseRejectedResult).reason).toMatchObject({ code });
    },
  );

  test("a faulty item that is alone in its batch is tried once", async () => {
    let runs = 0;
    const batcher = new Batcher<number, number>(async () => {
      runs++;
      throw sqlError("22003");
    });
    await expect(batcher.push(1)).rejects.toMatchObject({ code: "22003" });
    expect(runs).toBe(1);
  });

  test.each([
    ["a lost connection without a code", new Error("Connection terminated unexpectedly")],
    ["a lost connection", sqlError("ECONNRESET")],
    ["a server that shuts down", sqlError("57P01")],
    ["a connection exception", sqlError("08006")],
  ])("%s rejects its whole batch, repeats nothing, and leaves the next batch alone", async (_name, error) => {
    const batches: number[][] = [];
    const batcher = new Batcher<number, number>(
      async (items) => {
        batches.push([...items]);
        if (batches.length === 1) throw error;
        return [...items];
      },
      { maxBatch: 2 },
    );
    const outcomes = await Promise.allSettled([1, 2, 3].map((item) => batcher.push(item)));
    expect(outcomes).toEqual([
      { status: "rejected", reason: error },
      { status: "rejected", reason: error },
      { status: "fulfilled", value: 3 },
    ]);
    expect(batches).toEqual([[1, 2], [3]]);
  });

  test("a full queue refuses at once and takes the next when there is room again", async () => {
    const first = gate();
    const started = gate();
    const batcher = new Batcher<number, number>(
      async (items) => {
        started.open();
        await first.opened;
        return [...items];
      },
      { maxWaiting: 2 },
    );
    const underWay = batcher.push(1);
    await started.opened;
    const waiting = [batcher.push(2), batcher.push(3)];
    await expect(batcher.push(4)).rejects.toBeInstanceOf(QueueFullError);
    first.open();
    expect(await Promise.all([underWay, ...waiting])).toEqual([1, 2, 3]);
    expect(await batcher.push(5)).toBe(5);
  });

  test("without items nothing is run", async () => {
    let runs = 0;
    const batcher = new Batcher<number, number>(async (items) => {
      runs++;
      return [...items];
    });
    // Two turns of the event loop: a batch would have begun in them.
    for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(runs).toBe(0);
    await batcher.push(1);
    for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(runs).toBe(1);
  });
});

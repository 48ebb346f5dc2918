import { beforeEach, describe, expect, test, vi } from "vitest";
import { type Asked, closedQueue, creditsCameBack, type Wait, waitForCredits, waitingForCredits } from "./waiting.ts";

/** A wallet that serves requests up to its available credits, and records which requests asked. */
function wallet(available = 0n) {
  const id = crypto.randomUUID();
  const it = {
    id,
    available,
    asked: [] as string[],
    served: [] as string[],
    wait: (name: string, needs: bigint, rest: Partial<Wait<string>> = {}) =>
      waitForCredits<string>({
        walletId: id,
        name,
        needs,
        patienceMs: 10_000,
        bytes: 10,
        signal: new AbortController().signal,
        ask: async (): Promise<Asked<string>> => {
          it.asked.push(name);
          if (needs > it.available) return { kind: "short", needs, available: it.available };
          it.available -= needs;
          it.served.push(name);
          return { kind: "served", value: name };
        },
        ...rest,
      }),
    giveBack(credits: bigint) {
      it.available += credits;
      creditsCameBack(id);
    },
  };
  return it;
}

/** Runs all pending promises and due timers. */
const settle = () => vi.advanceTimersByTimeAsync(0);

beforeEach(() => {
  vi.useFakeTimers();
  return async () => {
    await vi.advanceTimersByTimeAsync(60_000);
    expect(waitingForCredits()).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
    vi.useRealTimers();
  };
});

describe("a queue for credits that are on hold", () => {
  test("serves in order of arrival, as soon as credits come back", async () => {
    const it = wallet();
    const waits = ["a", "b", "c"].map((name) => it.wait(name, 10n));
    await settle();
    expect(it.served).toEqual([]);
    it.giveBack(20n);
    await settle();
    expect(it.served).toEqual(["a", "b"]);
    it.giveBack(10n);
    expect(await Promise.all(waits)).toEqual([{ value: "a" }, { value: "b" }, { value: "c" }]);
  });

  test("serves within a second what another process returned", async () => {
    const it = wallet();
    const waiting = it.wait("a", 10n);
    await settle();
    it.available = 10n;
    await vi.advanceTimersByTimeAsync(1_000);
    expect(it.served).toEqual(["a"]);
    await waiting;
  });

  test("lets a request that needs less pass its head, but not after the head has waited for half of its patience", async () => {
    const it = wallet();
    const large = it.wait("large", 100n);
    const small = [it.wait("small 1", 10n), it.wait("small 2", 10n)];
    await settle();
    it.giveBack(10n);
    await settle();
    expect(it.served).toEqual(["small 1"]);
    expect(closedQueue(() => "small 2")).toBeNull();
    await vi.advanceTimersByTimeAsync(5_001);
    it.giveBack(50n);
    await settle();
    expect(it.served).toEqual(["small 1"]);
    // New requests of a known name have to join the closed queue.
    expect(closedQueue(() => "small 2")).toBe(it.id);
    expect(closedQueue(() => "a stranger")).toBeNull();
    it.giveBack(60n);
    await settle();
    expect(it.served).toEqual(["small 1", "large", "small 2"]);
    await Promise.all([large, ...small]);
  });

  test("asks at most once in vain each time that credits return", async () => {
    const it = wallet();
    const waits = Array.from({ length: 200 }, (_, index) => it.wait(String(index), 10n));
    await settle();
    const before = it.asked.length;
    expect(before).toBeLessThan(10);
    for (let round = 0; round < 10; round++) {
      it.giveBack(10n);
      await settle();
    }
    expect(it.served).toHaveLength(10);
    expect(it.asked.length - before).toBeLessThanOrEqual(30);
    it.giveBack(1_900n);
    await Promise.all(waits);
    expect(it.served).toEqual(Array.from({ length: 200 }, (_, index) => String(index)));
  });

  test("drops a request whose patience is over or whose client hung up, and serves the rest", async () => {
    const it = wallet();
    const client = new AbortController();
    const [gone, brief, patient] = [
      it.wait("gone", 10n, { signal: client.signal }),
      it.wait("brief", 10n, { patienceMs: 500 }),
      it.wait("patient", 10n),
    ];
    client.abort();
    expect(await gone).toBeNull();
    await vi.advanceTimersByTimeAsync(500);
    expect(await brief).toBeNull();
    it.giveBack(10n);
    expect(await patient).toEqual({ value: "patient" });
  });

  test("resolves with what was served to a request whose client hung up during its ask, so that it can be returned", async () => {
    const client = new AbortController();
    const it = wallet();
    const waiting = it.wait("a", 10n, {
      signal: client.signal,
      ask: async () => {
        client.abort();
        await Promise.resolve();
        return { kind: "served", value: "held" };
      },
    });
    expect(await waiting).toEqual({ value: "held" });
  });

  test("rejects only the request whose ask failed", async () => {
    const it = wallet();
    const failing = it.wait("a", 10n, { ask: () => Promise.reject(new Error("the database is away")) });
    const other = it.wait("b", 10n);
    await expect(failing).rejects.toThrow("away");
    it.giveBack(10n);
    expect(await other).toEqual({ value: "b" });
  });

  test("serves running requests before those that have not begun", async () => {
    const it = wallet();
    const waits = [it.wait("new", 10n), it.wait("running 1", 10n, { first: true }), it.wait("running 2", 10n, { first: true })];
    await settle();
    it.giveBack(30n);
    await Promise.all(waits);
    expect(it.served).toEqual(["running 1", "running 2", "new"]);
  });

  test("refuses more than 512 requests of a wallet, and more than 64 MiB of requests in all", async () => {
    const it = wallet();
    const waits = Array.from({ length: 512 }, (_, index) => it.wait(String(index), 10n));
    expect(await it.wait("one more", 10n)).toBeNull();
    const other = wallet();
    expect(await other.wait("large", 10n, { bytes: 64 * 1024 * 1024 })).toBeNull();
    waits.push(other.wait("small", 10n));
    await vi.advanceTimersByTimeAsync(10_000);
    expect(await Promise.all(waits)).toEqual(Array(513).fill(null));
    expect(await it.wait("no patience", 10n, { patienceMs: 0 })).toBeNull();
  });
});

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { withDatabase } from "#testing/database.ts";
import { holdOne, holdRequest, settlement } from "#testing/ledger-requests.ts";
import { makeApp, makeKey, makeLink, makeUser } from "#testing/makers.ts";
import type { Database } from "../platform/db.ts";
import { log } from "../platform/log.ts";
import type { Row, Sql, Statement } from "../platform/sql.ts";
import { balanceOf } from "./accounts.ts";
import { QueueFullError } from "./batcher.ts";
import { openLedger } from "./ledger.ts";
import { sweepHolds } from "./sweep.ts";

/** A database with nothing but the ledger's lane. */
function lane(query: Sql["query"], rest: Partial<Database> = {}): Database {
  return { ...rest, lane: () => ({ query }) } as Database;
}

/** What the functions in the database answer, when every settlement succeeds and every key is unknown. */
function answer({ name }: Statement, parameters: readonly unknown[]): Row[] {
  if (name === "settle_hold") return [{ settled: "settled", charged: 5n, balance: 95n }];
  if (name === "reserve_hold") return [{ verdict: "invalid_api_key" }];
  const count = (array: unknown) => (array === "{}" ? 0 : String(array).split(",").length);
  const [settlements, holds] = [count(parameters[0]), count(parameters[14])];
  const each = <T>(length: number, value: T) => new Array<T>(length).fill(value);
  return [
    {
      settled: each(settlements, "settled"),
      charged: each(settlements, 5n),
      balance: each(settlements, 95n),
      verdict: each(holds, "invalid_api_key"),
    },
  ];
}
const gone = () => new Error("Connection terminated unexpectedly");

/** Advances the fake clock until `outcome` resolves, with real turns of the event loop between, which batches wait for. */
async function passTime<T>(outcome: Promise<T>): Promise<T> {
  let done = false;
  const settled = outcome.finally(() => {
    done = true;
  });
  settled.catch(() => {});
  while (!done) {
    await new Promise((resolve) => setImmediate(resolve));
    if (vi.getTimerCount() > 0) await vi.advanceTimersToNextTimerAsync();
  }
  return settled;
}

let logged: string[] = [];
beforeEach(() => {
  logged = [];
  vi.spyOn(log, "error").mockImplementation((message) => void logged.push(message));
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

describe("settling while the database is unreachable", () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date", "performance"] });
  });

  test("keeps trying when the system clock is set ahead by a day", async () => {
    let calls = 0;
    const ledger = openLedger(
      lane(async (statement, parameters) => {
        if (++calls > 1) return answer(statement, parameters);
        vi.spyOn(Date, "now").mockReturnValue(Date.now() + 24 * 60 * 60_000);
        throw gone();
      }),
    );
    expect(await passTime(ledger.settle(settlement("a", 5n), 60_000))).toMatchObject({ kind: "settled", charged: 5n });
  });

  test("is repeated until the database is back, and logged", async () => {
    let calls = 0;
    const ledger = openLedger(
      lane(async (statement, parameters) => {
        if (++calls <= 2) throw gone();
        return answer(statement, parameters);
      }),
    );
    const settling = ledger.settle(settlement("a", 5n), 60_000);
    expect(ledger.unsettled).toBe(1);
    expect(await passTime(settling)).toEqual({ kind: "settled", charged: 5n, balanceAfter: 95n });
    expect(calls).toBe(3);
    expect(ledger.unsettled).toBe(0);
    expect(logged).toEqual(["settle failed", "settle failed"]);
  });

  test("backs off up to five seconds between attempts", async () => {
    const times: number[] = [];
    const ledger = openLedger(
      lane(async (statement, parameters) => {
        times.push(Date.now());
        if (times.length <= 12) throw gone();
        return answer(statement, parameters);
      }),
    );
    await passTime(ledger.settle(settlement("a", 5n), 600_000));
    const pauses = times.slice(1).map((time, index) => time - (times[index] ?? 0));
    expect(pauses).toEqual([50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000, 5_000, 5_000]);
  });

  test("gives up when the hold's lifetime is over, after which the sweeper returns it", async () => {
    const start = Date.now();
    let last = 0;
    const ledger = openLedger(
      lane(async () => {
        last = Date.now();
        throw gone();
      }),
    );
    await expect(passTime(ledger.settle(settlement("a", 5n), 10_000))).rejects.toThrow("Connection terminated");
    expect(last - start).toBeLessThanOrEqual(10_000);
    expect(last - start).toBeGreaterThan(4_000);
    expect(ledger.unsettled).toBe(0);
    expect(logged.at(-1)).toContain("given up");
  });

  test("is not delayed by a faulty settlement in the same batch", async () => {
    const ledger = openLedger(
      lane(async (statement, parameters) => {
        if (String(parameters[0]).includes("bad")) throw Object.assign(new Error("out of range"), { code: "22003" });
        return answer(statement, parameters);
      }),
    );
    const bad = ledger.settle(settlement("bad", 5n), 1_000);
    bad.catch(() => {});
    const others = ["a", "b"].map((id) => ledger.settle(settlement(id, 5n), 1_000));
    expect((await Promise.all(others)).map((verdict) => verdict.kind)).toEqual(["settled", "settled"]);
    await expect(passTime(bad)).rejects.toThrow("out of range");
    expect(ledger.unsettled).toBe(0);
  });

  test("is never refused for a full queue", async () => {
    let release = () => {};
    const away = new Promise<void>((resolve) => {
      release = resolve;
    });
    const ledger = openLedger(
      lane(async (statement, parameters) => {
        await away;
        return answer(statement, parameters);
      }),
    );
    const settling = Array.from({ length: 10_500 }, (_, index) => ledger.settle(settlement(`s${index}`, 5n), 60_000));
    expect(ledger.unsettled).toBe(10_500);
    release();
    expect((await Promise.all(settling)).every((verdict) => verdict.kind === "settled")).toBe(true);
    expect(ledger.unsettled).toBe(0);
  });
});

describe("holding while the database is unreachable", () => {
  test("fails at once", async () => {
    let calls = 0;
    const ledger = openLedger(
      lane(async () => {
        calls++;
        throw gone();
      }),
    );
    await expect(ledger.hold(holdRequest({ hash: new Uint8Array(32) }))).rejects.toThrow("Connection terminated");
    expect(calls).toBe(1);
  });

  test("is refused when the queue is full", async () => {
    let release = () => {};
    const away = new Promise<void>((resolve) => {
      release = resolve;
    });
    const ledger = openLedger(
      lane(async (statement, parameters) => {
        await away;
        return answer(statement, parameters);
      }),
    );
    const request = holdRequest({ hash: new Uint8Array(32) });
    const outcomes = Promise.allSettled(Array.from({ length: 10_300 }, () => ledger.hold(request)));
    // The queue fills before its first batch leaves it.
    release();
    const refused = (await outcomes).filter((outcome) => outcome.status === "rejected");
    expect(refused).toHaveLength(300);
    expect(refused.every((outcome) => outcome.reason instanceof QueueFullError)).toBe(true);
  });
});

describe("holds and settlements", () => {
  test("go together in one batch, and each gets its own answer", async () => {
    const batches: string[] = [];
    const ledger = openLedger(
      lane(async (statement, parameters) => {
        batches.push(`${String(parameters[0]).split(",").length} settled, ${String(parameters[14]).split(",").length} held`);
        return answer(statement, parameters);
      }),
    );
    const request = holdRequest({ hash: new Uint8Array(32) });
    const answers = await Promise.all([
      ledger.hold(request),
      ledger.settle(settlement("a", 5n), 60_000),
      ledger.hold(request),
      ledger.settle(settlement("b", 5n), 60_000),
    ]);
    expect(answers.map(({ kind }) => kind)).toEqual(["refused", "settled", "refused", "settled"]);
    expect(batches).toEqual(["2 settled, 2 held"]);
  });
});

describe("on a database whose answers are lost", () => {
  const db = withDatabase("embedded");

  /** Runs the statement and then fails, as when the connection breaks before the answer. */
  function deaf(times: number): Sql["query"] {
    return async (statement, parameters) => {
      const rows = await db().sql.query(statement, parameters);
      if (times-- > 0) throw gone();
      return rows;
    };
  }

  test("a settlement that was committed without an answer is charged once, and returns what was charged", async () => {
    const owner = await makeUser(db(), { credits: 1_000n });
    const app = await makeApp(db(), { ownerId: owner.id });
    const key = await makeKey(db(), app.id);
    const held = await holdOne(db().sql, holdRequest(key));
    const ledger = openLedger(lane(deaf(2)));
    expect(await ledger.settle(settlement(held.id, 40n, 4n), 60_000)).toEqual({ kind: "settled", charged: 44n, balanceAfter: null });
    expect(await balanceOf(db().sql, owner.walletId)).toEqual({ balance: 956n, held: 0n, available: 956n });
    expect((await balanceOf(db().sql, app.earningsId)).balance).toBe(4n);
  });

  test("a hold that was committed without an answer is an error for its caller, and the sweeper returns it", async () => {
    const owner = await makeUser(db(), { credits: 1_000n });
    const key = await makeKey(db(), (await makeApp(db(), { ownerId: owner.id })).id);
    const ledger = openLedger(lane(deaf(1)));
    const request = holdRequest(key, { lifetimeMs: -1 });
    await expect(ledger.hold(request)).rejects.toThrow("Connection terminated");
    expect((await balanceOf(db().sql, owner.walletId)).held).toBe(100n);
    expect(await sweepHolds(db().sql)).toBe(1);
    expect((await balanceOf(db().sql, owner.walletId)).available).toBe(1_000n);
  });
});

describe("on a database with another clock", () => {
  const db = withDatabase("postgres");

  test("a month that has begun by the database's clock is refilled, even if this server's clock is behind", async () => {
    const app = await makeApp(db());
    const key = await makeKey(db(), app.id, "user");
    const link = await makeLink(db(), app.id, await makeUser(db(), { credits: 1_000n }), { monthlyLimit: 500n });
    await db().prisma.linkedUser.update({ where: { id: link.id }, data: { limitPeriodEndsAt: new Date(Date.now() - 1_000) } });
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() - 60_000 });
    // One refill must do. The lane fails after a few statements, so that an endless loop fails the test.
    let asked = 0;
    const ledger = openLedger(
      lane(
        async (statement, parameters) => {
          if (++asked > 5) throw new Error("asked again and again");
          return db().sql.query(statement, parameters);
        },
        { prisma: db().prisma },
      ),
    );
    expect(await ledger.hold(holdRequest(key, { externalUserId: link.externalUserId, amount: 500n }))).toMatchObject({
      kind: "held",
      amount: 500n,
    });
    // The first statement finds the month over, the second one holds.
    expect(asked).toBe(2);
  });
});

describe("on a database where refills have no effect", () => {
  const db = withDatabase("postgres");

  test("a request whose limit stays due fails after a few refills", async () => {
    const app = await makeApp(db());
    const key = await makeKey(db(), app.id, "user");
    const link = await makeLink(db(), app.id, await makeUser(db(), { credits: 1_000n }), { monthlyLimit: 500n });
    await db().prisma.linkedUser.update({ where: { id: link.id }, data: { limitPeriodEndsAt: new Date(Date.now() - 1_000) } });
    await db().prisma.$executeRawUnsafe(
      `CREATE FUNCTION stay_due() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.limit_period_ends_at := OLD.limit_period_ends_at; RETURN NEW; END'`,
    );
    await db().prisma.$executeRawUnsafe(`CREATE TRIGGER stay_due BEFORE UPDATE ON agreement FOR EACH ROW EXECUTE FUNCTION stay_due()`);
    const request = holdRequest(key, { externalUserId: link.externalUserId, amount: 100n });
    await expect(openLedger(db()).hold(request)).rejects.toThrow(`the limit of linked user ${link.id} could not be refilled`);
    expect((await balanceOf(db().sql, link.walletId)).held).toBe(0n);
  });
});

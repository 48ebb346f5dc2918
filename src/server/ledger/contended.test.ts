import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { withDatabase } from "#testing/database.ts";
import { holdOne, holdRequest, settlement } from "#testing/ledger-requests.ts";
import { makeApp, makeKey, makeLink, makeUser } from "#testing/makers.ts";
import { type Database, transaction } from "../platform/db.ts";
import { firstIdAt, newId } from "../platform/ids.ts";
import { log } from "../platform/log.ts";
import { balanceOf } from "./accounts.ts";
import { AccountLockedError, Contended } from "./contended.ts";
import { openLedger } from "./ledger.ts";
import { sweepHolds } from "./sweep.ts";
import { verify } from "./verify.ts";

const sqlError = (code: string) => Object.assign(new Error(`sqlstate ${code}`), { code });

beforeEach(() => {
  vi.spyOn(log, "warn").mockImplementation(() => {});
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

describe("items of accounts that another session has locked", () => {
  test("of one account go together, and of two accounts concurrently", async () => {
    const batches: string[][] = [];
    const opened = Promise.withResolvers<void>();
    const contended = new Contended<string, string>(async (items) => {
      batches.push([...items]);
      await opened.promise;
      return items.map((item) => item.toUpperCase());
    });
    const answers = [contended.push("x", "x1"), contended.push("x", "x2"), contended.push("y", "y1"), contended.push("x", "x3")];
    expect(batches).toEqual([["x1"], ["y1"]]);
    opened.resolve();
    expect(await Promise.all(answers)).toEqual(["X1", "X2", "Y1", "X3"]);
    expect(batches).toEqual([["x1"], ["y1"], ["x2", "x3"]]);
  });

  test("are refused after the lock timeout, then at once while the account is set aside, then run again", async () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    let runs = 0;
    let locked = true;
    const contended = new Contended<string, string>(
      async (items) => {
        runs++;
        if (locked) throw sqlError("55P03");
        return [...items];
      },
      { asideMs: 5_000 },
    );
    await expect(contended.push("x", "a")).rejects.toMatchObject({ name: "AccountLockedError", accountId: "x" });
    await expect(contended.push("x", "b")).rejects.toBeInstanceOf(AccountLockedError);
    expect(runs).toBe(1);
    locked = false;
    expect(await contended.push("y", "c")).toBe("c");
    await expect(contended.push("x", "d")).rejects.toBeInstanceOf(AccountLockedError);
    vi.advanceTimersByTime(5_001);
    expect(await contended.push("x", "e")).toBe("e");
    expect(log.warn).toHaveBeenCalledTimes(1);
  });

  test("that waited for a lane too long, or found the queue full, are refused and not run", async () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    const done: string[] = [];
    const opened = Promise.withResolvers<void>();
    const contended = new Contended<string, string>(
      async (items) => {
        done.push(...items);
        await opened.promise;
        return [...items];
      },
      { lanes: 1, maxWaiting: 2, patienceMs: 5_000 },
    );
    const first = contended.push("x", "a");
    const waiting = [contended.push("y", "b"), contended.push("z", "c")];
    await expect(contended.push("z", "d")).rejects.toBeInstanceOf(AccountLockedError);
    vi.advanceTimersByTime(5_001);
    opened.resolve();
    expect(await first).toBe("a");
    expect(await Promise.allSettled(waiting)).toMatchObject([{ reason: { accountId: "y" } }, { reason: { accountId: "z" } }]);
    expect(done).toEqual(["a"]);
  });

  test("with one faulty item among them: it fails alone", async () => {
    const contended = new Contended<number, number>(async (items) => {
      await Promise.resolve();
      if (items.includes(13)) throw sqlError("22003");
      return [...items];
    });
    const all = await Promise.allSettled([1, 2, 13, 3].map((item) => contended.push("x", item)));
    expect(all.map((each) => (each.status === "fulfilled" ? each.value : each.reason.code))).toEqual([1, 2, "22003", 3]);
  });
});

/** A linked user of an app, with a limit. */
async function shop(db: Database) {
  const app = await makeApp(db);
  const key = await makeKey(db, app.id, "user");
  const person = await makeUser(db, { credits: 100_000n });
  const link = await makeLink(db, app.id, person, { monthlyLimit: 50_000n });
  return {
    person,
    link,
    request: (amount: bigint, lifetimeMs = 600_000) => holdRequest(key, { externalUserId: link.externalUserId, amount, lifetimeMs }),
  };
}

describe("one account locked by another session, on Postgres", () => {
  const db = withDatabase("postgres");

  /** Keeps an account locked while `work` runs. */
  const whileLocked = (account: string, work: () => Promise<void>) =>
    transaction(async (tx) => {
      await tx.prisma.$queryRaw`SELECT id FROM account WHERE id = ${account}::uuid FOR UPDATE`;
      const keep = setInterval(() => void tx.prisma.$queryRaw`SELECT 1`.catch(() => {}), 1_000);
      await work().finally(() => clearInterval(keep));
    }, db());

  test("delays no request of other accounts; its own requests are refused, and its settlements are committed when it is unlocked", async () => {
    const [locked, free] = [await shop(db()), await shop(db())];
    const ledger = openLedger(db());
    const open = await ledger.hold(locked.request(500n));
    if (open.kind !== "held") throw new Error("not held");
    let settling: Promise<unknown> | undefined;
    await whileLocked(locked.person.walletId, async () => {
      settling = ledger.settle(settlement(open.id, 300n), 60_000);
      const refused = Array.from({ length: 5 }, () => ledger.hold(locked.request(10n)));
      refused.forEach((each) => void each.catch(() => {}));
      // More than one batch, all answered while the others wait for the lock.
      for (let round = 0; round < 20; round++) {
        const verdicts = await Promise.all(Array.from({ length: 10 }, () => ledger.hold(free.request(10n))));
        for (const verdict of verdicts)
          if (verdict.kind === "held")
            await expect(ledger.settle(settlement(verdict.id, 5n), 60_000)).resolves.toMatchObject({ kind: "settled" });
      }
      expect(await Promise.allSettled(refused)).toMatchObject(
        Array(5).fill({ status: "rejected", reason: { name: "AccountLockedError", accountId: locked.person.walletId } }),
      );
      // The account is set aside: no second wait.
      await expect(ledger.hold(locked.request(10n))).rejects.toBeInstanceOf(AccountLockedError);
      expect(ledger.unsettled).toBe(1);
    });
    expect(await settling).toEqual({ kind: "settled", charged: 300n, balanceAfter: 99_700n });
    expect(await ledger.hold(locked.request(10n))).toMatchObject({ kind: "held" });
    expect(await balanceOf(db().sql, free.person.walletId)).toEqual({ balance: 99_000n, held: 0n, available: 99_000n });
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });

  test("and unlocked soon: requests that found it locked wait for the lock and are answered", async () => {
    const locked = await shop(db());
    const ledger = openLedger(db());
    const open = await holdOne(db().sql, locked.request(500n));
    let answers: Promise<unknown[]> | undefined;
    await whileLocked(locked.link.limitId ?? "", async () => {
      answers = Promise.all([
        ledger.hold(locked.request(10n)),
        ledger.settle(settlement(open.id, 20n), 60_000),
        ledger.grow({ id: newId(), holdId: (await holdElsewhere()).id, desired: 5n, minimum: 1n }, null),
      ]);
      await vi.waitFor(() => expect(ledger.unsettled).toBe(1));
    });
    expect(await answers).toMatchObject([{ kind: "held" }, { kind: "settled", charged: 20n }, { kind: "grown", amount: 5n }]);

    async function holdElsewhere() {
      const other = await shop(db());
      return holdOne(db().sql, other.request(10n));
    }
  });

  test("does not keep the sweep from releasing holds of other accounts", async () => {
    const [locked, free] = [await shop(db()), await shop(db())];
    await holdOne(db().sql, locked.request(40n, 1));
    await holdOne(db().sql, free.request(60n, 1));
    const from = firstIdAt(Date.now() - 600_000);
    await whileLocked(locked.person.walletId, async () => {
      await sweepHolds(db().sql, { all: true, after: from });
      expect((await balanceOf(db().sql, free.person.walletId)).held).toBe(0n);
    });
    expect((await balanceOf(db().sql, locked.person.walletId)).held).toBe(40n);
    await sweepHolds(db().sql, { all: true, after: from });
    expect((await balanceOf(db().sql, locked.person.walletId)).held).toBe(0n);
  });

  test("a session that idles in a transaction loses its locks within seconds", async () => {
    const [row] = await db().sql.query(
      { name: "", text: "SELECT current_setting('idle_in_transaction_session_timeout') AS idle, current_setting('lock_timeout') AS lock" },
      [],
    );
    expect(row).toEqual({ idle: "3s", lock: "10s" });
    const { person } = await shop(db());
    const idle = transaction(async (tx) => {
      await tx.prisma.$queryRaw`SELECT id FROM account WHERE id = ${person.walletId}::uuid FOR UPDATE`;
      // Until the server ends the session.
      await vi.waitFor(async () => expect(await isFree(person.walletId)).toBe(true), { timeout: 20_000, interval: 200 });
    }, db());
    await expect(idle).rejects.toThrow();
    expect(await isFree(person.walletId)).toBe(true);
  });

  async function isFree(account: string): Promise<boolean> {
    const rows = await db().sql.query({ name: "", text: `SELECT id FROM account WHERE id = $1::uuid FOR UPDATE SKIP LOCKED` }, [account]);
    return rows.length === 1;
  }
});

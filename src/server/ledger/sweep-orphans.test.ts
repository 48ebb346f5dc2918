import { v7 as uuidv7 } from "uuid";
import { beforeEach, describe, expect, test } from "vitest";
import { onBothDatabases, withDatabase } from "#testing/database.ts";
import { holdAll, holdOne, holdRequest, settlement } from "#testing/ledger-requests.ts";
import { payer } from "#testing/shops.ts";
import type { Database } from "../platform/db.ts";
import { firstIdAt } from "../platform/ids.ts";
import type { Sql } from "../platform/sql.ts";
import { balanceOf } from "./accounts.ts";
import { settle } from "./hold.ts";
import { sweepAtStart, sweepHolds, sweepOrphans } from "./sweep.ts";

const EXPIRED = -1_000;
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const BOOKMARK = "turn_sweep";

// The bookmark is a row of the shared database, so each of these tests begins without one.
onBothDatabases("rounds of the sweep", (db) => {
  beforeEach(async () => {
    await sweepHolds(db().sql, { all: true });
    await db().prisma.setting.deleteMany({ where: { key: BOOKMARK } });
  });

  /** A hold with an id of so long ago. */
  const made = (key: { hash: Uint8Array }, agoMs: number, lifetimeMs = EXPIRED) =>
    holdOne(db().sql, holdRequest(key, { id: uuidv7({ msecs: Date.now() - agoMs }), lifetimeMs, amount: 10n }));
  const round = (options: Parameters<typeof sweepOrphans>[1] = {}) => sweepOrphans(db().sql, { everyMs: 0, ...options });
  const expire = (...ids: string[]) => expireHolds(db(), ids);
  const bookmark = async () =>
    ((await db().prisma.setting.findUniqueOrThrow({ where: { key: BOOKMARK } })).value as { memory: { after: string; running: string[] } })
      .memory;

  test("release what has expired, also in a later round, and leave what is under way", async () => {
    const { walletId, key } = await payer(db());
    const old = await made(key, 3 * HOUR);
    const running = await made(key, 5 * MINUTE, HOUR);
    expect(await round()).toBe(1);
    expect(await round()).toBe(0);
    await made(key, 0);
    await expire(running.id);
    expect(await round()).toBe(2);
    expect(await balanceOf(db().sql, walletId)).toEqual({ balance: 100_000n, held: 0n, available: 100_000n });
    expect(await db().prisma.usage.findUniqueOrThrow({ where: { id: old.id } })).toMatchObject({ outcome: "swept" });
  });

  test("keep open holds that are far below the bookmark in its list until they are resolved", async () => {
    const { walletId, key } = await payer(db());
    const long = await Promise.all([23, 22, 21].map((hours) => made(key, hours * HOUR, 48 * HOUR)));
    expect(await round()).toBe(0);
    expect((await bookmark()).running).toEqual(long.map(({ id }) => id));
    // Far below what has been read since; one has been settled.
    await settle(db().sql, [settlement(long[1]?.id ?? "", 3n)]);
    expect(await round()).toBe(0);
    await expire(long[0]?.id ?? "");
    expect(await round()).toBe(1);
    expect((await bookmark()).running).toEqual([long[2]?.id]);
    expect(await balanceOf(db().sql, walletId)).toEqual({ balance: 99_997n, held: 10n, available: 99_987n });
  });

  test("continue where the last one stopped, after days without a round", async () => {
    const { walletId, key } = await payer(db());
    await round();
    await rewind(db(), 5 * 24 * HOUR);
    for (const hours of [119, 70, 20, 1]) await made(key, hours * HOUR);
    expect(await round()).toBe(4);
    expect((await balanceOf(db().sql, walletId)).held).toBe(0n);
  });

  test("after a silence return nothing for a minute, so that servers can enter their settlements first", async () => {
    const { walletId, key } = await payer(db());
    await round();
    const [answered, lost] = [await made(key, MINUTE), await made(key, MINUTE)];
    const shift = (name: string, ms: number) =>
      db().prisma.$executeRawUnsafe(
        `UPDATE setting SET value = jsonb_set(value, '{memory,${name}}', to_jsonb((value->'memory'->>'${name}')::bigint - ${ms})) WHERE key = '${BOOKMARK}'`,
      );
    await shift("at", 31_000);
    expect(await round()).toBe(0);
    // Rounds in that minute do not prolong it.
    expect(await round()).toBe(0);
    expect(await settle(db().sql, [settlement(answered.id, 7n)])).toMatchObject([{ kind: "settled", charged: 7n }]);
    await shift("restUntil", MINUTE);
    expect(await round()).toBe(1);
    expect(await db().prisma.usage.findUniqueOrThrow({ where: { id: lost.id } })).toMatchObject({ outcome: "swept" });
    expect(await balanceOf(db().sql, walletId)).toEqual({ balance: 99_993n, held: 0n, available: 99_993n });
  });

  test("find holds that were inserted some minutes after the time in their ids", async () => {
    const { key } = await payer(db());
    await made(key, MINUTE, HOUR);
    await round();
    await made(key, 9 * MINUTE);
    expect(await round()).toBe(1);
  });

  test("find holds made after a clock was set back", async () => {
    const { key } = await payer(db());
    await round();
    await rewind(db(), -HOUR);
    await made(key, 0);
    expect(await round()).toBe(1);
    expect((await bookmark()).after < firstIdAt(Date.now())).toBe(true);
  });

  test("that run out of time continue in the next one, and miss no hold", async () => {
    const { walletId, key } = await payer(db());
    const holds = [];
    for (let index = 0; index < 60; index++) {
      const held = await made(key, 2 * HOUR - index * MINUTE, index % 3 === 0 ? EXPIRED : HOUR);
      holds.push(held.id);
      if (index % 3 === 1) await settle(db().sql, [settlement(held.id, 0n)]);
    }
    const swept: number[] = [];
    const marks: string[] = [];
    while (swept.length < 40 && swept.reduce((sum, each) => sum + each, 0) < 20) {
      swept.push(await round({ roundMs: 0, slice: 7 }));
      marks.push((await bookmark()).after);
    }
    // Each round advanced the bookmark.
    expect(swept.length).toBeGreaterThanOrEqual(Math.floor(60 / 7));
    expect(marks).toEqual([...new Set(marks)].sort());
    expect(await round()).toBe(0);
    expect((await bookmark()).running.sort()).toEqual(holds.filter((_, index) => index % 3 === 2).sort());
    expect((await balanceOf(db().sql, walletId)).held).toBe(200n);
  });

  test("read a part of many young holds, and reach each in a later round", async () => {
    const { walletId, key } = await payer(db());
    await round();
    for (let index = 0; index < 60; index++) await made(key, 5 * MINUTE - index * 1_000, index === 50 ? EXPIRED : HOUR);
    const swept = [];
    while (swept.length < 4) swept.push(await round({ slice: 2 }));
    // Twenty a round: the expired hold is not among the first ones, and is released once.
    expect(swept[0]).toBe(0);
    expect(swept.reduce((sum, each) => sum + each, 0)).toBe(1);
    // A hold that expires after it was read is released when the rounds have read all others and begin again.
    await made(key, 5 * MINUTE);
    let rounds = 0;
    while ((await round({ slice: 2 })) === 0) expect(++rounds).toBeLessThan(8);
    expect((await balanceOf(db().sql, walletId)).held).toBe(590n);
  });

  test("read smaller slices after a statement failed, and keep what was done before it", async () => {
    const { walletId, key } = await payer(db());
    for (let index = 0; index < 80; index++) await made(key, 2 * HOUR - index * MINUTE);
    let asked = 0;
    const sizes: unknown[] = [];
    const slow: Sql = {
      query: async (statement, parameters) => {
        if (statement.name === "ledger_orphans") {
          sizes.push(parameters[1]);
          if (++asked === 2) throw new Error("canceling statement due to statement timeout");
        }
        return db().sql.query(statement, parameters);
      },
    };
    await expect(sweepOrphans(slow, { everyMs: 0, slice: 40 })).rejects.toThrow("statement timeout");
    const { held } = await balanceOf(db().sql, walletId);
    expect(held).toBeLessThan(800n);
    expect(10n * BigInt(await sweepOrphans(slow, { everyMs: 0, slice: 40 }))).toBe(held);
    expect(sizes.slice(0, 3)).toEqual([40, 40, 25]);
    await sweepOrphans(slow, { everyMs: 0, slice: 40 });
    expect(sizes.at(-1)).toBe(40);
  });

  test("release all others when a hold can't be released, and throw its error each time", async () => {
    const { key, app } = await payer(db());
    const broken = await payer(db());
    const swept = () => db().prisma.usage.count({ where: { appId: app.id, outcome: "swept" } });
    const lost = await made(broken.key, 2 * HOUR);
    const { walletId } = broken;
    const remove = `DELETE FROM account WHERE id = '${walletId}'`;
    await db().prisma.$executeRawUnsafe(remove);
    try {
      for (let index = 0; index < 5; index++) await made(key, HOUR);
      await expect(round()).rejects.toMatchObject({ code: "22004" });
      expect(await swept()).toBe(5);
      expect((await bookmark()).running).toEqual([lost.id]);
      await made(key, 0);
      await expect(round()).rejects.toMatchObject({ code: "22004" });
      expect(await swept()).toBe(6);
    } finally {
      await db().prisma.account.create({ data: { id: walletId, kind: "wallet", bounded: true, available: 99_990n, held: 10n } });
    }
    expect(await round()).toBe(1);
    expect((await bookmark()).running).toEqual([]);
  });

  test("run in one process at a time", async () => {
    const { key } = await payer(db());
    await made(key, HOUR);
    const swept = await Promise.all([1, 2, 3].map(() => sweepOrphans(db().sql)));
    expect(swept.sort()).toEqual([0, 0, 1]);
    await made(key, HOUR);
    expect(await sweepOrphans(db().sql)).toBe(0);
  });

  test("the sweep at the start of an embedded database releases all open holds", async () => {
    const { walletId, key } = await payer(db());
    await made(key, 100 * HOUR, HOUR);
    expect(await sweepAtStart(db().sql)).toBe(1);
    await made(key, 20 * HOUR, HOUR);
    await round();
    await made(key, 0, HOUR);
    // A hold whose id is from a wrong clock.
    await made(key, 400 * HOUR, HOUR);
    expect(await sweepAtStart(db().sql)).toBe(3);
    expect(await sweepAtStart(db().sql)).toBe(0);
    expect(await balanceOf(db().sql, walletId)).toEqual({ balance: 100_000n, held: 0n, available: 100_000n });
  });
});

describe("with many holds of the past", () => {
  const db = withDatabase("postgres");

  test("a round reads recent holds by an index, and looks settlements up in the partition of their month", async () => {
    const { key } = await payer(db());
    // Settled ones of the last hours, and as many months of usage as a year has.
    await db().sql.query({ name: "", text: "SELECT prepare_partitions(9)" }, []);
    const idAt = `(lpad(to_hex((extract(epoch FROM now() - n * interval '1 second') * 1000)::bigint), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid`;
    await db().sql.query(
      {
        name: "",
        text: `INSERT INTO hold (id, app_id, billing_mode, wallet_id, revenue_id, earnings_id, amount, model, expires_at)
          SELECT ${idAt}, a.id, 'user', a.id, a.id, a.id, 1, '', now() - interval '1 minute' FROM generate_series(700, 40700) n, (SELECT id FROM app LIMIT 1) a`,
      },
      [],
    );
    await db().sql.query(
      {
        name: "",
        text: `INSERT INTO usage (id, app_id, billing_mode, wallet_id, revenue_id, earnings_id, held, base, markup, outcome, endpoint, model)
          SELECT id, app_id, billing_mode, wallet_id, revenue_id, earnings_id, amount, 1, 0, 'completed', '', '' FROM hold`,
      },
      [],
    );
    await db().sql.query({ name: "", text: "ANALYZE" }, []);
    const lane = db().lane();
    // The first rounds release what there is, as on a database that has been swept before.
    expect(await sweepOrphans(lane, { everyMs: 0, roundMs: HOUR })).toBe(0);
    await holdAll(
      db().sql,
      Array.from({ length: 30 }, (_, index) => holdRequest(key, { amount: 1n, lifetimeMs: index % 2 === 0 ? EXPIRED : HOUR })),
    );
    const read = async () => {
      await lane.query({ name: "test_flush_lane", text: "SELECT pg_stat_force_next_flush()" }, []);
      const [row] = await db().sql.query(
        {
          name: "test_reads",
          text: `SELECT sum(seq_scan)::int AS whole, (sum(idx_tup_fetch) FILTER (WHERE relname = 'hold'))::int AS holds,
            (sum(idx_scan) FILTER (WHERE relname LIKE 'usage%'))::int AS look_ups
            FROM pg_stat_user_tables WHERE relname = 'hold' OR relname LIKE 'usage%'`,
        },
        [],
      );
      return row as { whole: number; holds: number; look_ups: number };
    };
    const before = await read();
    expect(await sweepOrphans(lane, { everyMs: 0 })).toBe(15);
    const after = await read();
    expect(after.whole).toBe(before.whole);
    // 30 in the slice, and the 15 that settling reads again.
    expect(after.holds - before.holds).toBeLessThanOrEqual(60);
    // One partition for each: 15 looked up, and 15 inserted.
    expect(after.look_ups - before.look_ups).toBeLessThanOrEqual(45);
    expect(after.look_ups).toBeGreaterThan(before.look_ups);
  });
});

/** Makes these holds expire. Holds are insert-only, so the trigger is off for this statement. */
async function expireHolds(db: Database, ids: readonly string[]): Promise<void> {
  await db.prisma.$transaction([
    db.prisma.$executeRawUnsafe("ALTER TABLE hold DISABLE TRIGGER USER"),
    db.prisma.$executeRaw`UPDATE hold SET expires_at = now() - interval '1 second' WHERE id = ANY (${[...ids]}::uuid[])`,
    db.prisma.$executeRawUnsafe("ALTER TABLE hold ENABLE TRIGGER USER"),
  ]);
}

/** Moves the bookmark's times back by so much. */
async function rewind(db: Database, ms: number): Promise<void> {
  const { value } = await db.prisma.setting.findUniqueOrThrow({ where: { key: BOOKMARK } });
  const at = value as { due: number; memory: { after: string; running: string[] } };
  await db.prisma.setting.update({
    where: { key: BOOKMARK },
    data: { value: { due: at.due - ms, memory: { ...at.memory, after: firstIdAt(Date.now() - 10 * MINUTE - ms) } } },
  });
}

test("every id of a moment is at or above the first id of that moment, and below the next", () => {
  const moment = Date.UTC(2026, 10, 22, 12, 0, 0, 123);
  const id = uuidv7({ msecs: moment });
  expect(firstIdAt(moment) < id).toBe(true);
  expect(id < firstIdAt(moment + 1)).toBe(true);
  expect(firstIdAt(0)).toBe("00000000-0000-0000-0000-000000000000");
  expect(firstIdAt(-1)).toBe(firstIdAt(0));
});

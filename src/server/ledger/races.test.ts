import { v7 as uuidv7 } from "uuid";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { withDatabase } from "#testing/database.ts";
import { chance, holdRequest, settlement } from "#testing/ledger-requests.ts";
import { makeApp, makeKey, makeLink, makeUser } from "#testing/makers.ts";
import { freshDatabase } from "#testing/postgres.ts";
import { migrate } from "../../../prisma/migrate.ts";
import { type Database, openDatabase, transaction } from "../platform/db.ts";
import { balanceOf, foldDeltas, platformAccount } from "./accounts.ts";
import { type Ledger, openLedger } from "./ledger.ts";
import { transfer } from "./transfer.ts";
import { verify } from "./verify.ts";

/** Few wallets with little in them, and links of several users to several apps, so that workers contend for accounts. */
async function crowd(db: Database) {
  const people = await Promise.all([300n, 200n, 100n, 50n, 0n].map((credits) => makeUser(db, { credits })));
  const payers: { key: { hash: Uint8Array }; externalUserId: string | null; walletId: string; limitId: string | null; limit: bigint }[] =
    [];
  const earnings: string[] = [];
  for (const [index, markupBps] of [0, 1_250, 10_000].entries()) {
    const owner = people[index];
    if (owner === undefined) throw new Error("more people than apps");
    const app = await makeApp(db, { ownerId: owner.id, markupBps });
    earnings.push(app.earningsId);
    const key = await makeKey(db, app.id);
    payers.push({ key, externalUserId: null, walletId: owner.walletId, limitId: null, limit: 0n });
    for (const [number, person] of people.entries()) {
      const limit = BigInt(400 + 100 * number);
      // Every second link has a limit.
      const link = await makeLink(db, app.id, person, (index + number) % 2 === 0 ? { monthlyLimit: limit } : {});
      payers.push({ key, externalUserId: link.externalUserId, walletId: person.walletId, limitId: link.limitId, limit });
    }
  }
  return { people, payers, earnings, credits: 650n };
}

/**
 * Workers hold, settle each hold three times at once (on every server), release,
 * top up, move credits about and fold, without any order. Returns what happened.
 */
async function turmoil(
  servers: readonly { db: Database; ledger: Ledger }[],
  world: Awaited<ReturnType<typeof crowd>>,
  options: { workers: number; turns: number; seed: number },
) {
  let charged = 0n;
  let toppedUp = 0n;
  let held = 0;
  let refused = 0;
  const lateSettles: string[] = [];
  const chargedByLimit = new Map<string, bigint>();

  async function worker(number: number) {
    const pick = chance(options.seed * 1_000 + number);
    const one = <T>(items: readonly T[]): T => items[pick(items.length)] as T;
    for (let turn = 0; turn < options.turns; turn++) {
      const server = one(servers);
      const dice = pick(20);
      if (dice === 0) {
        const amount = BigInt(1 + pick(60));
        const move = {
          id: uuidv7(),
          debitId: platformAccount.promotions,
          creditId: one(world.people).walletId,
          amount,
          reason: "grant" as const,
        };
        // The webhook of a payment comes twice, to two servers.
        const outcomes = await Promise.all(servers.map(({ db }) => transaction((tx) => transfer(tx, move), db)));
        expect(outcomes.filter((outcome) => outcome === "applied")).toHaveLength(1);
        toppedUp += amount;
      } else if (dice === 1) {
        const [from, to] = [one(world.people), one(world.people)];
        if (from === to) continue;
        await transfer(server.db.sql, {
          id: uuidv7(),
          debitId: from.walletId,
          creditId: to.walletId,
          amount: BigInt(1 + pick(40)),
          reason: "correction",
        });
      } else if (dice === 2) {
        await foldDeltas(server.db.sql);
      } else {
        const payer = one(world.payers);
        const desiredBase = BigInt(1 + pick(60));
        const minimumBase = pick(2) === 0 ? desiredBase : 1n + (desiredBase - 1n) / 4n;
        const verdict = await server.ledger.hold(
          holdRequest(payer.key, { externalUserId: payer.externalUserId, desiredBase, minimumBase }),
        );
        if (verdict.kind === "refused") {
          expect(["insufficient_credits", "spending_limit_reached", "credits_on_hold"]).toContain(verdict.reason);
          refused++;
          continue;
        }
        held++;
        const base = pick(4) === 0 ? 0n : BigInt(pick(80));
        const markup = base === 0n ? 0n : BigInt(pick(20));
        const settles = await Promise.all(
          [one(servers), one(servers), server].map(({ ledger }) => ledger.settle(settlement(verdict.id, base, markup), 60_000)),
        );
        const told = settles.flatMap((each) => (each.kind === "settled" ? each : []));
        // One call settles it and returns the balance. Its repetitions return what was charged.
        expect(told.filter(({ balanceAfter }) => balanceAfter !== null)).toHaveLength(1);
        expect(told).toHaveLength(3);
        const amount = told[0]?.charged ?? 0n;
        expect(told.every(({ charged }) => charged === amount)).toBe(true);
        expect(amount).toBe(base + markup < verdict.amount ? base + markup : verdict.amount);
        charged += amount;
        if (verdict.payer.limitId !== null)
          chargedByLimit.set(verdict.payer.limitId, (chargedByLimit.get(verdict.payer.limitId) ?? 0n) + amount);
        lateSettles.push(verdict.id);
      }
    }
  }
  await Promise.all(Array.from({ length: options.workers }, (_, number) => worker(number)));
  return { charged, toppedUp, held, refused, lateSettles, chargedByLimit };
}

async function expectRightBooks(db: Database, world: Awaited<ReturnType<typeof crowd>>, happened: Awaited<ReturnType<typeof turmoil>>) {
  // Fails when the run did too little to test anything.
  expect(happened.held).toBeGreaterThan(50);
  expect(happened.refused).toBeGreaterThan(10);
  const wallets = await Promise.all(world.people.map(({ walletId }) => balanceOf(db.sql, walletId)));
  expect(wallets.every(({ held, available }) => held === 0n && available >= 0n)).toBe(true);
  expect(wallets.reduce((sum, { balance }) => sum + balance, 0n)).toBe(world.credits + happened.toppedUp - happened.charged);
  for (const { limitId, limit } of world.payers) {
    if (limitId === null) continue;
    const charged = happened.chargedByLimit.get(limitId) ?? 0n;
    expect(charged).toBeLessThanOrEqual(limit);
    expect(await balanceOf(db.sql, limitId)).toEqual({ balance: limit - charged, held: 0n, available: limit - charged });
  }
  expect(await verify(db.sql)).toMatchObject({ ok: true, discrepancies: [], openHolds: 0, usages: happened.held });
}

describe("two servers on one Postgres", () => {
  let servers: { db: Database; ledger: Ledger }[] = [];
  let drop = async () => {};

  beforeAll(async () => {
    const fresh = await freshDatabase(inject("postgresUrl"));
    drop = fresh.drop;
    for (let number = 0; number < 2; number++) {
      const db = await openDatabase({ url: fresh.url });
      servers.push({ db, ledger: openLedger(db) });
    }
    await migrate(servers[0]?.db as Database);
  });
  afterAll(async () => {
    await Promise.all(servers.map(({ db }) => db.close()));
    servers = [];
    await drop();
  });

  test("two holds cannot spend the same credit, and each hold is settled once, among 64 workers", async () => {
    const { db } = servers[0] as { db: Database };
    const world = await crowd(db);
    const happened = await turmoil(servers, world, { workers: 64, turns: 24, seed: 1 });
    await expectRightBooks(db, world, happened);
    const [stats] = await db.sql.query(
      { name: "test_deadlocks", text: `SELECT deadlocks::int AS n FROM pg_stat_database WHERE datname = current_database()` },
      [],
    );
    expect(stats?.n).toBe(0);
  });

  test("100 requests at each server on a wallet that can pay for 10: exactly 10 are held, in full", async () => {
    const { db } = servers[0] as { db: Database };
    const owner = await makeUser(db, { credits: 1_050n });
    const key = await makeKey(db, (await makeApp(db, { ownerId: owner.id })).id);
    const verdicts = await Promise.all(
      Array.from({ length: 200 }, (_, index) => servers[index % 2]?.ledger.hold(holdRequest(key, { amount: 100n }))),
    );
    expect(verdicts.filter((verdict) => verdict?.kind === "held").map((verdict) => verdict?.kind === "held" && verdict.amount)).toEqual(
      new Array(10).fill(100n),
    );
    expect(verdicts.filter((verdict) => verdict?.kind === "refused" && verdict.reason === "credits_on_hold")).toHaveLength(190);
    expect(await balanceOf(db.sql, owner.walletId)).toEqual({ balance: 1_050n, held: 1_000n, available: 50n });
    await Promise.all(verdicts.map((verdict) => verdict?.kind === "held" && servers[1]?.ledger.settle(settlement(verdict.id, 0n), 60_000)));
  });

  test("a transfer and a hold can't both spend the last credits", async () => {
    const { db } = servers[0] as { db: Database };
    const owner = await makeUser(db, { credits: 500n });
    const other = await makeUser(db);
    const key = await makeKey(db, (await makeApp(db, { ownerId: owner.id })).id);
    let held = 0n;
    let moved = 0n;
    await Promise.all(
      Array.from({ length: 60 }, async (_, index) => {
        const server = servers[index % 2] as { db: Database; ledger: Ledger };
        if (index % 3 === 0) {
          const outcome = await transaction(
            (tx) => transfer(tx, { id: uuidv7(), debitId: owner.walletId, creditId: other.walletId, amount: 20n, reason: "refund" }),
            server.db,
          );
          if (outcome === "applied") moved += 20n;
        } else {
          const verdict = await server.ledger.hold(holdRequest(key, { amount: 20n }));
          if (verdict.kind !== "held") return;
          held += verdict.amount;
        }
      }),
    );
    // In any order all of it is spent, none of it twice.
    expect(held + moved).toBe(500n);
    expect(await balanceOf(db.sql, owner.walletId)).toEqual({ balance: held, held, available: 0n });
    expect((await balanceOf(db.sql, other.walletId)).balance).toBe(moved);
    expect((await verify(db.sql)).discrepancies).toEqual([]);
  });
});

describe("one server on the embedded database", () => {
  const db = withDatabase("embedded");

  test("two holds cannot spend the same credit, and each hold is settled once, among 32 workers", async () => {
    const world = await crowd(db());
    const happened = await turmoil([{ db: db(), ledger: openLedger(db()) }], world, { workers: 32, turns: 16, seed: 2 });
    await expectRightBooks(db(), world, happened);
  });
});

test("concurrent requests of one wallet pass on a Postgres whose default isolation level is serializable", async () => {
  const { url, drop } = await freshDatabase(inject("postgresUrl"));
  try {
    const admin = await openDatabase({ url });
    await migrate(admin);
    await admin.prisma.$executeRawUnsafe(
      `ALTER DATABASE ${new URL(url).pathname.slice(1)} SET default_transaction_isolation TO serializable`,
    );
    await admin.close();
    const db = await openDatabase({ url });
    try {
      const person = await makeUser(db, { credits: 1_000n });
      const key = await makeKey(db, (await makeApp(db)).id, "user");
      const link = await makeLink(db, key.appId, person, { monthlyLimit: 1_000n });
      const servers = Array.from({ length: 4 }, () => openLedger(db));
      const spend = async (ledger: Ledger) => {
        const verdict = await ledger.hold(holdRequest(key, { externalUserId: link.externalUserId, amount: 10n }));
        return verdict.kind === "held" ? ledger.settle(settlement(verdict.id, 10n), 60_000) : verdict;
      };
      const all = await Promise.all(Array.from({ length: 80 }, (_, index) => spend(servers[index % 4] as Ledger)));
      expect(all.filter(({ kind }) => kind === "settled")).toHaveLength(80);
      expect((await balanceOf(db.sql, person.walletId)).balance).toBe(200n);
    } finally {
      await db.close();
    }
  } finally {
    await drop();
  }
});

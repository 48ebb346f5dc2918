import { v7 as uuidv7 } from "uuid";
import { describe, expect, test } from "vitest";
import { onBothDatabases, withDatabase } from "#testing/database.ts";
import { holdOne, holdRequest, settlement } from "#testing/ledger-requests.ts";
import { makeApp, makeKey, makeLink, makeUser } from "#testing/makers.ts";
import { type Database, transaction } from "../platform/db.ts";
import { firstIdAt } from "../platform/ids.ts";
import { balanceOf, underWay } from "./accounts.ts";
import { type Growth, grow, hold, post, settle } from "./hold.ts";
import { endOfMonth, setLimit } from "./limits.ts";
import { sweepHolds } from "./sweep.ts";
import { verify } from "./verify.ts";

/** A linked user of an app whose wallet has so many credits, and what tests do with it. */
async function shop(db: Database, options: { credits: bigint; monthlyLimit?: bigint; markupBps?: number }) {
  const app = await makeApp(db, { markupBps: options.markupBps ?? 0 });
  const key = await makeKey(db, app.id, "user");
  const person = await makeUser(db, { credits: options.credits });
  const link = await makeLink(db, app.id, person, options.monthlyLimit === undefined ? {} : { monthlyLimit: options.monthlyLimit });
  return {
    app,
    person,
    link,
    request: (rest: Parameters<typeof holdRequest>[1]) => holdRequest(key, { externalUserId: link.externalUserId, ...rest }),
    wallet: () => balanceOf(db.sql, person.walletId),
    limit: () => balanceOf(db.sql, link.limitId ?? ""),
  };
}

const growth = (holdId: string, desired: bigint, minimum = 1n): Growth => ({ id: uuidv7(), holdId, desired, minimum });

onBothDatabases("a hold with a modest share", (db) => {
  test("takes that share, or an eighth of what is available when that is more, and never more than is desired", async () => {
    const it = await shop(db(), { credits: 8_000n });
    const ask = (modestBase: bigint, desiredBase = 5_000n) => it.request({ desiredBase, minimumBase: 1n, modestBase });
    const verdicts = await hold(db().sql, [ask(100n), ask(3_000n), ask(100n, 90n), ask(100n)]);
    // 8,000 / 8; then 7,000 are left, 4,000, and 3,910, an eighth of which is 488.
    expect(verdicts.map((verdict) => verdict.kind === "held" && verdict.amount)).toEqual([1_000n, 3_000n, 90n, 488n]);
    expect((await hold(db().sql, [ask(5_000n)]))[0]).toMatchObject({ kind: "held", amount: 3_422n });
  });

  test("adds the markup to the share as well", async () => {
    const it = await shop(db(), { credits: 800n, markupBps: 2_000 });
    const held = await holdOne(db().sql, it.request({ desiredBase: 500n, minimumBase: 1n, modestBase: 101n }));
    expect(held.amount).toBe(122n);
  });

  test("and `waits` is refused rather than given less than its share, as long as other requests hold the rest", async () => {
    const it = await shop(db(), { credits: 1_000n });
    const first = await holdOne(db().sql, it.request({ amount: 950n }));
    const ask = (waits: boolean) => it.request({ desiredBase: 500n, minimumBase: 10n, modestBase: 100n, waits });
    expect((await hold(db().sql, [ask(true)]))[0]).toMatchObject({
      kind: "refused",
      reason: "credits_on_hold",
      available: 50n,
      needed: 10n,
      released: 1_000n,
    });
    await settle(db().sql, [settlement(first.id, 950n)]);
    // No hold is open any more, so nothing will be returned.
    expect((await hold(db().sql, [ask(true)]))[0]).toMatchObject({ kind: "held", amount: 50n });
  });

  test("is refused by what the wallet or the limit lacks, and with `credits_on_hold` when other requests hold it", async () => {
    const it = await shop(db(), { credits: 1_000n, monthlyLimit: 300n });
    await holdOne(db().sql, it.request({ amount: 250n }));
    const reasonFor = async (amount: bigint) => {
      const [verdict] = await hold(db().sql, [it.request({ amount })]);
      return verdict?.kind === "refused" ? [verdict.reason, verdict.available, verdict.released] : verdict?.kind;
    };
    expect(await reasonFor(51n)).toEqual(["credits_on_hold", 50n, 300n]);
    expect(await reasonFor(301n)).toEqual(["spending_limit_reached", 50n, 300n]);
    expect(await reasonFor(1_001n)).toEqual(["insufficient_credits", 50n, 300n]);
  });
});

onBothDatabases("a hold that grows", (db) => {
  test("reserves more of wallet and limit, and is settled for all of it", async () => {
    const it = await shop(db(), { credits: 1_000n, monthlyLimit: 600n });
    const held = await holdOne(db().sql, it.request({ amount: 100n }));
    expect(await grow(db().sql, [growth(held.id, 150n), growth(held.id, 50n)])).toEqual([
      { kind: "grown", amount: 150n },
      { kind: "grown", amount: 50n },
    ]);
    expect(await it.wallet()).toEqual({ balance: 1_000n, held: 300n, available: 700n });
    expect(await it.limit()).toEqual({ balance: 600n, held: 300n, available: 300n });
    expect(await underWay(db().sql, it.app.id, firstIdAt(0))).toMatchObject({ requests: 1, held: 300n });
    expect((await verify(db().sql)).discrepancies).toEqual([]);
    expect(await settle(db().sql, [settlement(held.id, 280n, 10n)])).toEqual([{ kind: "settled", charged: 290n, balanceAfter: 710n }]);
    expect(await it.wallet()).toEqual({ balance: 710n, held: 0n, available: 710n });
    expect(await it.limit()).toEqual({ balance: 310n, held: 0n, available: 310n });
    expect(await db().prisma.usage.findFirst({ where: { id: held.id } })).toMatchObject({
      held: 300n,
      base: 280n,
      markup: 10n,
      shortfall: 0n,
    });
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });

  test("is settled in a batch for what it grew by, and never for more", async () => {
    const it = await shop(db(), { credits: 1_000n });
    const [one, other] = await Promise.all([
      holdOne(db().sql, it.request({ amount: 100n })),
      holdOne(db().sql, it.request({ amount: 100n })),
    ]);
    await grow(db().sql, [growth(one.id, 50n)]);
    expect(await settle(db().sql, [settlement(one.id, 200n), settlement(other.id, 120n)])).toEqual([
      { kind: "settled", charged: 150n, balanceAfter: 850n },
      { kind: "settled", charged: 100n, balanceAfter: 750n },
    ]);
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });

  test("gets what is available, but nothing below the minimum, with the reason", async () => {
    const it = await shop(db(), { credits: 1_000n, monthlyLimit: 500n });
    const held = await holdOne(db().sql, it.request({ amount: 400n }));
    const [first] = await grow(db().sql, [growth(held.id, 300n, 20n)]);
    expect(first).toEqual({ kind: "grown", amount: 100n });
    // The hold's own credits don't count as on hold, because they are not returned while its stream runs.
    expect(await grow(db().sql, [growth(held.id, 10n), growth(held.id, 600n, 600n), growth(held.id, 2_000n, 501n)])).toEqual([
      { kind: "refused", reason: "spending_limit_reached" },
      { kind: "refused", reason: "insufficient_credits" },
      { kind: "refused", reason: "insufficient_credits" },
    ]);
    await settle(db().sql, [settlement(held.id, 0n)]);
    const [small, other] = [await holdOne(db().sql, it.request({ amount: 100n })), await holdOne(db().sql, it.request({ amount: 350n }))];
    expect(await grow(db().sql, [growth(small.id, 300n, 300n), growth(small.id, 401n, 401n), growth(small.id, 901n, 901n)])).toEqual([
      { kind: "refused", reason: "credits_on_hold" },
      { kind: "refused", reason: "spending_limit_reached" },
      { kind: "refused", reason: "insufficient_credits" },
    ]);
    await settle(db().sql, [settlement(small.id, 0n), settlement(other.id, 0n)]);
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });

  test("grows once by each id: growth is idempotent", async () => {
    const it = await shop(db(), { credits: 1_000n });
    const held = await holdOne(db().sql, it.request({ amount: 100n }));
    const same = growth(held.id, 70n);
    expect(await grow(db().sql, [same, same])).toEqual([
      { kind: "grown", amount: 70n },
      { kind: "grown", amount: 70n },
    ]);
    expect((await it.wallet()).held).toBe(170n);
  });

  test("does not grow after it is resolved, or when it does not exist", async () => {
    const it = await shop(db(), { credits: 1_000n });
    const held = await holdOne(db().sql, it.request({ amount: 100n }));
    await settle(db().sql, [settlement(held.id, 10n)]);
    expect(await grow(db().sql, [growth(held.id, 5n), growth(uuidv7(), 5n)])).toEqual([
      { kind: "refused", reason: "resolved" },
      { kind: "refused", reason: "resolved" },
    ]);
    expect((await it.wallet()).held).toBe(0n);
  });

  test("does not grow when its link has ended, is paused or has another limit, or when the limit's month is over", async () => {
    const change = async (how: (it: Awaited<ReturnType<typeof shop>>) => Promise<unknown>) => {
      const it = await shop(db(), { credits: 1_000n, monthlyLimit: 500n });
      const held = await holdOne(db().sql, it.request({ amount: 100n }));
      await how(it);
      const [verdict] = await grow(db().sql, [growth(held.id, 50n)]);
      await settle(db().sql, [settlement(held.id, 0n)]);
      return verdict;
    };
    const where = (it: Awaited<ReturnType<typeof shop>>) => ({ where: { id: it.link.id } });
    const notFound = { kind: "refused", reason: "not_found" };
    expect(await change((it) => db().prisma.linkedUser.delete(where(it)))).toEqual(notFound);
    expect(await change((it) => db().prisma.linkedUser.update({ ...where(it), data: { pausedAt: new Date() } }))).toEqual(notFound);
    expect(await change((it) => transaction((tx) => setLimit(tx, it.link.id, null), db()))).toEqual(notFound);
    expect(await change((it) => transaction((tx) => setLimit(tx, it.link.id, 40n), db()))).toEqual(notFound);
    expect(
      await change((it) => db().prisma.linkedUser.update({ ...where(it), data: { limitPeriodEndsAt: endOfMonth(new Date(0)) } })),
    ).toEqual({ kind: "limit_due" });
    expect(await change((it) => transaction((tx) => setLimit(tx, it.link.id, 400n), db()))).toEqual({ kind: "grown", amount: 50n });
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });

  test("is returned by the sweep with all growth", async () => {
    const it = await shop(db(), { credits: 1_000n, monthlyLimit: 500n });
    const held = await holdOne(db().sql, it.request({ amount: 100n, lifetimeMs: 1 }));
    await grow(db().sql, [growth(held.id, 250n)]);
    await sweepHolds(db().sql, { all: true, after: firstIdAt(Date.now() - 600_000) });
    expect(await it.wallet()).toEqual({ balance: 1_000n, held: 0n, available: 1_000n });
    expect(await it.limit()).toEqual({ balance: 500n, held: 0n, available: 500n });
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });

  test("has growth that can't be changed or removed, and `verify` names growth without a hold", async () => {
    const it = await shop(db(), { credits: 1_000n });
    const held = await holdOne(db().sql, it.request({ amount: 100n }));
    await grow(db().sql, [growth(held.id, 5n)]);
    await expect(db().prisma.holdGrowth.deleteMany({ where: { holdId: held.id } })).rejects.toThrow();
    await expect(db().prisma.holdGrowth.updateMany({ where: { holdId: held.id }, data: { amount: 1n } })).rejects.toThrow();
    await settle(db().sql, [settlement(held.id, 0n)]);
  });
});

describe("on Postgres", () => {
  const db = withDatabase("postgres");

  test("with `skipLocked` growth names the locked account, and growth of other accounts is done", async () => {
    const [locked, free] = [await shop(db(), { credits: 1_000n, monthlyLimit: 500n }), await shop(db(), { credits: 1_000n })];
    const [open, other] = [
      await holdOne(db().sql, locked.request({ amount: 10n })),
      await holdOne(db().sql, free.request({ amount: 10n })),
    ];
    const skip = { skipLocked: true };
    for (const account of [locked.person.walletId, locked.link.limitId ?? ""]) {
      await transaction(async (tx) => {
        await tx.prisma.$queryRaw`SELECT id FROM account WHERE id = ${account}::uuid FOR UPDATE`;
        const answers = await post(
          db().sql,
          [settlement(open.id, 5n)],
          [locked.request({ amount: 20n }), free.request({ amount: 30n })],
          skip,
        );
        expect(answers.settlements).toEqual([{ kind: "locked", accountId: account }]);
        expect(answers.holds).toMatchObject([
          { kind: "locked", accountId: account },
          { kind: "held", amount: 30n },
        ]);
        expect((await post(db().sql, [], [locked.request({ amount: 20n })], skip)).holds).toEqual([{ kind: "locked", accountId: account }]);
        expect((await post(db().sql, [settlement(open.id, 5n)], [], skip)).settlements).toEqual([{ kind: "locked", accountId: account }]);
        expect(await grow(db().sql, [growth(open.id, 5n), growth(other.id, 5n)], skip)).toEqual([
          { kind: "locked", accountId: account },
          { kind: "grown", amount: 5n },
        ]);
      }, db());
    }
    expect(await post(db().sql, [settlement(open.id, 5n), settlement(open.id, 5n)], [], skip)).toMatchObject({
      settlements: [{ kind: "settled", charged: 5n }, { kind: "already_resolved" }],
    });
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });

  test("a hold that is grown, settled and swept at once grows before it is settled or not at all", async () => {
    const it = await shop(db(), { credits: 100_000n, monthlyLimit: 50_000n });
    for (let round = 0; round < 30; round++) {
      const held = await holdOne(db().sql, it.request({ amount: 100n }));
      await Promise.all([
        grow(db().sql, [growth(held.id, 30n), growth(held.id, 40n)]),
        round % 2 === 0
          ? settle(db().sql, [settlement(held.id, 150n)])
          : settle(db().sql, [settlement(held.id, 150n), settlement(uuidv7(), 1n)]),
        grow(db().sql, [growth(held.id, 20n)]),
        settle(db().sql, [settlement(held.id, 0n)]),
      ]);
    }
    expect((await it.wallet()).held).toBe(0n);
    expect((await it.limit()).held).toBe(0n);
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });

  test("servers of the version before settle a hold with all its growth", async () => {
    const it = await shop(db(), { credits: 1_000n });
    const held = await holdOne(db().sql, it.request({ amount: 100n }));
    await grow(db().sql, [growth(held.id, 50n)]);
    const [row] = await db().sql.query(
      {
        name: "",
        text: `SELECT * FROM ledger_settle_one($1::uuid, 140, 0, 'completed', '', NULL, 0, 0, 0, NULL, false, NULL, 0, $2::uuid)`,
      },
      [held.id, uuidv7()],
    );
    expect(row).toMatchObject({ settled: 0, charged: "140", balance: "860" });
    const second = it.request({ amount: 900n });
    const ask = [second.id, second.credentialHash, second.externalUserId, "800", "800"];
    const old = { name: "", text: `SELECT * FROM ledger_hold_one($1::uuid, $2::bytea, $3::text, $4::bigint, $5::bigint, 'm', 60000)` };
    expect((await db().sql.query(old, ask))[0]).toMatchObject({ verdict: 0, granted: "800" });
    // That version has no `credits_on_hold`.
    expect((await db().sql.query(old, [uuidv7(), ...ask.slice(1)]))[0]).toMatchObject({ verdict: 5, can_spend: "60" });
    const [batch] = await db().sql.query(
      {
        name: "",
        text: `SELECT * FROM ledger_post(ARRAY[$1::uuid], ARRAY[0::bigint], ARRAY[0::bigint], ARRAY['failed'], ARRAY[''], ARRAY[NULL::text], ARRAY[0], ARRAY[0],
          ARRAY[0], ARRAY[NULL::text], ARRAY[false], ARRAY[NULL::int], ARRAY[0], $2::uuid, ARRAY[$3::uuid], ARRAY[$4::bytea], ARRAY[false], ARRAY[$5::text],
          ARRAY[100::bigint], ARRAY[100::bigint], ARRAY['m'], ARRAY[60000])`,
      },
      [second.id, uuidv7(), uuidv7(), second.credentialHash, second.externalUserId],
    );
    expect(batch).toMatchObject({ settled: [0], verdict: [0], granted: ["100"] });
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });

  test("servers of the version before get as the reason whether the wallet or the limit is short", async () => {
    const limited = await shop(db(), { credits: 1_000n, monthlyLimit: 500n });
    const short = await shop(db(), { credits: 500n, monthlyLimit: 1_000n });
    for (const [it, verdict] of [
      [limited, 6],
      [short, 5],
    ] as const) {
      await holdOne(db().sql, it.request({ amount: 450n }));
      const { credentialHash, externalUserId } = it.request({ amount: 1n });
      const text = `SELECT * FROM ledger_hold_one($1::uuid, $2::bytea, $3::text, 100, 100, 'm', 60000)`;
      expect((await db().sql.query({ name: "", text }, [uuidv7(), credentialHash, externalUserId]))[0]).toMatchObject({ verdict });
      const batch = `SELECT verdict, granted, can_spend FROM ledger_post('{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', $1::uuid,
        ARRAY[$2::uuid, $3::uuid], ARRAY[$4::bytea, $4::bytea], ARRAY[false, false], ARRAY[$5::text, $5::text], ARRAY[100::bigint, 50::bigint],
        ARRAY[100::bigint, 50::bigint], ARRAY['m', 'm'], ARRAY[60000, 60000])`;
      const ids = [uuidv7(), uuidv7(), uuidv7()];
      expect((await db().sql.query({ name: "", text: batch }, [...ids, credentialHash, externalUserId]))[0]).toEqual({
        verdict: [verdict, 0],
        granted: [null, "50"],
        can_spend: ["50", null],
      });
    }
  });
});

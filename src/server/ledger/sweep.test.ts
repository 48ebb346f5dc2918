import { v7 as uuidv7 } from "uuid";
import { describe, expect, test } from "vitest";
import { inEveryZone, withDatabase } from "#testing/database.ts";
import { holdAll, holdOne, holdRequest, settlement } from "#testing/ledger-requests.ts";
import { makeLink, makeUser } from "#testing/makers.ts";
import { payer } from "#testing/shops.ts";
import { transaction } from "../platform/db.ts";
import { balanceOf } from "./accounts.ts";
import { settle } from "./hold.ts";
import { sweepHolds } from "./sweep.ts";
import { verify } from "./verify.ts";

const EXPIRED = -1_000;

inEveryZone("sweeping", (db) => {
  // Ids grow with time: `after` keeps a test's sweep to the holds made since.
  const since = () => ({ after: uuidv7() });

  test("releases holds that have expired, and no others", async () => {
    const start = since();
    const { walletId, key } = await payer(db());
    const [expired, running] = await holdAll(db().sql, [
      holdRequest(key, { lifetimeMs: EXPIRED, amount: 30n }),
      holdRequest(key, { amount: 50n }),
    ]);
    expect(await sweepHolds(db().sql, start)).toBe(1);
    expect(await balanceOf(db().sql, walletId)).toEqual({ balance: 100_000n, held: 50n, available: 99_950n });
    expect(await db().prisma.usage.findUniqueOrThrow({ where: { id: expired?.id ?? "" } })).toMatchObject({
      outcome: "swept",
      base: 0n,
      markup: 0n,
      held: 30n,
    });
    expect(await settle(db().sql, [settlement(running?.id ?? "", 50n)])).toMatchObject([{ kind: "settled", charged: 50n }]);
    expect(await sweepHolds(db().sql, start)).toBe(0);
  });

  test("with all, releases holds that have not expired as well", async () => {
    const start = since();
    const { walletId, key } = await payer(db());
    await holdAll(db().sql, [holdRequest(key, { lifetimeMs: EXPIRED }), holdRequest(key), holdRequest(key)]);
    expect(await sweepHolds(db().sql, { ...start, all: true })).toBe(3);
    expect((await balanceOf(db().sql, walletId)).held).toBe(0n);
  });

  test("leaves settled holds alone", async () => {
    const start = since();
    const { walletId, key } = await payer(db());
    const held = await holdOne(db().sql, holdRequest(key, { lifetimeMs: EXPIRED }));
    await settle(db().sql, [settlement(held.id, 60n)]);
    expect(await sweepHolds(db().sql, { ...start, all: true })).toBe(0);
    expect((await balanceOf(db().sql, walletId)).balance).toBe(99_940n);
  });

  test("a settlement that comes after the sweep moves nothing", async () => {
    const start = since();
    const { walletId, app, key } = await payer(db());
    const held = await holdOne(db().sql, holdRequest(key, { lifetimeMs: EXPIRED }));
    expect(await sweepHolds(db().sql, start)).toBe(1);
    expect(await settle(db().sql, [settlement(held.id, 60n, 6n)])).toEqual([{ kind: "already_resolved" }]);
    expect(await balanceOf(db().sql, walletId)).toEqual({ balance: 100_000n, held: 0n, available: 100_000n });
    expect((await balanceOf(db().sql, app.earningsId)).balance).toBe(0n);
  });

  test("returns what was held on the limit too", async () => {
    const start = since();
    const { app, key } = await payer(db());
    const link = await makeLink(db(), app.id, await makeUser(db(), { credits: 1_000n }), { monthlyLimit: 500n });
    await holdOne(db().sql, holdRequest(key, { externalUserId: link.externalUserId, lifetimeMs: EXPIRED }));
    await sweepHolds(db().sql, start);
    expect(await balanceOf(db().sql, link.limitId ?? "")).toEqual({ balance: 500n, held: 0n, available: 500n });
  });

  test("finds every orphan among many settled and open holds", async () => {
    const start = since();
    const { walletId, key } = await payer(db());
    const held = await holdAll(
      db().sql,
      Array.from({ length: 360 }, (_, index) => holdRequest(key, { amount: 1n, lifetimeMs: index % 3 === 0 ? 600_000 : EXPIRED })),
    );
    await settle(
      db().sql,
      held.filter((_, index) => index % 3 === 1).map(({ id }) => settlement(id, 1n)),
    );
    expect(await sweepHolds(db().sql, start)).toBe(120);
    expect(await balanceOf(db().sql, walletId)).toEqual({ balance: 99_880n, held: 120n, available: 99_760n });
  });

  test("begins after the id it is given", async () => {
    const { walletId, key } = await payer(db());
    const request = { lifetimeMs: EXPIRED, amount: 1n };
    const old = await holdOne(db().sql, holdRequest(key, request));
    await holdOne(db().sql, holdRequest(key, request));
    expect(await sweepHolds(db().sql, { after: old.id })).toBe(1);
    expect((await balanceOf(db().sql, walletId)).held).toBe(1n);
    expect(await sweepHolds(db().sql)).toBeGreaterThanOrEqual(1);
    expect((await balanceOf(db().sql, walletId)).held).toBe(0n);
  });

  test("four sweepers at once release each hold once", async () => {
    const start = since();
    const { walletId, key } = await payer(db());
    await holdAll(
      db().sql,
      Array.from({ length: 250 }, () => holdRequest(key, { amount: 2n, lifetimeMs: EXPIRED })),
    );
    const lanes = [db().lane(), db().lane(), db().sql, db().sql];
    const swept = await Promise.all(lanes.map((lane) => sweepHolds(lane, start)));
    expect(swept.reduce((sum, each) => sum + each, 0)).toBe(250);
    expect(await balanceOf(db().sql, walletId)).toEqual({ balance: 100_000n, held: 0n, available: 100_000n });
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });

  test("of a sweep and concurrent settlements, each hold is either swept or settled", async () => {
    const start = since();
    const { walletId, key } = await payer(db());
    const held = await holdAll(
      db().sql,
      Array.from({ length: 150 }, () => holdRequest(key, { amount: 2n, lifetimeMs: EXPIRED })),
    );
    const lane = db().lane();
    const settleEach = async () => {
      let charged = 0n;
      for (let from = 0; from < held.length; from += 10) {
        const verdicts = await settle(
          lane,
          held.slice(from, from + 10).map(({ id }) => settlement(id, 2n)),
        );
        for (const verdict of verdicts) if (verdict.kind === "settled") charged += verdict.charged;
      }
      return charged;
    };
    const [swept, charged] = await Promise.all([sweepHolds(db().sql, start), settleEach()]);
    expect(BigInt(swept) * 2n + charged).toBe(300n);
    expect(await balanceOf(db().sql, walletId)).toEqual({ balance: 100_000n - charged, held: 0n, available: 100_000n - charged });
  });
});

describe("while a settlement is under way", () => {
  const db = withDatabase("postgres");

  test("the sweeper skips its hold, and afterwards releases nothing", async () => {
    const { walletId, key } = await payer(db());
    const held = await holdOne(db().sql, holdRequest(key, { lifetimeMs: EXPIRED }));
    const lane = db().lane();
    await transaction(async (tx) => {
      await settle(tx, [settlement(held.id, 70n)]);
      expect(await sweepHolds(lane)).toBe(0);
    }, db());
    expect(await sweepHolds(lane)).toBe(0);
    expect(await balanceOf(db().sql, walletId)).toEqual({ balance: 99_930n, held: 0n, available: 99_930n });
  });
});

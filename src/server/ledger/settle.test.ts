import { v7 as uuidv7 } from "uuid";
import { afterAll, describe, expect, test } from "vitest";
import { onBothDatabases } from "#testing/database.ts";
import { holdAll, holdOne, holdRequest, settlement } from "#testing/ledger-requests.ts";
import { makeKey } from "#testing/makers.ts";
import { shop } from "#testing/shops.ts";
import { balanceOf, platformAccount } from "./accounts.ts";
import { hold, settle } from "./hold.ts";
import { transfer } from "./transfer.ts";
import { verify } from "./verify.ts";

onBothDatabases("hold", (db) => {
  describe("settle", () => {
    test("charges base and markup, returns the rest, and credits revenue and earnings", async () => {
      const { app, owner, key } = await shop(db(), { ownerCredits: 1_000n, markupBps: 1_000 });
      const held = await holdOne(db().sql, holdRequest(key, { amount: 200n }));
      const revenue = await balanceOf(db().sql, platformAccount.revenue);
      expect(await settle(db().sql, [settlement(held.id, 100n, 10n)])).toEqual([{ kind: "settled", charged: 110n, balanceAfter: 890n }]);
      expect(await balanceOf(db().sql, owner.walletId)).toEqual({ balance: 890n, held: 0n, available: 890n });
      expect((await balanceOf(db().sql, app.earningsId)).balance).toBe(10n);
      expect((await balanceOf(db().sql, platformAccount.revenue)).balance - revenue.balance).toBe(100n);
    });

    test("counts what was charged against the limit and gives it back the rest", async () => {
      const { key, link } = await shop(db(), { monthlyLimit: 500n });
      const held = await holdOne(db().sql, holdRequest(key, { amount: 400n, externalUserId: link.externalUserId }));
      await settle(db().sql, [settlement(held.id, 150n)]);
      expect(await balanceOf(db().sql, link.limitId ?? "")).toEqual({ balance: 350n, held: 0n, available: 350n });
    });

    test("writes the usage record with its hold's terms", async () => {
      const { app, key, person, link } = await shop(db(), { monthlyLimit: 500n });
      const held = await holdOne(db().sql, holdRequest(key, { externalUserId: link.externalUserId, model: "some/model" }));
      await settle(db().sql, [
        settlement(held.id, 7n, 1n, {
          outcome: "interrupted",
          endpoint: `/v1/"x",{y}`,
          provider: null,
          promptTokens: 3,
          cachedTokens: 2,
          completionTokens: 1,
          countedBy: "tokenizer",
          streamed: true,
          upstreamStatus: null,
          durationMs: 12.6,
        }),
      ]);
      expect(await db().prisma.usage.findUniqueOrThrow({ where: { id: held.id } })).toMatchObject({
        appId: app.id,
        apiKeyId: key.id,
        linkedUserId: link.id,
        externalUserId: link.externalUserId,
        billingMode: "user",
        walletId: person.walletId,
        limitId: link.limitId,
        earningsId: app.earningsId,
        held: 100n,
        base: 7n,
        markup: 1n,
        shortfall: 0n,
        outcome: "interrupted",
        endpoint: `/v1/"x",{y}`,
        model: "some/model",
        provider: null,
        promptTokens: 3,
        cachedTokens: 2,
        completionTokens: 1,
        countedBy: "tokenizer",
        streamed: true,
        upstreamStatus: null,
        durationMs: 13,
      });
    });

    test("a hold resolves once: a second settlement, later or in the same batch, moves nothing", async () => {
      const { app, owner, key } = await shop(db(), { ownerCredits: 1_000n });
      const held = await holdOne(db().sql, holdRequest(key));
      expect(await settle(db().sql, [settlement(held.id, 30n, 5n), settlement(held.id, 90n)])).toEqual([
        { kind: "settled", charged: 35n, balanceAfter: 965n },
        { kind: "already_resolved" },
      ]);
      expect(await settle(db().sql, [settlement(held.id, 1n, 1n)])).toEqual([{ kind: "already_resolved" }]);
      expect(await balanceOf(db().sql, owner.walletId)).toEqual({ balance: 965n, held: 0n, available: 965n });
      expect((await balanceOf(db().sql, app.earningsId)).balance).toBe(5n);
    });

    test("an id without a hold is unknown, and the rest of its batch is settled", async () => {
      const { key } = await shop(db());
      const held = await holdOne(db().sql, holdRequest(key));
      const stranger = uuidv7();
      expect(await settle(db().sql, [settlement(stranger, 5n), settlement(held.id, 5n)])).toMatchObject([
        { kind: "unknown_hold" },
        { kind: "settled" },
      ]);
      expect(await db().prisma.usage.count({ where: { id: stranger } })).toBe(0);
    });

    test.each([
      // The base alone is above the hold (100): no markup is paid.
      [130n, 13n, { charged: 100n, paidBase: 100n, paidMarkup: 0n, shortfall: 30n }],
      // Base fits, markup only in part.
      [90n, 25n, { charged: 100n, paidBase: 90n, paidMarkup: 10n, shortfall: 0n }],
      [100n, 0n, { charged: 100n, paidBase: 100n, paidMarkup: 0n, shortfall: 0n }],
    ])(
      "base cost above the hold (base %s, markup %s) is the platform's shortfall, and markup above it is not credited",
      async (base, markup, expected) => {
        const { app, owner, key } = await shop(db(), { ownerCredits: 1_000n });
        const platform = async () => ({
          revenue: (await balanceOf(db().sql, platformAccount.revenue)).balance,
          shortfall: (await balanceOf(db().sql, platformAccount.shortfall)).balance,
        });
        const before = await platform();
        const held = await holdOne(db().sql, holdRequest(key));
        expect(await settle(db().sql, [settlement(held.id, base, markup)])).toMatchObject([{ kind: "settled", charged: expected.charged }]);
        const after = await platform();
        expect((await balanceOf(db().sql, owner.walletId)).available).toBe(1_000n - expected.charged);
        expect((await balanceOf(db().sql, app.earningsId)).balance).toBe(expected.paidMarkup);
        expect(after.revenue - before.revenue).toBe(base);
        expect(after.shortfall - before.shortfall).toBe(-expected.shortfall);
        expect(await db().prisma.usage.findUniqueOrThrow({ where: { id: held.id } })).toMatchObject({
          base: expected.paidBase,
          markup: expected.paidMarkup,
          shortfall: expected.shortfall,
        });
        expect(await verify(db().sql)).toMatchObject({ ok: true, discrepancies: [] });
      },
    );

    test("play credits go back to the sandbox account, base above the hold included", async () => {
      const { app } = await shop(db(), { markupBps: 1_000 });
      const key = await makeKey(db(), app.id, "test");
      await transfer(db().sql, {
        id: uuidv7(),
        debitId: platformAccount.sandbox,
        creditId: app.sandboxWalletId,
        amount: 500n,
        reason: "grant",
      });
      const before = (await balanceOf(db().sql, platformAccount.sandbox)).balance;
      const held = await holdOne(db().sql, holdRequest(key, { amount: 100n }));
      await settle(db().sql, [settlement(held.id, 120n, 12n)]);
      expect((await balanceOf(db().sql, app.sandboxWalletId)).balance).toBe(390n);
      expect((await balanceOf(db().sql, platformAccount.sandbox)).balance - before).toBe(120n);
      expect((await balanceOf(db().sql, app.earningsId)).balance).toBe(0n);
      expect((await verify(db().sql)).discrepancies).toEqual([]);
    });

    test("of several settlements of one wallet in a batch, each returns the balance after it", async () => {
      const { key, owner, person, link } = await shop(db(), { ownerCredits: 1_000n, credits: 500n });
      const [a, b, c, other, open] = await holdAll(db().sql, [
        holdRequest(key),
        holdRequest(key),
        holdRequest(key),
        holdRequest(key, { externalUserId: link.externalUserId }),
        holdRequest(key),
      ]);
      if (!a || !b || !c || !other || !open) throw new Error("not held");
      await settle(db().sql, [settlement(b.id, 11n)]);
      const verdicts = await settle(db().sql, [
        settlement(c.id, 10n),
        settlement(other.id, 1n),
        // Another call resolved this one, so it must not be counted here.
        settlement(b.id, 90n),
        settlement(a.id, 20n, 5n),
      ]);
      // The open hold is still the payer's own money.
      expect(verdicts).toEqual([
        { kind: "settled", charged: 10n, balanceAfter: 979n },
        { kind: "settled", charged: 1n, balanceAfter: 499n },
        { kind: "already_resolved" },
        { kind: "settled", charged: 25n, balanceAfter: 954n },
      ]);
      expect(await balanceOf(db().sql, owner.walletId)).toEqual({ balance: 954n, held: 100n, available: 854n });
      expect((await balanceOf(db().sql, person.walletId)).balance).toBe(499n);
    });

    test("a hold of an unlinked user, a revoked key or a removed limit still settles on its own terms", async () => {
      const { key, person, link } = await shop(db(), { credits: 500n, monthlyLimit: 300n });
      const held = await holdOne(db().sql, holdRequest(key, { externalUserId: link.externalUserId }));
      await db().prisma.apiKey.update({ where: { id: key.id }, data: { revokedAt: new Date() } });
      await db().prisma.linkedUser.delete({ where: { id: link.id } });
      expect(await settle(db().sql, [settlement(held.id, 40n)])).toEqual([{ kind: "settled", charged: 40n, balanceAfter: 460n }]);
      expect(await balanceOf(db().sql, person.walletId)).toEqual({ balance: 460n, held: 0n, available: 460n });
      expect(await balanceOf(db().sql, link.limitId ?? "")).toEqual({ balance: 260n, held: 0n, available: 260n });
    });

    test("an empty batch is no error", async () => {
      expect(await settle(db().sql, [])).toEqual([]);
      expect(await hold(db().sql, [])).toEqual([]);
    });
  });

  // Each file has books of its own: they have to be right after its tests as well.
  afterAll(async () => {
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });
});

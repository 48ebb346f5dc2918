import { randomBytes } from "node:crypto";
import { v7 as uuidv7 } from "uuid";
import { describe, expect, test } from "vitest";
import { onBothDatabases } from "#testing/database.ts";
import { holdRequest } from "#testing/ledger-requests.ts";
import { makeApp, makeKey, makeLink, makeUser } from "#testing/makers.ts";
import { decide, outcome, shop } from "#testing/shops.ts";
import { balanceOf, platformAccount } from "./accounts.ts";
import { hold } from "./hold.ts";
import { openLedger } from "./ledger.ts";
import { transfer } from "./transfer.ts";
import { verify } from "./verify.ts";

const HOUR_MS = 3_600_000;

onBothDatabases("hold", (db) => {
  describe("refuses", () => {
    test("an unknown key", async () => {
      expect(await decide(db(), holdRequest({ hash: randomBytes(32) }))).toEqual({
        kind: "refused",
        reason: "invalid_api_key",
        payer: null,
        available: null,
        needed: null,
        released: null,
      });
      expect(outcome(await decide(db(), holdRequest({ hash: new Uint8Array() })))).toBe("invalid_api_key");
    });

    test("a revoked key, and an expired key; not one that expires later", async () => {
      const { key } = await shop(db());
      const change = (data: { revokedAt?: Date | null; expiresAt?: Date }) => db().prisma.apiKey.update({ where: { id: key.id }, data });
      await change({ expiresAt: new Date(Date.now() + HOUR_MS) });
      expect(outcome(await decide(db(), holdRequest(key)))).toBe(100n);
      await change({ expiresAt: new Date(Date.now() - HOUR_MS) });
      expect(outcome(await decide(db(), holdRequest(key)))).toBe("invalid_api_key");
      await change({ expiresAt: new Date(Date.now() + HOUR_MS), revokedAt: new Date() });
      expect(outcome(await decide(db(), holdRequest(key)))).toBe("invalid_api_key");
    });

    test("a user key without a user", async () => {
      const { app } = await shop(db());
      const key = await makeKey(db(), app.id, "user");
      expect(outcome(await decide(db(), holdRequest(key)))).toBe("user_required");
    });

    test("a user without a link, one whose link has ended, and one whose link is paused, until it is resumed", async () => {
      const { key, link } = await shop(db());
      const ask = async () => outcome(await decide(db(), holdRequest(key, { externalUserId: link.externalUserId })));
      expect(outcome(await decide(db(), holdRequest(key, { externalUserId: "nobody" })))).toBe("not_found");
      await db().prisma.linkedUser.update({ where: { id: link.id }, data: { pausedAt: new Date() } });
      expect(await ask()).toBe("not_found");
      await db().prisma.linkedUser.update({ where: { id: link.id }, data: { pausedAt: null } });
      expect(await ask()).toBe(100n);
      await db().prisma.linkedUser.delete({ where: { id: link.id } });
      expect(await ask()).toBe("not_found");
    });

    test("another app's external id, even when both apps have one owner", async () => {
      const { owner, key, person, link } = await shop(db());
      const other = await makeApp(db(), { ownerId: owner.id });
      const foreign = await makeLink(db(), other.id, person);
      expect(outcome(await decide(db(), holdRequest(key, { externalUserId: foreign.externalUserId })))).toBe("not_found");
      const otherKey = await makeKey(db(), other.id, "user");
      expect(outcome(await decide(db(), holdRequest(otherKey, { externalUserId: link.externalUserId })))).toBe("not_found");
    });

    test("models that the app or the user does not allow; empty lists allow any", async () => {
      const [person, other] = [await makeUser(db(), { credits: 1_000n }), await makeUser(db(), { credits: 1_000n })];
      const app = await makeApp(db(), { credits: 1_000n, allowedModels: ["a", "b"] });
      const key = await makeKey(db(), app.id);
      const testKey = await makeKey(db(), app.id, "test");
      await transfer(db().sql, {
        id: uuidv7(),
        debitId: platformAccount.sandbox,
        creditId: app.sandboxWalletId,
        amount: 500n,
        reason: "grant",
      });
      const narrow = await makeLink(db(), app.id, person, { allowedModels: ["b", "c"] });
      const wide = await makeLink(db(), app.id, other);
      const ask = async (model: string, externalUserId: string | null, by = key) =>
        outcome(await decide(db(), holdRequest(by, { model, externalUserId, amount: 1n })));
      expect(await Promise.all(["a", "b", "c"].map((model) => ask(model, null)))).toEqual([1n, 1n, "model_not_allowed"]);
      expect(await Promise.all(["a", "b", "c"].map((model) => ask(model, narrow.externalUserId)))).toEqual([
        "model_not_allowed",
        1n,
        "model_not_allowed",
      ]);
      expect(await Promise.all(["a", "b", "c"].map((model) => ask(model, wide.externalUserId)))).toEqual([1n, 1n, "model_not_allowed"]);
      expect(await Promise.all(["a", "b", "c"].map((model) => ask(model, null, testKey)))).toEqual([1n, 1n, "model_not_allowed"]);
    });

    test("the sandbox's missing and empty users, for test keys only", async () => {
      const { app, key } = await shop(db());
      const testKey = await makeKey(db(), app.id, "test");
      await transfer(db().sql, {
        id: uuidv7(),
        debitId: platformAccount.sandbox,
        creditId: app.sandboxWalletId,
        amount: 500n,
        reason: "grant",
      });
      expect(outcome(await decide(db(), holdRequest(testKey, { externalUserId: "sandbox_missing" })))).toBe("not_found");
      expect(outcome(await decide(db(), holdRequest(testKey, { externalUserId: "sandbox_empty" })))).toBe("insufficient_credits");
      expect(outcome(await decide(db(), holdRequest(testKey, { externalUserId: "sandbox" })))).toBe(100n);
      expect(outcome(await decide(db(), holdRequest(key, { externalUserId: "sandbox_empty" })))).toBe("not_found");
    });

    test("when the payer can't pay the minimum, with what is available and what is needed", async () => {
      const { key, link } = await shop(db(), { credits: 124n, markupBps: 2_500 });
      const verdict = await decide(db(), holdRequest(key, { externalUserId: link.externalUserId, amount: 100n }));
      expect(verdict).toMatchObject({
        kind: "refused",
        reason: "insufficient_credits",
        payer: { linkedUserId: link.id },
        available: 124n,
        needed: 125n,
      });
    });

    test("when the limit is reached; when the wallet is empty too, the reason is the wallet", async () => {
      const limited = await shop(db(), { credits: 1_000n, monthlyLimit: 50n });
      const request = holdRequest(limited.key, { externalUserId: limited.link.externalUserId, amount: 51n });
      expect(await decide(db(), request)).toMatchObject({ reason: "spending_limit_reached", available: 50n, needed: 51n });
      const poor = await shop(db(), { credits: 10n, monthlyLimit: 50n });
      expect(await decide(db(), holdRequest(poor.key, { externalUserId: poor.link.externalUserId, amount: 51n }))).toMatchObject({
        reason: "insufficient_credits",
      });
      const none = await shop(db(), { monthlyLimit: 0n });
      expect(await decide(db(), holdRequest(none.key, { externalUserId: none.link.externalUserId, amount: 1n }))).toMatchObject({
        reason: "spending_limit_reached",
      });
    });

    test("without holding or writing anything", async () => {
      const { app, owner, person, key, link } = await shop(db(), { ownerCredits: 10n, monthlyLimit: 5n });
      const requests = [
        holdRequest(key, { amount: 11n }),
        holdRequest(key, { amount: 6n, externalUserId: link.externalUserId }),
        holdRequest(key, { externalUserId: "nobody" }),
      ];
      expect((await hold(db().sql, requests)).map(outcome)).toEqual(["insufficient_credits", "spending_limit_reached", "not_found"]);
      expect(await db().prisma.hold.count({ where: { appId: app.id } })).toBe(0);
      for (const accountId of [owner.walletId, person.walletId, link.limitId ?? ""])
        expect((await balanceOf(db().sql, accountId)).held).toBe(0n);
    });
  });

  describe("reserves", () => {
    test("the whole desire when it fits, else what is left, but never less than the minimum", async () => {
      const { key } = await shop(db(), { ownerCredits: 250n });
      const request = () => holdRequest(key, { desiredBase: 100n, minimumBase: 40n });
      expect(outcome(await decide(db(), request()))).toBe(100n);
      expect(outcome(await decide(db(), request()))).toBe(100n);
      expect(outcome(await decide(db(), request()))).toBe(50n);
      expect(outcome(await decide(db(), request()))).toBe("credits_on_hold");
    });

    test("no more than the limit has left, when that is less than the wallet has", async () => {
      const { key, person, link } = await shop(db(), { credits: 1_000n, monthlyLimit: 70n });
      expect(
        outcome(await decide(db(), holdRequest(key, { externalUserId: link.externalUserId, desiredBase: 100n, minimumBase: 1n }))),
      ).toBe(70n);
      expect((await balanceOf(db().sql, person.walletId)).held).toBe(70n);
      expect((await balanceOf(db().sql, link.limitId ?? "")).available).toBe(0n);
    });

    test.each([
      [1n, 1, 2n],
      [1n, 10_000, 2n],
      [10_000n, 1, 10_001n],
      [10_001n, 1, 10_003n],
      [999n, 3_333, 1_332n],
      [7n, 100_000, 77n],
      [9_999n, 0, 9_999n],
    ])("base and a markup that is rounded up: %s at %s bps is %s", async (amount, markupBps, total) => {
      const { key } = await shop(db(), { ownerCredits: 100_000n, markupBps });
      expect(outcome(await decide(db(), holdRequest(key, { amount })))).toBe(total);
    });

    test("one batch is decided as if its requests had come one after the other", async () => {
      const { key, link } = await shop(db(), { ownerCredits: 250n, credits: 100n });
      const user = link.externalUserId;
      const ask = (amount: bigint, externalUserId: string | null = null) => holdRequest(key, { amount, externalUserId });
      const requests = [ask(100n), ask(60n, user), ask(251n), ask(100n), ask(60n, user), ask(40n, user), ask(100n), ask(50n)];
      const ledger = openLedger(db());
      const verdicts = await Promise.all(requests.map((request) => ledger.hold(request)));
      expect(verdicts.map(outcome)).toEqual([100n, 60n, "insufficient_credits", 100n, "credits_on_hold", 40n, "credits_on_hold", 50n]);
    });

    test("what is left of a wallet for the first request of a batch, and nothing for the next ones", async () => {
      const { key } = await shop(db(), { ownerCredits: 10n });
      const verdicts = await hold(
        db().sql,
        [1, 2, 3].map(() => holdRequest(key, { desiredBase: 100n, minimumBase: 2n })),
      );
      expect(verdicts.map(outcome)).toEqual([10n, "credits_on_hold", "credits_on_hold"]);
    });

    test("for other payers in the batch of a payer without credits", async () => {
      const poor = await shop(db(), { ownerCredits: 10n });
      const rich = await shop(db(), { ownerCredits: 1_000n });
      const want = (key: { hash: Uint8Array }) => holdRequest(key, { desiredBase: 8n, minimumBase: 1n });
      const verdicts = await hold(db().sql, [want(poor.key), want(poor.key), want(rich.key), want(rich.key)]);
      expect(verdicts.map(outcome)).toEqual([8n, 2n, 8n, 8n]);
    });

    test("200 parallel requests on a wallet that can pay for 10: exactly 10 are held, in full, and 190 refused", async () => {
      const { key, owner } = await shop(db(), { ownerCredits: 1_009n });
      const ledger = openLedger(db());
      const verdicts = await Promise.all(Array.from({ length: 200 }, () => ledger.hold(holdRequest(key, { amount: 100n }))));
      const held = verdicts.filter((verdict) => verdict.kind === "held");
      expect(held.map((verdict) => verdict.amount)).toEqual(new Array(10).fill(100n));
      expect(verdicts.filter((verdict) => verdict.kind === "refused" && verdict.reason === "credits_on_hold")).toHaveLength(190);
      expect(await balanceOf(db().sql, owner.walletId)).toEqual({ balance: 1_009n, held: 1_000n, available: 9n });
    });

    test("200 parallel requests of a user whose limit pays for 10: exactly 10 are held", async () => {
      const { key, link } = await shop(db(), { credits: 100_000n, monthlyLimit: 1_000n });
      const ledger = openLedger(db());
      const verdicts = await Promise.all(
        Array.from({ length: 200 }, () => ledger.hold(holdRequest(key, { amount: 100n, externalUserId: link.externalUserId }))),
      );
      expect(verdicts.filter((verdict) => verdict.kind === "held")).toHaveLength(10);
      expect(verdicts.filter((verdict) => verdict.kind === "refused" && verdict.reason === "credits_on_hold")).toHaveLength(190);
    });
  });

  test("a request that the database cannot store fails alone, not its whole batch", async () => {
    const { key, owner } = await shop(db());
    const ledger = openLedger(db());
    const taken = holdRequest(key, { amount: 1n });
    await ledger.hold(taken);
    const outcomes = await Promise.allSettled(
      [
        holdRequest(key, { amount: 1n }),
        holdRequest(key, { amount: 1n, externalUserId: "nul \0 byte" }),
        holdRequest(key, { amount: 1n, id: taken.id }),
        holdRequest(key, { amount: 1n, lifetimeMs: 2 ** 31 }),
        holdRequest(key, { amount: 2n }),
      ].map((request) => ledger.hold(request)),
    );
    expect(outcomes.map((each) => each.status)).toEqual(["fulfilled", "rejected", "rejected", "rejected", "fulfilled"]);
    expect((await balanceOf(db().sql, owner.walletId)).held).toBe(4n);
  });

  test("verify finds nothing wrong after the tests above", async () => {
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });
});

// It breaks the books, so it has a database of its own.
onBothDatabases("hold, on a database that lost rows", (db) => {
  test("a missing limit account is an error, not the absence of a limit", async () => {
    const { key, link } = await shop(db(), { monthlyLimit: 500n });
    await db().prisma.$transaction([
      db().prisma.$executeRawUnsafe("SET LOCAL session_replication_role = replica"),
      db().prisma.account.delete({ where: { id: link.limitId as string } }),
    ]);
    const request = () => holdRequest(key, { externalUserId: link.externalUserId });
    const before = await db().prisma.hold.count();
    await expect(hold(db().sql, [request()])).rejects.toMatchObject({ code: "22004" });
    await expect(hold(db().sql, [request(), request()])).rejects.toMatchObject({ code: "22004" });
    expect(await db().prisma.hold.count()).toBe(before);
  });
});

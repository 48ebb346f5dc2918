import { randomBytes } from "node:crypto";
import { v7 as uuidv7 } from "uuid";
import { describe, expect, test } from "vitest";
import { onBothDatabases, withDatabase } from "#testing/database.ts";
import { holdAll, holdOne, holdRequest, settlement, someoneWaits, until } from "#testing/ledger-requests.ts";
import { makeApp, makeKey, makeLink, makeToken, makeUser } from "#testing/makers.ts";
import { type Database, transaction } from "../platform/db.ts";
import { balanceOf, platformAccount } from "./accounts.ts";
import { type HoldRequest, type HoldVerdict, hold, settle } from "./hold.ts";
import { openLedger } from "./ledger.ts";
import { transfer } from "./transfer.ts";
import { verify } from "./verify.ts";

const HOUR_MS = 3_600_000;

/** An app with a developer key and a funded owner, and a linked user. */
async function shop(db: Database, options: { ownerCredits?: bigint; credits?: bigint; markupBps?: number; monthlyLimit?: bigint } = {}) {
  const owner = await makeUser(db, { credits: options.ownerCredits ?? 1_000n });
  const person = await makeUser(db, { credits: options.credits ?? 1_000n });
  const app = await makeApp(db, { ownerId: owner.id, markupBps: options.markupBps ?? 0 });
  const key = await makeKey(db, app.id);
  const link = await makeLink(db, app.id, person, options.monthlyLimit === undefined ? {} : { monthlyLimit: options.monthlyLimit });
  return { owner, person, app, key, link };
}

async function decide(db: Database, request: HoldRequest): Promise<HoldVerdict> {
  const [verdict] = await hold(db.sql, [request]);
  if (verdict === undefined) throw new Error("a request that is alone is always decided");
  return verdict;
}

const outcome = (verdict: HoldVerdict | undefined) =>
  verdict === undefined
    ? "no answer"
    : verdict.kind === "held"
      ? verdict.amount
      : verdict.kind === "refused"
        ? verdict.reason
        : verdict.kind;

onBothDatabases("hold", (db) => {
  describe("with an access token", () => {
    const tokenRequest = (token: { hash: Uint8Array }, options: Parameters<typeof holdRequest>[1] = {}) =>
      holdRequest(token, { byToken: true, ...options });

    test("the wallet of the link pays, within its limit and with the markup that was agreed", async () => {
      const { app, person, link } = await shop(db(), { markupBps: 2_500, monthlyLimit: 300n });
      await db().prisma.linkedUser.update({ where: { id: link.id }, data: { agreedMarkupBps: 1_000 } });
      const verdict = await decide(db(), tokenRequest(await makeToken(db(), link)));
      expect(verdict).toMatchObject({
        kind: "held",
        amount: 110n,
        payer: { appId: app.id, apiKeyId: null, billingMode: "user", markupBps: 1_000, linkedUserId: link.id, limitId: link.limitId },
      });
      expect((await balanceOf(db().sql, person.walletId)).held).toBe(110n);
      const [settled] = await settle(db().sql, [settlement((verdict as { id: string }).id, 50n, 5n)]);
      expect(settled).toEqual({ kind: "settled", charged: 55n, balanceAfter: 945n });
      expect(await db().prisma.usage.findFirst({ where: { linkedUserId: link.id } })).toMatchObject({
        apiKeyId: null,
        externalUserId: link.externalUserId,
      });
    });

    test("and API keys are decided in one batch, in order, from one wallet", async () => {
      const { person, key, link } = await shop(db(), { credits: 250n });
      const token = await makeToken(db(), link);
      const byKey = () => holdRequest(key, { externalUserId: link.externalUserId });
      const verdicts = await hold(db().sql, [byKey(), tokenRequest(token), byKey(), tokenRequest(token)]);
      expect(verdicts.map(outcome)).toEqual([100n, 100n, "credits_on_hold", "credits_on_hold"]);
      expect((await balanceOf(db().sql, person.walletId)).available).toBe(50n);
    });

    test("is refused when it is unknown, expired, or its grant or link has ended", async () => {
      const { key, link } = await shop(db());
      const [expired, revoked, orphan] = [
        await makeToken(db(), link, { expiresAt: new Date(Date.now() - 1) }),
        await makeToken(db(), link),
        await makeToken(db(), { ...link, id: uuidv7() }),
      ];
      await db().prisma.oAuthRecord.deleteMany({ where: { kind: "Grant", grantId: revoked.grantId } });
      const verdicts = await hold(db().sql, [
        tokenRequest({ hash: randomBytes(32) }),
        tokenRequest(expired),
        tokenRequest(revoked),
        tokenRequest(orphan),
        // A key is not accepted as a token, nor a token as a key.
        tokenRequest(key),
        holdRequest(await makeToken(db(), link)),
      ]);
      expect(verdicts.map(outcome)).toEqual(new Array(6).fill("invalid_api_key"));
    });

    test("is refused without credits.spend in its own scope or in that of the link", async () => {
      const { app, person, link } = await shop(db());
      const narrow = await makeToken(db(), link, { scope: "openid credits.read" });
      const signIn = await makeToken(db(), { id: null, appId: app.id, userId: person.id }, { scope: "openid" });
      expect(outcome(await decide(db(), tokenRequest(narrow)))).toBe("insufficient_scope");
      expect(outcome(await decide(db(), tokenRequest(signIn)))).toBe("insufficient_scope");
      await db().prisma.linkedUser.update({ where: { id: link.id }, data: { scope: "credits.read" } });
      expect(outcome(await decide(db(), tokenRequest(await makeToken(db(), link))))).toBe("insufficient_scope");
    });

    test("is refused while the link is paused, and for models that the user or the app does not allow", async () => {
      const { app, link } = await shop(db());
      const token = await makeToken(db(), link);
      await db().prisma.linkedUser.update({ where: { id: link.id }, data: { allowedModels: ["test/other"] } });
      expect(outcome(await decide(db(), tokenRequest(token)))).toBe("model_not_allowed");
      expect(outcome(await decide(db(), tokenRequest(token, { model: "test/other" })))).toBe(100n);
      await db().prisma.app.update({ where: { id: app.id }, data: { allowedModels: ["test/small"] } });
      expect(outcome(await decide(db(), tokenRequest(token, { model: "test/other" })))).toBe("model_not_allowed");
      await db().prisma.linkedUser.update({ where: { id: link.id }, data: { pausedAt: new Date() } });
      expect(outcome(await decide(db(), tokenRequest(token, { model: "test/other" })))).toBe("not_found");
    });

    test("waits for the refill of a limit whose month is over", async () => {
      const { link } = await shop(db(), { monthlyLimit: 300n });
      await db().prisma.linkedUser.update({ where: { id: link.id }, data: { limitPeriodEndsAt: new Date(Date.now() - 1) } });
      expect(await decide(db(), tokenRequest(await makeToken(db(), link)))).toEqual({ kind: "limit_due", linkedUserId: link.id });
    });
  });

  describe("finds the payer", () => {
    test("a developer key without a user spends the owner's credits", async () => {
      const { owner, app, key } = await shop(db(), { markupBps: 2_500 });
      expect(await decide(db(), holdRequest(key, { amount: 100n }))).toMatchObject({
        kind: "held",
        amount: 125n,
        payer: {
          appId: app.id,
          apiKeyId: key.id,
          billingMode: "developer",
          markupBps: 2_500,
          linkedUserId: null,
          walletId: owner.walletId,
          limitId: null,
        },
      });
      expect(await balanceOf(db().sql, owner.walletId)).toEqual({ balance: 1_000n, held: 125n, available: 875n });
    });

    test("a developer key with a user spends that user's credits, and says that the user pays", async () => {
      const { owner, person, key, link } = await shop(db());
      const verdict = await decide(db(), holdRequest(key, { externalUserId: link.externalUserId }));
      expect(verdict).toMatchObject({ kind: "held", payer: { billingMode: "user", linkedUserId: link.id, walletId: person.walletId } });
      expect((await balanceOf(db().sql, person.walletId)).held).toBe(100n);
      expect((await balanceOf(db().sql, owner.walletId)).held).toBe(0n);
    });

    test("a user key spends the user's credits and holds from their limit as well", async () => {
      const { app, person, link } = await shop(db(), { monthlyLimit: 300n });
      const key = await makeKey(db(), app.id, "user");
      const verdict = await decide(db(), holdRequest(key, { externalUserId: link.externalUserId }));
      expect(verdict).toMatchObject({ kind: "held", payer: { walletId: person.walletId, limitId: link.limitId } });
      expect(await balanceOf(db().sql, link.limitId ?? "")).toEqual({ balance: 300n, held: 100n, available: 200n });
    });

    test("a test key spends play credits and no real ones, with any user or none", async () => {
      const { app, owner, person, link } = await shop(db(), { monthlyLimit: 10n });
      const key = await makeKey(db(), app.id, "test");
      await transfer(db().sql, {
        id: uuidv7(),
        debitId: platformAccount.sandbox,
        creditId: app.sandboxWalletId,
        amount: 500n,
        reason: "grant",
      });
      for (const externalUserId of [null, "whoever", link.externalUserId]) {
        const verdict = await decide(db(), holdRequest(key, { externalUserId }));
        expect(verdict).toMatchObject({
          kind: "held",
          payer: { billingMode: "test", walletId: app.sandboxWalletId, linkedUserId: null, limitId: null },
        });
      }
      expect((await balanceOf(db().sql, app.sandboxWalletId)).held).toBe(300n);
      expect((await balanceOf(db().sql, owner.walletId)).held).toBe(0n);
      expect((await balanceOf(db().sql, person.walletId)).held).toBe(0n);
    });

    test("external ids match exactly: quotes, backslashes, commas, braces, emoji, NULL, blanks and 255 characters", async () => {
      const { app, person, key } = await shop(db(), { credits: 10_000n });
      const ids = [
        `"`,
        `\\`,
        `\\"`,
        `'; DROP TABLE hold; --`,
        `a,b`,
        `{a,b}`,
        `{}`,
        `NULL`,
        `null`,
        ` `,
        `line\nbreak\ttab\r`,
        `👩‍👩‍👧‍👦`,
        `é`,
        `e\u0301`,
        `\u202Eabc`,
        `%s $1 \${x}`,
        "x".repeat(255),
        "🙂".repeat(255),
        "Case",
        "case",
      ];
      const links = new Map<string, string>();
      for (const externalUserId of ids) links.set(externalUserId, (await makeLink(db(), app.id, person, { externalUserId })).id);
      // Together in one batch, where one that is quoted badly would shift its neighbours.
      const verdicts = await hold(
        db().sql,
        ids.map((externalUserId) => holdRequest(key, { externalUserId, amount: 1n })),
      );
      expect(verdicts.map((verdict) => (verdict?.kind === "held" ? verdict.payer.linkedUserId : outcome(verdict)))).toEqual(
        ids.map((id) => links.get(id)),
      );
      const rows = await db().prisma.hold.findMany({ where: { appId: app.id } });
      expect(rows.map((row) => row.externalUserId).sort()).toEqual([...ids].sort());
      for (const stranger of ["", "CASE", "xx", `"a,b"`, "  "]) {
        expect(outcome(await decide(db(), holdRequest(key, { externalUserId: stranger })))).toBe("not_found");
      }
    });

    test("model names match exactly", async () => {
      const model = `we"ird\\model,{x}🙂`;
      const app = await makeApp(db(), { credits: 100n, allowedModels: [model] });
      const key = await makeKey(db(), app.id);
      await holdOne(db().sql, holdRequest(key, { model, amount: 1n }));
      expect(outcome(await decide(db(), holdRequest(key, { model: `${model} ` })))).toBe("model_not_allowed");
    });
  });

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

  test("verify finds nothing wrong after the tests above", async () => {
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });
});

describe("while another connection has the wallet locked", () => {
  const db = withDatabase("postgres");

  test("a batch that waited for a top-up can spend its credits", async () => {
    const { key, owner } = await shop(db(), { ownerCredits: 10n });
    const lane = db().lane();
    let waiting: Promise<HoldVerdict | undefined> | undefined;
    await transaction(async (tx) => {
      await transfer(tx, { id: uuidv7(), debitId: platformAccount.promotions, creditId: owner.walletId, amount: 90n, reason: "grant" });
      // Its snapshot is from before the top-up, in which the wallet could not pay.
      waiting = hold(lane, [holdRequest(key, { amount: 100n })]).then(([verdict]) => verdict);
      await until(() => someoneWaits(db().sql));
    }, db());
    expect(outcome(await waiting)).toBe(100n);
    expect(await balanceOf(db().sql, owner.walletId)).toEqual({ balance: 100n, held: 100n, available: 0n });
  });

  test("a batch that waited for a withdrawal can't spend what was withdrawn", async () => {
    const { key, owner } = await shop(db(), { ownerCredits: 100n });
    const lane = db().lane();
    let waiting: Promise<HoldVerdict | undefined> | undefined;
    await transaction(async (tx) => {
      await transfer(tx, { id: uuidv7(), debitId: owner.walletId, creditId: platformAccount.world, amount: 60n, reason: "refund" });
      waiting = hold(lane, [holdRequest(key, { desiredBase: 100n, minimumBase: 1n })]).then(([verdict]) => verdict);
      await until(() => someoneWaits(db().sql));
    }, db());
    expect(outcome(await waiting)).toBe(40n);
    expect(await balanceOf(db().sql, owner.walletId)).toEqual({ balance: 40n, held: 40n, available: 0n });
  });

  test("a settlement that waited for one of the same hold moves nothing", async () => {
    const { key, owner } = await shop(db(), { ownerCredits: 100n });
    const held = await holdOne(db().sql, holdRequest(key));
    const lane = db().lane();
    let waiting: ReturnType<typeof settle> | undefined;
    await transaction(async (tx) => {
      await settle(tx, [settlement(held.id, 30n)]);
      waiting = settle(lane, [settlement(held.id, 80n)]);
      await until(() => someoneWaits(db().sql));
    }, db());
    expect(await waiting).toEqual([{ kind: "already_resolved" }]);
    expect(await balanceOf(db().sql, owner.walletId)).toEqual({ balance: 70n, held: 0n, available: 70n });
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });

  test("a settlement that waited for one that was rolled back settles the hold", async () => {
    const { key, owner } = await shop(db(), { ownerCredits: 100n });
    const held = await holdOne(db().sql, holdRequest(key));
    const lane = db().lane();
    const undo = new Error("undo");
    let waiting: ReturnType<typeof settle> | undefined;
    await expect(
      transaction(async (tx) => {
        await settle(tx, [settlement(held.id, 30n)]);
        waiting = settle(lane, [settlement(held.id, 80n)]);
        await until(() => someoneWaits(db().sql));
        throw undo;
      }, db()),
    ).rejects.toBe(undo);
    expect(await waiting).toEqual([{ kind: "settled", charged: 80n, balanceAfter: 20n }]);
    expect(await balanceOf(db().sql, owner.walletId)).toEqual({ balance: 20n, held: 0n, available: 20n });
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

describe("with many customers", () => {
  const db = withDatabase("postgres");

  test("hold and settle look up every row by an index", async () => {
    const { key, link } = await shop(db());
    const token = await makeToken(db(), link);
    // Enough rows that the planner prefers an index to a sequential scan.
    await db().prisma.$executeRaw`
      WITH made AS (INSERT INTO account (id, kind, bounded) SELECT gen_random_uuid(), 'wallet', true FROM generate_series(1, 20000) RETURNING id),
        people AS (INSERT INTO "user" (id, email, wallet_id) SELECT gen_random_uuid(), id::text, id FROM made RETURNING id, wallet_id),
        apps AS (INSERT INTO app (id, owner_id, name, earnings_id, sandbox_wallet_id, client_id, client_secret_hash, client_secret_fragment)
          SELECT gen_random_uuid(), id, '', gen_random_uuid(), gen_random_uuid(), id::text, '', '' FROM people RETURNING id, owner_id),
        keys AS (INSERT INTO api_key (id, app_id, name, hash, fragment) SELECT gen_random_uuid(), id, '', uuid_send(id), '' FROM apps),
        links AS (INSERT INTO linked_user (id, app_id, user_id, wallet_id, external_user_id, agreed_markup_bps)
          SELECT gen_random_uuid(), a.id, a.owner_id, p.wallet_id, 'x', 0 FROM apps a JOIN people p ON p.id = a.owner_id RETURNING id)
      INSERT INTO oauth_record (kind, id_hash, payload, grant_id, linked_user_id, expires_at)
        SELECT kind, uuid_send(id), '{}', id::text, id, now() + interval '1 day' FROM links, (VALUES ('Grant'), ('AccessToken')) k(kind)`;
    await db().prisma.$executeRaw`
      INSERT INTO hold (id, app_id, billing_mode, wallet_id, revenue_id, earnings_id, amount, model, expires_at)
      SELECT gen_random_uuid(), id, 'user', id, id, id, 1, '', now() FROM account`;
    await db().prisma.$executeRaw`ANALYZE`;

    const tables = ["account", "api_key", "app", "user", "linked_user", "oauth_record", "hold", "usage"];
    const scans = async () => {
      await db().sql.query({ name: "test_flush_stats", text: "SELECT pg_stat_force_next_flush()" }, []);
      const text = `SELECT relname, seq_scan, idx_scan FROM pg_stat_user_tables WHERE relname = ANY ($1::text[]) ORDER BY relname`;
      return db().sql.query({ name: "test_scans", text }, [tables]);
    };
    const before = await scans();
    const lane = db().lane();
    const held = await hold(lane, [
      holdRequest(key),
      holdRequest(key, { externalUserId: link.externalUserId }),
      holdRequest(token, { byToken: true }),
    ]);
    expect(held.map(outcome)).toEqual([100n, 100n, 100n]);
    const settlements = held.map((each) => settlement((each as { id: string }).id, 1n));
    await settle(lane, settlements);
    // A batch of one is decided by functions of its own.
    const [alone] = await hold(lane, [holdRequest(key, { externalUserId: link.externalUserId })]);
    await settle(lane, [settlement((alone as { id: string }).id, 1n)]);
    await lane.query({ name: "test_flush_lane", text: "SELECT pg_stat_force_next_flush()" }, []);
    const after = await scans();
    expect(after.map(({ relname, seq_scan }) => [relname, seq_scan])).toEqual(before.map(({ relname, seq_scan }) => [relname, seq_scan]));
    expect(after).not.toEqual(before);
  });
});

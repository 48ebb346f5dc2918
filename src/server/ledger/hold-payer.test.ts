import { randomBytes } from "node:crypto";
import { v7 as uuidv7 } from "uuid";
import { afterAll, describe, expect, test } from "vitest";
import { onBothDatabases } from "#testing/database.ts";
import { holdOne, holdRequest, settlement } from "#testing/ledger-requests.ts";
import { makeApp, makeKey, makeLink, makeToken } from "#testing/makers.ts";
import { decide, outcome, shop } from "#testing/shops.ts";
import { balanceOf, platformAccount } from "./accounts.ts";
import { hold, settle } from "./hold.ts";
import { transfer } from "./transfer.ts";
import { verify } from "./verify.ts";

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

  // Each file has books of its own: they have to be right after its tests as well.
  afterAll(async () => {
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });
});

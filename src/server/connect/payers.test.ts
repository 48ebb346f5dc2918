import { randomBytes } from "node:crypto";
import { v7 as uuidv7 } from "uuid";
import { describe, expect, test } from "vitest";
import { onBothDatabases } from "#testing/database.ts";
import { holdRequest } from "#testing/ledger-requests.ts";
import { makeApp, makeKey, makeLink, makeToken, makeUser } from "#testing/makers.ts";
import { platformAccount } from "../ledger/accounts.ts";
import { type HoldRequest, type HoldVerdict, hold } from "../ledger/hold.ts";
import { transfer } from "../ledger/transfer.ts";
import type { Database } from "../platform/db.ts";

/** A developer with an app and keys of every mode, and a user with a limited link to it and a token for the link. */
async function shop(db: Database) {
  const owner = await makeUser(db, { credits: 2_000n });
  const person = await makeUser(db, { credits: 2_000n });
  const app = await makeApp(db, { ownerId: owner.id, markupBps: 2_500 });
  const [developer, user, play] = [
    await makeKey(db, app.id, "developer"),
    await makeKey(db, app.id, "user"),
    await makeKey(db, app.id, "test"),
  ];
  const opening = { id: uuidv7(), debitId: platformAccount.sandbox, creditId: app.sandboxWalletId, amount: 1_000n };
  await transfer(db.sql, { ...opening, reason: "grant" });
  const link = await makeLink(db, app.id, person, { agreedMarkupBps: 1_000, monthlyLimit: 1_000n });
  const token = await makeToken(db, link);
  return { owner, person, app, developer, user, play, link, token };
}
type Shop = Awaited<ReturnType<typeof shop>>;
type Terms = Parameters<typeof holdRequest>[1];

/** The functions that decide a request: for a batch of one, and for larger ones, which looks tokens up only when there are some. */
const forms: Record<string, (db: Database, request: HoldRequest) => Promise<HoldVerdict | undefined>> = {
  "asked alone": async (db, request) => (await hold(db.sql, [request]))[0],
  "asked in a batch": async (db, request) => {
    const { user, link, token, owner, developer } = await shop(db);
    const paid = { kind: "held", payer: { linkedUserId: link.id, markupBps: 1_000 } };
    // A request with a key and one with a token around it, to show that results of a batch are not mixed up.
    const [first, verdict, second, third] = await hold(db.sql, [
      holdRequest(user, { externalUserId: link.externalUserId }),
      request,
      holdRequest(token, { byToken: true }),
      holdRequest(developer),
    ]);
    expect([first, second, third]).toMatchObject([paid, paid, { kind: "held", payer: { walletId: owner.walletId, linkedUserId: null } }]);
    return verdict;
  },
  "asked in a batch where others have keys": async (db, request) => {
    const { user, link, owner, developer } = await shop(db);
    const [first, verdict, second] = await hold(db.sql, [
      holdRequest(user, { externalUserId: link.externalUserId }),
      request,
      holdRequest(developer),
    ]);
    expect([first, second]).toMatchObject([
      { kind: "held", payer: { linkedUserId: link.id, markupBps: 1_000 } },
      { kind: "held", payer: { walletId: owner.walletId, linkedUserId: null } },
    ]);
    return verdict;
  },
};

/** The credentials by which a link pays. */
const credentials: Record<string, (shop: Shop, terms?: Terms) => HoldRequest> = {
  "by a user key": ({ user, link }, terms) => holdRequest(user, { externalUserId: link.externalUserId, ...terms }),
  "by a developer key that names the user": ({ developer, link }, terms) =>
    holdRequest(developer, { externalUserId: link.externalUserId, ...terms }),
  "by an access token": ({ token }, terms) => holdRequest(token, { byToken: true, ...terms }),
};

const refusal = (reason: string) => ({ kind: "refused", reason });
const past = () => new Date(Date.now() - 60_000);

onBothDatabases("who pays", (db) => {
  for (const [form, decide] of Object.entries(forms)) {
    for (const [credential, request] of Object.entries(credentials)) {
      describe(`a link that is ${form} ${credential}`, () => {
        const byToken = credential === "by an access token";
        const ask = (at: Shop, terms?: Terms) => decide(db(), request(at, terms));
        const change = (at: Shop, data: Parameters<Database["prisma"]["linkedUser"]["update"]>[0]["data"]) =>
          db().prisma.linkedUser.update({ where: { id: at.link.id }, data });

        test("pays from its user's wallet and limit, and the hold has the app's key or none", async () => {
          const at = await shop(db());
          const apiKeyId = byToken ? null : credential === "by a user key" ? at.user.id : at.developer.id;
          expect(await ask(at)).toMatchObject({
            kind: "held",
            payer: {
              appId: at.app.id,
              apiKeyId,
              billingMode: "user",
              linkedUserId: at.link.id,
              walletId: at.person.walletId,
              limitId: at.link.limitId,
              mayReadBalance: true,
            },
          });
        });

        test("pays the agreed markup, rounded up, when the app's is higher", async () => {
          const at = await shop(db());
          expect(await ask(at, { desiredBase: 101n, minimumBase: 11n })).toMatchObject({
            kind: "held",
            amount: 112n,
            payer: { markupBps: 1_000 },
          });
          // The same markup applies to the minimum and to the modest share.
          expect(await ask(at, { desiredBase: 5_000n, minimumBase: 2_001n })).toMatchObject({
            kind: "refused",
            needed: 2_202n,
            payer: { markupBps: 1_000 },
          });
          expect(await ask(at, { desiredBase: 400n, minimumBase: 1n, modestBase: 201n })).toMatchObject({ kind: "held", amount: 222n });
        });

        test("pays the app's markup when that is less than what was agreed", async () => {
          const at = await shop(db());
          await db().prisma.app.update({ where: { id: at.app.id }, data: { markupBps: 500 } });
          expect(await ask(at)).toMatchObject({ kind: "held", amount: 105n, payer: { markupBps: 500 } });
        });

        test("pays nothing without credits.spend", async () => {
          const at = await shop(db());
          for (const scope of ["credits.read", "", "openid profile", "credits.spendings"]) {
            await change(at, { scope });
            expect(await ask(at)).toMatchObject(refusal(byToken ? "insufficient_scope" : "not_found"));
          }
          await change(at, { scope: "openid credits.spend" });
          expect(await ask(at)).toMatchObject({ kind: "held" });
        });

        test("tells its balance only with credits.read", async () => {
          const at = await shop(db());
          await change(at, { scope: "credits.spend" });
          expect(await ask(at)).toMatchObject({ kind: "held", payer: { mayReadBalance: false } });
          await change(at, { scope: "openid credits.spend credits.read" });
          expect(await ask(at)).toMatchObject({ kind: "held", payer: { mayReadBalance: true } });
        });

        test("pays nothing while it is paused", async () => {
          const at = await shop(db());
          await change(at, { pausedAt: new Date() });
          expect(await ask(at)).toMatchObject(refusal("not_found"));
          await change(at, { pausedAt: null });
          expect(await ask(at)).toMatchObject({ kind: "held" });
        });

        test("pays nothing after it has ended", async () => {
          const at = await shop(db());
          await db().prisma.linkedUser.delete({ where: { id: at.link.id } });
          expect(await ask(at)).toMatchObject(refusal(byToken ? "invalid_api_key" : "not_found"));
        });

        test("pays for models that both the app and the user allow", async () => {
          const at = await shop(db());
          const models = ["only the app", "both", "only the person"];
          await db().prisma.app.update({ where: { id: at.app.id }, data: { allowedModels: models.slice(0, 2) } });
          expect(await ask(at, { model: "both" })).toMatchObject({ kind: "held" });
          expect(await ask(at, { model: "only the person" })).toMatchObject(refusal("model_not_allowed"));
          await change(at, { allowedModels: models.slice(1) });
          expect(await ask(at, { model: "both" })).toMatchObject({ kind: "held" });
          expect(await ask(at, { model: "only the app" })).toMatchObject(refusal("model_not_allowed"));
          expect(await ask(at, { model: "only the person" })).toMatchObject(refusal("model_not_allowed"));
          await db().prisma.app.update({ where: { id: at.app.id }, data: { allowedModels: [] } });
          expect(await ask(at, { model: "only the person" })).toMatchObject({ kind: "held" });
          expect(await ask(at, { model: "only the app" })).toMatchObject(refusal("model_not_allowed"));
        });

        test("is `limit_due` when its limit's month is over", async () => {
          const at = await shop(db());
          await change(at, { limitPeriodEndsAt: past() });
          expect(await ask(at)).toEqual({ kind: "limit_due", linkedUserId: at.link.id });
        });
      });
    }

    describe(`a key that is ${form}`, () => {
      const ask = (key: { hash: Uint8Array }, terms?: Terms) => decide(db(), holdRequest(key, terms));

      test("is valid until it is revoked or expires", async () => {
        const at = await shop(db());
        const asks = () =>
          Promise.all([at.developer, at.user, at.play].map((key) => ask(key, { externalUserId: at.link.externalUserId, amount: 10n })));
        const change = (data: { revokedAt?: Date | null; expiresAt?: Date | null }) =>
          db().prisma.apiKey.updateMany({ where: { appId: at.app.id }, data });
        const [held, refused] = [Array(3).fill({ kind: "held" }), Array(3).fill(refusal("invalid_api_key"))];
        await change({ expiresAt: new Date(Date.now() + 3_600_000) });
        expect(await asks()).toMatchObject(held);
        await change({ expiresAt: past() });
        expect(await asks()).toMatchObject(refused);
        await change({ expiresAt: null });
        expect(await asks()).toMatchObject(held);
        await change({ revokedAt: new Date() });
        expect(await asks()).toMatchObject(refused);
      });

      test("is refused when it does not exist, and a token is no key", async () => {
        const at = await shop(db());
        expect(await ask({ hash: randomBytes(32) })).toMatchObject({ ...refusal("invalid_api_key"), payer: null });
        expect(await ask(at.token)).toMatchObject(refusal("invalid_api_key"));
      });

      test("of mode user needs a user", async () => {
        expect(await ask((await shop(db())).user)).toMatchObject(refusal("user_required"));
      });

      test("of mode developer without a user spends the owner's credits, with the app's markup and for the app's models", async () => {
        const at = await shop(db());
        expect(await ask(at.developer)).toMatchObject({
          kind: "held",
          amount: 125n,
          payer: { billingMode: "developer", walletId: at.owner.walletId, linkedUserId: null, limitId: null, mayReadBalance: true },
        });
        await db().prisma.app.update({ where: { id: at.app.id }, data: { allowedModels: ["other"] } });
        expect(await ask(at.developer)).toMatchObject(refusal("model_not_allowed"));
      });

      test("of mode test spends the sandbox's credits with any user, for the app's models", async () => {
        const at = await shop(db());
        for (const externalUserId of [null, "somebody", at.link.externalUserId])
          expect(await ask(at.play, { externalUserId })).toMatchObject({
            kind: "held",
            amount: 125n,
            payer: { billingMode: "test", walletId: at.app.sandboxWalletId, linkedUserId: null, limitId: null, mayReadBalance: true },
          });
        expect(await db().prisma.hold.findFirst({ where: { apiKeyId: at.play.id } })).toMatchObject({
          walletId: at.app.sandboxWalletId,
          revenueId: platformAccount.sandbox,
          earningsId: platformAccount.sandbox,
        });
        await db().prisma.app.update({ where: { id: at.app.id }, data: { allowedModels: ["other"] } });
        expect(await ask(at.play)).toMatchObject(refusal("model_not_allowed"));
      });

      test("of mode test has the sandbox's missing and empty users; other keys don't", async () => {
        const at = await shop(db());
        expect(await ask(at.play, { externalUserId: "sandbox_missing" })).toMatchObject(refusal("not_found"));
        expect(await ask(at.play, { externalUserId: "sandbox_empty" })).toMatchObject(refusal("insufficient_credits"));
        for (const externalUserId of ["sandbox_missing", "sandbox_empty"]) {
          await makeLink(db(), at.app.id, at.person, { externalUserId });
          for (const key of [at.developer, at.user])
            expect(await ask(key, { externalUserId })).toMatchObject({ kind: "held", payer: { walletId: at.person.walletId } });
        }
      });

      test("finds its own app's users only", async () => {
        const [at, other] = [await shop(db()), await shop(db())];
        for (const key of [at.developer, at.user])
          expect(await ask(key, { externalUserId: other.link.externalUserId })).toMatchObject(refusal("not_found"));
      });
    });

    describe(`an access token that is ${form}`, () => {
      const ask = (token: { hash: Uint8Array }, terms?: Terms) => decide(db(), holdRequest(token, { byToken: true, ...terms }));

      test("is valid until it or its grant expires", async () => {
        const at = await shop(db());
        const expired = await makeToken(db(), at.link, { expiresAt: past() });
        expect(await ask(expired)).toMatchObject(refusal("invalid_api_key"));
        const [first, second] = [await makeToken(db(), at.link), await makeToken(db(), at.link)];
        const both = () => Promise.all([ask(first), ask(second)]);
        expect(await both()).toMatchObject([{ kind: "held" }, { kind: "held" }]);
        const records = (kind: string, grantId: string) => ({ where: { kind, grantId }, data: { expiresAt: past() } });
        await db().prisma.oAuthRecord.updateMany(records("AccessToken", first.grantId));
        await db().prisma.oAuthRecord.updateMany(records("Grant", second.grantId));
        expect(await both()).toMatchObject([refusal("invalid_api_key"), refusal("invalid_api_key")]);
      });

      test("is refused when its grant has ended or it was not issued, and a key is no token", async () => {
        const at = await shop(db());
        expect(await ask({ hash: randomBytes(32) })).toMatchObject({ ...refusal("invalid_api_key"), payer: null });
        expect(await ask(at.user)).toMatchObject(refusal("invalid_api_key"));
        await db().prisma.oAuthRecord.deleteMany({ where: { kind: "Grant", grantId: at.token.grantId } });
        expect(await ask(at.token)).toMatchObject(refusal("invalid_api_key"));
        const signIn = await makeToken(db(), { id: null, appId: at.app.id, userId: at.person.id }, { scope: "openid" });
        await db().prisma.oAuthRecord.deleteMany({ where: { kind: "Grant", grantId: signIn.grantId } });
        expect(await ask(signIn)).toMatchObject(refusal("invalid_api_key"));
      });

      test("is limited to its scope: it spends nothing without credits.spend, and reads no balance without credits.read", async () => {
        const at = await shop(db());
        const withScope = async (scope: string) => ask(await makeToken(db(), at.link, { scope }));
        expect(await withScope("openid credits.read")).toMatchObject(refusal("insufficient_scope"));
        expect(await withScope("openid credits.spend")).toMatchObject({ kind: "held", payer: { mayReadBalance: false } });
        expect(await withScope("credits.read credits.spend")).toMatchObject({ kind: "held", payer: { mayReadBalance: true } });
        const signIn = await makeToken(db(), { id: null, appId: at.app.id, userId: at.person.id }, { scope: "openid" });
        expect(await ask(signIn)).toMatchObject(refusal("insufficient_scope"));
      });
    });
  }

  test("the functions of payers.sql are inlined into the statement that uses them", async () => {
    const asked = "unnest('{a}'::bytea[], '{t}'::bool[], '{a}'::text[], '{a}'::text[]) q(credential, by_token, named, model)";
    const text = `EXPLAIN (VERBOSE) SELECT p.* FROM ${asked} LEFT JOIN LATERAL payer_of(q.credential, q.by_token, q.named, q.model) p ON true`;
    const plan = (await db().sql.query({ name: "", text }, [])).map((row) => String(row["QUERY PLAN"])).join("\n");
    expect(plan).toContain("linked_user");
    expect(plan).not.toMatch(/payer_|verdict_of|verdict_without|scope_grants|models_allow/);
  });
});

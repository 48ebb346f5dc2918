import { expect, test } from "vitest";
import { inEveryZone } from "../../testing/database.ts";
import { makeApp, makeUser } from "../../testing/makers.ts";
import { transaction } from "../platform/db.ts";
import { hashSecret } from "../platform/secrets.ts";
import { adapterFor } from "./adapter.ts";
import { endGrant, keepDecision, purgeOAuth, takeDecision } from "./grants.ts";
import { rotateKeys } from "./keys.ts";
import { link, linkByToken, unlink } from "./linked-users.ts";
import { withTransaction } from "./request-context.ts";

inEveryZone("what the authorization server stores", (db) => {
  const later = () => new Date(Date.now() + 60_000);
  const decision = { appId: "a", userId: "u", monthlyLimit: "5", allowedModels: [], agreedMarkupBps: 0 };
  /** Runs `work` as a token request does, with the storage in a transaction. */
  const stored = <T>(work: () => Promise<T>): Promise<T> => transaction((tx) => withTransaction(tx, work), db());

  test("a token is found by its text, which is not stored", async () => {
    const tokens = adapterFor("AccessToken");
    await stored(() => tokens.upsert("the-token", { jti: "the-token", grantId: "g1", accountId: "someone" }, 60));
    expect(await stored(() => tokens.find("the-token"))).toMatchObject({ jti: "the-token", accountId: "someone" });
    expect(await stored(() => adapterFor("RefreshToken").find("the-token"))).toBeUndefined();
    const record = await db().prisma.oAuthRecord.findFirstOrThrow({ where: { grantId: "g1" } });
    expect(JSON.stringify(record.payload)).not.toContain("the-token");
    expect(Buffer.from(record.idHash).equals(hashSecret("the-token"))).toBe(true);
  });

  test("a code is consumed once, and a second use ends its grant", async () => {
    const codes = adapterFor("AuthorizationCode");
    await stored(() => codes.upsert("code", { jti: "code", grantId: "g2" }, 60));
    await stored(() => adapterFor("Grant").upsert("g2", { jti: "g2" }, 60));
    await stored(() => codes.consume("code"));
    expect((await stored(() => codes.find("code")))?.consumed).toBeGreaterThan(0);
    await stored(() => expect(codes.consume("code")).rejects.toThrow("invalid_grant"));
    expect(await db().prisma.oAuthRecord.count({ where: { grantId: "g2" } })).toBe(0);
  });

  test("a decision is taken once, and not after its grant has ended", async () => {
    await transaction((tx) => keepDecision(tx, "g3", decision, later()), db());
    expect(await transaction((tx) => takeDecision(tx, "g3"), db())).toEqual(decision);
    expect(await transaction((tx) => takeDecision(tx, "g3"), db())).toBeNull();
    await transaction((tx) => keepDecision(tx, "g4", decision, later()), db());
    await transaction((tx) => endGrant(tx, "g4"), db());
    expect(await transaction((tx) => takeDecision(tx, "g4"), db())).toBeNull();
  });

  test("purging deletes expired records and grants without a code or token, and nothing else", async () => {
    const { oAuthRecord } = db().prisma;
    await stored(() => adapterFor("Interaction").upsert("old", { jti: "old" }, -120));
    for (const id of ["used", "unused", "young"]) await stored(() => adapterFor("Grant").upsert(id, { jti: id }, 3600));
    await stored(() => adapterFor("RefreshToken").upsert("alive", { jti: "alive", grantId: "used" }, 3600));
    await oAuthRecord.updateMany({ where: { grantId: { in: ["used", "unused"] } }, data: { createdAt: new Date(Date.now() - 7_200_000) } });
    await purgeOAuth(db());
    const left = await oAuthRecord.findMany({
      where: { grantId: { in: ["used", "unused", "young"] } },
      select: { kind: true, grantId: true },
    });
    expect(left.map(({ kind, grantId }) => `${kind} ${grantId}`).sort()).toEqual(["Grant used", "Grant young", "RefreshToken used"]);
    expect(await stored(() => adapterFor("Interaction").find("old"))).toBeUndefined();
  });

  test("an app has one link by token to a user beside those under its own ids, and unlinking ends one at a time", async () => {
    const [app, user] = [await makeApp(db()), await makeUser(db())];
    const agreement = { appId: app.id, userId: user.id, scope: "credits.read", monthlyLimit: null, allowedModels: [], agreedMarkupBps: 0 };
    const own = await transaction((tx) => link(tx, "own", agreement), db());
    const first = await transaction((tx) => linkByToken(tx, "oauth_1", agreement), db());
    const second = await transaction((tx) => linkByToken(tx, "oauth_2", { ...agreement, monthlyLimit: 7n }), db());
    expect(second).toEqual(first);
    expect(await transaction((tx) => unlink(tx, app.id, first.externalUserId, "user"), db())).toBe(true);
    expect((await db().prisma.linkedUser.findMany({ where: { appId: app.id } })).map(({ id }) => id)).toEqual([own.id]);
  });

  test("rotating keys puts a new key in front and keeps the one before", async () => {
    const read = async () =>
      (await db().prisma.setting.findUniqueOrThrow({ where: { key: "oauth_keys" } })).value as {
        signing: { kid: string }[];
        cookies: string[];
      };
    const kids: string[] = [];
    for (let turn = 0; turn < 3; turn++) kids.unshift(await transaction(rotateKeys, db()));
    const keys = await read();
    expect(keys.signing.map(({ kid }) => kid)).toEqual(kids.slice(0, 2));
    expect(keys.cookies).toHaveLength(2);
  });
});

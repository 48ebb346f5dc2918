import { expect, test } from "vitest";
import { publicUrl } from "#env";
import { DELETE } from "../../app/v1/users/[external_user_id]/link/route.ts";
import { GET } from "../../app/v1/users/[external_user_id]/route.ts";
import { asTheDatabase, onBothDatabases } from "../../testing/database.ts";
import { holdRequest } from "../../testing/ledger-requests.ts";
import { makeApp, makeKey, makeUser } from "../../testing/makers.ts";
import { oauthRoute } from "../http/oauth.ts";
import { openLedger } from "../ledger/ledger.ts";
import { transaction } from "../platform/db.ts";
import { mintSecret } from "../platform/secrets.ts";
import { tokenHash, verifyToken } from "./access-tokens.ts";
import { endLinksWithoutGrant } from "./disconnect.ts";
import { bindGrant, endBoundGrant, endGrant, purgeOAuth } from "./grants.ts";
import { linkByToken } from "./linked-users.ts";
import { authorizationServer } from "./provider.ts";

onBothDatabases("a connection by token", (db) => {
  asTheDatabase(db);

  const SCOPE = "credits.read credits.spend";

  /** An app with a key, and a user who connects to it. */
  async function arrange() {
    const { secret, hash } = mintSecret("quota_secret_");
    const app = await makeApp(db());
    await db().prisma.app.update({ where: { id: app.id }, data: { clientSecretHash: hash } });
    const user = await makeUser(db(), { credits: 1_000_000n });
    const key = await makeKey(db(), app.id);
    /** What redeeming a code does, without the browser. */
    const connect = async () => {
      const { provider } = await authorizationServer();
      const client = await provider.Client.find(app.clientId);
      if (client === undefined) throw new Error("no client");
      const grant = new provider.Grant({ accountId: user.id, clientId: app.clientId });
      grant.addOIDCScope(SCOPE);
      const grantId = await grant.save();
      const of = { accountId: user.id, client, grantId, scope: SCOPE, gty: "authorization_code" };
      const link = await transaction(async (tx) => {
        const made = await linkByToken(tx, `oauth_${grantId}`, {
          appId: app.id,
          userId: user.id,
          scope: SCOPE,
          monthlyLimit: null,
          allowedModels: [],
          agreedMarkupBps: 0,
        });
        await bindGrant(tx, grantId, made.id);
        return made;
      }, db());
      const refreshToken = await new provider.RefreshToken(of as never).save();
      const accessToken = await new provider.AccessToken(of as never).save();
      return { grantId, link, refreshToken, accessToken };
    };
    const ask = async (path: string, form: Record<string, string>) => {
      const answer = await oauthRoute(async () => null)(
        new Request(publicUrl() + path, {
          method: "POST",
          body: new URLSearchParams(form),
          headers: {
            authorization: `Basic ${btoa(`${app.clientId}:${secret}`)}`,
            "content-type": "application/x-www-form-urlencoded",
            // An address of its own, because requests are limited for each address.
            "x-forwarded-for": app.id,
          },
        }),
      );
      return { status: answer.status, json: await answer.json().catch(() => null) };
    };
    const asApp = (externalUserId: string, more = "") =>
      new Request(`${publicUrl()}/v1/users/${externalUserId}${more}`, {
        method: more === "" ? "GET" : "DELETE",
        headers: { authorization: `Bearer ${key.secret}` },
      });
    const ledger = openLedger(db());
    const spend = (externalUserId: string) => ledger.hold(holdRequest(key, { externalUserId, amount: 1n }));
    const spendByToken = (token: string) => ledger.hold(holdRequest({ hash: tokenHash(token) as Buffer }, { byToken: true, amount: 1n }));
    return {
      app,
      user,
      connect,
      revoke: (token: string) => ask("/oauth/revoke", { token }),
      refresh: (token: string) => ask("/oauth/token", { grant_type: "refresh_token", refresh_token: token }),
      look: async (externalUserId: string) => (await GET(asApp(externalUserId))).status,
      unlink: async (externalUserId: string) => (await DELETE(asApp(externalUserId, "/link"))).status,
      spend,
      spendByToken,
      refused: async (token: string) => (await verifyToken(db().sql, tokenHash(token) as Buffer)) === null,
      /** The number of connections on the wallet page. */
      connections: () => db().prisma.linkedUser.count({ where: { appId: app.id, userId: user.id } }),
      news: async () =>
        (await db().prisma.outboxEvent.findMany({ where: { appId: app.id, type: "user.disconnected" }, orderBy: { id: "asc" } })).map(
          ({ data }) => data as { external_user_id: string; reason: string },
        ),
    };
  }
  type World = Awaited<ReturnType<typeof arrange>>;
  type Connected = Awaited<ReturnType<World["connect"]>>;

  /** The connection is gone from the wallet, from the app's key and from its tokens, and one event was emitted. */
  async function expectEnded(world: World, of: Connected[], reason: string, tokens: string[] = []) {
    const { externalUserId } = (of[0] as Connected).link;
    expect(await world.connections()).toBe(0);
    expect(await world.look(externalUserId)).toBe(404);
    expect(await world.spend(externalUserId)).toMatchObject({ kind: "refused", reason: "not_found" });
    for (const each of of) {
      expect(await world.refused(each.accessToken)).toBe(true);
      expect(await world.refresh(each.refreshToken)).toMatchObject({ status: 400, json: { error: "invalid_grant" } });
    }
    for (const token of tokens) expect(await world.refused(token)).toBe(true);
    expect(await world.news()).toMatchObject([{ external_user_id: externalUserId, reason }]);
    const ids = of.map(({ grantId }) => grantId);
    expect(await db().prisma.oAuthRecord.count({ where: { grantId: { in: ids } } })).toBe(0);
    expect(await db().prisma.oAuthRecord.count({ where: { linkedUserId: (of[0] as Connected).link.id } })).toBe(0);
  }

  test("pays for an API key that names it, as every linked user does, until it ends", async () => {
    const world = await arrange();
    const { link } = await world.connect();
    expect(await world.look(link.externalUserId)).toBe(200);
    expect(await world.spend(link.externalUserId)).toMatchObject({ kind: "held" });
  });

  for (const which of ["refreshToken", "accessToken"] as const) {
    test(`ends when the app revokes its ${which === "refreshToken" ? "refresh token" : "access token"}`, async () => {
      const world = await arrange();
      const connected = await world.connect();
      expect((await world.revoke(connected[which])).status).toBe(200);
      await expectEnded(world, [connected], "app");
      expect((await world.revoke(connected[which])).status).toBe(200);
      expect(await world.news()).toHaveLength(1);
    });
  }

  test("ends when a refresh token is used twice, with what the first use got", async () => {
    const world = await arrange();
    const connected = await world.connect();
    const first = await world.refresh(connected.refreshToken);
    expect(first.status).toBe(200);
    expect(await world.refresh(connected.refreshToken)).toMatchObject({ status: 400, json: { error: "invalid_grant" } });
    await expectEnded(world, [connected], "token_reused", [first.json.access_token]);
    expect((await world.refresh(first.json.refresh_token)).status).toBe(400);
  });

  test("ends when refreshes with one token come at once", async () => {
    const world = await arrange();
    const connected = await world.connect();
    const answers = await Promise.all(Array.from({ length: 8 }, () => world.refresh(connected.refreshToken)));
    const good = answers.filter(({ status }) => status === 200);
    expect(good.length).toBeLessThanOrEqual(1);
    await expectEnded(
      world,
      [connected],
      "token_reused",
      good.map(({ json }) => json.access_token),
    );
  });

  test("ends when the app unlinks it, with all of its grants", async () => {
    const world = await arrange();
    const connected = [await world.connect(), await world.connect()];
    expect(await world.unlink((connected[0] as Connected).link.externalUserId)).toBe(200);
    await expectEnded(world, connected, "app");
  });

  test("ends when its refresh token has expired, and not before", async () => {
    const world = await arrange();
    const connected = await world.connect();
    const older = new Date(Date.now() - 7_200_000);
    const of = { grantId: connected.grantId };
    await db().prisma.oAuthRecord.updateMany({ where: of, data: { createdAt: older } });
    await db().prisma.oAuthRecord.updateMany({ where: { ...of, kind: "AccessToken" }, data: { expiresAt: older } });
    const clean = async () => {
      await purgeOAuth(db());
      await endLinksWithoutGrant(db());
    };
    await clean();
    expect(await world.connections()).toBe(1);
    await db().prisma.oAuthRecord.updateMany({ where: { ...of, kind: "RefreshToken" }, data: { expiresAt: older } });
    await Promise.all([clean(), clean(), clean()]);
    await expectEnded(world, [connected], "expired");
  });

  test("whose link an earlier version left without a grant ends too", async () => {
    const world = await arrange();
    const connected = await world.connect();
    await transaction((tx) => endGrant(tx, connected.grantId), db());
    await purgeOAuth(db());
    await endLinksWithoutGrant(db());
    await expectEnded(world, [connected], "expired");
  });

  test("that was made on two devices lasts until the grants of both have ended", async () => {
    const world = await arrange();
    const [phone, desk] = [await world.connect(), await world.connect()];
    expect(desk.link).toEqual(phone.link);
    expect((await world.revoke(phone.refreshToken)).status).toBe(200);
    expect(await world.refused(phone.accessToken)).toBe(true);
    expect(await world.refused(desk.accessToken)).toBe(false);
    expect(await world.look(desk.link.externalUserId)).toBe(200);
    expect(await world.spendByToken(desk.accessToken)).toMatchObject({ kind: "held" });
    expect(await world.news()).toEqual([]);
    expect((await world.revoke(desk.refreshToken)).status).toBe(200);
    await expectEnded(world, [phone, desk], "app");
  });

  test("whose grant ended in a process that died is ended by another process, with the same reason", async () => {
    const world = await arrange();
    const connected = await world.connect();
    await transaction((tx) => endBoundGrant(tx.prisma, connected.grantId, "token_reused"), db());
    expect(await world.refused(connected.accessToken)).toBe(true);
    await Promise.all([endLinksWithoutGrant(db()), endLinksWithoutGrant(db())]);
    await expectEnded(world, [connected], "token_reused");
  });

  test("that is revoked while it is refreshed, used and unlinked has ended when the revocation is answered", async () => {
    for (let round = 0; round < 6; round++) {
      const world = await arrange();
      const connected = await world.connect();
      const { externalUserId } = connected.link;
      const [revoked, refreshed, , ...used] = await Promise.all([
        world.revoke(connected.refreshToken),
        world.refresh(connected.refreshToken),
        round % 2 === 0 ? world.unlink(externalUserId) : world.look(externalUserId),
        ...Array.from({ length: 6 }, (_, index) =>
          index % 2 === 0 ? world.spend(externalUserId) : world.spendByToken(connected.accessToken),
        ),
      ]);
      expect(revoked.status).toBe(200);
      for (const verdict of used)
        expect(["held", "not_found", "invalid_api_key"]).toContain(verdict.kind === "refused" ? verdict.reason : verdict.kind);
      await expectEnded(world, [connected], "app", refreshed.status === 200 ? [refreshed.json.access_token] : []);
    }
  });

  test("that is made again while the old one is revoked belongs to the new grant", async () => {
    for (let round = 0; round < 6; round++) {
      const world = await arrange();
      const old = await world.connect();
      const [revoked, anew] = await Promise.all([world.revoke(old.accessToken), world.connect()]);
      expect(revoked.status).toBe(200);
      expect(await world.connections()).toBe(1);
      expect(await world.refused(old.accessToken)).toBe(true);
      expect(await world.refused(anew.accessToken)).toBe(false);
      expect(await world.look(anew.link.externalUserId)).toBe(200);
      expect(await world.news()).toHaveLength(anew.link.id === old.link.id ? 0 : 1);
    }
  });
});

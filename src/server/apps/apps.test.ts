import { expect, test, vi } from "vitest";
import { asTheDatabase, inEveryZone } from "#testing/database.ts";
import { holdRequest } from "#testing/ledger-requests.ts";
import { makeApp, makeKey, makeLink, makeToken, makeUser } from "#testing/makers.ts";
import { tokenHash, verifyToken } from "../connect/access-tokens.ts";
import { adapterFor, hashesOf } from "../connect/adapter.ts";
import { deleteApp, finishDeletedApps } from "../connect/delete-app.ts";
import { link, pauseAll } from "../connect/linked-users.ts";
import { hold } from "../ledger/hold.ts";
import { transaction } from "../platform/db.ts";
import { secretMatchesOneOf } from "../platform/secrets.ts";
import { createCaller } from "../trpc/root.ts";
import { keyHash, verifyKey } from "./api-keys.ts";
import { closeApp, rotateClientSecret } from "./apps.ts";
import { noteUse, writeUses } from "./last-used.ts";

inEveryZone("apps and keys", (db) => {
  asTheDatabase(db);

  const works = async (secret: string) => (await verifyKey(db().sql, keyHash(secret) as Buffer)) !== null;
  /** Whether the authorization server accepts this secret for the app now. */
  const accepts = async (clientId: string, secret: string) => {
    const client = await adapterFor("Client").find(clientId);
    return secretMatchesOneOf(secret, hashesOf(client?.client_secret as string));
  };

  async function arrange() {
    const owner = await makeUser(db());
    const app = await makeApp(db(), { ownerId: owner.id });
    return { owner, app, me: createCaller({ user: { ...owner, signedInAt: new Date() } }) };
  }

  test("a rolled key and its successor both work until the overlap is over", async () => {
    const { app, me } = await arrange();
    const old = await me.apiKeys.mint({ appId: app.id, name: "Production", billingMode: "user", expiresAt: null });
    const rolled = await me.apiKeys.roll({ appId: app.id, apiKeyId: old.key.id, overlap: "hour" });
    expect(rolled.key).toMatchObject({ name: "Production", billingMode: "user", expiresAt: null });
    expect([await works(old.secret), await works(rolled.secret)]).toEqual([true, true]);
    expect(await me.apiKeys.list({ appId: app.id })).toMatchObject([
      { id: rolled.key.id },
      { id: old.key.id, expiresAt: rolled.endsAt, rolledTo: { fragment: rolled.key.fragment } },
    ]);

    await db().prisma.apiKey.update({ where: { id: old.key.id }, data: { expiresAt: new Date(Date.now() - 1000) } });
    expect([await works(old.secret), await works(rolled.secret)]).toEqual([false, true]);
    expect((await me.apiKeys.list({ appId: app.id })).map(({ id }) => id)).toEqual([rolled.key.id]);
    expect((await me.apiKeys.ended({ appId: app.id })).items.map(({ id }) => id)).toEqual([old.key.id]);
  });

  test("without an overlap the old key ends at once, and rolling does not extend a key that ends sooner", async () => {
    const { app, me } = await arrange();
    const soon = new Date(Date.now() + 60_000);
    const old = await me.apiKeys.mint({ appId: app.id, name: "Short", billingMode: "test", expiresAt: soon });
    const second = await me.apiKeys.roll({ appId: app.id, apiKeyId: old.key.id, overlap: "week" });
    expect(second.endsAt).toEqual(soon);
    // The successor has the old key's lifetime.
    expect(Math.abs((second.key.expiresAt as Date).getTime() - soon.getTime())).toBeLessThan(30_000);
    const third = await me.apiKeys.roll({ appId: app.id, apiKeyId: second.key.id, overlap: "none" });
    expect([await works(old.secret), await works(second.secret), await works(third.secret)]).toEqual([true, false, true]);
  });

  test("of many concurrent calls that roll a key, one succeeds", async () => {
    const { app, me } = await arrange();
    const old = await me.apiKeys.mint({ appId: app.id, name: "Popular", billingMode: "user" });
    const tries = await Promise.allSettled(
      Array.from({ length: 5 }, () => me.apiKeys.roll({ appId: app.id, apiKeyId: old.key.id, overlap: "day" })),
    );
    expect(tries.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    expect(await me.apiKeys.list({ appId: app.id })).toHaveLength(2);
  });

  test("a rotated client secret and the one before it both work until the overlap ends; a second rotation leaves two working secrets", async () => {
    const { app, me } = await arrange();
    const rotate = async (overlap: "none" | "day") => (await me.apps.rotateSecret({ appId: app.id, overlap })).clientSecret;
    const first = await rotate("none");
    const second = await rotate("day");
    expect([await accepts(app.clientId, first), await accepts(app.clientId, second)]).toEqual([true, true]);
    expect(await me.apps.get({ appId: app.id })).toMatchObject({ formerSecretFragment: `quota_secret_…${first.slice(-4)}` });

    const third = await rotate("day");
    expect([await accepts(app.clientId, first), await accepts(app.clientId, second), await accepts(app.clientId, third)]).toEqual([
      false,
      true,
      true,
    ]);
    await db().prisma.app.update({ where: { id: app.id }, data: { formerSecretEndsAt: new Date(Date.now() - 1000) } });
    expect([await accepts(app.clientId, second), await accepts(app.clientId, third)]).toEqual([false, true]);

    const fourth = await rotate("day");
    await me.apps.endFormerSecret({ appId: app.id });
    expect([await accepts(app.clientId, third), await accepts(app.clientId, fourth)]).toEqual([false, true]);
    expect(await accepts(app.clientId, "")).toBe(false);
  });

  test("of secrets rotated at once, the last two work", async () => {
    const { app } = await arrange();
    const secrets = await Promise.all(Array.from({ length: 4 }, () => transaction((tx) => rotateClientSecret(tx, app.id, 60_000), db())));
    const accepted = await Promise.all(secrets.map(({ clientSecret }) => accepts(app.clientId, clientSecret)));
    expect(accepted.filter(Boolean)).toHaveLength(2);
  });

  test("the latest use of a key in any process is stored, and is not lost when a write fails", async () => {
    const { app } = await arrange();
    const [used, unused] = [await makeKey(db(), app.id), await makeKey(db(), app.id)];
    expect(await works(used.secret)).toBe(true);
    await expect(writeUses({ query: () => Promise.reject(new Error("away")) })).rejects.toThrow("away");
    await writeUses(db().sql);
    const seen = await db().prisma.apiKey.findMany({ where: { appId: app.id }, orderBy: { id: "asc" } });
    expect(seen.map(({ lastUsedAt }) => lastUsedAt !== null)).toEqual([true, false]);

    const later = new Date(Date.now() + 60_000);
    await db().prisma.apiKey.update({ where: { id: unused.id }, data: { lastUsedAt: later } });
    noteUse(unused.id);
    await writeUses(db().sql);
    expect((await db().prisma.apiKey.findUniqueOrThrow({ where: { id: unused.id } })).lastUsedAt).toEqual(later);
  });

  test("a deleted app has no working key, client or link; its owner does not find it, and the ledger's history has its name", async () => {
    const { owner, app, me } = await arrange();
    const key = await me.apiKeys.mint({ appId: app.id, name: "Production", billingMode: "user" });
    const mara = await makeUser(db());
    const made = await makeLink(db(), app.id, mara, { externalUserId: "user_123", monthlyLimit: 1_000_000n });
    const grant = (kind: string, id: string) =>
      db().prisma.oAuthRecord.create({
        data: {
          kind,
          idHash: Buffer.from(`${id} ${app.id}`),
          grantId: `grant ${app.id}`,
          payload: { clientId: app.clientId },
          linkedUserId: kind === "Grant" ? made.id : null,
          expiresAt: new Date(Date.now() + 60_000),
        },
      });
    await grant("Grant", "grant");
    await grant("RefreshToken", "token");

    await expect(me.apps.delete({ appId: app.id, confirm: "something else" })).rejects.toThrow(`Type ${app.name} to go on.`);
    expect(await works(key.secret)).toBe(true);
    await me.apps.delete({ appId: app.id, confirm: app.name });

    expect(await works(key.secret)).toBe(false);
    expect(await adapterFor("Client").find(app.clientId)).toBeUndefined();
    expect(await db().prisma.linkedUser.count({ where: { appId: app.id } })).toBe(0);
    expect(await db().prisma.oAuthRecord.count({ where: { grantId: `grant ${app.id}` } })).toBe(0);
    expect(await me.apps.list()).toEqual([]);
    const kept = await db().prisma.app.findUniqueOrThrow({ where: { id: app.id } });
    expect(kept).toMatchObject({ name: app.name, ownerId: owner.id, redirectUris: [] });
    const events = await db().prisma.outboxEvent.findMany({ where: { appId: app.id } });
    expect(events).toMatchObject([{ type: "user.disconnected", data: { external_user_id: "user_123" } }]);

    // A user who agreed just before the deletion is not linked.
    const agreement = { appId: app.id, userId: mara.id, scope: "credits.spend", monthlyLimit: null, allowedModels: [], agreedMarkupBps: 0 };
    await expect(transaction((tx) => link(tx, "late", agreement), db())).rejects.toThrow("the app to link to is gone");
  });

  test("a deletion that a crash interrupted is finished by a job", async () => {
    const { app } = await arrange();
    const { token, hash } = await makeToken(db(), await makeLink(db(), app.id, await makeUser(db(), { credits: 1_000n })));
    const unrelated = await makeLink(db(), (await makeApp(db())).id, await makeUser(db()));
    await transaction(async (tx) => {
      await closeApp(tx, app.id);
      await pauseAll(tx, app.id);
    }, db());

    // The app's tokens are refused before the job has run.
    expect(await verifyToken(db().sql, hash)).toBeNull();
    expect(await hold(db().sql, [holdRequest({ hash }, { byToken: true })])).toMatchObject([{ kind: "refused", reason: "not_found" }]);
    await finishDeletedApps(db());
    expect(await db().prisma.oAuthRecord.count({ where: { idHash: tokenHash(token) as Buffer<ArrayBuffer> } })).toBe(0);
    expect(await db().prisma.linkedUser.count({ where: { appId: app.id } })).toBe(0);
    expect(await db().prisma.linkedUser.count({ where: { id: unrelated.id } })).toBe(1);
  });

  test("a key that is created while the app is deleted does not work afterwards", async () => {
    const { app, me } = await arrange();
    vi.spyOn(console, "log").mockImplementation(() => {});
    const making = Array.from({ length: 6 }, (_, n) => me.apiKeys.mint({ appId: app.id, name: `Key ${n}`, billingMode: "user" }));
    await Promise.all([...making.map((each) => each.catch(() => null)), deleteApp(app.id)]);
    expect(await db().prisma.apiKey.count({ where: { appId: app.id, revokedAt: null } })).toBe(0);
  });
});

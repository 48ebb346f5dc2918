import { TRPCError } from "@trpc/server";
import { v7 as uuidv7 } from "uuid";
import { describe, expect, test, vi } from "vitest";
import { asTheDatabase, withDatabase } from "#testing/database.ts";
import { makeApp, makeKey, makeLink, makeUser } from "#testing/makers.ts";
import { hashPassword } from "../people/passwords.ts";
import { createCaller } from "./root.ts";

const db = withDatabase("embedded");
asTheDatabase(db);

type Procedure = (input: unknown) => Promise<unknown>;

function procedureOf(user: { id: string; email: string; walletId: string } | null, path: string): Procedure {
  const [group, verb] = path.split(".") as [string, string];
  const procedure = (createCaller({ user }) as unknown as Record<string, Record<string, Procedure>>)[group]?.[verb];
  if (procedure === undefined) throw new Error(`no procedure ${path}`);
  return procedure;
}

async function codeOf(call: Promise<unknown>): Promise<{ code: string; message: string }> {
  try {
    await call;
  } catch (error) {
    if (error instanceof TRPCError) return { code: error.code, message: error.message };
    throw error;
  }
  return { code: "no error", message: "" };
}

/** The input of each procedure about a link, besides `linkId`. */
const aboutOneLink: Record<string, Record<string, unknown>> = {
  "wallet.setLimit": { monthlyLimit: 1n },
  "wallet.setModels": { allowedModels: ["gpt-4o"] },
  "wallet.pause": {},
  "wallet.resume": {},
  "wallet.disconnect": {},
};

describe("an app that the user owns", () => {
  test.each(["revoke", "roll"] as const)("does not give access to another app's key: %s", async (verb) => {
    const me = await makeUser(db());
    const mine = await makeApp(db(), { ownerId: me.id });
    const key = await makeKey(db(), (await makeApp(db())).id);
    const answer = await codeOf(createCaller({ user: me }).apiKeys[verb]({ appId: mine.id, apiKeyId: key.id, overlap: "day" }));
    expect(answer).toEqual({ code: "NOT_FOUND", message: "There is no such key." });
    const kept = await db().prisma.apiKey.findUniqueOrThrow({ where: { id: key.id } });
    expect(kept).toMatchObject({ revokedAt: null, expiresAt: null, rolledToId: null });
  });
});

describe("another user's link", () => {
  test.each(Object.entries(aboutOneLink))("%s answers as for an unknown link, and changes nothing", async (path, extra) => {
    const [mara, stranger, owner] = [await makeUser(db()), await makeUser(db()), await makeUser(db())];
    const app = await makeApp(db(), { ownerId: owner.id });
    const link = await makeLink(db(), app.id, mara, { monthlyLimit: 2_000_000n });
    const before = await db().prisma.linkedUser.findUniqueOrThrow({ where: { id: link.id } });

    const strangers = await codeOf(procedureOf(stranger, path)({ ...extra, linkId: link.id }));
    // The app's owner may not either.
    const owners = await codeOf(procedureOf(owner, path)({ ...extra, linkId: link.id }));
    const missing = await codeOf(procedureOf(stranger, path)({ ...extra, linkId: uuidv7() }));
    const garbage = await codeOf(procedureOf(stranger, path)({ ...extra, linkId: "no-such-link" }));

    expect(strangers).toEqual({ code: "NOT_FOUND", message: "This app is not connected to your wallet." });
    expect([owners, missing, garbage]).toEqual([strangers, strangers, strangers]);
    expect(await db().prisma.linkedUser.findUniqueOrThrow({ where: { id: link.id } })).toEqual(before);
    expect((await codeOf(procedureOf(mara, path)({ ...extra, linkId: link.id }))).code).toBe("no error");
  });
});

describe("an app", () => {
  test("is registered with its own ledger accounts, and only that answer has its client secret", async () => {
    const me = createCaller({ user: await makeUser(db()) });
    const { app, clientSecret } = await me.apps.create({ name: "Acme Chat", siteUrl: "https://acme.chat" });
    expect(clientSecret).toMatch(/^quota_secret_[0-9A-Za-z]{32}$/);
    expect(JSON.stringify([await me.apps.get({ appId: app.id }), await me.apps.list()])).not.toContain(clientSecret);
    const { earningsId, sandboxWalletId } = await db().prisma.app.findUniqueOrThrow({ where: { id: app.id } });
    const accounts = await db().prisma.account.findMany({ where: { id: { in: [earningsId, sandboxWalletId] } }, orderBy: { id: "asc" } });
    expect(accounts.map((account) => account.kind)).toEqual(["earnings", "sandbox_wallet"]);
  });

  test("keeps what an update leaves out", async () => {
    const owner = await makeUser(db());
    const app = await makeApp(db(), { ownerId: owner.id, markupBps: 2000 });
    const updated = await createCaller({ user: owner }).apps.update({ appId: app.id, redirectUris: ["https://acme.chat/callback"] });
    expect(updated).toMatchObject({ name: app.name, markupBps: 2000, redirectUris: ["https://acme.chat/callback"] });
  });

  test("can be given known models and scopes only", async () => {
    const owner = await makeUser(db());
    const app = await makeApp(db(), { ownerId: owner.id });
    const { update } = createCaller({ user: owner }).apps;
    const updated = await update({ appId: app.id, allowedModels: ["gpt-4o", "gpt-4o"], scopes: ["credits.spend", "openid"] });
    expect(updated).toMatchObject({ allowedModels: ["gpt-4o"], scopes: ["openid", "credits.spend"] });
    expect(await codeOf(update({ appId: app.id, allowedModels: ["gpt-0"] }))).toEqual({
      code: "NOT_FOUND",
      message: expect.stringMatching(/^There is no model "gpt-0"\. Did you mean "/),
    });
    expect((await codeOf(update({ appId: app.id, scopes: [] }))).code).toBe("BAD_REQUEST");
  });

  test("a key's secret is in the answer that makes it and in no list; the list says who made the key", async () => {
    const owner = await makeUser(db());
    const app = await makeApp(db(), { ownerId: owner.id });
    const me = createCaller({ user: owner });
    const { secret, key } = await me.apiKeys.mint({ appId: app.id, name: "Production", billingMode: "user" });
    expect(secret).toMatch(/^sk-quota-[0-9A-Za-z]{32}$/);
    const listed = await me.apiKeys.list({ appId: app.id });
    expect(listed).toEqual([key]);
    expect(listed[0]).toMatchObject({ createdBy: { id: owner.id, email: owner.email }, lastUsedAt: null, rolledTo: null });
    expect(Object.keys(listed[0] ?? {})).not.toContain("hash");
  });

  test("a key cannot expire in the past", async () => {
    const owner = await makeUser(db());
    const app = await makeApp(db(), { ownerId: owner.id });
    const mint = createCaller({ user: owner }).apiKeys.mint({ appId: app.id, name: "Late", billingMode: "user", expiresAt: new Date(0) });
    expect((await codeOf(mint)).code).toBe("BAD_REQUEST");
  });
});

describe("linked users", () => {
  test("are listed in pages, each link once, newest first", async () => {
    const owner = await makeUser(db());
    const app = await makeApp(db(), { ownerId: owner.id });
    for (let n = 0; n < 5; n++) await makeLink(db(), app.id, await makeUser(db()), { externalUserId: `user_${n}` });
    const me = createCaller({ user: owner });
    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const page: Awaited<ReturnType<typeof me.linkedUsers.list>> = await me.linkedUsers.list({ appId: app.id, take: 2, cursor });
      seen.push(...page.items.map((item) => item.externalUserId));
      cursor = page.next;
    } while (cursor !== null);
    expect(seen).toEqual(["user_4", "user_3", "user_2", "user_1", "user_0"]);
  });

  test("are found by a part of their id, in which %, _ and \\ are no wildcards", async () => {
    const owner = await makeUser(db());
    const app = await makeApp(db(), { ownerId: owner.id });
    for (const externalUserId of ["user_1", "userX1", "50%", "500", "a\\b"])
      await makeLink(db(), app.id, await makeUser(db()), { externalUserId });
    const find = async (search: string) =>
      (await createCaller({ user: owner }).linkedUsers.list({ appId: app.id, search })).items.map((item) => item.externalUserId);
    expect(await find("R_1")).toEqual(["user_1"]);
    expect(await find("0%")).toEqual(["50%"]);
    expect(await find("\\")).toEqual(["a\\b"]);
  });

  test("a gift with the same id is given once, and not above the developer's balance", async () => {
    const owner = await makeUser(db(), { credits: 1_000n });
    const app = await makeApp(db(), { ownerId: owner.id });
    const mara = await makeUser(db());
    const otherId = await makeLink(db(), app.id, mara);
    const link = await makeLink(db(), app.id, mara);
    const me = createCaller({ user: owner }).linkedUsers;
    const { giftId } = await me.get({ appId: app.id, linkedUserId: link.id });
    const gift = { appId: app.id, linkedUserId: link.id, giftId, amount: 400n };
    await Promise.all([me.fund(gift), me.fund(gift), me.fund(gift)]);
    const balance = async () => (await createCaller({ user: mara }).wallet.balance()).balance;
    expect(await balance()).toBe(400n);
    // A different gift with the same id is refused: success without a transfer would be wrong.
    const other = await makeLink(db(), app.id, await makeUser(db()));
    for (const change of [{ amount: 401n }, { linkedUserId: other.id }, { description: "Thank you" }])
      expect(await codeOf(me.fund({ ...gift, ...change }))).toMatchObject({ code: "CONFLICT" });
    expect((await codeOf(me.fund({ ...gift, linkedUserId: otherId.id }))).code).toBe("CONFLICT");
    const another = { ...gift, giftId: uuidv7() };
    expect((await codeOf(me.fund({ ...another, amount: 601n }))).code).toBe("PAYMENT_REQUIRED");
    expect((await codeOf(me.fund({ ...another, giftId: uuidv7({ msecs: 0 }) }))).code).toBe("BAD_REQUEST");
    await db().prisma.linkedUser.update({ where: { id: link.id }, data: { pausedAt: new Date() } });
    expect((await codeOf(me.fund(another))).code).toBe("PRECONDITION_FAILED");
    expect(await balance()).toBe(400n);
    const { items } = await createCaller({ user: owner }).developerWallet.statement({ show: "funding" });
    expect(items).toMatchObject([{ amount: -400n, to: { externalUserId: link.externalUserId } }]);
  });

  test("have no balance in the answer for the app's owner", async () => {
    const owner = await makeUser(db());
    const app = await makeApp(db(), { ownerId: owner.id });
    await makeLink(db(), app.id, await makeUser(db(), { credits: 7_654_321n }));
    const { items } = await createCaller({ user: owner }).linkedUsers.list({ appId: app.id });
    expect(Object.keys(items[0] ?? {}).sort()).toEqual([
      "earned",
      "email",
      "externalUserId",
      "id",
      "lastSeenAt",
      "limit",
      "linkedAt",
      "pausedAt",
      "requests",
      "spent",
    ]);
  });
});

describe("a visitor", () => {
  test("who asks for too many mails gets 429, whether or not the address has an account", async () => {
    // Without a mail server mails are printed.
    vi.spyOn(console, "log").mockImplementation(() => {});
    for (const email of [`${uuidv7()}@example.com`, (await makeUser(db())).email]) {
      const ask = (n: number) => codeOf(createCaller({ user: null, ip: `${email} ${n}` }).account.requestReset({ email }));
      for (let n = 0; n < 5; n++) expect((await ask(n)).code).toBe("no error");
      expect(await ask(5)).toEqual({ code: "TOO_MANY_REQUESTS", message: "Too many attempts. Wait an hour, then try again." });
    }
  });

  test("with an invalid reset link gets 400", async () => {
    const ask = createCaller({ user: null }).account.resetPassword({ token: "no-such-token", password: "long enough" });
    expect((await codeOf(ask)).code).toBe("BAD_REQUEST");
  });
});

describe("deleting an account", () => {
  test("needs the typed email address, and is refused while users are linked to an app of the account", async () => {
    const owner = await makeUser(db());
    const app = await makeApp(db(), { ownerId: owner.id });
    await makeLink(db(), app.id, await makeUser(db()));
    const me = createCaller({ user: { ...owner, signedInAt: new Date() } }).account;
    expect((await codeOf(me.delete({ confirm: "yes" }))).code).toBe("BAD_REQUEST");
    expect(await codeOf(me.delete({ confirm: owner.email }))).toEqual({
      code: "PRECONDITION_FAILED",
      message: "People are still linked to Test app. Unlink them first.",
    });
    expect((await db().prisma.user.findUniqueOrThrow({ where: { id: owner.id } })).email).toBe(owner.email);
  });
});

describe("an action that cannot be undone needs more than a session", () => {
  const actions = {
    "deleting the account": async (user: Person, password?: string) =>
      createCaller({ user, ip: user.id }).account.delete({ confirm: user.email, password }),
    "deleting an app": async (user: Person, password?: string) => {
      const app = await makeApp(db(), { ownerId: user.id });
      await createCaller({ user, ip: user.id }).apps.delete({ appId: app.id, confirm: app.name, password });
    },
  };
  type Person = { id: string; email: string; walletId: string; signedInAt?: Date | null };
  const ago = (minutes: number) => new Date(Date.now() - minutes * 60_000);

  for (const [what, act] of Object.entries(actions)) {
    test(`${what}: the password of a user who has one, also right after signing in`, async () => {
      const mara = { ...(await makeUser(db(), { passwordHash: await hashPassword("correct horse battery") })), signedInAt: new Date() };
      expect(await createCaller({ user: mara }).account.proofNeeded()).toBe("password");
      for (const password of [undefined, ""])
        expect(await codeOf(act(mara, password))).toEqual({ code: "PRECONDITION_FAILED", message: "Type your password to go on." });
      expect(await codeOf(act(mara, "wrong"))).toEqual({ code: "BAD_REQUEST", message: "This is not your password." });
      expect(await db().prisma.user.count({ where: { id: mara.id, deletedAt: null } })).toBe(1);
      expect(await db().prisma.app.count({ where: { ownerId: mara.id, deletedAt: { not: null } } })).toBe(0);
      await act(mara, "correct horse battery");
    });

    test(`${what}: a recent sign-in of a user without a password`, async () => {
      const mara = await makeUser(db());
      for (const signedInAt of [null, undefined, ago(11), ago(60 * 24)]) {
        expect(await createCaller({ user: { ...mara, signedInAt } }).account.proofNeeded()).toBe("sign-in");
        expect(await codeOf(act({ ...mara, signedInAt }, "any"))).toEqual({
          code: "PRECONDITION_FAILED",
          message: "Sign in again to go on.",
        });
      }
      expect(await createCaller({ user: { ...mara, signedInAt: ago(9) } }).account.proofNeeded()).toBe(null);
      await act({ ...mara, signedInAt: ago(9) });
    });

    test(`${what}: after 10 wrong passwords the right one is refused too`, async () => {
      const mara = await makeUser(db(), { passwordHash: await hashPassword("correct horse battery") });
      for (let guess = 0; guess < 10; guess++) await codeOf(act(mara, "wrong"));
      expect((await codeOf(act(mara, "correct horse battery"))).code).toBe("TOO_MANY_REQUESTS");
    });
  }
});

describe("a connected app", () => {
  async function connected() {
    const mara = await makeUser(db());
    const app = await makeApp(db());
    const link = await makeLink(db(), app.id, mara, { externalUserId: "user_123", monthlyLimit: 2_000_000n });
    const mine = createCaller({ user: mara }).wallet;
    const shown = async () => (await mine.connectedApps())[0];
    return { app, mine, shown, linkId: link.id };
  }

  test("can be given another limit, or none", async () => {
    const { mine, shown, linkId } = await connected();
    await mine.setLimit({ linkId, monthlyLimit: 500_000n });
    expect(await shown()).toMatchObject({ limit: 500_000n, spent: 0n });
    await mine.setLimit({ linkId, monthlyLimit: null });
    expect(await shown()).toMatchObject({ limit: null });
    expect((await codeOf(mine.setLimit({ linkId, monthlyLimit: -1n }))).code).toBe("BAD_REQUEST");
  });

  test("can be paused and resumed", async () => {
    const { mine, shown, linkId } = await connected();
    await mine.pause({ linkId });
    expect((await shown())?.pausedAt).toBeInstanceOf(Date);
    await mine.resume({ linkId });
    expect((await shown())?.pausedAt).toBeNull();
  });

  test("can be restricted to known models", async () => {
    const { mine, shown, linkId } = await connected();
    await mine.setModels({ linkId, allowedModels: ["gpt-4o", "gpt-4o-mini", "gpt-4o"] });
    expect(await shown()).toMatchObject({ allowedModels: ["gpt-4o", "gpt-4o-mini"] });
    expect(await codeOf(mine.setModels({ linkId, allowedModels: ["gpt-0"] }))).toEqual({
      code: "NOT_FOUND",
      message: expect.stringMatching(/^There is no model "gpt-0"\. Did you mean "/),
    });
    await mine.setModels({ linkId, allowedModels: [] });
    expect(await shown()).toMatchObject({ allowedModels: [] });
  });

  test("is disconnected once, with an event that has the reason `user`", async () => {
    const { app, mine, shown, linkId } = await connected();
    await mine.disconnect({ linkId });
    expect(await shown()).toBeUndefined();
    expect((await codeOf(mine.disconnect({ linkId }))).code).toBe("NOT_FOUND");
    const events = await db().prisma.outboxEvent.findMany({ where: { appId: app.id } });
    expect(events).toMatchObject([{ type: "user.disconnected", data: { external_user_id: "user_123", reason: "user" } }]);
  });
});

describe("a wallet", () => {
  test("has a statement that can be filtered by app, with this wallet's requests only", async () => {
    const [mara, other] = [await makeUser(db(), { credits: 5_000_000n }), await makeUser(db(), { credits: 5_000_000n })];
    const [acme, notes] = [await makeApp(db()), await makeApp(db())];
    await spend(mara.walletId, acme.id, 100n);
    await spend(mara.walletId, notes.id, 200n);
    await spend(other.walletId, acme.id, 400n);
    const me = createCaller({ user: mara }).wallet;
    expect((await me.statement({ appId: acme.id })).items).toMatchObject([{ kind: "request", appId: acme.id, amount: -100n, held: 150n }]);
    expect((await me.statement({})).items.map((item) => item.amount)).toEqual([-200n, -100n, 5_000_000n]);
    expect((await me.appsPaid()).map((app) => app.id).sort()).toEqual([acme.id, notes.id].sort());
    expect((await me.statement({ appId: uuidv7() })).items).toEqual([]);
  });

  test("shows its own balance and statement, not another user's", async () => {
    const mara = await makeUser(db(), { credits: 5_000_000n });
    await makeUser(db(), { credits: 9_000_000n });
    const me = createCaller({ user: mara });
    expect(await me.wallet.balance()).toEqual({ balance: 5_000_000n, held: 0n, available: 5_000_000n });
    const { items } = await me.wallet.statement({});
    expect(items).toMatchObject([{ kind: "transfer", reason: "grant", amount: 5_000_000n }]);
  });

  test("lists the apps that may spend from it, with the limit of each", async () => {
    const mara = await makeUser(db());
    const app = await makeApp(db());
    await makeLink(db(), app.id, mara, { externalUserId: "user_123", monthlyLimit: 2_000_000n });
    await makeLink(db(), app.id, await makeUser(db()), { externalUserId: "somebody_else" });
    const apps = await createCaller({ user: mara }).wallet.connectedApps();
    expect(apps).toMatchObject([{ externalUserId: "user_123", limit: 2_000_000n, spent: 0n }]);
  });
});

/** Inserts the usage record of a billed request. */
async function spend(walletId: string, appId: string, credits: bigint): Promise<void> {
  await db().prisma.usage.create({
    data: {
      id: uuidv7(),
      appId,
      apiKeyId: uuidv7(),
      billingMode: "user",
      walletId,
      revenueId: uuidv7(),
      earningsId: uuidv7(),
      held: credits + 50n,
      base: credits,
      markup: 0n,
      outcome: "completed",
      endpoint: "/v1/chat/completions",
      model: "gpt-4o",
    },
  });
}

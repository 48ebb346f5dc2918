import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { asTheDatabase, inEveryZone, withDatabase } from "#testing/database.ts";
import { someoneWaits, until } from "#testing/ledger-requests.ts";
import { makeApp, makeKey, makeLink, makeUser } from "#testing/makers.ts";
import { link } from "../connect/linked-users.ts";
import { balanceOf } from "../ledger/accounts.ts";
import { verify } from "../ledger/verify.ts";
import { transaction } from "../platform/db.ts";
import { changePassword, requestReset, resetIsOpen, resetPassword, signOutEverywhere } from "./account.ts";
import { TooManyAttempts } from "./attempts.ts";
import { appsInUse, deleteAccount } from "./delete-account.ts";
import { checkPassword, hashPassword } from "./passwords.ts";
import { finishSignUp, personOfProvider, purgeExpired, startSignUp } from "./sign-up.ts";

const password = "correct horse battery";

inEveryZone("accounts", (db) => {
  asTheDatabase(db);

  let printed: string[] = [];
  beforeEach(() => {
    printed = [];
    vi.spyOn(console, "log").mockImplementation((text: string) => void printed.push(text));
  });
  afterEach(() => {
    vi.restoreAllMocks();
  });

  let places = 0;
  const ip = () => `203.0.113.${places++ % 250}-${places}`;
  const newEmail = () => `${crypto.randomUUID()}@example.com`;
  const mailTo = (email: string) => printed.filter((mail) => mail.includes(`Mail to ${email}:`));
  const codeFor = (email: string) => /Your code is (\d{4} \d{4})/.exec(mailTo(email).at(-1) ?? "")?.[1] ?? "";
  const tokenFor = (email: string) => /token=([\w-]{43})/.exec(mailTo(email).at(-1) ?? "")?.[1] ?? "";
  const person = (email: string) => db().prisma.user.findUnique({ where: { email } });

  async function signUp(email: string): Promise<boolean> {
    const { signUpId } = await startSignUp({ email, password, ip: ip() });
    return finishSignUp({ signUpId, code: codeFor(email), ip: ip() });
  }

  describe("signing up", () => {
    test("opens a wallet with welcome credits from promotions, and the books balance", async () => {
      const email = newEmail();
      expect(await signUp(email)).toBe(true);
      const user = await person(email);
      expect((await balanceOf(db().sql, user?.walletId ?? "")).available).toBe(1_000_000n);
      expect((await checkPassword({ email, password, ip: ip() })).kind).toBe("accepted");
      expect((await verify(db().sql)).discrepancies).toEqual([]);
    });

    test("a wrong code opens no account, and after five of them the right code does not either", async () => {
      const email = newEmail();
      const { signUpId } = await startSignUp({ email, password, ip: ip() });
      const right = codeFor(email);
      const wrong = right.startsWith("0") ? "1111 1111" : "0000 0000";
      const guesses = await Promise.all(Array.from({ length: 8 }, () => finishSignUp({ signUpId, code: wrong, ip: ip() })));
      expect(guesses).toEqual(Array.from({ length: 8 }, () => false));
      expect(await finishSignUp({ signUpId, code: right, ip: ip() })).toBe(false);
      expect(await person(email)).toBeNull();
    });

    test("a code works once, also when two requests send it at the same moment", async () => {
      const email = newEmail();
      const { signUpId } = await startSignUp({ email, password, ip: ip() });
      const ask = { signUpId, code: codeFor(email), ip: ip() };
      expect((await Promise.all([finishSignUp(ask), finishSignUp(ask)])).sort()).toEqual([false, true]);
      expect(await finishSignUp(ask)).toBe(false);
    });

    test("an expired code opens no account, and its row is deleted", async () => {
      const email = newEmail();
      const { signUpId } = await startSignUp({ email, password, ip: ip() });
      await db().prisma.pendingSignUp.update({ where: { id: signUpId }, data: { expiresAt: new Date(Date.now() - 1) } });
      expect(await finishSignUp({ signUpId, code: codeFor(email), ip: ip() })).toBe(false);
      await purgeExpired();
      expect(await db().prisma.pendingSignUp.count({ where: { id: signUpId } })).toBe(0);
    });

    test("with the address of an account gets the same answer, mails the account's owner, and changes nothing", async () => {
      const { email, passwordHash } = await makeUser(db(), { passwordHash: await hashPassword(password), email: newEmail() });
      const taken = await startSignUp({ email, password: "another password", ip: ip() });
      const free = await startSignUp({ email: newEmail(), password: "another password", ip: ip() });
      expect(Object.keys(taken)).toEqual(Object.keys(free));
      expect(mailTo(email)).toHaveLength(1);
      expect(mailTo(email)[0]).toContain("You already have a Quota account");
      expect(codeFor(email)).toBe("");
      for (let n = 0; n < 3; n++) expect(await finishSignUp({ ...taken, code: "0000 0000", ip: ip() })).toBe(false);
      expect((await person(email))?.passwordHash).toBe(passwordHash);
    });

    test("one address gets five mails an hour, with or without an account", async () => {
      for (const email of [newEmail(), (await makeUser(db())).email]) {
        for (let n = 0; n < 5; n++) await startSignUp({ email, password, ip: ip() });
        await expect(startSignUp({ email, password, ip: ip() })).rejects.toThrow(TooManyAttempts);
        await expect(requestReset({ email, ip: ip() })).rejects.toThrow(TooManyAttempts);
        expect(mailTo(email)).toHaveLength(5);
      }
    });
  });

  describe("a reset by mail", () => {
    async function asked(email: string): Promise<string> {
      await requestReset({ email, ip: ip() });
      await vi.waitFor(() => expect(tokenFor(email)).not.toBe(""));
      return tokenFor(email);
    }

    test("sets a new password once, ends every session, and keeps no token", async () => {
      const user = await makeUser(db(), { passwordHash: await hashPassword(password), email: newEmail() });
      const token = await asked(user.email);
      expect(JSON.stringify(await db().prisma.passwordReset.findMany({ where: { userId: user.id } }))).not.toContain(token);
      expect(await resetIsOpen(token)).toBe(true);
      const uses = await Promise.all([1, 2].map((n) => resetPassword({ token, password: `new password ${n}`, ip: ip() })));
      expect(uses.filter((use) => use !== null)).toEqual([{ email: user.email }]);
      expect(await resetIsOpen(token)).toBe(false);
      expect((await person(user.email))?.sessionVersion).toBe(1);
      expect((await checkPassword({ email: user.email, password, ip: ip() })).kind).toBe("refused");
    });

    test("all links of a user stop working when one is used or the password changes", async () => {
      const user = await makeUser(db(), { passwordHash: await hashPassword(password), email: newEmail() });
      const first = await asked(user.email);
      await changePassword({ userId: user.id, email: user.email, current: password, next: "something else", ip: ip() });
      expect(await resetPassword({ token: first, password: "third password", ip: ip() })).toBeNull();
    });

    test("a link works for an hour", async () => {
      const user = await makeUser(db(), { email: newEmail() });
      const token = await asked(user.email);
      const [reset] = await db().prisma.passwordReset.findMany({ where: { userId: user.id } });
      const lives = (reset?.expiresAt.getTime() ?? 0) - Date.now();
      expect(lives).toBeGreaterThan(59 * 60 * 1000);
      expect(lives).toBeLessThanOrEqual(60 * 60 * 1000);
      await db().prisma.passwordReset.updateMany({ where: { userId: user.id }, data: { expiresAt: new Date(Date.now() - 1) } });
      expect(await resetPassword({ token, password: "third password", ip: ip() })).toBeNull();
    });

    test("an unknown address is sent nothing", async () => {
      const email = newEmail();
      await requestReset({ email, ip: ip() });
      const known = await makeUser(db(), { email: newEmail() });
      await asked(known.email);
      expect(mailTo(email)).toEqual([]);
    });
  });

  describe("a signed-in user", () => {
    test("changes the password only with the current one, and all sessions end", async () => {
      const user = await makeUser(db(), { passwordHash: await hashPassword(password), email: newEmail() });
      const ask = { userId: user.id, email: user.email, next: "another password", ip: ip() };
      expect(await changePassword({ ...ask, current: "wrong" })).toBe("wrong password");
      expect((await person(user.email))?.sessionVersion).toBe(0);
      expect(await changePassword({ ...ask, current: password })).toBe("changed");
      expect((await person(user.email))?.sessionVersion).toBe(1);
      expect((await checkPassword({ email: user.email, password: "another password", ip: ip() })).kind).toBe("accepted");
    });

    test("signs out everywhere", async () => {
      const user = await makeUser(db());
      await signOutEverywhere(user.id);
      expect((await person(user.email))?.sessionVersion).toBe(1);
    });
  });

  describe("through another provider", () => {
    test("the first sign-in opens an account with welcome credits, later ones find it, also with another address", async () => {
      const email = newEmail();
      const who = { provider: "google" as const, subject: crypto.randomUUID(), email: email.toUpperCase(), name: "Mara" };
      const first = await personOfProvider(who);
      const user = await person(email);
      expect(first).toEqual({ id: user?.id, sessionVersion: 0 });
      expect((await balanceOf(db().sql, user?.walletId ?? "")).available).toBe(1_000_000n);
      expect(await personOfProvider({ ...who, email: newEmail() })).toEqual(first);
    });

    test("two first sign-ins at once open one account", async () => {
      const who = { provider: "github" as const, subject: crypto.randomUUID(), email: newEmail(), name: null };
      const [one, other] = await Promise.all([personOfProvider(who), personOfProvider(who)]);
      expect(one).toEqual(other);
    });

    test("a user with an account under the verified address is signed in to it", async () => {
      const email = newEmail();
      await signUp(email);
      const found = await personOfProvider({ provider: "github", subject: crypto.randomUUID(), email, name: null });
      expect(found.id).toBe((await person(email))?.id);
    });
  });

  describe("deleting an account", () => {
    test("disconnects every app and emits an event for it, closes the user's own apps, frees the address, and keeps the ledger", async () => {
      const email = newEmail();
      await signUp(email);
      const user = await db().prisma.user.findUniqueOrThrow({ where: { email } });
      const theirs = await makeApp(db());
      const own = await makeApp(db(), { ownerId: user.id });
      const key = await makeKey(db(), own.id);
      await makeLink(db(), theirs.id, user, { externalUserId: "user_1" });
      await makeLink(db(), own.id, user, { externalUserId: "myself" });

      expect(await deleteAccount(user.id)).toEqual({ kind: "deleted" });

      expect(await db().prisma.linkedUser.count({ where: { userId: user.id } })).toBe(0);
      const events = await db().prisma.outboxEvent.findMany({ where: { appId: { in: [theirs.id, own.id] } }, orderBy: { id: "asc" } });
      expect(events.map((event) => [event.type, (event.data as { reason: string }).reason])).toEqual([
        ["user.disconnected", "user"],
        ["user.disconnected", "user"],
      ]);
      expect((await db().prisma.apiKey.findUniqueOrThrow({ where: { id: key.id } })).revokedAt).not.toBeNull();
      const left = await db().prisma.user.findUniqueOrThrow({ where: { id: user.id } });
      expect(left).toMatchObject({ name: null, passwordHash: null, sessionVersion: 1 });
      expect(left.email).not.toContain(email);
      expect((await checkPassword({ email, password, ip: ip() })).kind).toBe("refused");
      expect((await verify(db().sql)).discrepancies).toEqual([]);

      // The address can be used again, without new welcome credits.
      expect(await signUp(email)).toBe(true);
      const again = await db().prisma.user.findUniqueOrThrow({ where: { email } });
      expect(again.id).not.toBe(user.id);
      expect((await balanceOf(db().sql, again.walletId)).available).toBe(0n);
    });

    test("is refused while other users are linked to an app of this user, and changes nothing", async () => {
      const owner = await makeUser(db());
      const app = await makeApp(db(), { ownerId: owner.id });
      await makeLink(db(), app.id, await makeUser(db()));
      expect(await appsInUse(owner.id)).toEqual([{ name: app.name, linkedUsers: 1 }]);
      expect(await deleteAccount(owner.id)).toEqual({ kind: "apps in use", names: [app.name] });
      expect(await person(owner.email)).toMatchObject({ id: owner.id, deletedAt: null });
    });
  });
});

describe("deleting an account on Postgres", () => {
  const db = withDatabase("postgres");
  asTheDatabase(db);

  const agreement = (appId: string, userId: string) => ({
    appId,
    userId,
    scope: "credits.read credits.spend",
    monthlyLimit: null,
    allowedModels: [],
    agreedMarkupBps: 0,
  });

  test("waits for a user who is connecting to one of its apps, and is refused", async () => {
    const [owner, person] = [await makeUser(db()), await makeUser(db())];
    const app = await makeApp(db(), { ownerId: owner.id });
    let deleting: ReturnType<typeof deleteAccount> | undefined;
    await transaction(async (tx) => {
      await link(tx, "somebody", agreement(app.id, person.id));
      deleting = deleteAccount(owner.id);
      await until(() => someoneWaits(db().sql));
    }, db());
    expect(await deleting).toEqual({ kind: "apps in use", names: [app.name] });
  });

  test("ends connecting to its apps", async () => {
    const [owner, person] = [await makeUser(db()), await makeUser(db())];
    const app = await makeApp(db(), { ownerId: owner.id });
    expect(await deleteAccount(owner.id)).toEqual({ kind: "deleted" });
    await expect(transaction((tx) => link(tx, "somebody", agreement(app.id, person.id)), db())).rejects.toThrow("is gone");
  });
});

import { expect, test } from "vitest";
import { asTheDatabase, onBothDatabases } from "#testing/database.ts";
import { makeUser } from "#testing/makers.ts";
import { signOutEverywhere } from "./account.ts";
import { authOptions, isSessionOpen } from "./auth.ts";
import { deleteAccount } from "./delete-account.ts";
import { beginSession, endSession, ownerOfSession } from "./sessions.ts";
import { purgeExpired } from "./sign-up.ts";

onBothDatabases("a session", (db) => {
  asTheDatabase(db);

  /** A user with two browsers, and the claims of each one's cookie. */
  async function arrange() {
    const user = await makeUser(db());
    const claims = async () => ({ userId: user.id, sessionId: await beginSession(user.id), version: 0 });
    return { user, phone: await claims(), desk: await claims(), old: { userId: user.id, sessionId: null, version: 0 } };
  }

  test("belongs to the user of its cookie, and to no user after it has ended", async () => {
    const { user, phone, desk } = await arrange();
    expect(await ownerOfSession(phone)).toEqual({ id: user.id, email: user.email, name: null, walletId: user.walletId });
    await endSession(phone);
    expect(await ownerOfSession(phone)).toBe(null);
    expect((await ownerOfSession(desk))?.id).toBe(user.id);
    await endSession(phone);
  });

  test("of another user cannot be used or ended by this one", async () => {
    const [mara, nuno] = [await arrange(), await arrange()];
    expect(await ownerOfSession({ ...mara.phone, userId: nuno.user.id })).toBe(null);
    await endSession({ ...mara.phone, userId: nuno.user.id });
    expect((await ownerOfSession(mara.phone))?.id).toBe(mara.user.id);
  });

  test("ends when the user signs out everywhere", async () => {
    const { user, phone, desk, old } = await arrange();
    await signOutEverywhere(user.id);
    for (const claims of [phone, desk, old, { ...phone, version: 1 }]) expect(await ownerOfSession(claims)).toBe(null);
    expect(await db().prisma.session.count({ where: { userId: user.id } })).toBe(0);
  });

  test("ends when the account is deleted", async () => {
    const { user, phone } = await arrange();
    expect(await deleteAccount(user.id)).toEqual({ kind: "deleted" });
    expect(await ownerOfSession(phone)).toBe(null);
    expect(await db().prisma.session.count({ where: { userId: user.id } })).toBe(0);
  });

  test("ends 30 days after signing in, and its row is deleted", async () => {
    const { phone, desk } = await arrange();
    await db().prisma.session.update({ where: { id: phone.sessionId }, data: { expiresAt: new Date(Date.now() - 1_000) } });
    expect(await ownerOfSession(phone)).toBe(null);
    await purgeExpired();
    expect(await db().prisma.session.count({ where: { id: { in: [phone.sessionId, desk.sessionId] } } })).toBe(1);
    expect(await ownerOfSession(desk)).not.toBe(null);
  });

  test("from before sessions had ids stays valid, and signing out of it ends every session of the user", async () => {
    const { user, phone, old } = await arrange();
    expect((await ownerOfSession(old))?.id).toBe(user.id);
    await endSession(old);
    expect([await ownerOfSession(old), await ownerOfSession(phone)]).toEqual([null, null]);
  });

  test("ends when next-auth signs out, and its cookie is not renewed", async () => {
    const { user, phone } = await arrange();
    const token = { sub: user.id, version: 0, session: phone.sessionId };
    expect(await isSessionOpen(token)).toBe(true);
    await (await authOptions()).events?.signOut?.({ token } as never);
    expect(await ownerOfSession(phone)).toBe(null);
    expect(await isSessionOpen(token)).toBe(false);
  });
});

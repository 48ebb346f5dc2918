import { expect, test } from "vitest";
import { asTheDatabase, onBothDatabases } from "#testing/database.ts";
import { makeUser } from "#testing/makers.ts";
import { signOutEverywhere } from "./account.ts";
import { authOptions, sessionGoesOn } from "./auth.ts";
import { deleteAccount } from "./delete-account.ts";
import { beginSession, endSession, ownerOfSession } from "./sessions.ts";
import { purgeExpired } from "./sign-up.ts";

onBothDatabases("a session", (db) => {
  asTheDatabase(db);

  /** Somebody with two browsers, and what the cookie of each says. */
  async function arrange() {
    const user = await makeUser(db());
    const claims = async () => ({ userId: user.id, sessionId: await beginSession(user.id), version: 0 });
    return { user, phone: await claims(), desk: await claims(), old: { userId: user.id, sessionId: null, version: 0 } };
  }

  test("is the person's whose cookie it is, and nobody's once it has ended", async () => {
    const { user, phone, desk } = await arrange();
    expect(await ownerOfSession(phone)).toEqual({ id: user.id, email: user.email, name: null, walletId: user.walletId });
    await endSession(phone);
    expect(await ownerOfSession(phone)).toBe(null);
    expect((await ownerOfSession(desk))?.id).toBe(user.id);
    await endSession(phone);
  });

  test("of somebody else is neither theirs nor theirs to end", async () => {
    const [mara, nuno] = [await arrange(), await arrange()];
    expect(await ownerOfSession({ ...mara.phone, userId: nuno.user.id })).toBe(null);
    await endSession({ ...mara.phone, userId: nuno.user.id });
    expect((await ownerOfSession(mara.phone))?.id).toBe(mara.user.id);
  });

  test("ends with all others of the person", async () => {
    const { user, phone, desk, old } = await arrange();
    await signOutEverywhere(user.id);
    for (const claims of [phone, desk, old, { ...phone, version: 1 }]) expect(await ownerOfSession(claims)).toBe(null);
    expect(await db().prisma.session.count({ where: { userId: user.id } })).toBe(0);
  });

  test("ends with the account", async () => {
    const { user, phone } = await arrange();
    expect(await deleteAccount(user.id)).toEqual({ kind: "deleted" });
    expect(await ownerOfSession(phone)).toBe(null);
    expect(await db().prisma.session.count({ where: { userId: user.id } })).toBe(0);
  });

  test("ends 30 days after signing in, and is forgotten then", async () => {
    const { phone, desk } = await arrange();
    await db().prisma.session.update({ where: { id: phone.sessionId }, data: { expiresAt: new Date(Date.now() - 1_000) } });
    expect(await ownerOfSession(phone)).toBe(null);
    await purgeExpired();
    expect(await db().prisma.session.count({ where: { id: { in: [phone.sessionId, desk.sessionId] } } })).toBe(1);
    expect(await ownerOfSession(desk)).not.toBe(null);
  });

  test("from before sessions had ids goes on, and signing out of it ends every one of the person", async () => {
    const { user, phone, old } = await arrange();
    expect((await ownerOfSession(old))?.id).toBe(user.id);
    await endSession(old);
    expect([await ownerOfSession(old), await ownerOfSession(phone)]).toEqual([null, null]);
  });

  test("is ended by next-auth's signing out, and no cookie is made anew for it", async () => {
    const { user, phone } = await arrange();
    const token = { sub: user.id, version: 0, session: phone.sessionId };
    expect(await sessionGoesOn(token)).toBe(true);
    await (await authOptions()).events?.signOut?.({ token } as never);
    expect(await ownerOfSession(phone)).toBe(null);
    expect(await sessionGoesOn(token)).toBe(false);
  });
});

import { v7 as uuidv7 } from "uuid";
import { prisma, type Tx } from "../platform/db.ts";

/** A session's longest life in seconds after signing in; use does not extend it. */
export const SESSION_SECONDS = 30 * 24 * 60 * 60;

/** Begins a session of a user who has just signed in; returns the id for the cookie. */
export async function beginSession(userId: string): Promise<string> {
  const id = uuidv7();
  await (await prisma()).session.create({ data: { id, userId, expiresAt: new Date(Date.now() + SESSION_SECONDS * 1000) } });
  return id;
}

/** The claims of a session cookie: user, session, and the user's session version when it began. */
export type SessionClaims = { userId: string; sessionId: string | null; version: number };

export type SessionOwner = { id: string; email: string; name: string | null; walletId: string };

/**
 * The user of a cookie; null when its session has ended. One statement with two look-ups by
 * primary key. A cookie from before sessions had ids is valid until the user ends all sessions.
 */
export async function ownerOfSession({ userId, sessionId, version }: SessionClaims): Promise<SessionOwner | null> {
  return (await prisma()).user.findFirst({
    where: {
      id: userId,
      sessionVersion: version,
      deletedAt: null,
      ...(sessionId === null ? {} : { sessions: { some: { id: sessionId, expiresAt: { gt: new Date() } } } }),
    },
    select: { id: true, email: true, name: true, walletId: true },
  });
}

/** Ends a session: its cookie and every copy of it stop working. A session without an id cannot be told from the user's others without one, so all sessions of the user end. */
export async function endSession({ userId, sessionId }: SessionClaims): Promise<void> {
  const db = await prisma();
  if (sessionId !== null) await db.session.deleteMany({ where: { id: sessionId, userId } });
  else await db.user.updateMany({ where: { id: userId }, data: { sessionVersion: { increment: 1 } } });
}

/** Ends every session of a user, those without an id too. */
export async function endSessionsOf(db: Tx["prisma"], userId: string): Promise<void> {
  await db.user.update({ where: { id: userId }, data: { sessionVersion: { increment: 1 } } });
  await db.session.deleteMany({ where: { userId } });
}

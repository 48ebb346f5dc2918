import { randomBytes } from "node:crypto";
import { publicUrl } from "#env";
import { prisma, type Tx, transaction } from "../platform/db.ts";
import { log } from "../platform/log.ts";
import { sendLater } from "../platform/mail.ts";
import { hashSecret } from "../platform/secrets.ts";
import { countAttempt } from "./attempts.ts";
import { checkPassword, hashPassword } from "./passwords.ts";
import { endSessionsOf } from "./sessions.ts";

/** What a person does with their own account once they have one. */

const RESET_LIVES_MS = 60 * 60 * 1000;

/** Mails a link that sets a new password. The answer is the same, and as quick, for an address that nobody has. */
export async function requestReset(ask: { email: string; ip: string }): Promise<void> {
  await countAttempt("mailsFromPlace", ask.ip);
  await countAttempt("mailsToAddress", ask.email);
  void mailReset(ask.email).catch((error) => log.error("a password reset could not be made", { error }));
}

async function mailReset(email: string): Promise<void> {
  const db = await prisma();
  const user = await db.user.findUnique({ where: { email }, select: { id: true, deletedAt: true } });
  if (user === null || user.deletedAt !== null) return;
  const token = randomBytes(32).toString("base64url");
  await db.passwordReset.create({ data: { hash: hashSecret(token), userId: user.id, expiresAt: new Date(Date.now() + RESET_LIVES_MS) } });
  sendLater({
    to: email,
    subject: "Set a new password for Quota",
    text: `Open this link to set a new password:\n\n${publicUrl()}/reset-password?token=${token}\n\nIt works once, for an hour. A new password signs you out everywhere.\n\nIf you did not ask for this, there is nothing to do; your password stays as it is.`,
  });
}

/** Whether a link still works; looking does not use it up. */
export async function resetIsOpen(token: string): Promise<boolean> {
  return (await (await prisma()).passwordReset.count({ where: { hash: hashSecret(token), expiresAt: { gt: new Date() } } })) > 0;
}

/** Sets a new password by a link from the mail and ends every session; whose it was, or null when the link does not work. */
export async function resetPassword(ask: { token: string; password: string; ip: string }): Promise<{ email: string } | null> {
  await countAttempt("guessesFromPlace", ask.ip);
  if (!(await resetIsOpen(ask.token))) return null;
  const passwordHash = await hashPassword(ask.password, ask.ip);
  return transaction(async (tx) => {
    const where = { hash: hashSecret(ask.token), expiresAt: { gt: new Date() } };
    const reset = await tx.prisma.passwordReset.findFirst({ where, select: { userId: true, user: { select: { email: true } } } });
    // Of two that use the link at once, one deletes it.
    if (reset === null || (await tx.prisma.passwordReset.deleteMany({ where })).count === 0) return null;
    await setPassword(tx, reset.userId, passwordHash);
    return { email: reset.user.email };
  });
}

/** Changes the password of somebody who knows the old one, and ends every session. */
export async function changePassword(ask: {
  userId: string;
  email: string;
  current: string;
  next: string;
  ip: string;
}): Promise<"changed" | "wrong password" | "too many attempts"> {
  const verdict = await checkPassword({ email: ask.email, password: ask.current, ip: ask.ip });
  if (verdict.kind !== "accepted") return verdict.kind === "refused" ? "wrong password" : "too many attempts";
  const passwordHash = await hashPassword(ask.next, ask.ip);
  await transaction((tx) => setPassword(tx, ask.userId, passwordHash));
  return "changed";
}

/** Reset links that are still on their way would undo a new password, so they end with the old one. */
async function setPassword(tx: Tx, userId: string, passwordHash: string): Promise<void> {
  await tx.prisma.user.update({ where: { id: userId }, data: { passwordHash } });
  await endSessionsOf(tx.prisma, userId);
  await tx.prisma.passwordReset.deleteMany({ where: { userId } });
}

/** Ends every session, the one that asks included. */
export async function signOutEverywhere(userId: string): Promise<void> {
  await transaction((tx) => endSessionsOf(tx.prisma, userId));
}

/** What a person is called; null for nothing in particular. */
export async function rename(userId: string, name: string | null): Promise<void> {
  await (await prisma()).user.update({ where: { id: userId }, data: { name } });
}

/** How a person can sign in. */
export async function waysToSignIn(userId: string): Promise<{ password: boolean; providers: string[] }> {
  const user = await (await prisma()).user.findUniqueOrThrow({
    where: { id: userId },
    select: { passwordHash: true, identities: { select: { provider: true }, orderBy: { provider: "asc" } } },
  });
  return { password: user.passwordHash !== null, providers: [...new Set(user.identities.map((identity) => identity.provider))] };
}

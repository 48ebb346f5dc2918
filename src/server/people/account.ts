import { randomBytes } from "node:crypto";
import { publicUrl } from "#env";
import { prisma, type Tx, transaction } from "../platform/db.ts";
import { log } from "../platform/log.ts";
import { sendLater } from "../platform/mail.ts";
import { hashSecret } from "../platform/secrets.ts";
import { countAttempt } from "./attempts.ts";
import { checkPassword, hashPassword } from "./passwords.ts";
import { endSessionsOf } from "./sessions.ts";

/** What a user changes about their own account: name, password, sessions. */

const RESET_LIVES_MS = 60 * 60 * 1000;

/** Mails a link that sets a new password. Answers in the same way and time for an address without an account. Throws TooManyAttempts. */
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

/** Whether a reset link still works; does not use it up. */
export async function resetIsOpen(token: string): Promise<boolean> {
  return (await (await prisma()).passwordReset.count({ where: { hash: hashSecret(token), expiresAt: { gt: new Date() } } })) > 0;
}

/** Sets a new password by a link from a mail and ends all sessions of its user, whose address is returned; null when the link does not work. */
export async function resetPassword(ask: { token: string; password: string; ip: string }): Promise<{ email: string } | null> {
  await countAttempt("guessesFromPlace", ask.ip);
  if (!(await resetIsOpen(ask.token))) return null;
  const passwordHash = await hashPassword(ask.password, ask.ip);
  return transaction(async (tx) => {
    const where = { hash: hashSecret(ask.token), expiresAt: { gt: new Date() } };
    const reset = await tx.prisma.passwordReset.findFirst({ where, select: { userId: true, user: { select: { email: true } } } });
    // Of two requests that use the link at once, one deletes the row.
    if (reset === null || (await tx.prisma.passwordReset.deleteMany({ where })).count === 0) return null;
    await setPassword(tx, reset.userId, passwordHash);
    return { email: reset.user.email };
  });
}

/** Changes the password of a signed-in user who gives the current one, and ends all sessions of the user. */
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

/** Deletes the user's reset links too: a link that was mailed before would undo the new password. */
async function setPassword(tx: Tx, userId: string, passwordHash: string): Promise<void> {
  await tx.prisma.user.update({ where: { id: userId }, data: { passwordHash } });
  await endSessionsOf(tx.prisma, userId);
  await tx.prisma.passwordReset.deleteMany({ where: { userId } });
}

/** Ends every session of the user, the current one included. */
export async function signOutEverywhere(userId: string): Promise<void> {
  await transaction((tx) => endSessionsOf(tx.prisma, userId));
}

/** Sets the name that screens show for the user; null for none. */
export async function rename(userId: string, name: string | null): Promise<void> {
  await (await prisma()).user.update({ where: { id: userId }, data: { name } });
}

/** Whether a user has a password, and the providers that the user can sign in through. */
export async function waysToSignIn(userId: string): Promise<{ password: boolean; providers: string[] }> {
  const user = await (await prisma()).user.findUniqueOrThrow({
    where: { id: userId },
    select: { passwordHash: true, identities: { select: { provider: true }, orderBy: { provider: "asc" } } },
  });
  return { password: user.passwordHash !== null, providers: [...new Set(user.identities.map((identity) => identity.provider))] };
}

import { prisma } from "../platform/db.ts";
import { checkPassword } from "./passwords.ts";

/**
 * An irreversible action needs more than a session, because a browser may have been left open: the
 * password, or, from users who only sign in through another provider, a sign-in less than ten minutes old.
 */

/** How long a sign-in through another provider is proof enough. */
export const FRESH_FOR_MS = 10 * 60 * 1000;

/** What a user has to show: their password, a new sign-in, or nothing. */
export type ProofNeeded = "password" | "sign-in" | null;

type Person = { id: string; email: string; signedInAt?: Date | null };

/** What this user has to show before an irreversible action. */
export async function proofNeeded(person: Person, now: number = Date.now()): Promise<ProofNeeded> {
  const { passwordHash } = await (await prisma()).user.findUniqueOrThrow({ where: { id: person.id }, select: { passwordHash: true } });
  if (passwordHash !== null) return "password";
  const { signedInAt } = person;
  return signedInAt instanceof Date && now - signedInAt.getTime() < FRESH_FOR_MS ? null : "sign-in";
}

/** Checks the user's proof; a wrong password counts as an attempt to sign in. Throws TooBusy. */
export async function prove(
  person: Person,
  shown: { password: string | null; ip: string },
): Promise<"proved" | "password needed" | "wrong password" | "too many attempts" | "sign-in needed"> {
  const needed = await proofNeeded(person);
  if (needed === null) return "proved";
  if (needed === "sign-in") return "sign-in needed";
  if (shown.password === null || shown.password === "") return "password needed";
  const verdict = await checkPassword({ email: person.email, password: shown.password, ip: shown.ip });
  if (verdict.kind === "too_many_attempts") return "too many attempts";
  // The email may belong to another user now, when this account was deleted in between.
  return verdict.kind === "accepted" && verdict.user.id === person.id ? "proved" : "wrong password";
}

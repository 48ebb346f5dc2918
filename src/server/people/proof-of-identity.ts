import { prisma } from "../platform/db.ts";
import { checkPassword } from "./passwords.ts";

/**
 * What cannot be undone needs more than a session, which somebody may have found open:
 * the password, or for people who only sign in through another provider a sign-in that
 * is a few minutes old.
 */

/** How long a sign-in through another provider counts for what cannot be undone. */
export const FRESH_FOR_MS = 10 * 60 * 1000;

/** What a person still has to show: their password, that they can sign in again, or nothing more. */
export type ProofNeeded = "password" | "sign-in" | null;

type Person = { id: string; email: string; signedInAt?: Date | null };

/** What this person has to show before something that cannot be undone. */
export async function proofNeeded(person: Person, now: number = Date.now()): Promise<ProofNeeded> {
  const { passwordHash } = await (await prisma()).user.findUniqueOrThrow({ where: { id: person.id }, select: { passwordHash: true } });
  if (passwordHash !== null) return "password";
  const { signedInAt } = person;
  return signedInAt instanceof Date && now - signedInAt.getTime() < FRESH_FOR_MS ? null : "sign-in";
}

/** Whether the person has shown that it is them; guesses of a password count like attempts to sign in. Throws TooBusy. */
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
  // The address could have gone to somebody else meanwhile.
  return verdict.kind === "accepted" && verdict.user.id === person.id ? "proved" : "wrong password";
}

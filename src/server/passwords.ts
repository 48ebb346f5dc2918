import { randomBytes } from "node:crypto";
import { hash, verify } from "@node-rs/argon2";
import { RateLimiterMemory } from "rate-limiter-flexible";
import { prisma } from "./platform/db.ts";

/** argon2id, with the parameters OWASP recommends. */
export function hashPassword(password: string): Promise<string> {
  return hash(password, { memoryCost: 19_456, timeCost: 2, parallelism: 1 });
}

const FIFTEEN_MINUTES = 15 * 60;
// Somebody guessing from one place meets the first limit. The second counts all places together,
// because an address can be made up where no proxy vouches for it; it is high enough that
// a stranger has to work at keeping a person out.
const fromOnePlace = new RateLimiterMemory({ points: 10, duration: FIFTEEN_MINUTES });
const fromEverywhere = new RateLimiterMemory({ points: 100, duration: FIFTEEN_MINUTES });

export type PasswordVerdict =
  | { kind: "accepted"; user: { id: string; email: string; name: string | null; sessionVersion: number } }
  | { kind: "refused" }
  | { kind: "too_many_attempts" };

/**
 * Decides one attempt to sign in. An unknown email, a person without a password
 * and a wrong password look alike, and take equally long.
 */
export async function checkPassword(attempt: { email: string; password: string; ip: string }): Promise<PasswordVerdict> {
  const email = attempt.email.trim().toLowerCase();
  // Longer ones can't be ours; nobody makes the server hash megabytes.
  if (email.length > 320 || attempt.password.length > 1024 || email.includes("\0")) return { kind: "refused" };
  const place = `${email} ${attempt.ip}`;
  try {
    await Promise.all([fromOnePlace.consume(place), fromEverywhere.consume(email)]);
  } catch (refusal) {
    if (refusal instanceof Error) throw refusal;
    return { kind: "too_many_attempts" };
  }
  const user = await (await prisma()).user.findUnique({
    where: { email },
    select: { id: true, email: true, name: true, passwordHash: true, sessionVersion: true },
  });
  const matches = await verify(user?.passwordHash ?? (await nobodysHash()), attempt.password);
  if (!matches || user === null || user.passwordHash === null) return { kind: "refused" };
  await Promise.all([fromOnePlace.delete(place), fromEverywhere.delete(email)]);
  return { kind: "accepted", user: { id: user.id, email: user.email, name: user.name, sessionVersion: user.sessionVersion } };
}

let nobodys: Promise<string> | undefined;

/** The hash of a password that nobody knows, so that an unknown email costs as much work as a known one. */
function nobodysHash(): Promise<string> {
  nobodys ??= hashPassword(randomBytes(32).toString("hex"));
  return nobodys;
}

import { randomBytes } from "node:crypto";
import { hash, verify } from "@node-rs/argon2";
import { RateLimiterMemory } from "rate-limiter-flexible";
import { prisma } from "../platform/db.ts";
import { log } from "../platform/log.ts";
import { processWide } from "../platform/process-wide.ts";
import { inQueue, refuseWhenFull } from "./hashing.ts";

/**
 * A password's normalized form. Keyboards differ: é is one code point or two, and letters
 * may be full-width (RFC 8265 §4.2, NIST SP 800-63B §5.1.1.2).
 */
function normalForm(password: string): string {
  return password.normalize("NFKC");
}

/** argon2id with OWASP's recommended parameters. With `address`, hashes in the queue for that IP address and may throw TooBusy. */
export function hashPassword(password: string, address?: string): Promise<string> {
  const work = () => hash(normalForm(password), { memoryCost: 19_456, timeCost: 2, parallelism: 1 });
  return address === undefined ? work() : inQueue(address, work);
}

const FIFTEEN_MINUTES = 15 * 60;
const counted = processWide("sign-ins", () => ({
  /** One email from one IP address: the first limit that guessing meets. */
  place: new RateLimiterMemory({ points: 10, duration: FIFTEEN_MINUTES }),
  /** All emails from one IP address, against lists of emails. Right passwords do not count, so an office behind one address has enough. */
  address: new RateLimiterMemory({ points: 200, duration: FIFTEEN_MINUTES }),
  /**
   * One email from all IP addresses, because a client can invent addresses when no proxy sets
   * x-forwarded-for. High, because a stranger could use it to lock a user out.
   */
  email: new RateLimiterMemory({ points: 100, duration: FIFTEEN_MINUTES }),
}));

export type PasswordVerdict =
  | { kind: "accepted"; user: { id: string; email: string; name: string | null; sessionVersion: number } }
  | { kind: "refused" }
  | { kind: "too_many_attempts" };

/**
 * Decides one attempt to sign in. An unknown email, a user without a password and a wrong
 * password get the same answer in the same time. Throws TooBusy when the queue for hashing is
 * full; such an attempt does not count.
 */
export async function checkPassword(attempt: { email: string; password: string; ip: string }): Promise<PasswordVerdict> {
  const email = attempt.email.trim().toLowerCase();
  // No stored email or password is longer, and hashing megabytes would block a thread.
  if (email.length > 320 || attempt.password.length > 1024 || email.includes("\0")) return { kind: "refused" };
  refuseWhenFull(attempt.ip);
  const place = `${email} ${attempt.ip}`;
  try {
    // One after the other: when the IP address is over its limit, no counter is kept for the emails it tries.
    await counted.address.consume(attempt.ip);
    await Promise.all([counted.place.consume(place), counted.email.consume(email)]);
  } catch (refusal) {
    if (refusal instanceof Error) throw refusal;
    return { kind: "too_many_attempts" };
  }
  const user = await (await prisma()).user.findUnique({
    where: { email },
    select: { id: true, email: true, name: true, passwordHash: true, sessionVersion: true },
  });
  const expected = user?.passwordHash ?? (await decoyHash());
  const matches = await inQueue(attempt.ip, () => verifyEither(expected, attempt.password)).catch(async (error) => {
    await Promise.all([counted.address.reward(attempt.ip), counted.place.reward(place), counted.email.reward(email)]);
    throw error;
  });
  if (matches === "as typed" && user !== null) await renewHash(user.id, expected, attempt.password);
  if (matches === null || user === null || user.passwordHash === null) return { kind: "refused" };
  await Promise.all([counted.address.reward(attempt.ip), counted.place.delete(place), counted.email.delete(email)]);
  return { kind: "accepted", user: { id: user.id, email: user.email, name: user.name, sessionVersion: user.sessionVersion } };
}

/** Hashes from before normalization are of the password as it was typed. A wrong password that changes in normalization takes two comparisons, with or without an account. */
async function verifyEither(expected: string, password: string): Promise<"normalized" | "as typed" | null> {
  const normalized = normalForm(password);
  if (await verify(expected, normalized)) return "normalized";
  return normalized !== password && (await verify(expected, password)) ? "as typed" : null;
}

/** Stores the hash of the normalized form. Leaves a password that was changed in between; when this fails, the next sign-in does it. */
async function renewHash(userId: string, former: string, password: string): Promise<void> {
  try {
    const passwordHash = await hashPassword(password);
    await (await prisma()).user.updateMany({ where: { id: userId, passwordHash: former }, data: { passwordHash } });
  } catch (error) {
    log.warn("a password could not be hashed anew", { error });
  }
}

let decoy: Promise<string> | undefined;

/** The hash of a random password, so that an unknown email costs as much work as a known one. */
function decoyHash(): Promise<string> {
  decoy ??= hashPassword(randomBytes(32).toString("hex"));
  return decoy;
}

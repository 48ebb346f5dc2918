import { randomBytes } from "node:crypto";
import { hash, verify } from "@node-rs/argon2";
import { RateLimiterMemory } from "rate-limiter-flexible";
import { prisma } from "../platform/db.ts";
import { log } from "../platform/log.ts";
import { processWide } from "../platform/process-wide.ts";
import { inTurn, needsRoom } from "./hashing.ts";

/**
 * The one form of a password, whichever keyboard it was typed on: é is one character on
 * some and two on others, and full-width letters are letters (RFC 8265 §4.2, NIST SP 800-63B §5.1.1.2).
 */
function oneForm(password: string): string {
  return password.normalize("NFKC");
}

/** argon2id, with the parameters OWASP recommends. For somebody at `address` in turn: then it may throw TooBusy. */
export function hashPassword(password: string, address?: string): Promise<string> {
  const work = () => hash(oneForm(password), { memoryCost: 19_456, timeCost: 2, parallelism: 1 });
  return address === undefined ? work() : inTurn(address, work);
}

const FIFTEEN_MINUTES = 15 * 60;
const counted = processWide("sign-ins", () => ({
  /** One email from one place: somebody guessing meets this one first. */
  place: new RateLimiterMemory({ points: 10, duration: FIFTEEN_MINUTES }),
  /** All emails from one place: somebody trying a list of them. Right passwords do not count, so that an office behind one address has enough. */
  address: new RateLimiterMemory({ points: 200, duration: FIFTEEN_MINUTES }),
  /**
   * One email from all places together, because an address can be made up where no proxy
   * vouches for it; high enough that a stranger has to work at keeping a person out.
   */
  email: new RateLimiterMemory({ points: 100, duration: FIFTEEN_MINUTES }),
}));

export type PasswordVerdict =
  | { kind: "accepted"; user: { id: string; email: string; name: string | null; sessionVersion: number } }
  | { kind: "refused" }
  | { kind: "too_many_attempts" };

/**
 * Decides one attempt to sign in. An unknown email, a person without a password
 * and a wrong password look alike, and take equally long. Throws TooBusy when too many
 * sign in at this moment; that attempt does not count.
 */
export async function checkPassword(attempt: { email: string; password: string; ip: string }): Promise<PasswordVerdict> {
  const email = attempt.email.trim().toLowerCase();
  // Longer ones can't be ours; nobody makes the server hash megabytes.
  if (email.length > 320 || attempt.password.length > 1024 || email.includes("\0")) return { kind: "refused" };
  needsRoom(attempt.ip);
  const place = `${email} ${attempt.ip}`;
  try {
    // One after the other: what an address that had enough goes on to try costs and keeps nothing.
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
  const expected = user?.passwordHash ?? (await nobodysHash());
  const matches = await inTurn(attempt.ip, () => verifyEither(expected, attempt.password)).catch(async (error) => {
    await Promise.all([counted.address.reward(attempt.ip), counted.place.reward(place), counted.email.reward(email)]);
    throw error;
  });
  if (matches === "as typed" && user !== null) await renewHash(user.id, expected, attempt.password);
  if (matches === null || user === null || user.passwordHash === null) return { kind: "refused" };
  await Promise.all([counted.address.reward(attempt.ip), counted.place.delete(place), counted.email.delete(email)]);
  return { kind: "accepted", user: { id: user.id, email: user.email, name: user.name, sessionVersion: user.sessionVersion } };
}

/** Hashes from before passwords had one form are of the password as it was typed. Whoever fails waits for both, with or without an account. */
async function verifyEither(expected: string, password: string): Promise<"in one form" | "as typed" | null> {
  const normalized = oneForm(password);
  if (await verify(expected, normalized)) return "in one form";
  return normalized !== password && (await verify(expected, password)) ? "as typed" : null;
}

/** From now on the password works on every keyboard. One that was changed meanwhile stays; if this fails, the next time will do. */
async function renewHash(userId: string, former: string, password: string): Promise<void> {
  try {
    const passwordHash = await hashPassword(password);
    await (await prisma()).user.updateMany({ where: { id: userId, passwordHash: former }, data: { passwordHash } });
  } catch (error) {
    log.warn("a password could not be hashed anew", { error });
  }
}

let nobodys: Promise<string> | undefined;

/** The hash of a password that nobody knows, so that an unknown email costs as much work as a known one. */
function nobodysHash(): Promise<string> {
  nobodys ??= hashPassword(randomBytes(32).toString("hex"));
  return nobodys;
}

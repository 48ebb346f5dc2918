import { createHmac, randomInt, timingSafeEqual } from "node:crypto";
import { v7 as uuidv7 } from "uuid";
import { env, publicUrl } from "#env";
import { openAccount, platformAccount } from "../ledger/accounts.ts";
import { transfer } from "../ledger/transfer.ts";
import { prisma, type Tx, transaction } from "../platform/db.ts";
import { sendLater } from "../platform/mail.ts";
import { serverSecret } from "../platform/server-secret.ts";
import { countAttempt } from "./attempts.ts";
import { refuseWhenFull } from "./hashing.ts";
import { hashPassword } from "./passwords.ts";

/**
 * Signing up takes two steps: the first sends a code to the address, the second opens the account for
 * the reader of the code. Only the mail tells that an address has an account; the answers do not.
 */

const CODE_LIVES_MS = 20 * 60 * 1000;
const MOST_GUESSES = 5;

/** Sends a code to `email`; returns the id of the pending sign-up. Throws TooManyAttempts and TooBusy. */
export async function startSignUp(ask: { email: string; password: string; ip: string }): Promise<{ signUpId: string }> {
  refuseWhenFull(ask.ip);
  await countAttempt("mailsFromPlace", ask.ip);
  await countAttempt("mailsToAddress", ask.email);
  // The password is hashed whether or not there is an account, so that both take the same time.
  const [db, passwordHash, secret] = await Promise.all([prisma(), hashPassword(ask.password, ask.ip), serverSecret()]);
  const taken = (await db.user.count({ where: { email: ask.email } })) > 0;
  const signUpId = uuidv7();
  const code = String(randomInt(100_000_000)).padStart(8, "0");
  await db.pendingSignUp.create({
    data: {
      id: signUpId,
      email: ask.email,
      passwordHash,
      codeHash: taken ? null : hashOfCode(secret, signUpId, code),
      expiresAt: new Date(Date.now() + CODE_LIVES_MS),
    },
  });
  const shown = `${code.slice(0, 4)} ${code.slice(4)}`;
  sendLater(
    taken
      ? {
          to: ask.email,
          subject: "You already have a Quota account",
          text: `Somebody, probably you, tried to sign up to Quota with this address. It has an account already, so no new one was made.\n\nSign in: ${publicUrl()}/sign-in\nIf you do not know the password any more: ${publicUrl()}/forgot-password\n\nIf it was not you, there is nothing to do.`,
        }
      : {
          to: ask.email,
          subject: `${shown} is your code for Quota`,
          text: `Your code is ${shown}\n\nType it where you signed up. It works for 20 minutes. Tell it to nobody: Quota never asks for it.\n\nIf you did not sign up, there is nothing to do.`,
        },
  );
  return { signUpId };
}

/** Opens the account when the code is right; false for a wrong or expired one, after five guesses, and for an address with an account. Throws TooManyAttempts. */
export async function finishSignUp(ask: { signUpId: string; code: string; ip: string }): Promise<boolean> {
  await countAttempt("guessesFromPlace", ask.ip);
  const db = await prisma();
  // The attempt is counted before the code is compared, so that concurrent guesses cannot share one attempt.
  const { count } = await db.pendingSignUp.updateMany({
    where: { id: ask.signUpId, attempts: { lt: MOST_GUESSES }, expiresAt: { gt: new Date() } },
    data: { attempts: { increment: 1 } },
  });
  if (count === 0) return false;
  const pending = await db.pendingSignUp.findUnique({ where: { id: ask.signUpId } });
  const secret = await serverSecret();
  const given = hashOfCode(secret, ask.signUpId, ask.code.replace(/\s/g, ""));
  if (pending === null || pending.codeHash === null || !timingSafeEqual(given, pending.codeHash)) return false;
  return transaction(async (tx) => {
    // Of two requests with the right code, one deletes the row and opens the account.
    if ((await tx.prisma.pendingSignUp.deleteMany({ where: { id: pending.id } })).count === 0) return false;
    if ((await tx.prisma.user.count({ where: { email: pending.email } })) > 0) return false;
    await openAccountOf(tx, secret, { email: pending.email, name: null, passwordHash: pending.passwordHash });
    return true;
  });
}

type Person = { id: string; sessionVersion: number };

/** Creates a user with a wallet and, once for an email, welcome credits. The caller has verified `email`. */
async function openAccountOf(
  tx: Tx,
  secret: string,
  person: { email: string; name: string | null; passwordHash: string | null },
): Promise<Person> {
  const walletId = await openAccount(tx, "wallet");
  const user = await tx.prisma.user.create({ data: { ...person, walletId }, select: { id: true, sessionVersion: true } });
  if (env.QUOTA_WELCOME_CREDITS === 0) return user;
  const hash = keyedHash(secret, `welcome ${person.email}`);
  if ((await tx.prisma.welcomed.createMany({ data: { hash }, skipDuplicates: true })).count === 0) return user;
  const outcome = await transfer(tx, {
    id: uuidv7(),
    debitId: platformAccount.promotions,
    creditId: walletId,
    amount: BigInt(env.QUOTA_WELCOME_CREDITS),
    reason: "grant",
    description: "Welcome credits",
  });
  if (outcome !== "applied") throw new Error(`welcome credits: ${outcome}`);
  return user;
}

/**
 * The user who signs in through a provider: the linked one; at the first sign-in the user with
 * that email, or a new user. The provider has verified `email`, and sign-up verifies emails too,
 * so the same email is the same person.
 */
export async function personOfProvider(who: {
  provider: "google" | "github";
  subject: string;
  email: string;
  name: string | null;
}): Promise<Person> {
  const { provider, subject } = who;
  const find = async () =>
    (
      await (
        await prisma()
      ).identity.findUnique({
        where: { provider_subject: { provider, subject } },
        select: { user: { select: { id: true, sessionVersion: true } } },
      })
    )?.user;
  const known = await find();
  if (known !== undefined) return known;
  const email = who.email.trim().toLowerCase();
  const secret = await serverSecret();
  try {
    return await transaction(async (tx) => {
      const user =
        (await tx.prisma.user.findUnique({ where: { email }, select: { id: true, sessionVersion: true } })) ??
        (await openAccountOf(tx, secret, { email, name: who.name, passwordHash: null }));
      await tx.prisma.identity.create({ data: { provider, subject, userId: user.id } });
      return user;
    });
  } catch (error) {
    // The transaction of a concurrent first sign-in committed first.
    const other = await find();
    if (other !== undefined) return other;
    throw error;
  }
}

/** Deletes sign-ups, reset links and sessions that have expired. */
export async function purgeExpired(now = new Date()): Promise<void> {
  const db = await prisma();
  await db.pendingSignUp.deleteMany({ where: { expiresAt: { lt: now } } });
  await db.passwordReset.deleteMany({ where: { expiresAt: { lt: now } } });
  await db.session.deleteMany({ where: { expiresAt: { lt: now } } });
}

function hashOfCode(secret: string, signUpId: string, code: string): Buffer<ArrayBuffer> {
  return keyedHash(secret, `sign-up ${signUpId} ${code}`);
}

/** Codes and emails are few enough to hash all of them; without the server's secret this hash cannot be compared with such a list. */
function keyedHash(secret: string, text: string): Buffer<ArrayBuffer> {
  return createHmac("sha256", secret).update(text).digest() as Buffer<ArrayBuffer>;
}

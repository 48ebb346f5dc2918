import { expect } from "@playwright/test";
import { balanceOf } from "../src/server/ledger/accounts.ts";
import type { Database } from "../src/server/platform/db.ts";
import { makeApp, makeKey, makeLink, makeUser } from "../src/testing/makers.ts";

/** An app with a key and one linked user, made in the database. */
export async function arrange(
  db: Database,
  options: {
    /** Of the linked user, in credits. */
    balance?: bigint;
    /** Of the developer, in credits. */
    developerBalance?: bigint;
    monthlyLimit?: bigint;
    markupBps?: number;
    billingMode?: "developer" | "user" | "test";
    externalUserId?: string;
    allowedModels?: string[];
    userAllows?: string[];
  } = {},
) {
  const developer = await makeUser(db, { credits: options.developerBalance ?? 0n });
  const app = await makeApp(db, { ownerId: developer.id, markupBps: options.markupBps ?? 0, allowedModels: options.allowedModels ?? [] });
  const user = await makeUser(db, { credits: options.balance ?? 1_000_000n });
  const link = await makeLink(db, app.id, user, {
    ...(options.externalUserId === undefined ? {} : { externalUserId: options.externalUserId }),
    ...(options.monthlyLimit === undefined ? {} : { monthlyLimit: options.monthlyLimit }),
    ...(options.userAllows === undefined ? {} : { allowedModels: options.userAllows }),
  });
  const key = await makeKey(db, app.id, options.billingMode ?? "developer");
  return {
    developer,
    app,
    user,
    link,
    key,
    /** The credentials of a request that the linked user pays for. */
    as: { key: key.secret, user: link.externalUserId },
    balance: () => spendable(db, user.walletId),
    developerBalance: () => spendable(db, developer.walletId),
    /** The app's usage rows. */
    usage: () =>
      db.prisma.usage.findMany({
        where: { appId: app.id },
        select: {
          id: true,
          outcome: true,
          base: true,
          markup: true,
          held: true,
          promptTokens: true,
          cachedTokens: true,
          completionTokens: true,
          countedBy: true,
          upstreamStatus: true,
          shortfall: true,
          billingMode: true,
          streamed: true,
        },
        orderBy: { id: "asc" },
      }),
  };
}

export type World = Awaited<ReturnType<typeof arrange>>;

async function spendable(db: Database, walletId: string): Promise<bigint> {
  return (await balanceOf(db.sql, walletId)).balance;
}

/** Waits until the app has no open hold: a client that hung up is billed afterwards. */
export async function settled(db: Database, world: World): Promise<void> {
  await expect
    .poll(async () => {
      const [wallet, own] = await Promise.all([balanceOf(db.sql, world.user.walletId), balanceOf(db.sql, world.developer.walletId)]);
      return wallet.held + own.held;
    })
    .toBe(0n);
}

/** gpt-4o-mini costs 150,000 credits for a million input tokens, 75,000 for cached ones, 600,000 for output; the sum is rounded up once. */
export function price(promptTokens: number, completionTokens: number, options: { cached?: number; markupBps?: number } = {}): bigint {
  const cached = BigInt(options.cached ?? 0);
  const base = roundUp((BigInt(promptTokens) - cached) * 150_000n + cached * 75_000n + BigInt(completionTokens) * 600_000n, 1_000_000n);
  return base + roundUp(base * BigInt(options.markupBps ?? 0), 10_000n);
}

function roundUp(dividend: bigint, divisor: bigint): bigint {
  return (dividend + divisor - 1n) / divisor;
}

/** Makes holds expire. They are insert-only, so the trigger is off for this statement. */
export async function letHoldsExpire(db: Database): Promise<void> {
  await db.prisma.$transaction([
    db.prisma.$executeRawUnsafe("SET LOCAL session_replication_role = replica"),
    db.prisma.$executeRawUnsafe("UPDATE hold SET expires_at = now() - interval '1 second'"),
  ]);
}

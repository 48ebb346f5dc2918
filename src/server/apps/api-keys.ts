import type { Prisma, PrismaClient } from "../../generated/prisma/client.ts";
import type { BillingMode } from "../../generated/prisma/enums.ts";
import type { Tx } from "../platform/db.ts";
import { hashSecret, mintSecret } from "../platform/secrets.ts";
import type { Sql } from "../platform/sql.ts";
import { noteUse } from "./last-used.ts";

type Db = PrismaClient | Prisma.TransactionClient;

/** The columns of a key that may be shown. The hash is not among them. */
export const apiKeyListItem = {
  id: true,
  name: true,
  fragment: true,
  billingMode: true,
  createdAt: true,
  createdBy: { select: { id: true, name: true, email: true } },
  expiresAt: true,
  revokedAt: true,
  rolledTo: { select: { fragment: true } },
  lastUsedAt: true,
} satisfies Prisma.ApiKeySelect;

export type ApiKeyItem = Prisma.ApiKeyGetPayload<{ select: typeof apiKeyListItem }>;

/** How many working keys an app may have. Revoked and expired keys are kept and do not count. */
export const MOST_KEYS = 100;

type NewKey = { appId: string; name: string; billingMode: BillingMode; expiresAt?: Date | null; createdById?: string | null };

/** Creates a key. `secret` is returned this once; the database has only its hash. */
export async function mint(db: Db, input: NewKey): Promise<{ secret: string; key: ApiKeyItem }> {
  const { secret, hash, fragment } = mintSecret("sk-quota-");
  const { appId, name, billingMode, expiresAt = null, createdById = null } = input;
  const key = await db.apiKey.create({
    data: { appId, name, billingMode, expiresAt, createdById, hash, fragment },
    select: apiKeyListItem,
  });
  return { secret, key };
}

const works = (now: Date) => ({ revokedAt: null, OR: [{ expiresAt: null }, { expiresAt: { gt: now } }] }) satisfies Prisma.ApiKeyWhereInput;

/** Whether the app has `MOST_KEYS` working keys. */
export async function hasMostKeys(db: Db, appId: string): Promise<boolean> {
  return (await db.apiKey.count({ where: { appId, ...works(new Date()) } })) >= MOST_KEYS;
}

/** The app's working keys, newest first. */
export async function workingKeys(db: Db, appId: string): Promise<ApiKeyItem[]> {
  // Concurrent calls may create a few keys over the limit, hence twice the limit.
  return db.apiKey.findMany({
    where: { appId, ...works(new Date()) },
    select: apiKeyListItem,
    orderBy: { id: "desc" },
    take: 2 * MOST_KEYS,
  });
}

/** One page of the keys that were revoked or have expired, newest first, with ids below `before`. */
export async function endedKeys(
  db: Db,
  ask: { appId: string; before?: string | undefined; take: number },
): Promise<{ items: ApiKeyItem[]; next: string | null }> {
  const rows = await db.apiKey.findMany({
    where: { appId: ask.appId, NOT: works(new Date()), id: ask.before === undefined ? undefined : { lt: ask.before } },
    select: apiKeyListItem,
    orderBy: { id: "desc" },
    take: ask.take + 1,
  });
  const items = rows.slice(0, ask.take);
  return { items, next: rows.length > ask.take ? (items.at(-1)?.id ?? null) : null };
}

/**
 * Replaces a working key: the new key has the same name and billing mode, and the same lifetime if
 * the old one had one. The old key works for `overlapMs` more, so that no request is refused while the
 * app's servers change over; with 0 it ends at once. Of two concurrent calls for one key the second
 * gets "rolled before".
 */
export async function roll(
  tx: Tx,
  ask: { appId: string; apiKeyId: string; overlapMs: number; createdById: string },
): Promise<{ kind: "rolled"; secret: string; key: ApiKeyItem; endsAt: Date } | { kind: "missing" | "ended" | "rolled before" }> {
  await tx.prisma.$queryRaw`SELECT id FROM api_key WHERE id = ${ask.apiKeyId}::uuid AND app_id = ${ask.appId}::uuid FOR UPDATE`;
  const old = await tx.prisma.apiKey.findFirst({ where: { id: ask.apiKeyId, appId: ask.appId } });
  if (old === null) return { kind: "missing" };
  const now = new Date();
  if (old.revokedAt !== null || (old.expiresAt !== null && old.expiresAt <= now)) return { kind: "ended" };
  if (old.rolledToId !== null) return { kind: "rolled before" };
  const { appId, name, billingMode } = old;
  const expiresAt = old.expiresAt === null ? null : new Date(now.getTime() + old.expiresAt.getTime() - old.createdAt.getTime());
  const made = await mint(tx.prisma, { appId, name, billingMode, expiresAt, createdById: ask.createdById });
  const wanted = new Date(now.getTime() + ask.overlapMs);
  const endsAt = old.expiresAt !== null && old.expiresAt < wanted ? old.expiresAt : wanted;
  await tx.prisma.apiKey.update({
    where: { id: old.id },
    data: { rolledToId: made.key.id, ...(ask.overlapMs > 0 ? { expiresAt: endsAt } : { revokedAt: now }) },
  });
  return { kind: "rolled", ...made, endsAt };
}

/** Revokes a key; the next request with it is refused. False when the app has no such key. */
export async function revoke(db: Db, appId: string, apiKeyId: string): Promise<boolean> {
  const { count } = await db.apiKey.updateMany({ where: { id: apiKeyId, appId, revokedAt: null }, data: { revokedAt: new Date() } });
  return count > 0 || (await db.apiKey.count({ where: { id: apiKeyId, appId } })) > 0;
}

/** The key and app that a request comes from. */
export type Caller = {
  apiKeyId: string;
  appId: string;
  appName: string;
  billingMode: BillingMode;
  keyName: string;
  keyFragment: string;
  ownerId: string;
  ownerWalletId: string;
  sandboxWalletId: string;
};

// Longer text is refused before it is hashed, because hashing megabytes blocks the event loop.
const KEY = /^sk-quota-[0-9A-Za-z]{32}$/;

/** The hash that a key is stored under; null for text that is not in the form of a key. */
export function keyHash(key: string): Buffer<ArrayBuffer> | null {
  return KEY.test(key) ? hashSecret(key) : null;
}

/** The key and app with this hash; null when the key is unknown, revoked or expired. */
export async function verifyKey(sql: Sql, hash: Uint8Array): Promise<Caller | null> {
  const [row] = await sql.query(verifyStatement, [hash]);
  if (row === undefined) return null;
  noteUse(String(row.api_key_id));
  return {
    apiKeyId: String(row.api_key_id),
    appId: String(row.app_id),
    appName: String(row.app_name),
    billingMode: row.billing_mode as BillingMode,
    keyName: String(row.key_name),
    keyFragment: String(row.fragment),
    ownerId: String(row.owner_id),
    ownerWalletId: String(row.owner_wallet_id),
    sandboxWalletId: String(row.sandbox_wallet_id),
  };
}

const verifyStatement = {
  name: "apps_verify_key",
  text: `
    SELECT k.id AS api_key_id, k.app_id, k.billing_mode, k.name AS key_name, k.fragment, a.name AS app_name, a.owner_id, a.sandbox_wallet_id, u.wallet_id AS owner_wallet_id
    FROM api_key k JOIN app a ON a.id = k.app_id JOIN "user" u ON u.id = a.owner_id
    WHERE k.hash = $1::bytea AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())`,
};

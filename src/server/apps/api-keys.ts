import type { Prisma, PrismaClient } from "../../generated/prisma/client.ts";
import type { BillingMode } from "../../generated/prisma/enums.ts";
import { hashSecret, mintSecret } from "../platform/secrets.ts";
import type { Sql } from "../platform/sql.ts";

type Db = PrismaClient | Prisma.TransactionClient;

/** What may be shown of a key. The hash is never in it. */
export const apiKeyListItem = {
  id: true,
  name: true,
  fragment: true,
  billingMode: true,
  createdAt: true,
  expiresAt: true,
  revokedAt: true,
} satisfies Prisma.ApiKeySelect;

/** Makes a key for an app. `secret` is in the answer and nowhere else, ever again. */
export async function mint(
  db: Db,
  input: { appId: string; name: string; billingMode: BillingMode; expiresAt?: Date | null },
): Promise<{ secret: string; key: Prisma.ApiKeyGetPayload<{ select: typeof apiKeyListItem }> }> {
  const { secret, hash, fragment } = mintSecret("sk-quota-");
  const key = await db.apiKey.create({
    data: { appId: input.appId, name: input.name, billingMode: input.billingMode, expiresAt: input.expiresAt ?? null, hash, fragment },
    select: apiKeyListItem,
  });
  return { secret, key };
}

/** Ends a key; the very next request with it is refused. Says whether the app has such a key. */
export async function revoke(db: Db, appId: string, apiKeyId: string): Promise<boolean> {
  const { count } = await db.apiKey.updateMany({ where: { id: apiKeyId, appId, revokedAt: null }, data: { revokedAt: new Date() } });
  return count > 0 || (await db.apiKey.count({ where: { id: apiKeyId, appId } })) > 0;
}

/** The app that a key acts for. */
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

// No key of ours is longer; nobody makes the server hash megabytes.
const KEY = /^sk-quota-[0-9A-Za-z]{32}$/;

/** The hash that a key is stored under, or null for what can't be a key of ours. */
export function keyHash(key: string): Buffer<ArrayBuffer> | null {
  return KEY.test(key) ? hashSecret(key) : null;
}

/** Who a key belongs to; null when it is unknown, revoked or expired. */
export async function verifyKey(sql: Sql, hash: Uint8Array): Promise<Caller | null> {
  const [row] = await sql.query(verifyStatement, [hash]);
  if (row === undefined) return null;
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

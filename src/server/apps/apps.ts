import { randomBytes } from "node:crypto";
import type { Prisma } from "../../generated/prisma/client.ts";
import type { Tx } from "../platform/db.ts";
import { hashSecret, mintClientId, mintSecret } from "../platform/secrets.ts";

/** The columns of an app that its owner may see. The secret's hash is not among them. */
export const appItem = {
  id: true,
  name: true,
  siteUrl: true,
  logoUrl: true,
  markupBps: true,
  allowedModels: true,
  clientId: true,
  clientSecretFragment: true,
  formerSecretFragment: true,
  formerSecretEndsAt: true,
  scopes: true,
  redirectUris: true,
  publicClient: true,
  createdAt: true,
} satisfies Prisma.AppSelect;

export type AppItem = Prisma.AppGetPayload<{ select: typeof appItem }>;

export type NewApp = {
  ownerId: string;
  name: string;
  siteUrl?: string | null;
  /** Basis points (1/100 of a percent), 0 to 100,000. */
  markupBps?: number;
  redirectUris?: string[];
  /** The ledger accounts of the app, opened by the caller in the same transaction. */
  earningsId: string;
  sandboxWalletId: string;
};

/** Registers an app. The client secret is returned this once; the database has only its hash. */
export async function registerApp(tx: Tx, input: NewApp): Promise<{ app: AppItem; clientSecret: string }> {
  const { secret, hash, fragment } = mintSecret("quota_secret_");
  const app = await tx.prisma.app.create({
    data: {
      ownerId: input.ownerId,
      name: input.name,
      siteUrl: input.siteUrl ?? null,
      markupBps: input.markupBps ?? 0,
      redirectUris: input.redirectUris ?? [],
      earningsId: input.earningsId,
      sandboxWalletId: input.sandboxWalletId,
      clientId: mintClientId(),
      clientSecretHash: hash,
      clientSecretFragment: fragment,
    },
    select: appItem,
  });
  return { app, clientSecret: secret };
}

/**
 * Gives an app a new client secret, which is returned this once. The secret before it works for
 * `overlapMs` more; it ends at once with 0, or when the secret is rotated again.
 */
export async function rotateClientSecret(tx: Tx, appId: string, overlapMs: number): Promise<{ app: AppItem; clientSecret: string }> {
  const { secret, hash, fragment } = mintSecret("quota_secret_");
  // One statement: of two concurrent rotations, each new secret is either the current or the former one.
  await tx.prisma.$executeRaw`
    UPDATE app SET client_secret_hash = ${hash}, client_secret_fragment = ${fragment},
      former_secret_hash = CASE WHEN ${overlapMs > 0} THEN client_secret_hash END,
      former_secret_fragment = CASE WHEN ${overlapMs > 0} THEN client_secret_fragment END,
      former_secret_ends_at = CASE WHEN ${overlapMs > 0} THEN ${new Date(Date.now() + overlapMs)}::timestamptz END
    WHERE id = ${appId}::uuid`;
  return { app: await tx.prisma.app.findUniqueOrThrow({ where: { id: appId }, select: appItem }), clientSecret: secret };
}

/** Ends the former client secret at once. */
export async function endFormerSecret(tx: Tx, appId: string): Promise<void> {
  await tx.prisma.app.update({
    where: { id: appId },
    data: { formerSecretHash: null, formerSecretFragment: null, formerSecretEndsAt: null },
  });
}

/**
 * Ends what an app can do: its keys and secrets stop working, and no user can connect. The row
 * stays, because the ledger's history refers to it. `connect` ends links and grants.
 */
export async function closeApp(tx: Tx, appId: string): Promise<void> {
  const now = new Date();
  // A transaction that is about to create a key (`keepApp`) waits for this lock and then finds the app deleted.
  await tx.prisma.$queryRaw`SELECT id FROM app WHERE id = ${appId}::uuid FOR UPDATE`;
  await tx.prisma.app.update({
    where: { id: appId },
    data: {
      redirectUris: [],
      clientSecretHash: hashSecret(randomBytes(32).toString("hex")),
      formerSecretHash: null,
      formerSecretFragment: null,
      formerSecretEndsAt: null,
      deletedAt: now,
    },
  });
  await tx.prisma.apiKey.updateMany({ where: { appId, revokedAt: null }, data: { revokedAt: now } });
}

/** Locks an app against deletion until the transaction ends. False when it is deleted. */
export async function keepApp(tx: Tx, appId: string): Promise<boolean> {
  const there = await tx.prisma.$queryRaw<unknown[]>`
    SELECT id FROM app WHERE id = ${appId}::uuid AND deleted_at IS NULL FOR KEY SHARE`;
  return there.length > 0;
}

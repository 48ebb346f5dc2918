import { createHash, randomBytes } from "node:crypto";
import { v7 as uuidv7 } from "uuid";
import { openAccount, platformAccount } from "../server/ledger/accounts.ts";
import { beginAgreement, setLimit } from "../server/ledger/limits.ts";
import { transfer } from "../server/ledger/transfer.ts";
import { type Database, transaction } from "../server/platform/db.ts";

/** Creates rows for tests with defaults for all columns. Every name is new. */

export async function makeUser(db: Database, options: { credits?: bigint; email?: string; passwordHash?: string } = {}) {
  return transaction(async (tx) => {
    const walletId = await openAccount(tx, "wallet");
    const id = uuidv7();
    const user = await tx.prisma.user.create({
      data: { id, email: options.email ?? `${id}@example.com`, walletId, passwordHash: options.passwordHash ?? null },
    });
    if (options.credits !== undefined && options.credits > 0n) {
      // A grant, because a top-up without a payment fails `verify`.
      await transfer(tx, {
        id: uuidv7(),
        debitId: platformAccount.promotions,
        creditId: walletId,
        amount: options.credits,
        reason: "grant",
      });
    }
    return user;
  }, db);
}

export async function makeApp(
  db: Database,
  options: { ownerId?: string; markupBps?: number; allowedModels?: string[]; credits?: bigint } = {},
) {
  const ownerId = options.ownerId ?? (await makeUser(db, { credits: options.credits ?? 0n })).id;
  return transaction(async (tx) => {
    const earningsId = await openAccount(tx, "earnings");
    const sandboxWalletId = await openAccount(tx, "sandbox_wallet");
    return tx.prisma.app.create({
      data: {
        ownerId,
        name: "Test app",
        markupBps: options.markupBps ?? 0,
        allowedModels: options.allowedModels ?? [],
        earningsId,
        sandboxWalletId,
        clientId: `quota_client_${randomBytes(12).toString("hex")}`,
        clientSecretHash: randomBytes(32),
        clientSecretFragment: "quota_secret_…0000",
        redirectUris: ["http://localhost:4000/callback"],
      },
    });
  }, db);
}

export async function makeKey(db: Database, appId: string, billingMode: "developer" | "user" | "test" = "developer") {
  const secret = `sk-quota-${randomBytes(24).toString("hex").slice(0, 32)}`;
  const hash = createHash("sha256").update(secret).digest();
  const record = await db.prisma.apiKey.create({
    data: { appId, name: "Test key", hash, fragment: `sk-quota-…${secret.slice(-4)}`, billingMode },
  });
  return { ...record, secret, hash };
}

export async function makeLink(
  db: Database,
  appId: string,
  user: { id: string; walletId: string },
  options: {
    externalUserId?: string;
    agreedMarkupBps?: number;
    monthlyLimit?: bigint | null | undefined;
    allowedModels?: string[];
    scope?: string;
  } = {},
) {
  return transaction(async (tx) => {
    const agreement = { appId, userId: user.id };
    const { agreedMarkupBps, allowedModels } = options;
    await beginAgreement(tx, agreement, agreedMarkupBps ?? 100_000);
    if (agreedMarkupBps !== undefined || allowedModels !== undefined)
      await tx.prisma.agreement.update({
        where: { userId_appId: agreement },
        data: { ...(agreedMarkupBps === undefined ? {} : { agreedMarkupBps }), ...(allowedModels === undefined ? {} : { allowedModels }) },
      });
    const link = await tx.prisma.linkedUser.create({
      data: {
        appId,
        userId: user.id,
        walletId: user.walletId,
        externalUserId: options.externalUserId ?? `user_${randomBytes(6).toString("hex")}`,
        scope: options.scope ?? "credits.read credits.spend",
      },
    });
    if (options.monthlyLimit !== undefined) await setLimit(tx, link.id, options.monthlyLimit);
    return tx.prisma.linkedUser.findUniqueOrThrow({ where: { id: link.id } });
  }, db);
}

/**
 * Simulates that a month has passed since requests were settled, for all users or for one user's requests of an app:
 * dates them 32 days back and makes limits due. The clock stays.
 */
export async function passMonth(db: Database, of: { appId: string; userId: string; walletId: string } | null = null) {
  await transaction(async (tx) => {
    // Triggers refuse changes of the journal unless session_replication_role turns them off.
    await tx.prisma.$executeRaw`SET LOCAL session_replication_role = replica`;
    await tx.prisma.$executeRaw`
      UPDATE usage SET created_at = created_at - interval '32 days'
      WHERE ${of === null} OR (app_id = ${of?.appId ?? null}::uuid AND wallet_id = ${of?.walletId ?? null}::uuid)`;
    await tx.prisma.$executeRaw`SET LOCAL session_replication_role = origin`;
    await tx.prisma.agreement.updateMany({
      where: { monthlyLimit: { not: null }, links: { some: {} }, ...(of === null ? {} : { appId: of.appId, userId: of.userId }) },
      data: { limitPeriodEndsAt: new Date(Date.now() - 1) },
    });
  }, db);
}

/** An access token and its grant, as the authorization server would issue them for this link. */
export async function makeToken(
  db: Database,
  link: { id: string; appId: string; userId: string } | { id: null; appId: string; userId: string },
  options: { scope?: string; expiresAt?: Date } = {},
) {
  const token = randomBytes(32).toString("base64url");
  const grantId = randomBytes(16).toString("base64url");
  const hash = createHash("sha256").update(token).digest();
  const expiresAt = options.expiresAt ?? new Date(Date.now() + 3_600_000);
  const { clientId } = await db.prisma.app.findUniqueOrThrow({ where: { id: link.appId }, select: { clientId: true } });
  const granted = { grantId, expiresAt };
  await db.prisma.oAuthRecord.createMany({
    data: [
      { kind: "Grant", idHash: createHash("sha256").update(grantId).digest(), payload: {}, linkedUserId: link.id, ...granted },
      {
        kind: "AccessToken",
        idHash: hash,
        payload: { accountId: link.userId, clientId, scope: options.scope ?? "credits.read credits.spend" },
        ...granted,
      },
    ],
  });
  return { token, hash, grantId };
}

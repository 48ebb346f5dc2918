import type { Database, Tx } from "../platform/db.ts";
import { hashSecret } from "../platform/secrets.ts";

/** What a person decided on the consent page, kept with the grant until the app redeems its code. */
export type Decision = {
  appId: string;
  userId: string;
  /** Credits a month, as text; null for no limit. */
  monthlyLimit: string | null;
  allowedModels: string[];
  agreedMarkupBps: number;
};

const DECISION = "Decision";

export async function keepDecision(tx: Tx, grantId: string, decision: Decision, expiresAt: Date): Promise<void> {
  await tx.prisma.oAuthRecord.create({ data: { kind: DECISION, idHash: hashSecret(grantId), grantId, payload: decision, expiresAt } });
}

/** The decision behind a grant, once; null when it was taken already or ended. */
export async function takeDecision(tx: Tx, grantId: string): Promise<Decision | null> {
  const where = { kind_idHash: { kind: DECISION, idHash: hashSecret(grantId) } };
  const record = await tx.prisma.oAuthRecord.findUnique({ where, select: { payload: true } });
  if (record === null) return null;
  await tx.prisma.oAuthRecord.delete({ where });
  return record.payload as Decision;
}

/** From now on the tokens of this grant act for this link, and end with it. */
export async function bindGrant(tx: Tx, grantId: string, linkedUserId: string): Promise<void> {
  await tx.prisma.oAuthRecord.updateMany({ where: { kind: "Grant", grantId }, data: { linkedUserId } });
}

/** Ends a grant with every code and token that came of it. */
export async function endGrant(tx: Tx, grantId: string): Promise<void> {
  await tx.prisma.oAuthRecord.deleteMany({ where: { grantId } });
}

/** Waits until nobody else uses or ends this grant; then nobody does until the transaction is over. */
export async function lockGrant(db: Tx["prisma"], grantId: string): Promise<void> {
  await db.$queryRaw`SELECT id_hash FROM oauth_record WHERE kind = 'Grant' AND id_hash = ${hashSecret(grantId)} FOR UPDATE`;
}

/** Ends every grant of a link. */
export async function endGrantsOf(tx: Tx, linkedUserId: string): Promise<void> {
  const grants = await tx.prisma.$queryRaw<{ grant_id: string }[]>`
    SELECT grant_id FROM oauth_record WHERE kind = 'Grant' AND linked_user_id = ${linkedUserId}::uuid ORDER BY id_hash FOR UPDATE`;
  const ids = grants.map(({ grant_id }) => grant_id);
  if (ids.length > 0) await tx.prisma.oAuthRecord.deleteMany({ where: { grantId: { in: ids } } });
}

/** Ends up to `most` grants of an app's client, with every code and token that came of them; how many there were. */
export async function endGrantsOfClient(tx: Tx, clientId: string, most: number): Promise<number> {
  // Locked first: what a request with one of their tokens is about to add is then seen and ended too.
  const grants = await tx.prisma.$queryRaw<{ grant_id: string }[]>`
    SELECT grant_id FROM oauth_record WHERE kind = 'Grant' AND payload ->> 'clientId' = ${clientId} ORDER BY id_hash LIMIT ${most} FOR UPDATE`;
  const ids = grants.map(({ grant_id }) => grant_id);
  if (ids.length > 0) await tx.prisma.oAuthRecord.deleteMany({ where: { grantId: { in: ids } } });
  return ids.length;
}

/** Forgets what expired, and grants that have nothing left that could be used. */
export async function purgeOAuth(db: Database): Promise<void> {
  await db.prisma.oAuthRecord.deleteMany({ where: { expiresAt: { lt: new Date(Date.now() - 60_000) } } });
  await db.prisma.$executeRaw`
    DELETE FROM oauth_record g WHERE g.kind = 'Grant' AND g.created_at < now() - interval '1 hour'
      AND NOT EXISTS (SELECT 1 FROM oauth_record r WHERE r.grant_id = g.grant_id AND r.kind <> 'Grant')`;
}

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

/**
 * Why a grant that an app's tokens came from is over: the app revoked a token; a code or a
 * refresh token was used twice; nothing that it issued can be used any more.
 */
export type GrantEnd = "app" | "token_reused" | "expired";

/** A grant that ended, until it has been seen whether its link ends with it. */
const ENDED = "EndedGrant";

/**
 * Ends a grant with every code and token that came of it, and leaves a mark for its link,
 * if it has one: the link's id, or null. Whoever ends a link locks the link first and its
 * grants afterwards; here the grant is locked already, so the link has to wait for a
 * transaction of its own (disconnect.ts), and the mark outlives a crash in between.
 */
export async function endBoundGrant(db: Tx["prisma"], grantId: string, reason: GrantEnd): Promise<string | null> {
  const idHash = hashSecret(grantId);
  const [marked] = await db.$queryRaw<{ linked_user_id: string }[]>`
    INSERT INTO oauth_record (kind, id_hash, payload, linked_user_id, expires_at)
    SELECT ${ENDED}, id_hash, jsonb_build_object('reason', ${reason}::text), linked_user_id, expires_at
    FROM oauth_record WHERE kind = 'Grant' AND id_hash = ${idHash} AND linked_user_id IS NOT NULL
    ON CONFLICT DO NOTHING RETURNING linked_user_id`;
  await db.oAuthRecord.deleteMany({ where: { grantId } });
  return marked?.linked_user_id ?? null;
}

/** Links that lost a grant and have not been looked at since, at most `most`. */
export async function bereftLinks(db: Database, most: number): Promise<string[]> {
  const rows = await db.prisma.$queryRaw<{ linked_user_id: string }[]>`
    SELECT DISTINCT linked_user_id FROM oauth_record WHERE kind = ${ENDED} AND linked_user_id IS NOT NULL LIMIT ${most}`;
  return rows.map((row) => row.linked_user_id);
}

/** Takes the marks of a link: why its first grant to end has ended, or null when there is no mark; and whether a grant is left. */
export async function takeEnds(tx: Tx, linkedUserId: string): Promise<{ reason: GrantEnd | null; left: boolean }> {
  const [mark] = await tx.prisma.oAuthRecord.findMany({
    where: { kind: ENDED, linkedUserId },
    select: { payload: true },
    orderBy: { createdAt: "desc" },
    take: 1,
  });
  await tx.prisma.oAuthRecord.deleteMany({ where: { kind: ENDED, linkedUserId } });
  const left = await tx.prisma.oAuthRecord.count({ where: { kind: "Grant", linkedUserId } });
  return { reason: mark === undefined ? null : (mark.payload as { reason: GrantEnd }).reason, left: left > 0 };
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

/**
 * Forgets what expired, and grants that have nothing left that could be used: a person whose
 * app has not refreshed for 30 days. Their links are marked, and so are links by token that
 * an earlier version left without a grant. Links of deleted apps end with their app.
 */
export async function purgeOAuth(db: Database): Promise<void> {
  await db.prisma.oAuthRecord.deleteMany({ where: { expiresAt: { lt: new Date(Date.now() - 60_000) } } });
  // A refresh that is under way holds its grant, and what it is about to add is not visible yet.
  await db.prisma.$executeRaw`
    WITH over AS MATERIALIZED (
      SELECT id_hash FROM oauth_record g WHERE g.kind = 'Grant' AND g.created_at < now() - interval '1 hour'
        AND NOT EXISTS (SELECT 1 FROM oauth_record r WHERE r.grant_id = g.grant_id AND r.kind <> 'Grant')
      ORDER BY id_hash FOR UPDATE SKIP LOCKED),
    gone AS (DELETE FROM oauth_record g USING over WHERE g.kind = 'Grant' AND g.id_hash = over.id_hash RETURNING g.id_hash, g.linked_user_id, g.expires_at)
    INSERT INTO oauth_record (kind, id_hash, payload, linked_user_id, expires_at)
    SELECT ${ENDED}, id_hash, '{"reason": "expired"}'::jsonb, linked_user_id, expires_at FROM gone WHERE linked_user_id IS NOT NULL
    ON CONFLICT DO NOTHING`;
  await db.prisma.$executeRaw`
    INSERT INTO oauth_record (kind, id_hash, payload, linked_user_id, expires_at)
    SELECT ${ENDED}, decode(replace(l.id::text, '-', ''), 'hex'), '{"reason": "expired"}'::jsonb, l.id, now() + interval '1 year'
    FROM linked_user l JOIN app a ON a.id = l.app_id AND a.deleted_at IS NULL
    WHERE l.by_token AND NOT EXISTS (SELECT 1 FROM oauth_record g WHERE g.linked_user_id = l.id AND g.kind IN ('Grant', ${ENDED}))
    ON CONFLICT DO NOTHING`;
}

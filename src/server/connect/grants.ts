import type { Database, Tx } from "../platform/db.ts";
import { hashSecret } from "../platform/secrets.ts";

/** What a user decided on the consent page, stored with the grant until the app redeems the code. */
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

/** Reads and deletes a grant's decision; null when it was taken already or the grant has ended. */
export async function takeDecision(tx: Tx, grantId: string): Promise<Decision | null> {
  const where = { kind_idHash: { kind: DECISION, idHash: hashSecret(grantId) } };
  const record = await tx.prisma.oAuthRecord.findUnique({ where, select: { payload: true } });
  if (record === null) return null;
  await tx.prisma.oAuthRecord.delete({ where });
  return record.payload as Decision;
}

/** Binds a grant to a link: the grant's tokens act for the link and end with it. */
export async function bindGrant(tx: Tx, grantId: string, linkedUserId: string): Promise<void> {
  await tx.prisma.oAuthRecord.updateMany({ where: { kind: "Grant", grantId }, data: { linkedUserId } });
}

/** Ends a grant with all its codes and tokens. */
export async function endGrant(tx: Tx, grantId: string): Promise<void> {
  await tx.prisma.oAuthRecord.deleteMany({ where: { grantId } });
}

/**
 * Why a grant ended. `app`: the app revoked a token. `token_reused`: a code or refresh token was used twice. `expired`:
 * none of its codes and tokens is left.
 */
export type GrantEnd = "app" | "token_reused" | "expired";

/** Kind of the record of an ended grant, until it has been checked whether its link ends too. */
const ENDED = "EndedGrant";

/**
 * Ends a grant with all its codes and tokens, and inserts a mark for its link; returns the
 * link's id, or null when it has none. Ending a link locks the link first and its grants
 * afterwards; here the grant is locked already, so another transaction ends the link
 * (disconnect.ts), and the mark outlives a crash in between.
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

/** Ids of links with the mark of an ended grant, at most `most`. */
export async function linksWithEndedGrants(db: Database, most: number): Promise<string[]> {
  const rows = await db.prisma.$queryRaw<{ linked_user_id: string }[]>`
    SELECT DISTINCT linked_user_id FROM oauth_record WHERE kind = ${ENDED} AND linked_user_id IS NOT NULL LIMIT ${most}`;
  return rows.map((row) => row.linked_user_id);
}

/** Deletes the marks of a link. `reason`: of the newest mark, null when there is none. `left`: whether the link has a grant. */
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

/** Locks a grant until the transaction ends, against requests that use or end it. */
export async function lockGrant(db: Tx["prisma"], grantId: string): Promise<void> {
  await db.$queryRaw`SELECT id_hash FROM oauth_record WHERE kind = 'Grant' AND id_hash = ${hashSecret(grantId)} FOR UPDATE`;
}

/** Ends every grant of a link, with all codes and tokens. */
export async function endGrantsOf(tx: Tx, linkedUserId: string): Promise<void> {
  const grants = await tx.prisma.$queryRaw<{ grant_id: string }[]>`
    SELECT grant_id FROM oauth_record WHERE kind = 'Grant' AND linked_user_id = ${linkedUserId}::uuid ORDER BY id_hash FOR UPDATE`;
  const ids = grants.map(({ grant_id }) => grant_id);
  if (ids.length > 0) await tx.prisma.oAuthRecord.deleteMany({ where: { grantId: { in: ids } } });
}

/** Ends up to `most` grants of an app's client, with all their codes and tokens; returns how many. */
export async function endGrantsOfClient(tx: Tx, clientId: string, most: number): Promise<number> {
  // Locked before they are deleted: requests with their tokens lock the grant too, so what these add is deleted as well.
  const grants = await tx.prisma.$queryRaw<{ grant_id: string }[]>`
    SELECT grant_id FROM oauth_record WHERE kind = 'Grant' AND payload ->> 'clientId' = ${clientId} ORDER BY id_hash LIMIT ${most} FOR UPDATE`;
  const ids = grants.map(({ grant_id }) => grant_id);
  if (ids.length > 0) await tx.prisma.oAuthRecord.deleteMany({ where: { grantId: { in: ids } } });
  return ids.length;
}

/**
 * Deletes expired records, and grants that have no code or token left, as after 30 days
 * without a refresh. Marks their links, and links by token that an earlier version left
 * without a grant. Links of deleted apps end with their app.
 */
export async function purgeOAuth(db: Database): Promise<void> {
  await db.prisma.oAuthRecord.deleteMany({ where: { expiresAt: { lt: new Date(Date.now() - 60_000) } } });
  // SKIP LOCKED: a refresh in progress has its grant locked, and the tokens that it adds are not visible yet.
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

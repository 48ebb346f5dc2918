import { type Database, transaction } from "../platform/db.ts";
import { bereftLinks, takeEnds } from "./grants.ts";
import { endLink } from "./linked-users.ts";

/**
 * A connection by token is there as long as one of its grants is. A person who connects an
 * app twice, on two devices, has one link and two grants; when the app revokes the tokens
 * of one device, the other goes on. With the last grant the link ends, so that nothing
 * can be spent by it any more, with the app's API key neither.
 */

/** Ends a link that has no grant left, and tells the app why. Does nothing when it has one, or is gone. */
export async function endIfBereft(linkedUserId: string, db?: Database): Promise<void> {
  await transaction(async (tx) => {
    // Whoever connects the same person again locks the link before the new grant is bound to it.
    const [link] = await tx.prisma.$queryRaw<{ app_id: string; user_id: string; external_user_id: string }[]>`
      SELECT app_id, user_id, external_user_id FROM linked_user WHERE id = ${linkedUserId}::uuid AND by_token FOR UPDATE`;
    const { reason, left } = await takeEnds(tx, linkedUserId);
    if (link === undefined || reason === null || left) return;
    await endLink(tx, { id: linkedUserId, appId: link.app_id, userId: link.user_id, externalUserId: link.external_user_id }, reason);
  }, db);
}

const AT_ONCE = 100;

/** Ends what lost its last grant: by expiry, or in a process that died before it could see to it. */
export async function endBereftLinks(db: Database): Promise<void> {
  for (;;) {
    const links = await bereftLinks(db, AT_ONCE);
    for (const id of links) await endIfBereft(id, db);
    if (links.length < AT_ONCE) return;
  }
}

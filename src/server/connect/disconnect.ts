import { type Database, transaction } from "../platform/db.ts";
import { linksWithEndedGrants, takeEnds } from "./grants.ts";
import { endLink } from "./linked-users.ts";

// A link by token lasts as long as one of its grants. A user who connects an app on two devices has one link and two
// grants; when the app revokes the tokens of one device, the other stays connected. With the last grant the link ends,
// so that the app's API key can't spend from it either.

/** Ends a link that has no grant left, and emits the event with the reason. Does nothing when it has one, or does not exist. */
export async function endLinkWithoutGrant(linkedUserId: string, db?: Database): Promise<void> {
  await transaction(async (tx) => {
    // A new connection of the same user locks the link before its grant is bound to it.
    const [link] = await tx.prisma.$queryRaw<{ app_id: string; user_id: string; external_user_id: string }[]>`
      SELECT app_id, user_id, external_user_id FROM linked_user WHERE id = ${linkedUserId}::uuid AND by_token FOR UPDATE`;
    const { reason, left } = await takeEnds(tx, linkedUserId);
    if (link === undefined || reason === null || left) return;
    await endLink(tx, { id: linkedUserId, appId: link.app_id, userId: link.user_id, externalUserId: link.external_user_id }, reason);
  }, db);
}

const AT_ONCE = 100;

/** Ends links that lost their last grant: by expiry, or in a process that died before it ended the link. */
export async function endLinksWithoutGrant(db: Database): Promise<void> {
  for (;;) {
    const links = await linksWithEndedGrants(db, AT_ONCE);
    for (const id of links) await endLinkWithoutGrant(id, db);
    if (links.length < AT_ONCE) return;
  }
}

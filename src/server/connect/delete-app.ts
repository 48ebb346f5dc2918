import { closeApp } from "../apps/apps.ts";
import { type Database, database, transaction } from "../platform/db.ts";
import { endGrantsOfClient } from "./grants.ts";
import { pauseAll, unlinkAll } from "./linked-users.ts";

/**
 * Deletes an app with its keys, its client, its links and their tokens. From the first
 * commit on all its requests are refused; links that a crash leaves are ended by
 * `finishDeletedApps`. The ledger's history stays, with the app's name.
 */
export async function deleteApp(appId: string): Promise<void> {
  const db = await database();
  await transaction(async (tx) => {
    await closeApp(tx, appId);
    // Requests with a user's access token check the link and no key.
    await pauseAll(tx, appId);
  }, db);
  const { clientId } = await db.prisma.app.findUniqueOrThrow({ where: { id: appId }, select: { clientId: true } });
  await endConnections(db, appId, clientId);
}

/** Ends the grants and links that deleted apps still have. */
export async function finishDeletedApps(db: Database): Promise<void> {
  const apps = await db.prisma.app.findMany({
    where: { deletedAt: { not: null }, linkedUsers: { some: {} } },
    select: { id: true, clientId: true },
  });
  for (const app of apps) await endConnections(db, app.id, app.clientId);
}

/** Grants or links that are ended in one transaction, so that it is short for an app with many. */
const AT_ONCE = 200;

async function endConnections(db: Database, appId: string, clientId: string): Promise<void> {
  // Grants first: `finishDeletedApps` finds unfinished deletions by their links.
  while ((await transaction((tx) => endGrantsOfClient(tx, clientId, AT_ONCE), db)) === AT_ONCE);
  while ((await transaction((tx) => unlinkAll(tx, appId, AT_ONCE), db)) === AT_ONCE);
}

import { closeApp } from "../apps/apps.ts";
import { type Database, database, transaction } from "../platform/db.ts";
import { endGrantsOfClient } from "./grants.ts";
import { pauseAll, unlinkAll } from "./linked-users.ts";

/**
 * Deletes an app. When this resolves nothing works any more: its keys, its client, its
 * links and their tokens. From its first commit on nobody can use it, and what a crash
 * leaves of its links is ended later. The ledger's history stays, with the app's name.
 */
export async function deleteApp(appId: string): Promise<void> {
  const db = await database();
  await transaction(async (tx) => {
    await closeApp(tx, appId);
    // For requests with a person's token, which look at no key.
    await pauseAll(tx, appId);
  }, db);
  const { clientId } = await db.prisma.app.findUniqueOrThrow({ where: { id: appId }, select: { clientId: true } });
  await endConnections(db, appId, clientId);
}

/** Ends what is left of links to deleted apps, and of what was granted to them. */
export async function finishDeletedApps(db: Database): Promise<void> {
  const apps = await db.prisma.app.findMany({
    where: { deletedAt: { not: null }, linkedUsers: { some: {} } },
    select: { id: true, clientId: true },
  });
  for (const app of apps) await endConnections(db, app.id, app.clientId);
}

/** An app may have many, and a transaction should be short. */
const AT_ONCE = 200;

async function endConnections(db: Database, appId: string, clientId: string): Promise<void> {
  // Grants first: then no link is left to tell of a deletion that is unfinished while tokens are there.
  while ((await transaction((tx) => endGrantsOfClient(tx, clientId, AT_ONCE), db)) === AT_ONCE);
  while ((await transaction((tx) => unlinkAll(tx, appId, AT_ONCE), db)) === AT_ONCE);
}

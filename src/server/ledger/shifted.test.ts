import { PrismaPg } from "@prisma/adapter-pg";
import pg from "pg";
import { afterAll, describe, expect, inject, test } from "vitest";
import { makeApp, makeUser } from "#testing/makers.ts";
import { freshDatabase, ZONES, type Zone } from "#testing/postgres.ts";
import { migrate } from "../../../prisma/migrate.ts";
import { PrismaClient } from "../../generated/prisma/client.ts";
import { type Database, openDatabase, transaction } from "../platform/db.ts";
import { newId } from "../platform/ids.ts";
import { openAccount } from "./accounts.ts";
import { endOfMonth } from "./limits.ts";
import { mendDates } from "./shifted.ts";
import { verify } from "./verify.ts";

const cleanUps: (() => Promise<unknown>)[] = [];
afterAll(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

/** A database, and a client of the version before connections were in UTC. */
async function open(zone: Zone): Promise<{ db: Database; before: PrismaClient }> {
  const { url, drop } = await freshDatabase(inject("postgresUrl"), zone);
  cleanUps.push(drop);
  const db = await openDatabase({ url });
  cleanUps.push(() => db.close());
  await migrate(db);
  const pool = new pg.Pool({ connectionString: url });
  const before = new PrismaClient({ adapter: new PrismaPg(pool) });
  cleanUps.push(
    () => pool.end(),
    () => before.$disconnect(),
  );
  return { db, before };
}

describe.each(ZONES)("dates that were written on a Postgres in %s by a version before", (zone) => {
  test("are named by verify with the command that corrects them, and corrected exactly, without changing others", async () => {
    const { db, before } = await open(zone);
    const [app, owner, person, other] = [await makeApp(db), await makeUser(db), await makeUser(db), await makeUser(db)];
    const [limitId, otherLimitId] = await transaction(async (tx) => [await openAccount(tx, "limit"), await openAccount(tx, "limit")], db);
    const link = (externalUserId: string) => ({
      id: newId(),
      appId: app.id,
      userId: person.id,
      walletId: person.walletId,
      externalUserId,
      agreedMarkupBps: 0,
      limitId,
      monthlyLimit: 0n,
      limitPeriodEndsAt: endOfMonth(new Date()),
    });
    const key = (name: string) => ({ id: newId(), appId: app.id, name, hash: Buffer.from(name), fragment: name, createdById: owner.id });
    const right = [await db.prisma.linkedUser.create({ data: link("right") }), await db.prisma.apiKey.create({ data: key("right") })];
    expect((await verify(db.sql)).discrepancies).toEqual([]);
    const shiftedLink = await before.linkedUser.create({
      data: { ...link("shifted"), userId: other.id, walletId: other.walletId, limitId: otherLimitId as string },
    });
    const shiftedKey = await before.apiKey.create({ data: key("shifted") });

    const { ok, discrepancies } = await verify(db.sql);
    expect(ok).toBe(false);
    expect(discrepancies.map(({ rule, what }) => `${rule}: ${what}`).sort()).toEqual([
      `a limit ends with a month (UTC): agreement of app ${app.id} and user ${other.id}`,
      "a row has the date that is in its id: 1 of api_key",
      "a row has the date that is in its id: 1 of linked_user",
    ]);
    for (const { mend } of discrepancies) expect(mend).toContain("npm run ledger:mend-dates");

    expect(await transaction(mendDates, db)).toBe(3);
    expect((await verify(db.sql)).discrepancies).toEqual([]);
    expect(await transaction(mendDates, db)).toBe(0);
    // The old client reads back what it had written.
    expect(await db.prisma.linkedUser.findUniqueOrThrow({ where: { id: shiftedLink.id } })).toEqual(shiftedLink);
    expect(await db.prisma.apiKey.findUniqueOrThrow({ where: { id: shiftedKey.id } })).toEqual(shiftedKey);
    expect([
      await db.prisma.linkedUser.findUniqueOrThrow({ where: { id: right[0]?.id as string } }),
      await db.prisma.apiKey.findUniqueOrThrow({ where: { id: right[1]?.id as string } }),
    ]).toEqual(right);
  });
});

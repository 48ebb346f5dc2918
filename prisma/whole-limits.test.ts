import { describe, expect, inject, onTestFinished, test } from "vitest";
import { openAccount } from "../src/server/ledger/accounts.ts";
import { type Database, openDatabase, transaction } from "../src/server/platform/db.ts";
import { onBothDatabases } from "../src/testing/database.ts";
import { makeApp, makeUser } from "../src/testing/makers.ts";
import { freshDatabase } from "../src/testing/postgres.ts";
import { migrate } from "./migrate.ts";

/** The limit of an agreement without links, because those have a check of their own. */
async function agree(db: Database, limit: { monthlyLimit?: bigint; hasAccount?: boolean; endsAt?: Date }) {
  const [user, app] = [await makeUser(db), await makeApp(db)];
  const limitId = limit.hasAccount === true ? await transaction((tx) => openAccount(tx, "limit"), db) : null;
  return db.prisma.agreement.create({
    data: { userId: user.id, appId: app.id, monthlyLimit: limit.monthlyLimit ?? null, limitId, limitPeriodEndsAt: limit.endsAt ?? null },
  });
}

const endsAt = new Date("2026-12-01T00:00:00Z");
const halves: [string, Parameters<typeof agree>[1]][] = [
  ["without an account", { monthlyLimit: 5n, endsAt }],
  ["without a month", { monthlyLimit: 5n, hasAccount: true }],
  ["without either", { monthlyLimit: 5n }],
  ["that is only a month", { hasAccount: true, endsAt }],
];
const wholes: [string, Parameters<typeof agree>[1]][] = [
  ["with account and month", { monthlyLimit: 5n, hasAccount: true, endsAt }],
  ["of nothing", { monthlyLimit: 0n, hasAccount: true, endsAt }],
  ["that was removed, whose account stays", { hasAccount: true }],
  ["that was never set", {}],
];

onBothDatabases("an agreement", (db) => {
  test.each(halves)("can't have a limit %s", async (_, limit) => {
    await expect(agree(db(), limit)).rejects.toThrow("agreement_limit_whole");
  });

  test.each(wholes)("can have a limit %s", async (_, limit) => {
    await expect(agree(db(), limit)).resolves.toBeDefined();
  });
});

describe.each(["embedded", "postgres"] as const)("a database from before that check, %s", (kind) => {
  test("gets it, loses half limits of agreements without links, and keeps whole ones", async () => {
    const fresh = kind === "postgres" ? await freshDatabase(inject("postgresUrl")) : undefined;
    const db = await openDatabase({ url: fresh?.url });
    onTestFinished(async () => {
      await db.close();
      await fresh?.drop();
    });
    await migrate(db, { upTo: "20261129050000_an_agreement_is_a_row" });
    const made = { halves: await agreeAll(db, halves), wholes: await agreeAll(db, wholes) };
    await migrate(db);
    for (const { userId, appId, limitId } of made.halves) {
      const found = await db.prisma.agreement.findUniqueOrThrow({ where: { userId_appId: { userId, appId } } });
      expect(found).toMatchObject({ monthlyLimit: null, limitPeriodEndsAt: null, limitId });
    }
    for (const { userId, appId, ...rest } of made.wholes)
      expect(await db.prisma.agreement.findUniqueOrThrow({ where: { userId_appId: { userId, appId } } })).toMatchObject(rest);
    const text = `SELECT convalidated FROM pg_constraint WHERE conname = 'agreement_limit_whole'`;
    expect(await db.sql.query({ name: "", text }, [])).toEqual([{ convalidated: true }]);
  });
});

async function agreeAll(db: Database, limits: typeof halves) {
  const agreements = [];
  for (const [, limit] of limits) agreements.push(await agree(db, limit));
  return agreements;
}

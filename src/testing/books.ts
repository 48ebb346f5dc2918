import { v7 as uuidv7 } from "uuid";
import { expect } from "vitest";
import { platformAccount } from "../server/ledger/accounts.ts";
import { settle } from "../server/ledger/hold.ts";
import { transfer } from "../server/ledger/transfer.ts";
import { type VerifyReport, verify } from "../server/ledger/verify.ts";
import { type Database, transaction } from "../server/platform/db.ts";
import { holdOne, holdRequest, settlement } from "./ledger-requests.ts";
import { makeApp, makeKey, makeLink, makeUser } from "./makers.ts";

export type Books = Awaited<ReturnType<typeof makeBooks>>;

/** A top-up, a settled and an open hold of a user with a limit, and earnings that are not folded. */
export async function makeBooks(db: Database) {
  const person = await makeUser(db);
  const { walletId } = person;
  const strangerId = (await makeUser(db, { credits: 50n })).walletId;
  const giftId = uuidv7();
  await transfer(db.sql, { id: giftId, debitId: platformAccount.promotions, creditId: walletId, amount: 1_000n, reason: "grant" });
  const app = await makeApp(db, { markupBps: 1_000 });
  const key = await makeKey(db, app.id);
  const link = await makeLink(db, app.id, person, { monthlyLimit: 800n });
  const settled = await holdOne(db.sql, holdRequest(key, { externalUserId: link.externalUserId }));
  const open = await holdOne(db.sql, holdRequest(key, { externalUserId: link.externalUserId }));
  await settle(db.sql, [settlement(settled.id, 100n, 40n)]);
  // Base cost above the hold, so that there is a shortfall.
  const short = await holdOne(db.sql, holdRequest(key, { externalUserId: link.externalUserId }));
  await settle(db.sql, [settlement(short.id, 130n)]);
  return { app, walletId, strangerId, linkId: link.id, limitId: link.limitId ?? "", open, settled, giftId };
}

/** What `verify` finds after these statements, which are rolled back, so that tests share one set of books. */
export async function verifyAfter(
  db: Database,
  statements: readonly string[],
  options?: Parameters<typeof verify>[1],
): Promise<VerifyReport> {
  const undo = new Error("undo");
  let report: VerifyReport | undefined;
  await expect(
    transaction(async (tx) => {
      for (const statement of statements) await tx.prisma.$executeRawUnsafe(statement);
      report = await verify(tx, options);
      throw undo;
    }, db),
  ).rejects.toBe(undo);
  if (report === undefined) throw new Error("not verified");
  return report;
}

/** The rules that the report says are broken, sorted. */
export const rules = (report: VerifyReport) => [...new Set(report.discrepancies.map((each) => each.rule))].sort();

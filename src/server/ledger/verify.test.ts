import { randomUUID } from "node:crypto";
import { beforeAll, describe, expect, test } from "vitest";
import { type Books, makeBooks, rules, verifyAfter } from "#testing/books.ts";
import { onBothDatabases } from "#testing/database.ts";
import { transaction } from "../platform/db.ts";
import { platformAccount } from "./accounts.ts";
import { verify } from "./verify.ts";

onBothDatabases("the books", (db) => {
  let app: Books["app"];
  let walletId: Books["walletId"];
  let strangerId: Books["strangerId"];
  let linkId: Books["linkId"];
  let limitId: Books["limitId"];
  let open: Books["open"];
  let settled: Books["settled"];
  let giftId: Books["giftId"];

  beforeAll(async () => {
    ({ app, walletId, strangerId, linkId, limitId, open, settled, giftId } = await makeBooks(db()));
  });

  const after = (...statements: string[]) => verifyAfter(db(), statements);

  test("untouched books are right, and counted", async () => {
    expect(await verify(db().sql)).toEqual({
      ok: true,
      accounts: 15,
      transfers: 3,
      usages: 2,
      openHolds: 1,
      overdue: null,
      discrepancies: [],
    });
  });

  describe("verify finds", () => {
    test("a balance without entries, and names its account and the amounts", async () => {
      const report = await after(`UPDATE account SET available = available + 7 WHERE id = '${walletId}'`);
      expect(report.ok).toBe(false);
      // 1,000 topped up, 110 charged twice: both settlements were above their holds.
      expect(report.discrepancies).toEqual([
        { rule: "an account equals the sum of its entries", what: `wallet ${walletId}`, expected: "780", found: "787" },
      ]);
    });

    test("allowance without an entry", async () => {
      const report = await after(`UPDATE account SET available = available + 1 WHERE id = '${limitId}'`);
      expect(report.discrepancies).toMatchObject([
        { rule: "an account equals the sum of its entries", what: `limit ${limitId}` },
        { rule: "a limit has no more left than its month", what: `linked user ${linkId}` },
      ]);
    });

    test.each([
      ["removed", "DELETE FROM account_delta"],
      ["changed", "UPDATE account_delta SET amount = amount - 1"],
      ["folded twice", "UPDATE account a SET available = available + d.amount FROM account_delta d WHERE d.account_id = a.id"],
    ])("earnings that were %s before they were folded", async (_what, statement) => {
      const report = await after(statement);
      expect(rules(report)).toEqual(["an account equals the sum of its entries"]);
      const accounts = report.discrepancies.map((each) => each.what);
      expect(accounts).toContain(`earnings ${app.earningsId}`);
      expect(accounts).toContain(`platform ${platformAccount.revenue}`);
      expect(accounts).toContain(`platform ${platformAccount.shortfall}`);
    });

    test("a transfer that was rewritten, and one that was removed", async () => {
      const unlock = `ALTER TABLE transfer DISABLE TRIGGER USER`;
      for (const statement of [
        `UPDATE transfer SET amount = amount + 1 WHERE id = '${giftId}'`,
        `DELETE FROM transfer WHERE id = '${giftId}'`,
      ]) {
        const report = await after(unlock, statement);
        expect(rules(report)).toEqual(["an account equals the sum of its entries"]);
        expect(report.discrepancies.map((each) => each.what).sort()).toEqual([
          `platform ${platformAccount.promotions}`,
          `wallet ${walletId}`,
        ]);
      }
      const diverted = await after(unlock, `UPDATE transfer SET credit_id = '${strangerId}' WHERE id = '${giftId}'`);
      expect(diverted.discrepancies.map((each) => each.what).sort()).toEqual([`wallet ${walletId}`, `wallet ${strangerId}`].sort());
    });

    test("a settlement that was removed", async () => {
      const report = await after(`ALTER TABLE usage DISABLE TRIGGER USER`, `DELETE FROM usage WHERE id = '${settled.id}'`);
      expect(rules(report)).toEqual(["an account equals the sum of its entries", "what is held equals the open holds"]);
    });

    test("credits moved from the markup to the base of a settlement", async () => {
      const report = await after(
        `ALTER TABLE usage DISABLE TRIGGER USER`,
        `UPDATE usage SET base = base + 1, markup = markup - 1 WHERE id = '${settled.id}'`,
      );
      expect(report.discrepancies.map((each) => each.what).sort()).toEqual(
        [`platform ${platformAccount.revenue}`, `earnings ${app.earningsId}`].sort(),
      );
    });

    test("held credits without an open hold", async () => {
      const report = await after(`UPDATE account SET available = available - 5, held = held + 5 WHERE id = '${walletId}'`);
      expect(report.discrepancies).toEqual([
        { rule: "what is held equals the open holds", what: `wallet ${walletId}`, expected: "110", found: "115" },
      ]);
    });

    test("an open hold whose account holds nothing, and a hold that was removed", async () => {
      const released = await after(`UPDATE account SET available = available + held, held = 0 WHERE id = '${limitId}'`);
      expect(released.discrepancies).toMatchObject([
        { rule: "what is held equals the open holds", what: `limit ${limitId}`, expected: "110", found: "0" },
        { rule: "a limit has no more left than its month", what: `linked user ${linkId}`, expected: "470", found: "580" },
      ]);
      const removed = await after(`ALTER TABLE hold DISABLE TRIGGER USER`, `DELETE FROM hold WHERE id = '${open.id}'`);
      expect(rules(removed)).toEqual(["what is held equals the open holds"]);
    });

    test("a bounded account below zero", async () => {
      const report = await after(
        `ALTER TABLE account DROP CONSTRAINT account_never_negative`,
        `UPDATE account SET available = available - 1000000 WHERE id = '${walletId}'`,
        `UPDATE account SET held = -1 WHERE id = '${strangerId}'`,
      );
      expect(rules(report)).toContain("no bounded account is negative");
      const negative = report.discrepancies.filter((each) => each.rule === "no bounded account is negative");
      expect(negative.map((each) => each.what).sort()).toEqual([`wallet ${walletId}`, `wallet ${strangerId}`].sort());
    });

    test("an entry of an account that does not exist", async () => {
      const nobody = randomUUID();
      const report = await after(
        `INSERT INTO transfer (id, debit_id, credit_id, amount, reason) VALUES ('${randomUUID()}', '${platformAccount.allowance}', '${nobody}', 3, 'grant')`,
      );
      expect(report.discrepancies).toEqual([
        { rule: "every entry belongs to an account", what: `account ${nobody}`, expected: "an account", found: "none" },
      ]);
      expect(rules(await after(`DELETE FROM account WHERE id = '${strangerId}'`))).toEqual([
        "an account is of the kind that its owner needs",
        "every entry belongs to an account",
      ]);
    });

    test("entries that do not sum to zero", async () => {
      const report = await after(
        `ALTER TABLE usage DROP CONSTRAINT usage_within_hold`,
        `ALTER TABLE usage DISABLE TRIGGER USER`,
        // Revenue of 100, of which the wallet pays 60: a negative amount makes no entry.
        `UPDATE usage SET base = 100, markup = -40, shortfall = 0 WHERE id = '${settled.id}'`,
      );
      expect(rules(report)).toContain("all entries sum to zero");
      expect(report.discrepancies).toContainEqual({ rule: "all entries sum to zero", what: "journal", expected: "0", found: "40" });
    });

    test.each([
      ["another wallet", (other: string) => `UPDATE usage SET wallet_id = '${other}'`],
      ["another limit", (other: string) => `UPDATE usage SET limit_id = '${other}'`],
      ["no limit", () => `UPDATE usage SET limit_id = NULL`],
      ["other earnings", (other: string) => `UPDATE usage SET earnings_id = '${other}'`],
      ["other revenue", (other: string) => `UPDATE usage SET revenue_id = '${other}'`],
      ["another app", (other: string) => `UPDATE usage SET app_id = '${other}'`],
      ["another linked user", (other: string) => `UPDATE usage SET linked_user_id = '${other}'`],
      ["another amount held", () => `UPDATE usage SET held = held + 1`],
    ])("a settlement that names %s than its hold", async (_what, statement) => {
      const report = await after(`ALTER TABLE usage DISABLE TRIGGER USER`, `${statement(strangerId)} WHERE id = '${settled.id}'`);
      expect(rules(report)).toContain("a settlement repeats its hold");
      expect(report.discrepancies.find((each) => each.rule === "a settlement repeats its hold")?.what).toBe(`usage ${settled.id}`);
    });

    test("a settlement without a hold, and a settled hold that was rewritten", async () => {
      const invented = await after(`ALTER TABLE hold DISABLE TRIGGER USER`, `DELETE FROM hold WHERE id = '${settled.id}'`);
      expect(invented.discrepancies).toMatchObject([
        { rule: "a settlement repeats its hold", what: `usage ${settled.id}`, expected: "a hold" },
      ]);
      const rewritten = await after(
        `ALTER TABLE hold DISABLE TRIGGER USER`,
        `UPDATE hold SET amount = amount + 1 WHERE id = '${settled.id}'`,
      );
      expect(rewritten.discrepancies).toEqual([
        {
          rule: "a settlement repeats its hold",
          what: `usage ${settled.id}`,
          expected: `111 from ${walletId}`,
          found: `110 from ${walletId}`,
        },
      ]);
    });

    test("a settlement above its hold", async () => {
      const report = await after(
        `ALTER TABLE usage DROP CONSTRAINT usage_within_hold`,
        `ALTER TABLE usage DISABLE TRIGGER USER`,
        `UPDATE usage SET base = base + 1 WHERE id = '${settled.id}'`,
      );
      expect(report.discrepancies).toContainEqual({
        rule: "no settlement exceeds its hold",
        what: `usage ${settled.id}`,
        expected: "110",
        found: "111",
      });
    });

    test("a hold that outlived the longest request and the grace for the sweeper", async () => {
      const late = (seconds: number) => [
        `ALTER TABLE hold DISABLE TRIGGER USER`,
        `UPDATE hold SET expires_at = now() - interval '${seconds} seconds' WHERE id = '${open.id}'`,
      ];
      expect(rules(await after(...late(3_600)))).toEqual(["no hold outlives the longest request"]);
      expect(rules(await after(...late(30)))).toEqual([]);
      // A settled hold is not overdue, however old.
      expect(
        rules(
          await after(
            `ALTER TABLE hold DISABLE TRIGGER USER`,
            `UPDATE hold SET expires_at = now() - interval '1 year' WHERE id = '${settled.id}'`,
          ),
        ),
      ).toEqual([]);
    });

    test("an overdue hold at once when no grace is given", async () => {
      const undo = new Error("undo");
      await expect(
        transaction(async (tx) => {
          await tx.prisma.$executeRawUnsafe(`ALTER TABLE hold DISABLE TRIGGER USER`);
          await tx.prisma.$executeRawUnsafe(`UPDATE hold SET expires_at = now() - interval '1 second' WHERE id = '${open.id}'`);
          expect(rules(await verify(tx, { overdueGraceMs: 0 }))).toEqual(["no hold outlives the longest request"]);
          expect(rules(await verify(tx, { overdueGraceMs: 5_000 }))).toEqual([]);
          throw undo;
        }, db()),
      ).rejects.toBe(undo);
    });

    test("a hold that never expires, and one that is open for longer than a request may take", async () => {
      const rule = "no hold is open for longer than a request may take";
      const unlock = `ALTER TABLE hold DISABLE TRIGGER USER`;
      const endless = await after(unlock, `UPDATE hold SET expires_at = 'infinity' WHERE id = '${open.id}'`);
      expect(endless.discrepancies).toMatchObject([{ rule, what: `hold ${open.id}`, found: "infinity" }]);
      const long = [
        unlock,
        `UPDATE hold SET created_at = now() - interval '26 hours', expires_at = now() + interval '1 hour' WHERE id = '${open.id}'`,
      ];
      expect(rules(await after(...long))).toEqual([rule]);
      // Where requests may take that long.
      expect(rules(await verifyAfter(db(), long, { longestRequestMs: 27 * 3_600_000 }))).toEqual([]);
      // A settled hold is not named.
      expect(rules(await after(unlock, `UPDATE hold SET expires_at = 'infinity' WHERE id = '${settled.id}'`))).toEqual([]);
    });

    test("the first hold that is overdue, from which the caller sweeps", async () => {
      const report = await after(
        `ALTER TABLE hold DISABLE TRIGGER USER`,
        `UPDATE hold SET expires_at = now() - interval '1 hour' WHERE id = '${open.id}'`,
      );
      expect(report.overdue).toBe(open.id);
    });
  });
});

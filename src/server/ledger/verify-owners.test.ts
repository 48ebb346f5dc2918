import { randomUUID } from "node:crypto";
import { v7 as uuidv7 } from "uuid";
import { beforeAll, describe, expect, test } from "vitest";
import { type Books, makeBooks, rules, verifyAfter } from "#testing/books.ts";
import { onBothDatabases } from "#testing/database.ts";
import { platformAccount } from "./accounts.ts";

onBothDatabases("the books", (db) => {
  let app: Books["app"];
  let walletId: Books["walletId"];
  let strangerId: Books["strangerId"];
  let linkId: Books["linkId"];
  let limitId: Books["limitId"];
  let open: Books["open"];
  let settled: Books["settled"];

  beforeAll(async () => {
    ({ app, walletId, strangerId, linkId, limitId, open, settled } = await makeBooks(db()));
  });

  const after = (...statements: string[]) => verifyAfter(db(), statements);

  describe("verify finds", () => {
    test("a link to another user's wallet, and the requests that wallet paid for", async () => {
      const link = `UPDATE linked_user SET wallet_id = '${strangerId}' WHERE id = '${linkId}'`;
      expect((await after(link)).discrepancies).toEqual([
        { rule: "a link spends from the wallet of its person", what: `linked user ${linkId}`, expected: walletId, found: strangerId },
      ]);
      const billed = await after(
        `ALTER TABLE hold DISABLE TRIGGER USER`,
        `ALTER TABLE usage DISABLE TRIGGER USER`,
        `UPDATE hold SET wallet_id = '${strangerId}' WHERE id = '${settled.id}'`,
        `UPDATE usage SET wallet_id = '${strangerId}' WHERE id = '${settled.id}'`,
      );
      expect(billed.discrepancies).toContainEqual({
        rule: "a request is paid by who it names",
        what: `hold ${settled.id}`,
        expected: walletId,
        found: strangerId,
      });
      // After the link's row is deleted, its user is unknown.
      expect(rules(await after(`DELETE FROM linked_user WHERE id = '${linkId}'`))).toEqual([]);
    });

    test.each([
      ["with a person's wallet and no link", "linked_user_id = NULL", ["a request is paid by who it names"]],
      [
        "of a test key with a user's wallet",
        "billing_mode = 'test'",
        ["a request is paid by who it names", "a request is paid to its app and the platform"],
      ],
      [
        "with another place for the base cost",
        `revenue_id = '${platformAccount.promotions}'`,
        ["a request is paid to its app and the platform"],
      ],
      [
        "with another place for the markup",
        `earnings_id = '${platformAccount.promotions}'`,
        ["a request is paid to its app and the platform"],
      ],
    ])("a request %s", async (_what, change, expected) => {
      // Changed while it is open, so that no other rule finds it.
      const report = await after(`ALTER TABLE hold DISABLE TRIGGER USER`, `UPDATE hold SET ${change} WHERE id = '${open.id}'`);
      expect(rules(report)).toEqual(expected);
      expect(new Set(report.discrepancies.map((each) => each.what))).toEqual(new Set([`hold ${open.id}`]));
    });

    test("an app with the earnings account of another one", async () => {
      const other = randomUUID();
      const report = await after(
        `INSERT INTO account (id, kind, bounded) VALUES ('${other}', 'earnings', true)`,
        `UPDATE app SET earnings_id = '${other}' WHERE id = '${app.id}'`,
      );
      expect(rules(report)).toEqual(["a request is paid to its app and the platform"]);
      expect(report.discrepancies).toHaveLength(3);
      expect(report.discrepancies[0]).toMatchObject({
        expected: `${platformAccount.revenue} and ${other}`,
        found: `${platformAccount.revenue} and ${app.earningsId}`,
      });
    });

    test.each([
      ["a person's wallet", (id: string) => `UPDATE "user" SET wallet_id = '${id}' WHERE wallet_id = '${strangerId}'`],
      ["an app's sandbox wallet", (id: string) => `UPDATE app SET sandbox_wallet_id = '${id}' WHERE id = '${app.id}'`],
      ["a link's limit", (id: string) => `UPDATE linked_user SET limit_id = '${id}' WHERE id = '${linkId}'`],
    ])("an account of another kind as %s", async (_what, change) => {
      const rule = "an account is of the kind that its owner needs";
      expect(rules(await after(change(app.earningsId)))).toEqual([rule]);
      expect(rules(await after(change(randomUUID())))).toEqual([rule]);
    });

    test("a limit that was filled with more than its month", async () => {
      const refill = (amount: number) => [
        `INSERT INTO transfer (id, debit_id, credit_id, amount, reason) VALUES ('${uuidv7()}', '${platformAccount.allowance}', '${limitId}', ${amount}, 'allowance')`,
        `UPDATE account SET available = available + ${amount} WHERE id = '${limitId}'`,
      ];
      expect((await after(...refill(77_000_000))).discrepancies).toEqual([
        // 800, of which 220 are spent and 110 are held.
        { rule: "a limit has no more left than its month", what: `linked user ${linkId}`, expected: "470", found: "77000470" },
      ]);
      expect(rules(await after(...refill(1)))).toEqual(["a limit has no more left than its month"]);
    });

    test("a limit that does not count what was spent this month; not one that does not count earlier months", async () => {
      const rule = "a limit has no more left than its month";
      const forget = (amount: number) => [
        `INSERT INTO transfer (id, debit_id, credit_id, amount, reason) VALUES ('${uuidv7()}', '${platformAccount.allowance}', '${limitId}', ${amount}, 'allowance')`,
        `UPDATE account SET available = available + ${amount} WHERE id = '${limitId}'`,
      ];
      expect((await after(...forget(220))).discrepancies).toEqual([{ rule, what: `linked user ${linkId}`, expected: "470", found: "690" }]);
      const unlock = `ALTER TABLE usage DISABLE TRIGGER USER`;
      const before = `UPDATE usage SET created_at = date_trunc('month', now(), 'UTC') - interval '1 millisecond' WHERE limit_id = '${limitId}'`;
      expect(rules(await after(unlock, before, ...forget(220)))).toEqual([]);
      expect(rules(await after(unlock, before, ...forget(221)))).toContain(rule);
      // A limit whose month is over is refilled before the next hold.
      const over = `UPDATE linked_user SET limit_period_ends_at = date_trunc('month', now(), 'UTC') WHERE id = '${linkId}'`;
      expect(rules(await after(over, ...forget(220)))).toEqual([]);
    });

    test("a link whose copies are not what its agreement says", async () => {
      // Triggers update the copies.
      const changed = (change: string) => [
        `SET LOCAL session_replication_role = replica`,
        `UPDATE linked_user SET ${change} WHERE id = '${linkId}'`,
      ];
      const rule = "links of one person to one app share one limit";
      for (const change of [
        "monthly_limit = monthly_limit + 1",
        "limit_id = NULL, monthly_limit = NULL, limit_period_ends_at = NULL",
        "allowed_models = '{m}'",
        "agreed_markup_bps = agreed_markup_bps + 1",
      ])
        expect((await after(...changed(change))).discrepancies).toMatchObject([{ rule, expected: "as agreed", found: "1 otherwise" }]);
      const later = "date_trunc('month', limit_period_ends_at + interval '40 days', 'UTC')";
      expect(rules(await after(...changed(`limit_period_ends_at = ${later}`)))).toEqual([rule]);
    });

    test.each([["world"], ["stripe"], ["sandboxCheckout"], ["promotions"]] as const)(
      "a top-up from %s without a paid payment",
      async (from) => {
        const id = uuidv7();
        const topUp = (at: string) => [
          `INSERT INTO transfer (id, debit_id, credit_id, amount, reason, created_at) VALUES ('${id}', '${platformAccount[from]}', '${walletId}', 77, 'top_up', ${at})`,
          `INSERT INTO account_delta (batch_id, account_id, amount) VALUES ('${id}', '${platformAccount[from]}', -77)`,
          `UPDATE account SET available = available + 77 WHERE id = '${walletId}'`,
        ];
        expect((await after(...topUp("now()"))).discrepancies).toEqual([
          { rule: "a credited top-up is paid", what: `transfer ${id}`, expected: "a paid payment", found: "none" },
        ]);
        // Top-ups older than the table of payments are not named.
        const before = `(SELECT created_at - interval '1 second' FROM account WHERE id = '${platformAccount.stripe}')`;
        expect(rules(await after(...topUp(before)))).toEqual(from === "world" ? [] : ["a credited top-up is paid"]);
      },
    );

    test("more discrepancies than it lists, and returns the first 100", async () => {
      const report = await after(
        `INSERT INTO account (id, kind, bounded, available) SELECT gen_random_uuid(), 'wallet', true, 1 FROM generate_series(1, 500)`,
      );
      expect(report.ok).toBe(false);
      expect(report.discrepancies).toHaveLength(100);
    });
  });
});

import { randomUUID } from "node:crypto";
import { v7 as uuidv7 } from "uuid";
import { beforeAll, describe, expect, test } from "vitest";
import { inEveryZone, onBothDatabases } from "#testing/database.ts";
import { type Held, holdOne, holdRequest, settlement } from "#testing/ledger-requests.ts";
import { makeApp, makeKey, makeLink, makeUser } from "#testing/makers.ts";
import { type Database, transaction } from "../platform/db.ts";
import { foldUsage } from "../usage/rollup.ts";
import { platformAccount } from "./accounts.ts";
import { settle } from "./hold.ts";
import { transfer } from "./transfer.ts";
import { type VerifyReport, verify } from "./verify.ts";

/** What `verify` finds after these statements, which are rolled back, so that tests share one set of books. */
async function verifyAfter(db: Database, statements: readonly string[], options?: Parameters<typeof verify>[1]): Promise<VerifyReport> {
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

const rules = (report: VerifyReport) => [...new Set(report.discrepancies.map((each) => each.rule))].sort();

onBothDatabases("the books", (db) => {
  let app: Awaited<ReturnType<typeof makeApp>>;
  let key: Awaited<ReturnType<typeof makeKey>>;
  let walletId: string;
  let strangerId: string;
  let linkId: string;
  let limitId: string;
  let open: Held;
  let settled: Held;
  let giftId: string;

  /** A top-up, a settled and an open hold of a user with a limit, and earnings that are not folded. */
  beforeAll(async () => {
    const person = await makeUser(db());
    walletId = person.walletId;
    strangerId = (await makeUser(db(), { credits: 50n })).walletId;
    giftId = uuidv7();
    await transfer(db().sql, { id: giftId, debitId: platformAccount.promotions, creditId: walletId, amount: 1_000n, reason: "grant" });
    app = await makeApp(db(), { markupBps: 1_000 });
    key = await makeKey(db(), app.id);
    const link = await makeLink(db(), app.id, person, { monthlyLimit: 800n });
    linkId = link.id;
    limitId = link.limitId ?? "";
    settled = await holdOne(db().sql, holdRequest(key, { externalUserId: link.externalUserId }));
    open = await holdOne(db().sql, holdRequest(key, { externalUserId: link.externalUserId }));
    await settle(db().sql, [settlement(settled.id, 100n, 40n)]);
    // Base cost above the hold, so that there is a shortfall.
    const short = await holdOne(db().sql, holdRequest(key, { externalUserId: link.externalUserId }));
    await settle(db().sql, [settlement(short.id, 130n)]);
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

  describe("the database refuses", () => {
    test.each(["hold", "usage", "transfer"])("to change, remove or truncate rows of %s", async (table) => {
      const count = async () =>
        (await db().sql.query({ name: `test_count_${table}`, text: `SELECT count(*)::int AS n FROM "${table}"` }, []))[0]?.n;
      const before = await count();
      for (const statement of [
        `UPDATE "${table}" SET "created_at" = "created_at"`,
        `UPDATE "${table}" SET "id" = "id" WHERE false`,
        `DELETE FROM "${table}"`,
        `DELETE FROM "${table}" WHERE false`,
        `TRUNCATE "${table}"`,
        `TRUNCATE "${table}", "setting"`,
      ]) {
        await expect(db().sql.query({ name: "", text: statement }, []), statement).rejects.toMatchObject({ code: "23001" });
      }
      expect(await count()).toBe(before);
    });

    test.each(["wallet", "limit", "sandbox_wallet", "earnings"])("a negative %s", async (kind) => {
      const insert = (columns: string, values: string) =>
        db().sql.query(
          { name: "", text: `INSERT INTO account (id, kind, bounded${columns}) VALUES ('${randomUUID()}', '${kind}', ${values})` },
          [],
        );
      await expect(insert(", available", "true, -1")).rejects.toMatchObject({ code: "23514" });
      await expect(insert(", held", "true, -1")).rejects.toMatchObject({ code: "23514" });
      // `openAccount` opens bounded accounts only; an unbounded one of these kinds is refused too.
      await expect(insert("", "false")).rejects.toMatchObject({ code: "23514" });
    });

    test("an update that takes more than a wallet or limit has, or returns more than it holds", async () => {
      for (const accountId of [walletId, limitId]) {
        for (const change of ["available = available - 1000000", "held = held - 1000000"]) {
          await expect(
            db().sql.query({ name: "", text: `UPDATE account SET ${change} WHERE id = '${accountId}'` }, []),
          ).rejects.toMatchObject({ code: "23514" });
        }
      }
    });

    test("a settlement above its hold, and a second one", async () => {
      const copy = (id: string, base: number) =>
        db().sql.query(
          {
            name: "",
            text: `INSERT INTO usage (id, app_id, api_key_id, billing_mode, wallet_id, revenue_id, earnings_id, held, base, markup, outcome, endpoint, model)
              SELECT id, app_id, api_key_id, billing_mode, wallet_id, revenue_id, earnings_id, amount, ${base}, 0, 'completed', '', model FROM hold WHERE id = '${id}'`,
          },
          [],
        );
      await expect(copy(open.id, 111)).rejects.toMatchObject({ code: "23514" });
      await expect(copy(open.id, -1)).rejects.toMatchObject({ code: "23514" });
      await expect(copy(settled.id, 1)).rejects.toMatchObject({ code: "23505" });
    });

    test("holds and transfers of nothing, and transfers to oneself", async () => {
      const row = (debit: string, credit: string, amount: number) =>
        db().sql.query(
          {
            name: "",
            text: `INSERT INTO transfer (id, debit_id, credit_id, amount, reason) VALUES ('${randomUUID()}', '${debit}', '${credit}', ${amount}, 'grant')`,
          },
          [],
        );
      await expect(row(platformAccount.world, walletId, 0)).rejects.toMatchObject({ code: "23514" });
      await expect(row(platformAccount.world, walletId, -1)).rejects.toMatchObject({ code: "23514" });
      await expect(row(walletId, walletId, 1)).rejects.toMatchObject({ code: "23514" });
      const empty = `INSERT INTO hold (id, app_id, api_key_id, billing_mode, wallet_id, revenue_id, earnings_id, amount, model, expires_at)
        SELECT '${randomUUID()}', app_id, api_key_id, billing_mode, wallet_id, revenue_id, earnings_id, 0, model, expires_at FROM hold WHERE id = '${open.id}'`;
      await expect(db().sql.query({ name: "", text: empty }, [])).rejects.toMatchObject({ code: "23514" });
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

inEveryZone("the books and the sums of usage", (db) => {
  let settled: Held;

  beforeAll(async () => {
    const app = await makeApp(db(), { markupBps: 1_000, credits: 1_000n });
    const key = await makeKey(db(), app.id);
    const link = await makeLink(db(), app.id, await makeUser(db(), { credits: 1_000n }));
    const named = { externalUserId: link.externalUserId };
    settled = await holdOne(db().sql, holdRequest(key, named));
    const failed = await holdOne(db().sql, holdRequest(key, { ...named, model: "test/large" }));
    const own = await holdOne(db().sql, holdRequest(key));
    await settle(db().sql, [settlement(settled.id, 50n, 5n), settlement(failed.id, 0n, 0n, { outcome: "failed" }), settlement(own.id, 7n)]);
    await foldUsage(db(), { upTo: new Date(Date.now() + 3_600_000) });
    // Settled after the last fold, so in no sum yet.
    await db().prisma.usageFold.update({ where: { id: 1 }, data: { until: new Date() } });
    const fresh = await holdOne(db().sql, holdRequest(key, named));
    await settle(db().sql, [settlement(fresh.id, 30n)]);
  });

  const [byHour, byDay, byMonth] = ["hour", "day", "month"].map((each) => `sums by ${each} are those of requests`);

  test("agree, with requests that are in no sum yet", async () => {
    expect(await verify(db().sql)).toMatchObject({ ok: true, discrepancies: [], usages: 4 });
    // And after they are folded.
    expect(rules(await verifyAfter(db(), [`UPDATE usage_fold SET until = now() + interval '1 hour'`]))).toEqual([byDay, byHour, byMonth]);
  });

  test("are read as the view ledger_entry states them", async () => {
    const rows = await db().sql.query(
      {
        name: "",
        text: `SELECT a.id FROM account a LEFT JOIN (SELECT account_id, sum(amount) AS total FROM ledger_entry GROUP BY 1) j ON j.account_id = a.id
          LEFT JOIN (SELECT account_id, sum(amount) AS total FROM account_delta GROUP BY 1) w ON w.account_id = a.id
          WHERE a.id <> '${platformAccount.allowance}' AND a.available + a.held + coalesce(w.total, 0) <> coalesce(j.total, 0)`,
      },
      [],
    );
    expect(rows).toEqual([]);
  });

  test.each([
    ["usage_hour", byHour],
    ["usage_user_day", byDay],
    ["usage_user_month", byMonth],
  ])("%s that was changed, removed or invented is named", async (table, rule) => {
    for (const column of ["requests", "failed", "prompt_tokens", "completion_tokens", "base", "markup"])
      expect(rules(await verifyAfter(db(), [`UPDATE ${table} SET ${column} = ${column} + 1`])), column).toEqual([rule]);
    const changes = [
      `DELETE FROM ${table} WHERE base > 40`,
      `UPDATE ${table} SET app_id = gen_random_uuid() WHERE base > 40`,
      // Moved between keys, with the same total.
      `UPDATE ${table} SET base = base + CASE WHEN base > 40 THEN -7 ELSE 7 END WHERE base > 0`,
    ];
    for (const change of changes) expect(rules(await verifyAfter(db(), [change])), change).toEqual([rule]);
  });

  test("a request that was rewritten is in other sums", async () => {
    const report = await verifyAfter(db(), [
      `ALTER TABLE usage DISABLE TRIGGER USER`,
      `UPDATE usage SET completion_tokens = completion_tokens + 1 WHERE id = '${settled.id}'`,
    ]);
    expect(rules(report)).toEqual([byDay, byHour, byMonth]);
  });
});

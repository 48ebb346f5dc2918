import { randomUUID } from "node:crypto";
import { beforeAll, describe, expect, test } from "vitest";
import { type Books, makeBooks } from "#testing/books.ts";
import { onBothDatabases } from "#testing/database.ts";
import { platformAccount } from "./accounts.ts";

onBothDatabases("the books", (db) => {
  let walletId: Books["walletId"];
  let limitId: Books["limitId"];
  let open: Books["open"];
  let settled: Books["settled"];

  beforeAll(async () => {
    ({ walletId, limitId, open, settled } = await makeBooks(db()));
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
});

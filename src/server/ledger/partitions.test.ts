import { v7 as uuidv7 } from "uuid";
import { expect, test } from "vitest";
import { inEveryZone } from "#testing/database.ts";
import { makeUser } from "#testing/makers.ts";
import { platformAccount } from "./accounts.ts";
import { preparePartitions } from "./partitions.ts";
import { transfer } from "./transfer.ts";
import { verify } from "./verify.ts";

inEveryZone("the journal by month", (db) => {
  const query = (text: string, parameters: unknown[] = []) => db().sql.query({ name: "", text }, parameters);
  const moveAt = async (moment: Date) => {
    const { walletId } = await makeUser(db());
    const id = uuidv7({ msecs: moment.getTime() });
    await transfer(db().sql, { id, debitId: platformAccount.promotions, creditId: walletId, amount: 5n, reason: "grant" });
    const [row] = await query(`SELECT tableoid::regclass::text AS home FROM transfer WHERE id = $1::uuid`, [id]);
    return String(row?.home);
  };
  const partOf = (moment: Date) => `transfer_${moment.toISOString().slice(0, 7).replace("-", "_")}`;
  const monthsFromNow = (months: number) => {
    const now = new Date();
    return new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + months, 1));
  };

  test("is partitioned by the moment in the id, to the millisecond; older rows go to the default partition", async () => {
    const next = monthsFromNow(1);
    expect(await moveAt(new Date())).toBe(partOf(new Date()));
    expect(await moveAt(next)).toBe(partOf(next));
    expect(await moveAt(new Date(next.getTime() - 1))).toBe(partOf(new Date()));
    expect(await moveAt(new Date(0))).toBe(partOf(new Date()));
  });

  test("has partitions for months ahead; rows of a month without one stay in the default partition", async () => {
    await preparePartitions(db().sql);
    expect(await moveAt(monthsFromNow(3))).toBe(partOf(monthsFromNow(3)));
    expect(await moveAt(monthsFromNow(5))).toBe("transfer_other");
    // No partition is made for the month that has rows in the default partition; those around it are made.
    const [made] = await query("SELECT prepare_partitions(6) AS made");
    expect(Number(made?.made)).toBe(2 * 3 - 1);
    expect(await moveAt(monthsFromNow(4))).toBe(partOf(monthsFromNow(4)));
    expect(await moveAt(monthsFromNow(5))).toBe("transfer_other");
    expect((await verify(db().sql)).ok).toBe(true);
  });

  test("can be prepared by several connections at once", async () => {
    await Promise.all([1, 2, 3].map(() => query("SELECT prepare_partitions(8)")));
    expect(await moveAt(monthsFromNow(8))).toBe(partOf(monthsFromNow(8)));
  });

  test("is insert-only in every partition", async () => {
    const parts = await query(
      `SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent IN ('usage'::regclass, 'transfer'::regclass)`,
    );
    expect(parts.length).toBeGreaterThan(8);
    for (const name of ["usage", "transfer", ...parts.map((part) => String(part.name))]) {
      await expect(query(`DELETE FROM ${name}`), name).rejects.toThrow("never changed or removed");
      await expect(query(`UPDATE ${name} SET created_at = now()`), name).rejects.toThrow("never changed or removed");
    }
  });
});

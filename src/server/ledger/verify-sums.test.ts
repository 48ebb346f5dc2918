import { beforeAll, expect, test } from "vitest";
import { rules, verifyAfter } from "#testing/books.ts";
import { inEveryZone } from "#testing/database.ts";
import { type Held, holdOne, holdRequest, settlement } from "#testing/ledger-requests.ts";
import { makeApp, makeKey, makeLink, makeUser } from "#testing/makers.ts";
import { foldUsage } from "../usage/rollup.ts";
import { platformAccount } from "./accounts.ts";
import { settle } from "./hold.ts";
import { verify } from "./verify.ts";

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

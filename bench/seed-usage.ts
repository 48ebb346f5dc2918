import { randomUUID } from "node:crypto";
import type { Database } from "../src/server/platform/db.ts";
import { newId } from "../src/server/platform/ids.ts";

/**
 * Inserts holds and settlements as the ledger writes them, spread over the last `days`: grants first,
 * then a hold and a usage row for each request, then the balances that follow from them. Every
 * hundredth request fails; one model is rare.
 */
export async function seedUsage(
  db: Database,
  app: { id: string; earningsId: string; keyIds: string[] },
  { rows, users, days }: { rows: number; users: number; days: number },
): Promise<void> {
  const run = (text: string) => db.withoutTimeLimit((sql) => sql.query({ name: newId(), text }, []));
  const mark = randomUUID().slice(0, 8);
  // A UUIDv7 with the row's number in place of the random bits.
  const idAt = (moment: string, n: string) => `(
    lpad(to_hex((extract(epoch FROM ${moment}) * 1000)::bigint), 12, '0') || '7000' || '8000' || lpad(to_hex(${n}), 12, '0'))::uuid`;
  await run(`
    CREATE TABLE seed_user AS
    SELECT n, ${idAt("now() - interval '200 days'", "n")} AS id, ${idAt("now() - interval '200 days'", "n + 100000000")} AS wallet_id,
      ${idAt(`now() - (${days}.0 * n / ${users}) * interval '1 day'`, "n + 200000000")} AS link_id,
      now() - (${days}.0 * n / ${users}) * interval '1 day' AS linked_at, ${idAt("now() - interval '199 days'", "n + 300000000")} AS limit_id
    FROM generate_series(1, ${users}) n`);
  await run(`INSERT INTO account (id, kind, bounded) SELECT wallet_id, 'wallet', true FROM seed_user`);
  await run(`INSERT INTO account (id, kind, bounded) SELECT limit_id, 'limit', true FROM seed_user WHERE n % 2 = 0`);
  await run(`INSERT INTO "user" (id, email, wallet_id) SELECT id, 'person_' || n || '@${mark}.example', wallet_id FROM seed_user`);
  await run(`
    INSERT INTO linked_user (id, app_id, user_id, wallet_id, external_user_id, agreed_markup_bps, scope, limit_id, monthly_limit, limit_period_ends_at, linked_at)
    SELECT link_id, '${app.id}', id, wallet_id, 'user_' || n, 2000, CASE WHEN n % 3 = 0 THEN 'credits.read credits.spend email' ELSE 'credits.read credits.spend' END,
      CASE WHEN n % 2 = 0 THEN limit_id END, CASE WHEN n % 2 = 0 THEN 50000000 END,
      CASE WHEN n % 2 = 0 THEN date_trunc('month', now(), 'UTC') + interval '1 month' END, linked_at FROM seed_user`);
  await run(`
    INSERT INTO transfer (id, debit_id, credit_id, amount, reason, created_at)
    SELECT gen_random_uuid(), '00000000-0000-7000-8000-000000000003', wallet_id, 50000000, 'grant', now() - interval '200 days' FROM seed_user`);
  await run(`
    INSERT INTO transfer (id, debit_id, credit_id, amount, reason, created_at)
    SELECT gen_random_uuid(), '00000000-0000-7000-8000-000000000006', limit_id, 50000000, 'allowance', now() - interval '199 days' FROM seed_user WHERE n % 2 = 0`);
  await run(`
    CREATE TABLE seed_request AS
    SELECT r.*, u.link_id, u.wallet_id, CASE WHEN u.n % 2 = 0 THEN u.limit_id END AS limit_id, 'user_' || u.n AS external_user_id,
      CASE WHEN failed THEN 0 ELSE price END AS base, CASE WHEN failed THEN 0 ELSE (price * 2000 + 9999) / 10000 END AS markup FROM (
      SELECT n, now() - (${days}.0 * (${rows} - n) / ${rows}) * interval '1 day' - interval '1 second' AS at,
        -- Few use it much, many a little.
        1 + floor(power(random(), 2) * ${users})::int AS user_n, n % 100 = 0 AS failed, 20 + (random() * 900)::int AS price,
        CASE WHEN n % 20000 = 0 THEN 'o3' ELSE (ARRAY['gpt-4o', 'gpt-4o-mini', 'gpt-4.1', 'claude-sonnet-4-5', 'gemini-2.5-flash'])[1 + floor(random() * 5)::int] END AS model,
        (ARRAY[${app.keyIds.map((id) => `'${id}'`).join(",")}])[1 + floor(random() * ${app.keyIds.length})::int]::uuid AS key_id
      FROM generate_series(1, ${rows}) n) r JOIN seed_user u ON u.n = least(r.user_n, ${users})`);
  await run(`
    INSERT INTO hold (id, app_id, api_key_id, linked_user_id, external_user_id, billing_mode, wallet_id, limit_id, revenue_id, earnings_id, amount, model, created_at, expires_at)
    SELECT ${idAt("at", "n")}, '${app.id}', key_id, link_id, external_user_id, 'user', wallet_id, limit_id, '00000000-0000-7000-8000-000000000002', '${app.earningsId}',
      2000, model, at, at + interval '15 minutes' FROM seed_request ORDER BY n`);
  await run(`
    INSERT INTO usage (id, app_id, api_key_id, linked_user_id, external_user_id, billing_mode, wallet_id, limit_id, revenue_id, earnings_id, held, base, markup,
      outcome, endpoint, model, provider, prompt_tokens, cached_tokens, completion_tokens, counted_by, streamed, upstream_status, duration_ms, created_at)
    SELECT ${idAt("at", "n")}, '${app.id}', key_id, link_id, external_user_id, 'user', wallet_id, limit_id, '00000000-0000-7000-8000-000000000002', '${app.earningsId}', 2000,
      base, markup, CASE WHEN failed THEN 'failed' ELSE 'completed' END::usage_outcome, '/v1/chat/completions', model, 'openai',
      CASE WHEN failed THEN 0 ELSE 300 END, 0, CASE WHEN failed THEN 0 ELSE price END, CASE WHEN failed THEN NULL ELSE 'provider' END, n % 2 = 0,
      CASE WHEN failed THEN 503 ELSE 200 END, 800, at + interval '800 milliseconds'
    FROM seed_request ORDER BY n`);
  // Balances are the sums of the journal.
  await run(`
    UPDATE account a SET available = j.total FROM (SELECT account_id, sum(amount)::bigint AS total FROM ledger_entry GROUP BY account_id) j
    WHERE j.account_id = a.id AND a.id <> '00000000-0000-7000-8000-000000000006' AND a.available <> j.total`);
  await run(`DELETE FROM account_delta`);
  await run(`DROP TABLE seed_user, seed_request`);
}

import { describe, expect, test } from "vitest";
import { withDatabase } from "#testing/database.ts";
import { holdRequest, settlement } from "#testing/ledger-requests.ts";
import { makeToken } from "#testing/makers.ts";
import { outcome, shop } from "#testing/shops.ts";
import { hold, settle } from "./hold.ts";

describe("with many customers", () => {
  const db = withDatabase("postgres");

  test("hold and settle look up every row by an index", async () => {
    const { key, link } = await shop(db());
    const token = await makeToken(db(), link);
    // Enough rows that the planner prefers an index to a sequential scan.
    await db().prisma.$executeRaw`
      WITH made AS (INSERT INTO account (id, kind, bounded) SELECT gen_random_uuid(), 'wallet', true FROM generate_series(1, 20000) RETURNING id),
        people AS (INSERT INTO "user" (id, email, wallet_id) SELECT gen_random_uuid(), id::text, id FROM made RETURNING id, wallet_id),
        apps AS (INSERT INTO app (id, owner_id, name, earnings_id, sandbox_wallet_id, client_id, client_secret_hash, client_secret_fragment)
          SELECT gen_random_uuid(), id, '', gen_random_uuid(), gen_random_uuid(), id::text, '', '' FROM people RETURNING id, owner_id),
        keys AS (INSERT INTO api_key (id, app_id, name, hash, fragment) SELECT gen_random_uuid(), id, '', uuid_send(id), '' FROM apps),
        links AS (INSERT INTO linked_user (id, app_id, user_id, wallet_id, external_user_id, agreed_markup_bps)
          SELECT gen_random_uuid(), a.id, a.owner_id, p.wallet_id, 'x', 0 FROM apps a JOIN people p ON p.id = a.owner_id RETURNING id)
      INSERT INTO oauth_record (kind, id_hash, payload, grant_id, linked_user_id, expires_at)
        SELECT kind, uuid_send(id), '{}', id::text, id, now() + interval '1 day' FROM links, (VALUES ('Grant'), ('AccessToken')) k(kind)`;
    await db().prisma.$executeRaw`
      INSERT INTO hold (id, app_id, billing_mode, wallet_id, revenue_id, earnings_id, amount, model, expires_at)
      SELECT gen_random_uuid(), id, 'user', id, id, id, 1, '', now() FROM account`;
    await db().prisma.$executeRaw`ANALYZE`;

    const tables = ["account", "api_key", "app", "user", "linked_user", "oauth_record", "hold", "usage"];
    const scans = async () => {
      await db().sql.query({ name: "test_flush_stats", text: "SELECT pg_stat_force_next_flush()" }, []);
      const text = `SELECT relname, seq_scan, idx_scan FROM pg_stat_user_tables WHERE relname = ANY ($1::text[]) ORDER BY relname`;
      return db().sql.query({ name: "test_scans", text }, [tables]);
    };
    const before = await scans();
    const lane = db().lane();
    const held = await hold(lane, [
      holdRequest(key),
      holdRequest(key, { externalUserId: link.externalUserId }),
      holdRequest(token, { byToken: true }),
    ]);
    expect(held.map(outcome)).toEqual([100n, 100n, 100n]);
    const settlements = held.map((each) => settlement((each as { id: string }).id, 1n));
    await settle(lane, settlements);
    // A batch of one is decided by functions of its own.
    const [alone] = await hold(lane, [holdRequest(key, { externalUserId: link.externalUserId })]);
    await settle(lane, [settlement((alone as { id: string }).id, 1n)]);
    await lane.query({ name: "test_flush_lane", text: "SELECT pg_stat_force_next_flush()" }, []);
    const after = await scans();
    expect(after.map(({ relname, seq_scan }) => [relname, seq_scan])).toEqual(before.map(({ relname, seq_scan }) => [relname, seq_scan]));
    expect(after).not.toEqual(before);
  });
});
